// A checkpoint of torch.save (.pt, .bin) in the zip form of PyTorch 1.6 and later. Opening reads
// the directory of the archive and the restricted pickle (pickle.h); every tensor is proven to lie
// in its storage. For the converters only: the daemon never opens such a file. Immutable after
// Open; safe from any thread.
#ifndef PREFIXD_ENGINE_WEIGHTS_TORCH_ARCHIVE_H_
#define PREFIXD_ENGINE_WEIGHTS_TORCH_ARCHIVE_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/file.h"
#include "engine/weights/tensor_info.h"

namespace prefixd {

struct TorchTensor {
  TensorInfo info;                // `begin` is the tensor's first element in the file.
  std::vector<uint64_t> strides;  // Elements.
  bool is_contiguous = true;      // Row-major without gaps.
};

class TorchArchive {
 public:
  // Errors name the file and, where there is one, the tensor: INVALID_ARGUMENT for a broken file;
  // UNIMPLEMENTED for the form before PyTorch 1.6, compressed entries, what pickle.h refuses, and
  // tensors that repeat elements (stride 0).
  static absl::StatusOr<TorchArchive> Open(const std::string& path);

  // By name; keys of nested dictionaries are joined by dots.
  const std::map<std::string, TorchTensor>& tensors() const { return tensors_; }
  const std::string& path() const { return file_.path(); }

  // Fills `out` with the elements of `tensor` from element `first` on, in row-major order, as
  // stored. Requires: whole elements that the tensor has.
  absl::Status Read(const TorchTensor& tensor, uint64_t first, absl::Span<uint8_t> out) const;

 private:
  explicit TorchArchive(File file) : file_(std::move(file)) {}

  absl::Status ReadTensors();
  absl::Status ReadScattered(const TorchTensor& tensor, uint64_t first,
                             absl::Span<uint8_t> out) const;

  File file_;
  std::map<std::string, TorchTensor> tensors_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_WEIGHTS_TORCH_ARCHIVE_H_
