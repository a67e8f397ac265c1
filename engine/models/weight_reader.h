// Reads weights from a checkpoint into a backend, in bounded chunks, with progress. Matrices keep
// their stored type; vectors become floats. Used once, by one thread.
#ifndef PREFIXD_ENGINE_MODELS_WEIGHT_READER_H_
#define PREFIXD_ENGINE_MODELS_WEIGHT_READER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/backend/backend.h"
#include "engine/layers/stacked_matrix.h"
#include "engine/models/model_loader.h"
#include "engine/weights/checkpoint.h"

namespace prefixd {

class WeightReader {
 public:
  // All must outlive the reader. `bytes_total` is what progress counts up to.
  WeightReader(const Checkpoint& checkpoint, Backend* backend, const LoadProgress& progress,
               uint64_t bytes_total);

  Backend* backend() const { return backend_; }

  // One matrix whose rows are those of `parts`, one after the other. A part's first dimension is
  // its rows. Requires: the same columns. Errors: parts of different types.
  absl::StatusOr<std::unique_ptr<Matrix>> ReadMatrix(absl::Span<const TensorInfo* const> parts);

  // As ReadMatrix, of parts that may differ in type: neighbours of one type are one matrix.
  absl::StatusOr<StackedMatrix> ReadStacked(absl::Span<const TensorInfo* const> parts);

  // A [rows, cols] tensor of the activation type with the elements of `parts`, one after the other.
  // Requires: as many elements.
  absl::StatusOr<OwnedTensor> ReadTensor(int64_t rows, int64_t cols,
                                         absl::Span<const TensorInfo* const> parts);

  // The elements of `part` as floats. Requires: as many elements.
  absl::Status ReadFloats(const TensorInfo& part, absl::Span<float> out);

  // Bytes [offset, offset + out.size()) of `part`, as stored.
  absl::Status ReadBytes(const TensorInfo& part, uint64_t offset, absl::Span<uint8_t> out);

 private:
  absl::Status ReadRows(const TensorInfo& part, int64_t row_begin, Matrix* matrix);
  // Reads into chunk_, then reports. Errors: CANCELLED.
  absl::Status ReadChunk(const TensorInfo& part, uint64_t offset, size_t size);

  const Checkpoint& checkpoint_;
  Backend* const backend_;
  const LoadProgress& progress_;
  const uint64_t bytes_total_;
  uint64_t bytes_done_ = 0;
  std::vector<uint8_t> chunk_;
  std::vector<uint8_t> ordered_;  // chunk_, its rows put back in order.
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_MODELS_WEIGHT_READER_H_
