#include "engine/backend/host_draw.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>


namespace prefixd {
namespace {

constexpr float kGreedyBelow = 1e-6f;
constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr double kMassScale = 0x1p40;

using Candidate = DrawScratch::Candidate;

// Whether `a` is less likely than `b`; among equals the higher id.
bool LessLikely(const Candidate& a, const Candidate& b) {
  return a.first != b.first ? a.first < b.first : a.second > b.second;
}

bool Likelier(const Candidate& a, const Candidate& b) { return LessLikely(b, a); }

void ApplyPenalties(const TokenDraw& draw, absl::Span<float> logits) {
  const DrawParams& params = draw.params;
  for (const CountedToken& token : draw.counts) {
    if (static_cast<size_t>(token.id) >= logits.size()) continue;
    float& logit = logits[token.id];
    logit = logit < 0 ? logit * params.repetition_penalty : logit / params.repetition_penalty;
    if (token.generated == 0) continue;
    logit -=
        params.presence_penalty + params.frequency_penalty * static_cast<float>(token.generated);
  }
}

int32_t ArgMax(absl::Span<const float> logits) {
  const auto best = std::max_element(logits.begin(), logits.end());
  return *best == kNever ? -1 : static_cast<int32_t>(best - logits.begin());
}

// The k-th largest score, so that the tokens equal to it can be kept; -inf when there are no more.
float KthLargest(absl::Span<const float> scores, int32_t k, std::vector<Candidate>* heap) {
  if (static_cast<size_t>(k) >= scores.size()) return kNever;
  heap->clear();  // Its front is the least likely of the k best so far.
  for (size_t id = 0; id < scores.size(); ++id) {
    const Candidate candidate{scores[id], static_cast<int32_t>(id)};
    if (heap->size() < static_cast<size_t>(k)) {
      heap->push_back(candidate);
      std::push_heap(heap->begin(), heap->end(), Likelier);
    } else if (candidate.first > heap->front().first) {
      std::pop_heap(heap->begin(), heap->end(), Likelier);
      heap->back() = candidate;
      std::push_heap(heap->begin(), heap->end(), Likelier);
    }
  }
  return heap->front().first;
}

// Takes the scores that top-k leaves, in id order, and weighs them. False if there is none.
bool TakeCandidates(int32_t top_k, DrawScratch* scratch) {
  const std::vector<float>& scores = scratch->logits;
  const float least = top_k > 0 ? KthLargest(scores, top_k, &scratch->ranked) : kNever;
  scratch->candidates.clear();
  scratch->weights.clear();
  float largest = kNever;
  for (size_t id = 0; id < scores.size(); ++id) {
    if (scores[id] == kNever || scores[id] < least) continue;
    scratch->candidates.emplace_back(scores[id], static_cast<int32_t>(id));
    largest = std::max(largest, scores[id]);
  }
  if (!std::isfinite(largest)) return false;
  for (const Candidate& c : scratch->candidates) {
    scratch->weights.push_back(std::exp(static_cast<double>(c.first) - largest));
  }
  return true;
}

double Sum(const std::vector<double>& weights) {
  return std::accumulate(weights.begin(), weights.end(), 0.0);
}

// Drops the candidates for which `keep(candidate, weight)` is false; the others stay in order.
template <typename Keep>
void Filter(const Keep& keep, DrawScratch* scratch) {
  size_t kept = 0;
  for (size_t i = 0; i < scratch->candidates.size(); ++i) {
    if (!keep(scratch->candidates[i], scratch->weights[i])) continue;
    scratch->candidates[kept] = scratch->candidates[i];
    scratch->weights[kept] = scratch->weights[i];
    ++kept;
  }
  scratch->candidates.resize(kept);
  scratch->weights.resize(kept);
}

// Keeps the most likely tokens until those before them hold top_p of the probability; at least one.
// Orders only as many as that takes, in blocks that grow: most rows need few.
void KeepTopP(float top_p, DrawScratch* scratch) {
  if (top_p >= 1.0f) return;
  const double limit = static_cast<double>(top_p) * Sum(scratch->weights);
  std::vector<Candidate>& ranked = scratch->ranked;
  ranked.assign(scratch->candidates.begin(), scratch->candidates.end());
  const float largest = std::max_element(ranked.begin(), ranked.end(), LessLikely)->first;
  Candidate last;
  double before = 0;
  auto next = ranked.begin(), ordered = ranked.begin();
  int64_t block = 64;
  do {
    if (next == ordered) {
      ordered += std::min<int64_t>(block, ranked.end() - ordered);
      block *= 4;
      if (ordered != ranked.end()) std::nth_element(next, ordered, ranked.end(), Likelier);
      std::sort(next, ordered, Likelier);
    }
    last = *next++;
    before += std::exp(static_cast<double>(last.first) - largest);
  } while (before < limit && next != ranked.end());
  Filter([&](const Candidate& c, double) { return !LessLikely(c, last); }, scratch);
}

// Inverse CDF over integer masses in id order.
int32_t Draw(const DrawParams& params, const DrawScratch& scratch) {
  const double scale = kMassScale / Sum(scratch.weights);
  const auto mass_of = [scale](double weight) { return static_cast<uint64_t>(weight * scale); };
  uint64_t total = 0;
  for (const double weight : scratch.weights) total += mass_of(weight);
  const std::array<uint32_t, 4> bits = Philox4x32(params.seed, {params.step, params.choice, 0, 0});
  const uint64_t uniform = uint64_t{bits[1]} << 32 | bits[0];
  uint64_t left = static_cast<uint64_t>((static_cast<unsigned __int128>(uniform) * total) >> 64);
  for (size_t i = 0; i < scratch.weights.size(); ++i) {
    const uint64_t mass = mass_of(scratch.weights[i]);
    if (left < mass) return scratch.candidates[i].second;
    left -= mass;
  }
  return -1;
}

}  // namespace

std::array<uint32_t, 4> Philox4x32(uint64_t key, const std::array<uint32_t, 4>& counter) {
  std::array<uint32_t, 4> c = counter;
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return c;
}

int32_t DrawToken(absl::Span<const float> logits, const TokenDraw& draw, DrawScratch* scratch) {
  const DrawParams& params = draw.params;
  std::vector<float>& scores = scratch->logits;
  scores.assign(logits.begin(), logits.end());
  for (const auto& [id, bias] : draw.logit_bias) {
    if (static_cast<size_t>(id) < scores.size()) scores[id] += bias;
  }
  ApplyPenalties(draw, absl::MakeSpan(scores));
  for (const float score : scores) {
    if (std::isnan(score)) return -1;
  }
  for (const int32_t id : draw.suppressed) {
    if (static_cast<size_t>(id) < scores.size()) scores[id] = kNever;
  }
  if (params.temperature < kGreedyBelow) return ArgMax(scores);

  for (float& score : scores) score /= params.temperature;
  if (!TakeCandidates(params.top_k, scratch)) return -1;
  KeepTopP(params.top_p, scratch);
  // The most likely token has weight 1 and is never filtered out.
  if (params.min_p > 0.0f) {
    Filter([&](const Candidate&, double weight) { return weight >= params.min_p; }, scratch);
  }
  return Draw(params, *scratch);
}

void RankTokens(absl::Span<const float> logits, int32_t token, int num_top, DrawnToken* result) {
  const double log_sum = LogSumExp(logits);
  const auto ranked = [&](int32_t id, int32_t rank) {
    return RankedToken{
        .id = id, .logprob = static_cast<float>(logits[id] - log_sum), .rank = rank};
  };

  const Candidate drawn{logits[token], token};
  std::vector<Candidate> top;  // Most likely first.
  int32_t rank = 1;
  for (size_t i = 0; i < logits.size(); ++i) {
    const Candidate candidate{logits[i], static_cast<int32_t>(i)};
    rank += LessLikely(drawn, candidate);
    const bool full = static_cast<int>(top.size()) == num_top;
    if (num_top == 0 || (full && !LessLikely(top.back(), candidate))) continue;
    if (full) top.pop_back();
    top.insert(std::upper_bound(top.begin(), top.end(), candidate, Likelier), candidate);
  }
  result->sampled = ranked(token, rank);
  result->top.clear();
  for (size_t i = 0; i < top.size(); ++i) {
    result->top.push_back(ranked(top[i].second, static_cast<int32_t>(i) + 1));
  }
}

double LogSumExp(absl::Span<const float> logits) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return std::log(sum) + largest;
}

}  // namespace prefixd
