// Times attention of sequences that share pages: as it is (pages of a common prefix read once for
// all), with each sequence by itself over the same pages, and over private copies of them. The
// variants alternate in one run; figures are medians, ratios are taken within a repetition. Each
// variant walks through layers that together are larger than the caches, so that memory is read.
//
//   shared_attention_bench [--level avx512] [--threads 2] [--repetitions 15] [--only decode]
//   [--check]
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "absl/strings/match.h"
#include "base/check.h"
#include "bench/probes.h"
#include "engine/backend/cpu/cpu_backend_impl.h"
#include "engine/backend/cpu/level.h"
#include "engine/backend/cpu/memory.h"

namespace prefixd {
namespace {

constexpr double kWalkBytes = 160e6;
constexpr double kSharedBar = 1.5;     // Time over private copies / time over shared pages.
constexpr double kUnsharedBar = 0.98;  // Time without looking for shared pages / time with it.

struct Shape {
  const char* name;
  DType dtype;
  int num_heads, num_kv_heads, head_dim;
  int num_sequences;
  int prefix;    // Slots of the common prefix, a multiple of 16.
  int own;       // Slots that each sequence has of its own.
  int num_rows;  // The last rows of each sequence attend.
  bool has_bar = false;

  int64_t qkv_cols() const { return int64_t{num_heads + 2 * num_kv_heads} * head_dim; }
  int num_slots() const { return prefix + own; }
  int prefix_pages() const { return prefix / kPageSlots; }
  int own_pages() const { return (own + kPageSlots - 1) / kPageSlots; }
};

// The KV of one layer, with the prefix's pages shared or copied; the same numbers either way.
struct Layer {
  std::unique_ptr<KvPool> pool;
  std::vector<std::vector<int32_t>> pages;  // Of every sequence.
  std::vector<KvSegment> segments;
};

OwnedTensor RandomTensor(Backend* backend, int64_t rows, int64_t cols) {
  OwnedTensor tensor = backend->NewTensor(rows, cols).value();
  std::mt19937 random(7);
  std::vector<float> values(rows * cols);
  for (float& v : values) v = static_cast<float>(random() % 2001) * 1e-3f - 1.0f;
  PREFIXD_CHECK(backend->Upload(values, tensor.view).ok());
  return tensor;
}

Layer MakeLayer(Backend* backend, const Shape& s, bool shares, const Tensor& qkv) {
  Layer layer;
  int32_t num_pages = 0;
  for (int i = 0; i < s.num_sequences; ++i) {
    std::vector<int32_t>& pages = layer.pages.emplace_back();
    if (shares && i > 0) {
      const std::vector<int32_t>& first = layer.pages.front();
      pages.assign(first.begin(), first.begin() + s.prefix_pages());
    }
    while (static_cast<int>(pages.size()) < s.prefix_pages() + s.own_pages()) {
      pages.push_back(num_pages++);
    }
  }
  layer.pool = backend->CreateKvPool({num_pages, s.num_kv_heads, s.head_dim, s.dtype}).value();
  std::vector<int32_t> slots(s.num_slots());
  for (int i = 0; i < s.num_slots(); ++i) slots[i] = i;
  for (int i = 0; i < s.num_sequences; ++i) {
    const KvSegment write = {0, s.num_slots(), layer.pages[i], slots, 1};
    const absl::Status written = backend->WriteKv(qkv, nullptr, s.num_heads,
                                                  absl::MakeConstSpan(&write, 1), layer.pool.get());
    PREFIXD_CHECK(written.ok());
    layer.segments.push_back(
        {i * s.num_rows, s.num_rows, layer.pages[i], {}, s.num_slots() - s.num_rows + 1});
  }
  return layer;
}

class Variant {
 public:
  Variant(cpu::CpuBackend* backend, const Shape& shape, bool shares, bool together, const Tensor& q)
      : backend_(backend), shape_(shape), together_(together), q_(q) {
    y_ = RandomTensor(backend, q.rows, int64_t{shape.num_heads} * shape.head_dim);
    const double slots = shares ? shape.prefix + shape.num_sequences * shape.own
                                : shape.num_sequences * shape.num_slots();
    const double bytes = 2.0 * slots * shape.num_kv_heads * shape.head_dim *
                         static_cast<double>(DTypeSize(shape.dtype));
    const OwnedTensor qkv = RandomTensor(backend, shape.num_slots(), shape.qkv_cols());
    for (double walked = 0; walked < kWalkBytes; walked += bytes) {
      layers_.push_back(MakeLayer(backend, shape, shares, qkv.view));
    }
  }

