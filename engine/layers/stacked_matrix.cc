#include "engine/layers/stacked_matrix.h"

#include <cstdint>

#include "base/status_macros.h"

namespace prefixd {

absl::Status Linear(const Tensor& x, const StackedMatrix& weight,
                    const Backend::LinearOptions& options, Backend* backend, const Tensor& y) {
  int64_t row = 0;
  for (const std::unique_ptr<Matrix>& matrix : weight.matrices()) {
    Backend::LinearOptions part = options;
    Tensor bias;
    if (options.bias != nullptr) {
      bias = options.bias->Cols(row, matrix->rows());
      part.bias = &bias;
    }
    PREFIXD_RETURN_IF_ERROR(backend->Linear(x, *matrix, part, y.Cols(row, matrix->rows())));
    row += matrix->rows();
  }
  return absl::OkStatus();
}

}  // namespace prefixd
