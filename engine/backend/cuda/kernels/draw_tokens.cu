// One block a row, up to 1024 threads. The row is copied to scratch in float32, where the steps of
// the draw change it in place; log-probs copy it once more. Bound: about 10 passes over a row that
// stays in the cache nearest to the SM, and one or two exp in double for each score.
#include "engine/backend/cuda/kernels/draw_tokens.h"

#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/draw_block.h"
#include "engine/backend/cuda/kernels/draw_math.h"
#include "engine/backend/cuda/kernels/draw_ranked.h"
#include "engine/backend/cuda/kernels/draw_select.h"

namespace prefixd::cuda {
namespace {

constexpr float kGreedyBelow = 1e-6f;
constexpr double kMassScale = 1099511627776.0;  // 2^40
constexpr uint64_t kNotANumber = ~uint64_t{0};  // A Rank beyond all of numbers.

struct DrawCall {
  DeviceMatrix logits;
  const DrawRow* draws = nullptr;
  DrawLists lists;
  float* scratch = nullptr;
  int32_t* tokens = nullptr;
  DrawResult* results = nullptr;
  double fixed_point = 0;  // A power of 2: as many times the largest weight are below 2^62.
};

// What the draw is from: ids whose rank is at least `least_rank` and whose weight is at least
// min_p.
struct Nucleus {
  const float* scores = nullptr;
  float largest = 0;
  float min_p = 0;
  uint64_t least_rank = 0;

