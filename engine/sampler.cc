#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace prefixd {
namespace {

constexpr float kGreedyBelow = 1e-6f;
constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr double kMassScale = 0x1p40;

using Candidate = std::pair<float, int32_t>;  // Logit, id.

// Whether `a` is less likely than `b`; among equals the higher id.
bool LessLikely(const Candidate& a, const Candidate& b) {
  return a.first != b.first ? a.first < b.first : a.second > b.second;
}

bool ById(const Candidate& a, const Candidate& b) { return a.second < b.second; }

void ApplyPenalties(const SamplingParams& params, const TokenCounter& counts,
                    absl::Span<float> logits) {
  for (const TokenCounter::Entry& entry : counts.entries()) {
    if (static_cast<size_t>(entry.id) >= logits.size()) continue;
    float& logit = logits[entry.id];
    logit = logit < 0 ? logit * params.repetition_penalty : logit / params.repetition_penalty;
    if (entry.generated == 0) continue;
    logit -=
        params.presence_penalty + params.frequency_penalty * static_cast<float>(entry.generated);
  }
}

int32_t ArgMax(absl::Span<const float> logits) {
  const auto best = std::max_element(logits.begin(), logits.end());
  return *best == kNever ? -1 : static_cast<int32_t>(best - logits.begin());
}

// Keeps the k largest and everything equal to the k-th.
void KeepTopK(int32_t k, std::vector<Candidate>* candidates) {
  if (k <= 0 || static_cast<size_t>(k) >= candidates->size()) return;
  const auto larger = [](const Candidate& a, const Candidate& b) { return a.first > b.first; };
  std::nth_element(candidates->begin(), candidates->begin() + k - 1, candidates->end(), larger);
  const float least = (*candidates)[static_cast<size_t>(k) - 1].first;
  std::erase_if(*candidates, [least](const Candidate& c) { return c.first < least; });
}

double SumOfExp(const std::vector<Candidate>& candidates, float largest) {
  double sum = 0;
  for (const Candidate& c : candidates) sum += std::exp(static_cast<double>(c.first) - largest);
  return sum;
}

// Keeps the most likely tokens until those before them hold top_p of the probability; at least one.
void KeepTopP(float top_p, float largest, std::vector<Candidate>* candidates) {
  if (top_p >= 1.0f) return;
  std::sort(candidates->begin(), candidates->end(), ById);  // A fixed order for the sum.
  const double limit = static_cast<double>(top_p) * SumOfExp(*candidates, largest);
  std::make_heap(candidates->begin(), candidates->end(), LessLikely);
  auto rest = candidates->end();  // The kept ones gather behind the heap.
  double before = 0;
  while (rest != candidates->begin() && (before < limit || rest == candidates->end())) {
    std::pop_heap(candidates->begin(), rest, LessLikely);
    --rest;
    before += std::exp(static_cast<double>(rest->first) - largest);
  }
  candidates->erase(candidates->begin(), rest);
}

void KeepMinP(float min_p, float largest, std::vector<Candidate>* candidates) {
  if (min_p <= 0.0f) return;
  std::erase_if(*candidates, [=](const Candidate& c) {
    return std::exp(static_cast<double>(c.first) - largest) < static_cast<double>(min_p);
  });
}

// Inverse CDF over integer masses in id order.
int32_t Draw(const SampleRow& row, float largest, std::vector<Candidate>* candidates) {
  std::sort(candidates->begin(), candidates->end(), ById);
  const double sum = SumOfExp(*candidates, largest);
  const auto mass_of = [=](const Candidate& c) {
    return static_cast<uint64_t>(std::exp(static_cast<double>(c.first) - largest) / sum *
                                 kMassScale);
  };
  uint64_t total = 0;
  for (const Candidate& c : *candidates) total += mass_of(c);
  const std::array<uint32_t, 4> bits = Philox4x32(row.seed, {row.step, row.choice, 0, 0});
  const uint64_t uniform = uint64_t{bits[1]} << 32 | bits[0];
  uint64_t left = static_cast<uint64_t>((static_cast<unsigned __int128>(uniform) * total) >> 64);
  for (const Candidate& c : *candidates) {
    const uint64_t mass = mass_of(c);
    if (left < mass) return c.second;
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

TokenCounter::Entry& TokenCounter::Find(int32_t id) {
  PREFIXD_CHECK(id >= 0);
  if (static_cast<size_t>(id) >= index_.size()) index_.resize(static_cast<size_t>(id) + 1, 0);
  int32_t& index = index_[id];
  if (index == 0) {
    entries_.push_back({.id = id});
    index = static_cast<int32_t>(entries_.size());
  }
  return entries_[index - 1];
}

void TokenCounter::AddPrompt(absl::Span<const int32_t> ids) {
  for (const int32_t id : ids) Find(id);
}

void TokenCounter::AddGenerated(int32_t id) { ++Find(id).generated; }

int32_t Sample(absl::Span<const float> logits, const SampleRow& row, SampleScratch* scratch) {
  const SamplingParams& params = *row.params;
  std::vector<float>& scores = scratch->logits;
  scores.assign(logits.begin(), logits.end());
  for (const float logit : scores) {
    if (std::isnan(logit)) return -1;
  }
  for (const auto& [id, bias] : params.logit_bias) scores[id] += bias;
  if (row.counts != nullptr) ApplyPenalties(params, *row.counts, absl::MakeSpan(scores));
  for (const int32_t id : row.suppressed) scores[id] = kNever;
  if (params.temperature < kGreedyBelow) return ArgMax(scores);

  std::vector<Candidate>& candidates = scratch->candidates;
  candidates.clear();
  for (size_t id = 0; id < scores.size(); ++id) {
    if (scores[id] == kNever) continue;
    candidates.emplace_back(scores[id] / params.temperature, static_cast<int32_t>(id));
  }
  if (candidates.empty()) return -1;
  const float largest = std::max_element(candidates.begin(), candidates.end(), LessLikely)->first;
  if (!std::isfinite(largest)) return -1;
  KeepTopK(params.top_k, &candidates);
  KeepTopP(params.top_p, largest, &candidates);
  KeepMinP(params.min_p, largest, &candidates);
  return Draw(row, largest, &candidates);
}

LogprobEntry Logprobs(absl::Span<const float> logits, int32_t token_id, int top_n) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  const double log_sum = std::log(sum) + largest;
  const auto entry_of = [&](int32_t id, int32_t rank) {
    return TokenLogprob{
        .token_id = id, .logprob = static_cast<float>(logits[id] - log_sum), .rank = rank};
  };

  const Candidate sampled{logits[token_id], token_id};
  std::vector<Candidate> top;  // Most likely first.
  int32_t rank = 1;
  for (size_t i = 0; i < logits.size(); ++i) {
    const Candidate candidate{logits[i], static_cast<int32_t>(i)};
    rank += LessLikely(sampled, candidate);
    const bool full = static_cast<int>(top.size()) == top_n;
    if (top_n == 0 || (full && !LessLikely(top.back(), candidate))) continue;
    if (full) top.pop_back();
    const auto likelier = [](const Candidate& a, const Candidate& b) { return LessLikely(b, a); };
    top.insert(std::upper_bound(top.begin(), top.end(), candidate, likelier), candidate);
  }
  LogprobEntry result{.sampled = entry_of(token_id, rank)};
  for (size_t i = 0; i < top.size(); ++i) {
    result.top.push_back(entry_of(top[i].second, static_cast<int32_t>(i) + 1));
  }
  return result;
}

}  // namespace prefixd
