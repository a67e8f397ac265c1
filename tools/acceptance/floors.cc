#include "tools/acceptance/floors.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/backend/backend.h"

namespace prefixd::acceptance {
namespace {

constexpr double kOom = -1;
constexpr int64_t kLongPrefill = 2048;

ModelShape MakeLlava(const char* name, int64_t hidden, int64_t intermediate, int layers,
                     int heads) {
  return {.name = name,
          .layer = {.hidden_size = hidden,
                    .intermediate_size = intermediate,
                    .num_heads = heads,
                    .num_kv_heads = heads,
                    .head_dim = 128,
                    .norm_eps = 1e-5f},
          .num_layers = layers,
          .vocab_size = 32064,
          .image_rows = 577,
          .image_heads = 16,
          .image_head_dim = 64};
}

// The bar of a kernel as a share of what it must move or compute, if its kind has one.
double BarOf(const KernelTime& time) {
  switch (time.kind) {
    case KernelKind::kDecodeAttention:
      return 0.70;
    case KernelKind::kPrefillAttention:
      return time.rows >= kLongPrefill ? 0.40 : 0;
    case KernelKind::kGather:
      return 0.75;
    default:
      return 0;
  }
}

}  // namespace

int64_t ModelShape::LayerWeights() const {
  return layer.hidden_size * (layer.qkv_size() + layer.q_size() + 3 * layer.intermediate_size);
}

uint64_t ModelShape::WeightBytes() const {
  return 2 * static_cast<uint64_t>(num_layers * LayerWeights() + vocab_size * layer.hidden_size);
}

uint64_t ModelShape::KvBytesPerToken() const {
  return static_cast<uint64_t>(num_layers) * PageBytes(*this) / kPageSlots;
}

const ModelShape& Llava7B() {
  static const auto* const kShape = new ModelShape(MakeLlava("7B", 4096, 11008, 32, 32));
  return *kShape;
}

const ModelShape& Llava13B() {
  static const auto* const kShape = new ModelShape(MakeLlava("13B", 5120, 13824, 40, 40));
  return *kShape;
}

const ModelShape& ToyModel() {
  static const auto* const kShape = new ModelShape{.name = "toy",
                                                   .layer = {.hidden_size = 128,
                                                             .intermediate_size = 64,
                                                             .num_heads = 2,
                                                             .num_kv_heads = 2,
                                                             .head_dim = 64,
                                                             .norm_eps = 1e-5f},
                                                   .num_layers = 2,
                                                   .vocab_size = 320,
                                                   .image_rows = 17,
                                                   .image_heads = 2,
                                                   .image_head_dim = 64};
  return *kShape;
}

double FloorSeconds(const KernelTime& time, const Ceilings& ceilings) {
  return std::max(time.bytes / ceilings.copy_bytes_per_second,
                  time.flops / ceilings.gemm_flops_per_second);
}

double ShareOfCeiling(const KernelTime& time, const Ceilings& ceilings) {
  return time.seconds > 0 ? FloorSeconds(time, ceilings) / time.seconds : 0;
}

std::vector<std::string> Flags(absl::Span<const KernelTime> times, const Ceilings& ceilings) {
  std::map<std::string, double> steps;
  for (const KernelTime& time : times) steps[time.step] += time.calls * time.seconds;
  std::vector<std::string> flags;
  for (const KernelTime& time : times) {
    const double share = ShareOfCeiling(time, ceilings);
    const double of_step = time.step.empty() ? 0 : time.calls * time.seconds / steps.at(time.step);
    const std::string what = absl::StrCat(time.kernel, " ", time.shape);
    if (const double bar = BarOf(time); share < bar) {
      flags.push_back(
          absl::StrFormat("%s: %.0f %% of its ceiling, bar %.0f %%", what, 100 * share, 100 * bar));
    } else if (of_step > 0.02 && share < 0.5) {
      flags.push_back(absl::StrFormat("%s: %.0f %% of its floor, and %.1f %% of the step \"%s\"",
                                      what, 100 * share, 100 * of_step, time.step));
    }
  }
  return flags;
}

const std::vector<PaperRow>& PaperTable() {
  static const auto* const kTable = new std::vector<PaperRow>{
      {8, true, 1024, 512, {20.0, 24.3, 27.5, 29.7, 30.5}, {204.6, 168.1, 148.7, 137.6, 134.1}},
      {16, true, 624, 256, {11.7, 14.2, 15.9, 17.3, 17.8}, {349.5, 288.0, 256.3, 236.5, 230.2}},
      {16, false, 1024, 512, {16.8, 22.5, 26.6, 29.5, 30.7}, {486.7, 363.3, 307.9, 276.9, 266.6}},
      {48, false, 624, 256, {13.1, kOom, kOom, kOom, kOom}, {934.4, kOom, kOom, kOom, kOom}},
  };
  return *kTable;
}

double DecodeFloorSeconds(const ModelShape& model, int batch, int prompt, int generated,
                          double budget, double bytes_per_second) {
  const double kv =
      static_cast<double>(model.KvBytesPerToken()) * budget * (prompt + generated / 2.0) * batch;
  return generated * (static_cast<double>(model.WeightBytes()) + kv) / bytes_per_second;
}

std::vector<int> KeptByLayer(int num_layers, int tokens, double budget) {
  const double spread = 2 * std::min(budget, 1 - budget);
  std::vector<int> kept;
  for (int layer = 0; layer < num_layers; ++layer) {
    const double place = num_layers > 1 ? 0.5 - static_cast<double>(layer) / (num_layers - 1) : 0;
    kept.push_back(std::max(1, static_cast<int>(std::ceil(tokens * (budget + place * spread)))));
  }
  return kept;
}

int64_t PagesNeeded(const ModelShape& model, int batch, int tokens, double budget) {
  int64_t pages = 0;
  for (const int kept : KeptByLayer(model.num_layers, tokens, budget)) {
    pages += int64_t{batch} * ((kept + kPageSlots - 1) / kPageSlots);
  }
  return pages;
}

uint64_t PageBytes(const ModelShape& model) {
  return 2 * 2 * static_cast<uint64_t>(model.layer.kv_size()) * kPageSlots;
}

}  // namespace prefixd::acceptance
