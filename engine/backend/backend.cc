#include "engine/backend/backend.h"

#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/checked_math.h"
#include "base/status_macros.h"

namespace prefixd {

absl::Status Backend::GatherSlots(absl::Span<const SlotGather>, KvPool*) {
  return absl::UnimplementedError(absl::StrCat("backend ", info().name, " moves no slots"));
}

absl::StatusOr<OwnedTensor> Backend::NewTensor(int64_t rows, int64_t cols) {
  PREFIXD_CHECK(rows >= 0 && cols >= 0);
  const DType dtype = info().activation_dtype;
  const int64_t per_line = 64 / static_cast<int64_t>(DTypeSize(dtype));
  const std::optional<uint64_t> padded = CheckedAdd(cols, per_line - 1);
  const uint64_t row_stride = *padded / per_line * per_line;
  std::optional<uint64_t> size_bytes = CheckedMul(row_stride, DTypeSize(dtype));
  if (size_bytes.has_value()) size_bytes = CheckedMul(*size_bytes, rows);
  if (!size_bytes.has_value() || *size_bytes > std::numeric_limits<int64_t>::max()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a tensor of ", rows, " x ", cols, " does not fit in memory"));
  }
  PREFIXD_ASSIGN_OR_RETURN(Buffer buffer, Allocate(*size_bytes));
  const Tensor view{.data = buffer.data(),
                    .dtype = dtype,
                    .rows = rows,
                    .cols = cols,
                    .row_stride = static_cast<int64_t>(row_stride)};
  return OwnedTensor{.buffer = std::move(buffer), .view = view};
}

}  // namespace prefixd
