#include "tests/cuda_emulation/draw_testing.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/backend/host_draw.h"
#include "tests/cuda_emulation/emulator/device_array.h"
#include "tests/cuda_emulation/host_floats.h"

namespace prefixd::cuda {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

int64_t Pick(int64_t count, std::mt19937_64* random) {
  return static_cast<int64_t>((*random)() % static_cast<uint64_t>(count));
}

template <typename T>
T OneOf(std::initializer_list<T> values, std::mt19937_64* random) {
  return values.begin()[Pick(static_cast<int64_t>(values.size()), random)];
}

std::vector<float> RandomScores(int32_t vocabulary, std::mt19937_64* random) {
  const float spread = OneOf({0.01f, 0.3f, 1.0f, 2.0f, 3.0f, 10.0f, 1e4f, 1e38f}, random);
  const bool ties = Pick(3, random) == 0;
  const bool gaps = Pick(4, random) == 0;
  std::normal_distribution<float> normal;
  std::vector<float> scores(vocabulary);
  for (float& score : scores) {
    score = normal(*random);
    if (ties) score = std::round(score * 2) / 2;
    score *= spread;
    if (gaps && Pick(3, random) == 0) score = -kInfinity;
  }
  float& any = scores[Pick(vocabulary, random)];
  switch (Pick(40, random)) {
    case 0:
      any = std::numeric_limits<float>::quiet_NaN();
      break;
    case 1:
      any = kInfinity;
      break;
    case 2:
      std::fill(scores.begin(), scores.end(), -kInfinity);
      break;
    case 3:
      std::fill(scores.begin(), scores.end(), 1.5f);
      break;
    case 4:
      for (float& score : scores) score = OneOf({0.0f, -0.0f, 1e-40f, -1e-40f}, random);
      break;
    default:
      break;
  }
  return scores;
}

// Distinct ids, a few of them out of the vocabulary.
std::vector<int32_t> RandomIds(int32_t vocabulary, std::mt19937_64* random) {
  std::vector<int32_t> ids;
  if (Pick(2, random) == 0) return ids;
  const int64_t count = Pick(std::min(vocabulary, 40) + 1, random);
  for (int64_t i = 0; i < count; ++i) {
    ids.push_back(static_cast<int32_t>(Pick(vocabulary + 2, random)));
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  std::shuffle(ids.begin(), ids.end(), *random);
  return ids;
}

template <typename T>
std::vector<DrawResult> DrawAs(const std::vector<DrawCase>& cases, Element type, int64_t padding) {
  const int64_t rows = static_cast<int64_t>(cases.size());
  const int64_t cols = static_cast<int64_t>(cases[0].logits.size());
  const int64_t stride = cols + padding;
  std::vector<T> logits(1 + rows * stride, host::FromFloat<T>(6e4f));
  std::vector<DrawRow> draws;
  std::vector<int32_t> bias_ids, count_ids, generated, suppressed;
  std::vector<float> bias_values;
  for (int64_t i = 0; i < rows; ++i) {
    const DrawCase& c = cases[i];
    const DrawParams& params = c.params.params;
    const int64_t row = rows - 1 - i;
    for (int64_t id = 0; id < cols; ++id) {
      logits[1 + row * stride + id] = host::FromFloat<T>(c.logits[id]);
    }
    draws.push_back({.logits_row = static_cast<int32_t>(row),
                     .forced = c.params.forced,
                     .num_logprobs = c.params.num_logprobs,
                     .temperature = params.temperature,
                     .top_p = params.top_p,
                     .min_p = params.min_p,
                     .repetition_penalty = params.repetition_penalty,
                     .presence_penalty = params.presence_penalty,
                     .frequency_penalty = params.frequency_penalty,
                     .top_k = params.top_k,
                     .seed = params.seed,
                     .step = params.step,
                     .choice = params.choice,
                     .bias_begin = static_cast<int32_t>(bias_ids.size()),
                     .bias_count = static_cast<int32_t>(c.bias.size()),
                     .counts_begin = static_cast<int32_t>(count_ids.size()),
                     .counts_count = static_cast<int32_t>(c.counts.size()),
                     .suppressed_begin = static_cast<int32_t>(suppressed.size()),
                     .suppressed_count = static_cast<int32_t>(c.suppressed.size())});
    for (const auto& [id, value] : c.bias) {
      bias_ids.push_back(id);
      bias_values.push_back(value);
    }
    for (const CountedToken& token : c.counts) {
      count_ids.push_back(token.id);
      generated.push_back(token.generated);
    }
    suppressed.insert(suppressed.end(), c.suppressed.begin(), c.suppressed.end());
  }
  emu::DeviceArray<T> device_logits(logits);
  emu::DeviceArray<DrawRow> device_draws(draws);
  emu::DeviceArray<int32_t> device_bias_ids(bias_ids), device_count_ids(count_ids),
      device_generated(generated), device_suppressed(suppressed);
  emu::DeviceArray<float> device_bias_values(bias_values);
  // Room for what a planted bug writes beyond the last row.
  const int64_t spare = planted_kernel_bug == KernelBug::kDrawTailNotMasked ? 64 : 0;
  emu::DeviceArray<float> scratch(rows * cols + spare);
  emu::DeviceArray<int32_t> tokens(std::vector<int32_t>(rows, -7));
  emu::DeviceArray<DrawResult> results(std::vector<DrawResult>(rows, DrawResult{.token = -7}));
  const DeviceMatrix matrix{device_logits.data() + 1, type, rows, cols, stride};
  const DrawLists lists{device_bias_ids.data(), device_bias_values.data(), device_count_ids.data(),
                        device_generated.data(), device_suppressed.data()};
  const cudaError_t error =
      LaunchDrawTokens(matrix, device_draws.data(), static_cast<int32_t>(rows), lists,
                       scratch.data(), tokens.data(), results.data(), nullptr);
  std::vector<DrawResult> drawn = results.Download();
  const std::vector<int32_t> ids = tokens.Download();
  for (int64_t i = 0; i < rows; ++i) {
    if (error != cudaSuccess || ids[i] != drawn[i].token) drawn[i].token = -8;
  }
  return drawn;
}

std::string DifferenceOf(const char* what, const RankedToken& host, const Ranked& device) {
  const bool same_logprob =
      std::isnan(host.logprob)
          ? std::isnan(device.logprob)
          : host.logprob == device.logprob || std::abs(host.logprob - device.logprob) <=
                                                  1e-5f * std::max(1.0f, std::abs(host.logprob));
  if (host.id == device.id && host.rank == device.rank && same_logprob) return "";
  return absl::StrCat(what, ": host ", host.id, " #", host.rank, " ", host.logprob, ", device ",
                      device.id, " #", device.rank, " ", device.logprob, "\n");
}

}  // namespace

TokenDraw DrawCase::draw() const {
  TokenDraw draw = params;
  draw.logit_bias = bias;
  draw.counts = counts;
  draw.suppressed = suppressed;
  return draw;
}

std::vector<float> Rounded(const std::vector<float>& values, Element type) {
  std::vector<float> rounded = values;
  for (float& value : rounded) {
    if (type == Element::kF16) value = host::ToFloat(host::FromFloat<host::f16>(value));
    if (type == Element::kBF16) value = host::ToFloat(host::FromFloat<host::bf16>(value));
  }
  return rounded;
}

DrawCase RandomCase(int32_t vocabulary, Element type, std::mt19937_64* random) {
  DrawCase c;
  c.logits = Rounded(RandomScores(vocabulary, random), type);
  c.params.params = {
      .temperature = OneOf({0.0f, 9e-7f, 1e-6f, 0.3f, 0.7f, 1.0f, 1.0f, 1.5f, 100.0f}, random),
      .top_k = OneOf({0, 0, 0, 1, 2, 5, 40, vocabulary - 1, vocabulary, vocabulary + 1}, random),
      .top_p = OneOf({1.0f, 1.0f, 0.95f, 0.9f, 0.5f, 0.1f, 1e-6f}, random),
      .min_p = OneOf({0.0f, 0.0f, 0.02f, 0.5f, 1.0f}, random),
      .repetition_penalty = OneOf({1.0f, 1.3f, 0.5f}, random),
      .presence_penalty = OneOf({0.0f, 0.7f, -2.0f}, random),
      .frequency_penalty = OneOf({0.0f, 0.3f, -1.1f}, random),
      .seed = (*random)(),
      .step = static_cast<uint32_t>((*random)()),
      .choice = static_cast<uint32_t>(Pick(8, random))};
  if (c.params.params.top_k < 0) c.params.params.top_k = 0;
  const bool nan =
      std::any_of(c.logits.begin(), c.logits.end(), [](float x) { return std::isnan(x); });
  if (Pick(10, random) == 0 && !nan) {
    c.params.forced = static_cast<int32_t>(Pick(vocabulary, random));
  }
  c.params.num_logprobs = static_cast<int>(OneOf({-1, -1, 0, 1, 3, 20}, random));
  std::normal_distribution<float> normal;
  for (const int32_t id : RandomIds(vocabulary, random)) c.bias.emplace_back(id, normal(*random));
  for (const int32_t id : RandomIds(vocabulary, random)) {
    c.counts.push_back({.id = id, .generated = static_cast<int32_t>(Pick(4, random))});
  }
  c.suppressed = RandomIds(vocabulary, random);
  return c;
}

std::vector<DrawResult> DrawOnDevice(const std::vector<DrawCase>& cases, Element type,
                                     int64_t padding) {
  if (type == Element::kF16) return DrawAs<host::f16>(cases, type, padding);
  if (type == Element::kBF16) return DrawAs<host::bf16>(cases, type, padding);
  return DrawAs<float>(cases, type, padding);
}

DrawnToken DrawOnHost(const DrawCase& c) {
  DrawScratch scratch;
  DrawnToken drawn;
  drawn.token = c.params.forced >= 0 ? c.params.forced : DrawToken(c.logits, c.draw(), &scratch);
  if (drawn.token >= 0 && c.params.num_logprobs >= 0) {
    RankTokens(c.logits, drawn.token, c.params.num_logprobs, &drawn);
  }
  return drawn;
}

std::string Difference(const DrawnToken& host, const DrawResult& device, int num_logprobs) {
  if (host.token != device.token) {
    return absl::StrCat("token: host ", host.token, ", device ", device.token, "\n");
  }
  if (host.token < 0 || num_logprobs < 0) return "";
  std::string difference = DifferenceOf("sampled", host.sampled, device.sampled);
  for (size_t i = 0; i < static_cast<size_t>(kMaxRanked); ++i) {
    if (i < host.top.size()) {
      absl::StrAppend(&difference, DifferenceOf("top", host.top[i], device.top[i]));
    } else if (device.top[i].id != -1) {
      absl::StrAppend(&difference, "place ", i, " of top is not empty\n");
    }
  }
  return difference;
}

std::string Differences(const std::vector<DrawCase>& cases,
                        const std::vector<DrawResult>& results) {
  std::string all;
  for (size_t i = 0; i < cases.size(); ++i) {
    const std::string difference =
        Difference(DrawOnHost(cases[i]), results[i], cases[i].params.num_logprobs);
    if (difference.empty()) continue;
    const DrawParams& p = cases[i].params.params;
    absl::StrAppend(&all, "case ", i, " temperature ", p.temperature, " top_k ", p.top_k, " top_p ",
                    p.top_p, " min_p ", p.min_p, " seed ", p.seed, ": ", difference);
  }
  return all;
}

}  // namespace prefixd::cuda
