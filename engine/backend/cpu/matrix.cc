#include "engine/backend/cpu/matrix.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/backend/cpu/block_layout.h"
#include "engine/backend/cpu/block_panel.h"
#include "engine/backend/cpu/memory.h"
#include "engine/tensor/half.h"

namespace prefixd::cpu {
namespace {

// Bytes of a panel; nullopt when they do not fit in 64 bits.
std::optional<uint64_t> PanelBytes(DType dtype, uint64_t cols) {
  if (IsQuantized(dtype)) {
    const BlockLayout layout = BlockLayoutOf(ElementTypeOf(dtype));
    return SizeProduct({cols / layout.super_depth, static_cast<uint64_t>(layout.super_bytes())});
  }
  const uint64_t depth = cols + (dtype == DType::kBF16 ? cols % 2 : 0);
  return SizeProduct({depth, kPanelColumns, DTypeSize(dtype)});
}

// Element (k, column) of a panel, in elements from its start.
inline int64_t PanelOffset(ElementType type, int64_t k, int64_t column) {
  if (type != ElementType::kBF16) return k * kPanelColumns + column;
  return (k / 2 * kPanelColumns + column) * 2 + k % 2;
}

// Transposes `count` dense rows of `cols` elements into columns [column, column + count).
template <typename T>
void FillPanel(ElementType type, const uint8_t* rows, int64_t count, int64_t cols, int64_t column,
               std::byte* panel) {
  constexpr int64_t kBlock = 32;  // Columns of k per pass, so that lines of the panel stay in L1.
  T* out = reinterpret_cast<T*>(panel);
  for (int64_t k_begin = 0; k_begin < cols; k_begin += kBlock) {
    const int64_t k_end = std::min(k_begin + kBlock, cols);
    for (int64_t c = 0; c < count; ++c) {
      T values[kBlock];
      std::memcpy(values, rows + (c * cols + k_begin) * sizeof(T), (k_end - k_begin) * sizeof(T));
      for (int64_t k = k_begin; k < k_end; ++k) {
        out[PanelOffset(type, k, column + c)] = values[k - k_begin];
      }
    }
  }
}

}  // namespace

PanelMatrix::PanelMatrix(DType dtype, int64_t rows, int64_t cols, int64_t panel_bytes,
                         Buffer buffer)
    : Matrix(dtype, rows, cols),
      type_(ElementTypeOf(dtype)),
      panel_bytes_(panel_bytes),
      buffer_(std::move(buffer)) {}

absl::StatusOr<std::unique_ptr<PanelMatrix>> PanelMatrix::Create(DType dtype, int64_t rows,
                                                                 int64_t cols) {
  PREFIXD_CHECK(dtype != DType::kF64 && rows >= 1 && cols >= 1);
  PREFIXD_CHECK(cols % BlockOf(dtype).elements == 0);
  const uint64_t panels = (static_cast<uint64_t>(rows) + kPanelColumns - 1) / kPanelColumns;
  const std::optional<uint64_t> panel_bytes = PanelBytes(dtype, static_cast<uint64_t>(cols));
  std::optional<uint64_t> size;
  if (panel_bytes.has_value()) size = SizeProduct({panels, *panel_bytes});
  PREFIXD_ASSIGN_OR_RETURN(Buffer buffer, AllocateZeroed(size, MemoryUse::kDense, "weight matrix"));
  return std::unique_ptr<PanelMatrix>(
      new PanelMatrix(dtype, rows, cols, static_cast<int64_t>(*size / panels), std::move(buffer)));
}

void PanelMatrix::WriteRows(int64_t row_begin, absl::Span<const uint8_t> bytes, ThreadPool* pool) {
  const int64_t row_bytes = RowBytes(dtype(), cols());
  PREFIXD_CHECK(static_cast<int64_t>(bytes.size()) % row_bytes == 0);
  const int64_t row_end = row_begin + static_cast<int64_t>(bytes.size()) / row_bytes;
  PREFIXD_CHECK(row_begin >= 0 && row_end <= rows());
  if (bytes.empty()) return;
  const int64_t first_panel = row_begin / kPanelColumns;
  const int64_t last_panel = (row_end - 1) / kPanelColumns;
  pool->Run(last_panel - first_panel + 1, [&](int64_t item, int) {
    const int64_t index = first_panel + item;
    const int64_t begin = std::max(row_begin, index * kPanelColumns);
    const int64_t count = std::min(row_end, (index + 1) * kPanelColumns) - begin;
    const uint8_t* source = bytes.data() + (begin - row_begin) * row_bytes;
    const int64_t column = begin - index * kPanelColumns;
    std::byte* panel = buffer_.data() + index * panel_bytes_;
    if (IsQuantized(dtype())) {
      PackBlocks(dtype(), source, count, cols(), column, panel);
    } else if (type_ == ElementType::kF32) {
      FillPanel<uint32_t>(type_, source, count, cols(), column, panel);
    } else {
      FillPanel<uint16_t>(type_, source, count, cols(), column, panel);
    }
  });
}

void PanelMatrix::ReadRow(int64_t row, float* y) const {
  const std::byte* base = panel(row / kPanelColumns);
  const int64_t column = row % kPanelColumns;
  if (IsQuantized(dtype())) return ReadBlocks(dtype(), base, cols(), column, y);
  if (type_ == ElementType::kF32) {
    const float* values = reinterpret_cast<const float*>(base) + column;
    for (int64_t k = 0; k < cols(); ++k) y[k] = values[k * kPanelColumns];
    return;
  }
  const uint16_t* values = reinterpret_cast<const uint16_t*>(base);
  for (int64_t k = 0; k < cols(); ++k) {
    const uint16_t bits = values[PanelOffset(type_, k, column)];
    y[k] = type_ == ElementType::kF16 ? F16ToFloat(bits) : BF16ToFloat(bits);
  }
}

}  // namespace prefixd::cpu
