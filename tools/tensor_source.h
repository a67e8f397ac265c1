// The weights that a converter reads, in whatever form they come: a directory or a file of
// safetensors, or of torch.save. Immutable after Open; safe from any thread.
#ifndef PREFIXD_TOOLS_TENSOR_SOURCE_H_
#define PREFIXD_TOOLS_TENSOR_SOURCE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/weights/checkpoint.h"
#include "engine/weights/torch_archive.h"

namespace prefixd::tools {

class TensorSource {
 public:
  struct Tensor {
    std::string name;   // As this source has it.
    std::string dtype;  // "BF16".
    std::vector<int64_t> shape;
    uint64_t size_bytes = 0;
    std::string file;         // For messages.
    std::string stored_name;  // As spelt in the file.
    size_t archive = 0;       // Index, of a tensor of torch.save.
  };

  // A directory with model.safetensors, pytorch_model.bin or an index of either; or one file, which
  // is of torch.save unless its name ends with .safetensors. What torch.save wrapped in
  // {"model_state_dict": ...} or {"state_dict": ...} is unwrapped, and "module." before every name
  // is left out. Errors name file and tensor.
  static absl::StatusOr<TensorSource> Open(const std::string& path);

  const std::string& path() const { return path_; }
  const std::map<std::string, Tensor>& tensors() const { return tensors_; }
  bool is_torch() const { return !archives_.empty(); }
  // Null if there is none.
  const Tensor* Find(const std::string& name) const;

  // Fills `out` with elements of `tensor` from element `first` on. Requires: a tensor of this
  // source, of a type in 1, 2, 4 or 8 bytes.
  absl::Status Read(const Tensor& tensor, uint64_t first, absl::Span<uint8_t> out) const;

 private:
  absl::Status OpenShards(const std::string& index_path);
  absl::Status AddCheckpoint(Checkpoint checkpoint);
  absl::Status AddArchive(const std::string& path);
  void Unwrap();

  std::string path_;
  std::optional<Checkpoint> checkpoint_;
  std::vector<TorchArchive> archives_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace prefixd::tools

#endif  // PREFIXD_TOOLS_TENSOR_SOURCE_H_
