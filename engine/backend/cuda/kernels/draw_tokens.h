// Draws tokens from rows of logits, as engine/backend/token_draw.h says: penalties, top-k, top-p
// and min-p, inverse CDF over integer masses with Philox4x32-10. One block a row; no atomics on
// floats, so the result is the same in every run and whatever the batch.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_DRAW_TOKENS_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_DRAW_TOKENS_H_

#include "engine/backend/cuda/kernels/types.h"

namespace prefixd::cuda {

inline constexpr int kMaxRanked = 20;
inline constexpr int64_t kMaxVocabulary = int64_t{1} << 22;  // logits.cols.

// One draw; lists are runs of DrawLists.
struct DrawRow {
  int32_t logits_row = 0;
  int32_t forced = -1;
  int32_t num_logprobs = -1;  // -1..kMaxRanked.
  float temperature = 0, top_p = 1, min_p = 0;
  float repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0;
  int32_t top_k = 0;
  uint64_t seed = 0;
  uint32_t step = 0, choice = 0;
  int32_t bias_begin = 0, bias_count = 0;
  int32_t counts_begin = 0, counts_count = 0;
  int32_t suppressed_begin = 0, suppressed_count = 0;
};

struct DrawLists {
  const int32_t* bias_ids = nullptr;
  const float* bias_values = nullptr;
  const int32_t* count_ids = nullptr;
  const int32_t* count_generated = nullptr;
  const int32_t* suppressed = nullptr;
};

struct Ranked {
  int32_t id = 0;
  float logprob = 0;
  int32_t rank = 0;
};

// What is read back of one draw.
struct DrawResult {
  int32_t token = -1;
  // With num_logprobs >= 0 and a token of the vocabulary; else they keep what was there.
  Ranked sampled;
  Ranked top[kMaxRanked];  // Best first; the rest has id -1.
};

// tokens: [num_draws], what later embeddings read. scratch: [num_draws, logits.cols] floats.
// Each logits_row is a row of logits.
cudaError_t LaunchDrawTokens(const DeviceMatrix& logits, const DrawRow* draws, int32_t num_draws,
                             const DrawLists& lists, float* scratch, int32_t* tokens,
                             DrawResult* results, cudaStream_t stream);

// y[i] = log(softmax(logits[rows[i], :])[columns[i]]), i < count. Sums in double. A row is summed
// up once for each run of pairs that have it: best are pairs ordered by row.
cudaError_t LaunchGatherLogprobs(const DeviceMatrix& logits, const int32_t* rows,
                                 const int32_t* columns, int64_t count, float* y,
                                 cudaStream_t stream);

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_DRAW_TOKENS_H_
