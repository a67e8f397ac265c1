// The weights of a model: one model.safetensors of a directory or the shards that its index names,
// or one GGUF file. Open reads headers only; tensors are then read piece by piece with pread. No
// mapping is kept, nothing outside the directory is opened, pickle files never are
// (docs/decisions.md, rule 28).
// Immutable after Open; safe from any thread.
#ifndef PREFIXD_ENGINE_WEIGHTS_CHECKPOINT_H_
#define PREFIXD_ENGINE_WEIGHTS_CHECKPOINT_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/file.h"
#include "engine/weights/tensor_info.h"

namespace prefixd {

// Returns the path of the file `name` in `directory`.
// Errors: NOT_FOUND; INVALID_ARGUMENT if `name` is not a plain file name or is a symbolic link that
// leaves the directory.
absl::StatusOr<std::string> ResolveInDirectory(const std::string& directory,
                                               const std::string& name);

class Checkpoint {
 public:
  // Errors name file and tensor; UNIMPLEMENTED if the directory only has pickle files.
  static absl::StatusOr<Checkpoint> Open(const std::string& directory);

  // One open file whose header has been read (gguf.h). Requires: distinct names.
  static Checkpoint OfFile(File file, std::vector<TensorInfo> tensors);

  // By name as spelt in the files. The addresses stay valid as long as the checkpoint, which may be
  // moved.
  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }
  // What messages about the whole call it: the directory, or the path of the one file.
  const std::string& path() const { return path_; }
  // Requires: a tensor of this checkpoint.
  const std::string& file_path(const TensorInfo& tensor) const {
    return files_[tensor.file].path();
  }

  // Fills `out` with the bytes of `tensor` from byte `offset` on.
  // Requires: offset + out.size() <= tensor.size_bytes. Errors: OUT_OF_RANGE for a truncated file.
  absl::Status Read(const TensorInfo& tensor, uint64_t offset, absl::Span<uint8_t> out) const;

  // Errors: ABORTED if a file has changed since Open.
  absl::Status CheckUnchanged() const;

 private:
  absl::Status AddFile(const std::string& name);
  absl::Status AddShards(const std::string& index_path);

  std::string path_;
  std::vector<File> files_;
  std::map<std::string, TensorInfo> tensors_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_WEIGHTS_CHECKPOINT_H_
