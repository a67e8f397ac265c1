// Log-probabilities of a row of raw logits within one block; sums in double, in an order that
// depends on the row's length alone.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_DRAW_RANKED_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_DRAW_RANKED_H_

#include "engine/backend/cuda/kernels/draw_block.h"
#include "engine/backend/cuda/kernels/draw_select.h"
#include "engine/backend/cuda/kernels/draw_tokens.h"

namespace prefixd::cuda::dev {

// scores[id] = row `row` of logits. Each thread writes its own ids.
__device__ __forceinline__ void CopyScores(const DeviceMatrix& logits, int64_t row, float* scores) {
  ForEachId(0, static_cast<int32_t>(logits.cols),
            [&](int32_t id) { scores[id] = LoadScore(logits, row, id); });
}

// log(sum(exp(score_of(id)))) over ids < cols, for every thread.
template <typename ScoreOf>
__device__ double LogSumExp(int32_t cols, const ScoreOf& score_of, DrawMemory* memory) {
  uint64_t best = 0;
  ForEachId(0, cols, [&](int32_t id) {
    const uint64_t key = OrderedBits(score_of(id));
    if (key > best) best = key;
  });
  const float largest = FromOrderedBits(static_cast<uint32_t>(BlockMax(best, memory)));
  const float base = largest == -INFINITY ? 0.0f : largest;  // Else what is nothing were no number.
  double own = 0;
  ForEachId(0, cols, [&](int32_t id) { own += Weight(score_of(id), base); });
  return log(BlockSum(own, memory)) + static_cast<double>(base);
}

// Fills `sampled` (for `token`) and `top`, unused places with id -1. num_top <= kMaxRanked.
__device__ inline void RankTokens(const float* scores, int32_t cols, int32_t token, int32_t num_top,
                                  DrawResult* result, DrawMemory* memory) {
  const double log_sum = LogSumExp(
      cols, [scores](int32_t id) { return scores[id]; }, memory);
  const uint64_t sampled = Rank(scores[token], token);
  uint64_t likelier = 0;
  ForEachId(0, cols, [&](int32_t id) { likelier += Rank(scores[id], id) > sampled; });
  const int32_t rank = static_cast<int32_t>(BlockSum(likelier, memory)) + 1;
  const auto ranked = [&](int32_t id, int32_t rank_of_id) {
    return Ranked{id, static_cast<float>(static_cast<double>(scores[id]) - log_sum), rank_of_id};
  };
  if (threadIdx.x == 0) result->sampled = ranked(token, rank);

  const int32_t count = num_top < cols ? num_top : cols;
  if (count > 0) {
    const auto one = [](int32_t, uint32_t) { return uint64_t{1}; };
    const auto last = [count](uint64_t) { return static_cast<uint64_t>(count - 1); };
    const Selection selection = SelectScore(scores, cols, one, last, memory);
    const uint64_t least = LeastRank(scores, cols, selection, 1, memory);
    if (threadIdx.x == 0) memory->low[0] = 0;
    __syncthreads();
    ForEachId(0, cols, [&](int32_t id) {
      const uint64_t own = Rank(scores[id], id);
      if (own < least) return;
      const uint32_t place = atomicAdd(&memory->low[0], 1u);
      if (place < kMaxRanked) memory->words[place] = own;
    });
    __syncthreads();
  }
  if (threadIdx.x >= kMaxRanked) return;
  const int32_t i = static_cast<int32_t>(threadIdx.x);
  if (i >= count) {
    result->top[i] = Ranked{-1, 0.0f, 0};
    return;
  }
  int32_t place = 0;  // They came in any order.
  for (int32_t j = 0; j < count; ++j) place += memory->words[j] > memory->words[i];
  result->top[place] = ranked(IdOf(memory->words[i]), place + 1);
}

}  // namespace prefixd::cuda::dev

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_DRAW_RANKED_H_