  // Whether sequences pass over common pages together.
  void set_together(bool together) { together_ = together; }

  // Seconds of one layer.
  double Run() {
    backend_->set_share_pages(together_);
    const double begin = NowSeconds();
    for (const Layer& layer : layers_) {
      PREFIXD_CHECK(backend_
                        ->PagedAttention(q_, *layer.pool, shape_.num_heads, {.scale = 0.125f},
                                         layer.segments, y_.view)
                        .ok());
    }
    return (NowSeconds() - begin) / static_cast<double>(layers_.size());
  }

  void CheckSameBits(const Variant& other) const {
    for (int64_t row = 0; row < q_.rows; ++row) {
      const int64_t stride = y_.view.row_stride;
      const auto* a = reinterpret_cast<const float*>(y_.view.data) + row * stride;
      const auto* b = reinterpret_cast<const float*>(other.y_.view.data) + row * stride;
      PREFIXD_CHECK(std::memcmp(a, b, y_.view.cols * sizeof(float)) == 0);
    }
  }

 private:
  cpu::CpuBackend* const backend_;
  const Shape& shape_;
  bool together_;
  const Tensor q_;
  OwnedTensor y_;
  std::vector<Layer> layers_;
};

bool AboveBar(const std::string& name, double ratio, double bar) {
  if (ratio >= bar) return true;
  std::fprintf(stderr, "shared_attention_bench: %s: %.3f is below %.2f\n", name.c_str(), ratio,
               bar);
  return false;
}

// Returns whether the bar is met.
bool BenchShared(cpu::CpuBackend* backend, const Shape& s, int repetitions) {
  const OwnedTensor q = RandomTensor(backend, int64_t{s.num_sequences} * s.num_rows, s.qkv_cols());
  Variant together(backend, s, true, true, q.view);
  Variant apart(backend, s, true, false, q.view);
  Variant copies(backend, s, false, true, q.view);
  std::vector<double> seconds, of_apart, of_copies;
  for (int repetition = 0; repetition <= repetitions; ++repetition) {
    const double a = together.Run(), b = apart.Run(), c = copies.Run();
    if (repetition == 0) continue;  // The first warms up.
    seconds.push_back(a);
    of_apart.push_back(b / a);
    of_copies.push_back(c / a);
  }
  together.CheckSameBits(apart);
  together.CheckSameBits(copies);
  std::printf("%-44s %9.3f %10.2f %10.2f\n", s.name, Median(seconds) * 1e3, Median(of_apart),
              Median(of_copies));
  std::fflush(stdout);
  return !s.has_bar || AboveBar(s.name, Median(of_copies), kSharedBar);
}

// Nothing is shared: what looking for it costs.
bool BenchUnshared(cpu::CpuBackend* backend, const Shape& s, int repetitions) {
  const OwnedTensor q = RandomTensor(backend, int64_t{s.num_sequences} * s.num_rows, s.qkv_cols());
  Variant with(backend, s, false, true, q.view);
  std::vector<double> seconds, of_without;
  for (int repetition = 0; repetition <= 3 * repetitions; ++repetition) {
    // One after the other on the same pages.
    const auto run = [&](bool together) {
      with.set_together(together);
      return with.Run();
    };
    const bool first = repetition % 2 == 0;
    const double a = run(first), b = run(!first);
    if (repetition == 0) continue;
    seconds.push_back(first ? a : b);
    of_without.push_back(first ? b / a : a / b);
  }
  std::printf("%-44s %9.3f %10.3f\n", s.name, Median(seconds) * 1e3, Median(of_without));
  std::fflush(stdout);
  return AboveBar(s.name, Median(of_without), kUnsharedBar);
}

int Main(int argc, char** argv) {
  std::string level_name = "auto";
  int num_threads = 0, repetitions = 15;
  std::string only;
  bool check = false;
  CLI::App app("Times attention over shared pages");
  app.add_option("--level", level_name, "auto, portable, avx2, avx512 or avx512bf16");
  app.add_option("--threads", num_threads, "0: one per usable CPU")->check(CLI::Range(0, 256));
  app.add_option("--repetitions", repetitions)->check(CLI::Range(1, 1000));
  app.add_option("--only", only, "Cases whose name contains this");
  app.add_flag("--check", check, "Fail when a bar is missed");
  CLI11_PARSE(app, argc, argv);
  const auto level = cpu::SelectLevel(level_name);
  if (!level.ok()) {
    std::fprintf(stderr, "shared_attention_bench: %s\n", level.status().ToString().c_str());
    return 1;
  }
  if (num_threads == 0) num_threads = std::min(256, cpu::NumUsableCpus());
  cpu::CpuBackend backend(*level, num_threads, false);
  std::printf("level %s, %d threads\n", backend.info().level.c_str(), backend.info().num_threads);

  const auto runs = [&](const Shape& shape) { return absl::StrContains(shape.name, only); };
  bool met = true;
  std::printf("%-44s %9s %10s %10s\n", "shared prefix", "ms", "apart", "copies");
  const Shape shared[] = {
      {"decode f32 32 x (512 + 8), 9/3 x 64", DType::kF32, 9, 3, 64, 32, 512, 8, 1, true},
      {"decode bf16 32 x (512 + 8), 9/3 x 64", DType::kBF16, 9, 3, 64, 32, 512, 8, 1, true},
      {"decode f32 32 x (512 + 8), 32/32 x 128", DType::kF32, 32, 32, 128, 32, 512, 8, 1, true},
      {"decode bf16 32 x (512 + 8), 32/32 x 128", DType::kBF16, 32, 32, 128, 32, 512, 8, 1, true},
      {"decode f32 4 x (4096 + 8), 9/3 x 64", DType::kF32, 9, 3, 64, 4, 4096, 8, 1},
      {"suffix f32 64 x 6 rows on 576, 9/3 x 64", DType::kF32, 9, 3, 64, 64, 576, 6, 6},
      {"suffix f32 64 x 20 rows on 576, 9/3 x 64", DType::kF32, 9, 3, 64, 64, 576, 20, 20},
      {"suffix f32 64 x 6 rows on 576, 32/32 x 128", DType::kF32, 32, 32, 128, 64, 576, 6, 6},
      {"decode f32 32 x (16 + 1000), 9/3 x 64", DType::kF32, 9, 3, 64, 32, 16, 1000, 1},
  };
  for (const Shape& shape : shared) {
    if (runs(shape)) met &= BenchShared(&backend, shape, repetitions);
  }
  std::printf("%-44s %9s %10s\n", "nothing shared", "ms", "without");
  const Shape unshared[] = {
      {"decode f32 32 x 512, 9/3 x 64", DType::kF32, 9, 3, 64, 32, 512, 0, 1},
      {"decode f32 32 x 48, 9/3 x 64", DType::kF32, 9, 3, 64, 32, 48, 0, 1},
      {"decode f32 8 x 512, 32/32 x 128", DType::kF32, 32, 32, 128, 8, 512, 0, 1},
      {"suffix f32 8 x 64 rows on 512, 9/3 x 64", DType::kF32, 9, 3, 64, 8, 512, 64, 64},
  };
  for (const Shape& shape : unshared) {
    if (runs(shape)) met &= BenchUnshared(&backend, shape, repetitions);
  }
  return check && !met ? 1 : 0;
}

}  // namespace
}  // namespace prefixd

int main(int argc, char** argv) { return prefixd::Main(argc, argv); }
