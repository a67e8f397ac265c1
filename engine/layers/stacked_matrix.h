// The rows of a fused linear map (q, k, v; gate, up): one matrix, or several one below the other
// where a checkpoint stores its parts in different types. Owns them; immutable once built.
#ifndef PREFIXD_ENGINE_LAYERS_STACKED_MATRIX_H_
#define PREFIXD_ENGINE_LAYERS_STACKED_MATRIX_H_

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/backend/backend.h"
#include "engine/tensor/tensor.h"

namespace prefixd {

class StackedMatrix {
 public:
  StackedMatrix() = default;
  StackedMatrix(std::unique_ptr<Matrix> matrix) {  // NOLINT: one matrix is a stack.
    Append(std::move(matrix));
  }

  // Adds rows below the others. Requires: the same columns.
  void Append(std::unique_ptr<Matrix> matrix) { matrices_.push_back(std::move(matrix)); }

  absl::Span<const std::unique_ptr<Matrix>> matrices() const { return matrices_; }

 private:
  std::vector<std::unique_ptr<Matrix>> matrices_;
};

// As Backend::Linear. Column n of y is row n of the stack, counted over its matrices.
absl::Status Linear(const Tensor& x, const StackedMatrix& weight,
                    const Backend::LinearOptions& options, Backend* backend, const Tensor& y);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_LAYERS_STACKED_MATRIX_H_
