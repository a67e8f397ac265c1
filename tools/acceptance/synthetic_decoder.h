// A decoder of the real size with random weights over a backend's ops, and sequences of KV laid out
// at will: times of steps without checkpoint, tokenizer and scheduler.
#ifndef PREFIXD_TOOLS_ACCEPTANCE_SYNTHETIC_DECODER_H_
#define PREFIXD_TOOLS_ACCEPTANCE_SYNTHETIC_DECODER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/layers/decoder.h"
#include "tools/acceptance/floors.h"

namespace prefixd::acceptance {

class SyntheticDecoder {
 public:
  // `max_rows` of one pass. `backend` must outlive it. Errors: RESOURCE_EXHAUSTED if the weights do
  // not fit.
  static absl::StatusOr<std::unique_ptr<SyntheticDecoder>> Create(const ModelShape& model,
                                                                  int max_rows, Backend* backend);

  // The KV pool; made once. Errors: RESOURCE_EXHAUSTED.
  absl::Status CreatePool(int32_t num_pages);
  int32_t num_pages() const { return pool_ == nullptr ? 0 : pool_->shape().num_pages; }

  // Lays out `batch` sequences of slots[layer] slots, no layer with more than the one before; the
  // first `shared_slots` (whole pages of it; at most the least) are the same pages for all.
  // Errors: RESOURCE_EXHAUSTED naming the pages needed.
  absl::Status Place(int batch, const std::vector<int>& slots, int shared_slots);
  // The same number in every layer.
  absl::Status Place(int batch, int slots, int shared_slots) {
    return Place(batch, SameSlots(slots), shared_slots);
  }
  // Fills all slots of all sequences by prefills of random tokens.
  absl::Status FillSlots();

  // Seconds to prefill one prompt into the first sequence. Requires: as many slots in every layer.
  absl::StatusOr<double> PrefillSeconds(int tokens);
  // Seconds of a step in which every sequence decodes one token over slots[layer] slots, the median
  // over `steps` steps. As in the engine, as many steps are in flight as the backend takes.
  absl::StatusOr<double> DecodeSeconds(const std::vector<int>& slots, int steps);
  absl::StatusOr<double> DecodeSeconds(int slots, int steps) {
    return DecodeSeconds(SameSlots(slots), steps);
  }

 private:
  SyntheticDecoder(const ModelShape& model, int max_rows, Backend* backend)
      : model_(model), max_rows_(max_rows), backend_(backend) {}

  std::vector<int> SameSlots(int slots) const {
    return std::vector<int>(static_cast<size_t>(model_.num_layers), slots);
  }
  absl::Status LoadWeights();
  absl::StatusOr<std::unique_ptr<Matrix>> RandomMatrix(int64_t rows, int64_t cols);
  absl::StatusOr<OwnedTensor> Ones();
  absl::Status Prefill(int sequence, int tokens);
  // The rows of `segments_`; logits of the first `logit_rows` rows.
  absl::Status Forward(absl::Span<const int32_t> ids, absl::Span<const int32_t> positions,
                       int logit_rows, bool decodes_only);
  absl::Status Layers(absl::Span<const int32_t> ids, absl::Span<const int32_t> positions,
                      int logit_rows);

  const ModelShape model_;
  const int max_rows_;
  Backend* const backend_;
  std::vector<uint16_t> random_;  // Values of weights.
  size_t next_random_ = 0;
  std::unique_ptr<Matrix> embedding_, head_;
  std::vector<DecoderLayer> layers_;
  OwnedTensor norm_, hidden_, last_, angles_, logits_;
  DecoderScratch scratch_;
  std::vector<float> frequencies_;
  std::vector<int32_t> row_ids_;
  std::unique_ptr<KvPool> pool_;

  int batch_ = 0;
  std::vector<int> slots_;                                // [layer].
  std::vector<std::vector<std::vector<int32_t>>> pages_;  // [layer][sequence].
  std::vector<int32_t> write_slots_;                      // Of a prefill; of a decode [layer].
  std::vector<std::vector<KvSegment>> segments_;          // [layer].
  std::vector<absl::Span<const KvSegment>> views_;
};

}  // namespace prefixd::acceptance

#endif  // PREFIXD_TOOLS_ACCEPTANCE_SYNTHETIC_DECODER_H_
