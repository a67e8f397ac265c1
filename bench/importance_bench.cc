// What attention sums (KvSegment::sums) cost: prefill of a prompt through the layers of a 135M
// model (576 hidden, 9 heads, 3 kv heads x 64, 1536 intermediate) with and without them, on every
// level that the machine has. All ops of a layer run; embedding and logits are left out. The two
// variants alternate in one run; figures are medians, ratios are taken within a repetition.
//
//   importance_bench [--level avx512] [--threads 2] [--repetitions 9] [--tokens 640] [--chunk 256]
//   [--check]
#include <algorithm>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/check.h"
#include "bench/probes.h"
#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/cpu/level.h"

namespace prefixd {
namespace {

constexpr double kBar = 0.10;  // Of the time of a prefill, for its sums.

constexpr int kHidden = 576, kHeads = 9, kKvHeads = 3, kHeadDim = 64, kIntermediate = 1536;
constexpr int kQkv = (kHeads + 2 * kKvHeads) * kHeadDim;
// Ratios need no more layers than there are weights to push one another out of the caches.
constexpr int kLayers = 6;  // Even.

struct Options {
  std::string level = "all";
  int threads = 0;
  int repetitions = 9;
  int tokens = 640;
  int chunk = 256;
  DType kv_dtype = DType::kF32;
};

struct Span {
  int begin = 0, count = 0;
};

class Model {
 public:
  Model(Backend* backend, const Options& options)
      : backend_(backend), num_pages_((options.tokens + kPageSlots) / kPageSlots) {
    for (int i = 0; i < kLayers; ++i) {
      layers_.push_back(
          {.qkv = Weight(kQkv, kHidden),
           .output = Weight(kHidden, kHidden),
           .gate_up = Weight(2 * kIntermediate, kHidden),
           .down = Weight(kHidden, kIntermediate),
           .pool = backend->CreateKvPool({2 * num_pages_, kKvHeads, kHeadDim, options.kv_dtype})
                       .value()});
    }
    const int rows = std::max(options.chunk, 1);
    hidden_ = Random(rows, kHidden);
    norm_ = Random(rows, kHidden);
    scale_ = Random(1, kHidden);
    qkv_ = Random(rows, kQkv);
    angles_ = Random(rows, kHeadDim);
    mixed_ = Random(rows, kHidden);
    gate_up_ = Random(rows, 2 * kIntermediate);
    gated_ = Random(rows, kIntermediate);
    sums_ = backend->NewScores(kLayers, int64_t{num_pages_} * kPageSlots).value();
    for (int i = 0; i < num_pages_; ++i) pages_.push_back(num_pages_ - 1 - i);
    for (int i = 0; i < num_pages_ * kPageSlots; ++i) slots_.push_back(i);
    frequencies_.assign(kHeadDim / 2, 0.1f);
  }

  // Seconds of a layer and of its attention, and the same in CPU time of all threads.
  struct Times {
    double layer = 0, attention = 0, layer_cpu = 0, attention_cpu = 0;
  };
  // All layers, every second one with sums, beginning with the first or the second. Returns a pair
  // of times, without and with sums, for every two layers.
  using Pair = std::pair<Times, Times>;
  std::vector<Pair> Run(const Span& step, bool first_with_sums) {
    std::vector<Pair> pairs(kLayers / 2);
    const auto slots = absl::MakeConstSpan(slots_).subspan(step.begin, step.count);
    const Tensor angles = angles_.view.Rows(0, step.count);
    PREFIXD_CHECK(backend_->RotaryAngles(slots, frequencies_, angles).ok());
    for (int i = 0; i < kLayers; ++i) {
      const bool with_sums = (i % 2 == 0) == first_with_sums;
      (with_sums ? pairs[i / 2].second : pairs[i / 2].first) = RunLayer(step, i, with_sums);
    }
    return pairs;
  }

  // Seconds of gathering every second slot, in all layers.
  double Gather() {
    std::vector<int32_t> sources, destination_pages;
    for (int slot = 0; slot + 1 < num_pages_ * kPageSlots; slot += 2) sources.push_back(slot);
    for (int i = 0; i < num_pages_; ++i) destination_pages.push_back(num_pages_ + i);
    const SlotGather gather = {pages_, sources, destination_pages, {}};
    const double begin = NowSeconds();
    for (const Layer& layer : layers_) {
      const auto gathers = absl::MakeConstSpan(&gather, 1);
      PREFIXD_CHECK(backend_->GatherSlots(gathers, layer.pool.get()).ok());
    }
    return NowSeconds() - begin;
  }