  __device__ double WeightOf(int32_t id) const {
    if (dev::Rank(scores[id], id) < least_rank) return 0;
    const double weight = dev::Weight(scores[id], largest);
    return weight < static_cast<double>(min_p) ? 0 : weight;
  }
};

// Bias, penalties and suppression. Returns whether the thread saw that a score which it suppressed
// was NaN; the others are left to see.
__device__ bool AdjustScores(const DrawRow& draw, const DrawLists& lists, int32_t cols,
                             float* scores) {
  const auto is_id = [cols](int32_t id) { return id >= 0 && id < cols; };
  __syncthreads();
  for (int32_t i = threadIdx.x; i < draw.bias_count; i += blockDim.x) {
    const int32_t id = lists.bias_ids[draw.bias_begin + i];
    if (is_id(id)) scores[id] += lists.bias_values[draw.bias_begin + i];
  }
  __syncthreads();
  for (int32_t i = threadIdx.x; i < draw.counts_count; i += blockDim.x) {
    const int32_t id = lists.count_ids[draw.counts_begin + i];
    const int32_t generated = lists.count_generated[draw.counts_begin + i];
    if (!is_id(id)) continue;
    float score = scores[id];
    // Products are rounded, as the host's are: a compiler for the device would fuse the sums.
    score = score < 0 ? __fmul_rn(score, draw.repetition_penalty) : score / draw.repetition_penalty;
    if (generated != 0) {
      const float frequency = __fmul_rn(draw.frequency_penalty, static_cast<float>(generated));
      score -= draw.presence_penalty + frequency;
    }
    scores[id] = score;
  }
  __syncthreads();
  bool nan = false;
  for (int32_t i = threadIdx.x; i < draw.suppressed_count; i += blockDim.x) {
    const int32_t id = lists.suppressed[draw.suppressed_begin + i];
    if (!is_id(id)) continue;
    nan |= scores[id] != scores[id];
    if (!PREFIXD_KERNEL_BUG(kDrawSuppressed))
      scores[id] = dev::FromOrderedBits(dev::kMinusInfinity);
  }
  __syncthreads();
  return nan;
}

// Divides by the temperature unless the draw is greedy. Returns the best rank, or kNotANumber.
__device__ uint64_t FinishScores(const DrawRow& draw, int32_t cols, bool nan, float* scores,
                                 dev::DrawMemory* memory) {
  const bool greedy = draw.temperature < kGreedyBelow;
  uint64_t best = 0;
  dev::ForEachId(0, cols, [&](int32_t id) {
    float score = scores[id];
    nan |= score != score;
    if (!greedy) scores[id] = score /= draw.temperature;
    const uint64_t rank = dev::Rank(score, id);
    if (rank > best) best = rank;
  });
  return dev::BlockMax(nan ? kNotANumber : best, memory);
}

// Top-k: the ids whose score is at least the k-th largest. -inf is never among them.
__device__ uint64_t LeastOfTopK(const float* scores, int32_t cols, int32_t top_k,
                                dev::DrawMemory* memory) {
  const uint64_t least_finite = dev::Rank(dev::kMinusInfinity + 1, ~0u);
  if (top_k <= 0 || top_k >= cols) return least_finite;
  const auto one = [](int32_t, uint32_t) { return uint64_t{1}; };
  const auto last = [top_k](uint64_t) { return static_cast<uint64_t>(top_k - 1); };
  const dev::Selection selection = dev::SelectScore(scores, cols, one, last, memory);
  if (PREFIXD_KERNEL_BUG(kDrawTopKDropsTies)) {
    return dev::LeastRank(scores, cols, selection, 1, memory);
  }
  const uint64_t least = dev::Rank(selection.key, ~0u);
  return least > least_finite ? least : least_finite;
}

// Top-p: the likeliest ids of the nucleus until those before them hold top_p of its mass.
__device__ uint64_t LeastOfTopP(const Nucleus& nucleus, int32_t cols, float top_p,
                                double fixed_point, dev::DrawMemory* memory) {
  const auto fixed = [&](float score) {
    return static_cast<uint64_t>(dev::Weight(score, nucleus.largest) * fixed_point);
  };
  const auto mass_of = [&](int32_t id, uint32_t) {
    const float score = nucleus.scores[id];
    return dev::Rank(score, id) < nucleus.least_rank ? 0 : fixed(score);
  };
  // The last one taken holds the last unit below the limit; the first one is always taken.
  const auto last_unit = [top_p](uint64_t total) {
    const double limit = ceil(static_cast<double>(top_p) * static_cast<double>(total));
    const uint64_t units = limit > 1.0 ? static_cast<uint64_t>(limit) : 1;
    return (units < total ? units : total) - 1;
  };
  const dev::Selection last = dev::SelectScore(nucleus.scores, cols, mass_of, last_unit, memory);
  return dev::LeastRank(nucleus.scores, cols, last, fixed(dev::FromOrderedBits(last.key)), memory);
}

// Inverse CDF over integer masses in id order; -1 if there are none.
__device__ int32_t DrawFrom(const Nucleus& nucleus, const DrawRow& draw, int32_t cols,
                            dev::DrawMemory* memory) {
  double own = 0;
  dev::ForEachId(0, cols, [&](int32_t id) { own += nucleus.WeightOf(id); });
  const double sum = dev::BlockSum(own, memory);
  if (!(sum > 0)) return -1;
  const double scale = kMassScale / sum;
  const auto mass_of = [&](int32_t id) {
    const auto mass = static_cast<uint64_t>(nucleus.WeightOf(id) * scale);
    return PREFIXD_KERNEL_BUG(kDrawMass32Bits) ? static_cast<uint32_t>(mass) : mass;
  };
  const uint32_t choice = PREFIXD_KERNEL_BUG(kDrawChoiceForgotten) ? 0 : draw.choice;
  const uint64_t uniform = dev::Philox(draw.seed, draw.step, choice);
  const auto unit_of = [uniform](uint64_t total) { return __umul64hi(uniform, total); };
  return dev::FindInIdOrder(cols, mass_of, unit_of, memory);
}

__device__ int32_t DrawOne(const DrawCall& call, const DrawRow& draw, float* scores,
                           dev::DrawMemory* memory) {
  const int32_t cols = static_cast<int32_t>(call.logits.cols);
  dev::CopyScores(call.logits, draw.logits_row, scores);
  const bool nan = AdjustScores(draw, call.lists, cols, scores);
  const uint64_t best = FinishScores(draw, cols, nan, scores, memory);
  if (best == kNotANumber) return -1;
  const uint32_t best_key = static_cast<uint32_t>(best >> 32);
  if (best_key <= dev::kMinusInfinity) return -1;
  if (draw.temperature < kGreedyBelow) return dev::IdOf(best);
  if (best_key >= dev::kInfinity) return -1;
  Nucleus nucleus{scores, dev::ScoreOf(best), draw.min_p, 0};
  nucleus.least_rank = LeastOfTopK(scores, cols, draw.top_k, memory);
  if (draw.top_p < 1.0f) {
    nucleus.least_rank = LeastOfTopP(nucleus, cols, draw.top_p, call.fixed_point, memory);
  }
  return DrawFrom(nucleus, draw, cols, memory);
}

__global__ void __launch_bounds__(dev::kMaxDrawThreads, 1) DrawTokensKernel(const DrawCall call) {
  PREFIXD_DYN_SMEM(bytes);
  dev::DrawMemory* memory = reinterpret_cast<dev::DrawMemory*>(bytes);
  const DrawRow& draw = call.draws[blockIdx.x];
  DrawResult* result = &call.results[blockIdx.x];
  float* scores = call.scratch + static_cast<int64_t>(blockIdx.x) * call.logits.cols;
  const int32_t token = draw.forced >= 0 ? draw.forced : DrawOne(call, draw, scores, memory);
  if (threadIdx.x == 0) {
    call.tokens[blockIdx.x] = token;
    result->token = token;
  }
  if (token < 0 || token >= call.logits.cols || draw.num_logprobs < 0) return;
  dev::CopyScores(call.logits, draw.logits_row, scores);
  dev::RankTokens(scores, static_cast<int32_t>(call.logits.cols), token, draw.num_logprobs, result,
                  memory);
}

}  // namespace

cudaError_t LaunchDrawTokens(const DeviceMatrix& logits, const DrawRow* draws, int32_t num_draws,
                             const DrawLists& lists, float* scratch, int32_t* tokens,
                             DrawResult* results, cudaStream_t stream) {
  if (num_draws < 0 || logits.cols < 1 || logits.cols > kMaxVocabulary ||
      logits.stride < logits.cols || logits.rows < 1) {
    return cudaErrorInvalidValue;
  }
  if (num_draws == 0) return cudaSuccess;
  DrawCall call{logits, draws, lists, scratch, tokens, results, /*fixed_point=*/0x1p61};
  for (int64_t cols = logits.cols; cols > 1; cols = (cols + 1) / 2) call.fixed_point /= 2;
  PREFIXD_LAUNCH(DrawTokensKernel, dim3(num_draws), dim3(dev::DrawThreads(logits.cols)),
                 sizeof(dev::DrawMemory), stream, call);
  return cudaGetLastError();
}

}  // namespace prefixd::cuda
