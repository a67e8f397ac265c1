// A matrix in a backend's memory: the view that ops take, and the buffer that owns the bytes.
#ifndef PREFIXD_ENGINE_TENSOR_TENSOR_H_
#define PREFIXD_ENGINE_TENSOR_TENSOR_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/check.h"
#include "engine/tensor/dtype.h"

namespace prefixd {

// A non-owning view of a row-major matrix. A vector is a matrix of one row. Rows may lie further
// apart than they are long. The memory belongs to the backend that made it; only its ops read it.
struct Tensor {
  std::byte* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t row_stride = 0;  // In elements; >= cols.

  // Rows [begin, begin + count).
  Tensor Rows(int64_t begin, int64_t count) const {
    PREFIXD_DCHECK(begin >= 0 && count >= 0 && begin + count <= rows);
    Tensor view = *this;
    view.data += begin * row_stride * static_cast<int64_t>(DTypeSize(dtype));
    view.rows = count;
    return view;
  }

  // Columns [begin, begin + count) of every row.
  Tensor Cols(int64_t begin, int64_t count) const {
    PREFIXD_DCHECK(begin >= 0 && count >= 0 && begin + count <= cols);
    Tensor view = *this;
    view.data += begin * static_cast<int64_t>(DTypeSize(dtype));
    view.cols = count;
    return view;
  }
};

// Owns one allocation of a backend. Move-only; frees itself.
class Buffer {
 public:
  using Free = void (*)(void* context, std::byte* data, size_t size_bytes);

  Buffer() = default;
  Buffer(std::byte* data, size_t size_bytes, Free free, void* context)
      : data_(data), size_bytes_(size_bytes), free_(free), context_(context) {}
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_bytes_, other.size_bytes_);
    std::swap(free_, other.free_);
    std::swap(context_, other.context_);
    return *this;
  }
  ~Buffer() {
    if (data_ != nullptr) free_(context_, data_, size_bytes_);
  }

  std::byte* data() const { return data_; }
  size_t size_bytes() const { return size_bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
  Free free_ = nullptr;
  void* context_ = nullptr;
};

// A buffer that holds one dense matrix.
struct OwnedTensor {
  Buffer buffer;
  Tensor view;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TENSOR_TENSOR_H_