 private:
  struct Layer {
    std::unique_ptr<Matrix> qkv, output, gate_up, down;
    std::unique_ptr<KvPool> pool;
  };

  OwnedTensor Random(int64_t rows, int64_t cols) {
    OwnedTensor tensor = backend_->NewTensor(rows, cols).value();
    std::vector<float> values(rows * cols);
    for (float& v : values) v = static_cast<float>(random_() % 2001) * 1e-3f - 1.0f;
    PREFIXD_CHECK(backend_->Upload(values, tensor.view).ok());
    return tensor;
  }

  std::unique_ptr<Matrix> Weight(int64_t rows, int64_t cols) {
    auto matrix = backend_->CreateMatrix(DType::kBF16, rows, cols).value();
    std::vector<uint8_t> bytes(rows * cols * 2);
    for (size_t i = 0; i < bytes.size(); i += 2) {  // Powers of two from 2^-8 to 2^-5.
      bytes[i] = static_cast<uint8_t>(random_() % 2 * 0x80);
      bytes[i + 1] = static_cast<uint8_t>(0x3B + random_() % 2 + random_() % 2 * 0x80);
    }
    PREFIXD_CHECK(backend_->WriteMatrixRows(0, bytes, matrix.get()).ok());
    return matrix;
  }

  Times RunLayer(const Span& step, int index, bool with_sums) {
    const Tensor hidden = hidden_.view.Rows(0, step.count), norm = norm_.view.Rows(0, step.count);
    const Tensor qkv = qkv_.view.Rows(0, step.count), mixed = mixed_.view.Rows(0, step.count);
    const Tensor gate_up = gate_up_.view.Rows(0, step.count);
    const Tensor gated = gated_.view.Rows(0, step.count);
    const Tensor angles = angles_.view.Rows(0, step.count);
    const Tensor sums = sums_.view.Rows(index, 1);
    const Layer& layer = layers_[index];
    const KvSegment segment = {
        .num_rows = step.count,
        .pages = pages_,
        .write_slots = absl::MakeConstSpan(slots_).subspan(step.begin, step.count),
        .first_visible = step.begin + 1,
        .sums = with_sums ? &sums : nullptr};
    const auto segments = absl::MakeConstSpan(&segment, 1);
    const double begin = NowSeconds(), cpu_begin = CpuSeconds();
    bool ok = backend_->RmsNorm(hidden, scale_.view, {.eps = 1e-5f}, norm).ok();
    ok &= backend_->Linear(norm, *layer.qkv, {}, qkv).ok();
    ok &= backend_->WriteKv(qkv, &angles, kHeads, segments, layer.pool.get()).ok();
    const double attention_begin = NowSeconds(), attention_cpu_begin = CpuSeconds();
    ok &=
        backend_->PagedAttention(qkv, *layer.pool, kHeads, {.scale = 0.125f}, segments, mixed).ok();
    const double attention_end = NowSeconds(), attention_cpu_end = CpuSeconds();
    ok &= backend_->Linear(mixed, *layer.output, {.accumulate = true}, hidden).ok();
    ok &= backend_->RmsNorm(hidden, scale_.view, {.eps = 1e-5f}, norm).ok();
    ok &= backend_->Linear(norm, *layer.gate_up, {}, gate_up).ok();
    ok &= backend_->GatedActivation(gate_up, Activation::kSilu, gated).ok();
    ok &= backend_->Linear(gated, *layer.down, {.accumulate = true}, hidden).ok();
    PREFIXD_CHECK(ok);
    return {NowSeconds() - begin, attention_end - attention_begin, CpuSeconds() - cpu_begin,
            attention_cpu_end - attention_cpu_begin};
  }

