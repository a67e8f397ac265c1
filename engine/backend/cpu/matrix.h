// Weights in panels of 64 outputs, so that a kernel reads them once and strictly in sequence.
//
//   f32, f16: [rows / 64][cols][64]            rows padded to a multiple of 64 with zeros,
//   bf16:     [rows / 64][cols / 2][64][2]     cols padded to an even number with zeros,
//   in blocks (q8_0, ...): block_layout.h, which says how many bytes a weight takes.
//
// Engine thread only while written; then immutable.
#ifndef PREFIXD_ENGINE_BACKEND_CPU_MATRIX_H_
#define PREFIXD_ENGINE_BACKEND_CPU_MATRIX_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/backend/backend.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/thread_pool.h"
#include "engine/tensor/tensor.h"

namespace prefixd::cpu {

class PanelMatrix final : public Matrix {
 public:
  // Requires: dtype is not kF64; rows, cols >= 1, cols whole blocks. Errors: RESOURCE_EXHAUSTED.
  static absl::StatusOr<std::unique_ptr<PanelMatrix>> Create(DType dtype, int64_t rows,
                                                             int64_t cols);

  int64_t num_panels() const { return (rows() + kPanelColumns - 1) / kPanelColumns; }
  const std::byte* panel(int64_t index) const { return buffer_.data() + index * panel_bytes_; }
  int64_t panel_bytes() const { return panel_bytes_; }
  ElementType type() const { return type_; }

  // As Backend::WriteMatrixRows.
  void WriteRows(int64_t row_begin, absl::Span<const uint8_t> bytes, ThreadPool* pool);

  // y[0..cols) = row `row`, widened.
  void ReadRow(int64_t row, float* y) const;

 private:
  PanelMatrix(DType dtype, int64_t rows, int64_t cols, int64_t panel_bytes, Buffer buffer);

  const ElementType type_;
  const int64_t panel_bytes_;
  const Buffer buffer_;
};

}  // namespace prefixd::cpu

#endif  // PREFIXD_ENGINE_BACKEND_CPU_MATRIX_H_