  Backend* const backend_;
  const int num_pages_;
  std::mt19937 random_{7};
  std::vector<Layer> layers_;
  OwnedTensor hidden_, norm_, scale_, qkv_, angles_, mixed_, gate_up_, gated_, sums_;
  std::vector<int32_t> pages_, slots_;
  std::vector<float> frequencies_;
};

// Prints one line; returns the share of a layer's time that sums cost, wall or CPU, the larger.
double Bench(Model* model, const std::string& name, absl::Span<const Span> steps, int repetitions) {
  std::vector<std::vector<Model::Pair>> pairs(steps.size());
  for (int repetition = 0; repetition <= repetitions; ++repetition) {
    for (size_t i = 0; i < steps.size(); ++i) {
      const std::vector<Model::Pair> some = model->Run(steps[i], repetition % 2 == 0);
      // The first repetition warms up.
      if (repetition > 0) pairs[i].insert(pairs[i].end(), some.begin(), some.end());
    }
  }
  const auto median = [](const std::vector<Model::Pair>& of_step, auto value) {
    std::vector<double> values;
    for (const auto& [without, with] : of_step) values.push_back(value(without, with));
    return Median(values);
  };
  using T = Model::Times;
  // Steps count by their layers' times.
  double layer = 0, attention = 0, ratio = 0, share = 0, whole = 0, cpu = 0;
  for (const std::vector<Model::Pair>& of_step : pairs) {
    const double t = median(of_step, [](const T& a, const T&) { return a.layer; });
    layer += t;
    attention += median(of_step, [](const T& a, const T&) { return a.attention; });
    ratio += t * median(of_step, [](const T& a, const T& b) { return b.attention / a.attention; });
    share += t * median(of_step, [](const T& a, const T& b) {
               return (b.attention - a.attention) / a.layer;
             });
    cpu += t * median(of_step, [](const T& a, const T& b) {
             return (b.attention_cpu - a.attention_cpu) / a.layer_cpu;
           });
    whole += t * median(of_step, [](const T& a, const T& b) { return b.layer / a.layer - 1; });
  }
  std::printf("%-36s %9.3f %9.3f %7.2f %7.1f %% %7.1f %% %7.1f %%\n", name.c_str(), layer * 1e3,
              attention * 1e3, ratio / layer, share / layer * 100, whole / layer * 100,
              cpu / layer * 100);
  std::fflush(stdout);
  return std::max(share, cpu) / layer;
}

// Returns whether the bar is met.
bool BenchLevel(const std::string& level, const Options& options) {
  auto backend = CreateCpuBackend({.cpu_level = level, .num_threads = options.threads}).value();
  std::printf("level %s, %d threads, %s KV; ms a layer\n", backend->info().level.c_str(),
              backend->info().num_threads, std::string(DTypeName(options.kv_dtype)).c_str());
  std::printf("%-36s %9s %9s %7s %9s %9s %9s\n", "", "layer", "attention", "ratio", "share",
              "whole", "cpu");
  Model model(backend.get(), options);
  std::vector<Span> prefill;
  for (int begin = 0; begin < options.tokens; begin += options.chunk) {
    prefill.push_back({begin, std::min(options.chunk, options.tokens - begin)});
  }
  const std::string name =
      std::to_string(options.tokens) + " tokens in chunks of " + std::to_string(options.chunk);
  const double share = Bench(&model, name, prefill, options.repetitions);
  const Span decode = {options.tokens, 1};
  Bench(&model, "one decode row after them", absl::MakeConstSpan(&decode, 1),
        10 * options.repetitions);
  std::vector<double> gather;
  for (int i = 0; i < 10 * options.repetitions; ++i) gather.push_back(model.Gather());
  std::printf("%-36s %9.3f\n", "gather of every second slot", Median(gather) / kLayers * 1e3);
  if (share <= kBar) return true;
  std::fprintf(stderr, "importance_bench: level %s: sums take %.3f of the time, above %.2f\n",
               level.c_str(), share, kBar);
  return false;
}

int Main(int argc, char** argv) {
  Options options;
  bool check = false, bf16 = false;
  CLI::App app("Times attention sums");
  app.add_option("--level", options.level, "all, auto, portable, avx2, avx512 or avx512bf16");
  app.add_option("--threads", options.threads, "0: one per usable CPU")->check(CLI::Range(0, 256));
  app.add_option("--repetitions", options.repetitions)->check(CLI::Range(1, 1000));
  app.add_option("--tokens", options.tokens)->check(CLI::Range(1, 16384));
  app.add_option("--chunk", options.chunk)->check(CLI::Range(1, 16384));
  app.add_flag("--bf16-kv", bf16, "bf16 KV instead of f32");
  app.add_flag("--check", check, "Fail when the bar is missed");
  CLI11_PARSE(app, argc, argv);
  if (bf16) options.kv_dtype = DType::kBF16;
  if (options.level != "all") {
    const auto level = cpu::SelectLevel(options.level);
    if (!level.ok()) {
      std::fprintf(stderr, "importance_bench: %s\n", level.status().ToString().c_str());
      return 1;
    }
    return BenchLevel(level->name, options) || !check ? 0 : 1;
  }
  bool met = true;
  for (const std::string& level : SupportedCpuLevels()) met &= BenchLevel(level, options);
  return check && !met ? 1 : 0;
}

}  // namespace
}  // namespace prefixd

int main(int argc, char** argv) { return prefixd::Main(argc, argv); }
