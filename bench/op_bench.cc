// Times the CPU backend's products and attention beside what the machine can do in the same run.
// Plain text; the numbers are medians of alternating repetitions, each compared with the probe of
// its own repetition. Weights are streamed from a set larger than the caches.
//
//   op_bench [--level avx512] [--threads 2] [--repetitions 5] [--only linear|blocks|attention|tree]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/check.h"
#include "bench/block_products.h"
#include "bench/probes.h"
#include "bench/random_operands.h"
#include "bench/tree_ops.h"
#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/cpu/level.h"

namespace prefixd {
namespace {

constexpr double kSetBytes = 160e6;  // Weights that one measurement walks through.

struct Options {
  std::string level = "auto";
  int num_threads = 0;
  int repetitions = 5;
  std::string only;
};

struct Samples {
  std::vector<double> seconds, of_read, of_peak, of_limit;

  void Add(double duration, double bytes, double flops, Probes* probes) {
    const double read = probes->ReadBytesPerSecond();
    const double peak = probes->FlopsPerSecond();
    seconds.push_back(duration);
    of_read.push_back(bytes / duration / read);
    of_peak.push_back(flops / duration / peak);
    of_limit.push_back(std::max(bytes / read, flops / peak) / duration);
  }
};

void PrintHeader() {
  std::printf("%-40s %9s %8s %9s %8s %8s %9s\n", "op", "ms", "GB/s", "GFLOP/s", "of read",
              "of peak", "of limit");
}

void PrintLine(const std::string& name, const Samples& samples, double bytes, double flops) {
  const double seconds = Median(samples.seconds);
  std::printf("%-40s %9.3f %8.1f %9.1f %8.2f %8.2f %9.2f\n", name.c_str(), seconds * 1e3,
              bytes / seconds * 1e-9, flops / seconds * 1e-9, Median(samples.of_read),
              Median(samples.of_peak), Median(samples.of_limit));
  std::fflush(stdout);
}

void BenchLinear(Backend* backend, Probes* probes, const Options& options, DType dtype, int64_t n,
                 int64_t k) {
  const double bytes = static_cast<double>(n * RowBytes(dtype, k));
  std::vector<std::unique_ptr<Matrix>> weights;
  const int count = std::max(2, static_cast<int>(kSetBytes / bytes));
  for (int i = 0; i < count; ++i) weights.push_back(RandomMatrix(backend, dtype, n, k));
  const std::vector<int64_t> batches = {1, 4, 8, 16, 32, 256};
  const OwnedTensor x = RandomTensor(backend, batches.back(), k);
  const OwnedTensor y = RandomTensor(backend, batches.back(), n);
  std::vector<Samples> samples(batches.size());
  size_t next = 0;
  for (int repetition = 0; repetition <= options.repetitions; ++repetition) {
    for (size_t b = 0; b < batches.size(); ++b) {
      const int64_t m = batches[b];
      const double flops = 2.0 * static_cast<double>(m) * n * k;
      const int calls = std::clamp(static_cast<int>(4e9 / flops), 1, count);
      const double begin = NowSeconds();
      for (int i = 0; i < calls; ++i, ++next) {
        PREFIXD_CHECK(
            backend
                ->Linear(x.view.Rows(0, m), *weights[next % weights.size()], {}, y.view.Rows(0, m))
                .ok());
      }
      const double seconds = (NowSeconds() - begin) / calls;
      if (repetition > 0) samples[b].Add(seconds, bytes, flops, probes);  // The first warms up.
    }
  }
  for (size_t b = 0; b < batches.size(); ++b) {
    char name[64];
    std::snprintf(name, sizeof(name), "linear %.*s M=%d N=%d K=%d",
                  static_cast<int>(DTypeName(dtype).size()), DTypeName(dtype).data(),
                  static_cast<int>(batches[b]), static_cast<int>(n), static_cast<int>(k));
    PrintLine(name, samples[b], bytes, 2.0 * static_cast<double>(batches[b]) * n * k);
  }
}

struct AttentionShape {
  const char* name;
  DType dtype;
  int num_heads, num_kv_heads, head_dim;
  int num_sequences, context, num_rows;  // Each sequence's last num_rows rows attend.
  int visible_prefix = 0;
  bool alibi = false;
};

// A batch on pages of random K and V.
class PagedBatch {
 public:
  PagedBatch(Backend* backend, const AttentionShape& s) : backend_(backend), s_(s) {
    const int pages_each = (s.context + kPageSlots - 1) / kPageSlots;
    pool_ = backend
                ->CreateKvPool({.num_pages = s.num_sequences * pages_each,
                                .num_kv_heads = s.num_kv_heads,
                                .head_dim = s.head_dim,
                                .dtype = s.dtype,
                                .keeps_positions = s.alibi})
                .value();
    const int64_t cols = int64_t{s.num_heads + 2 * s.num_kv_heads} * s.head_dim;
    pages_.resize(pool_->shape().num_pages);
    std::iota(pages_.begin(), pages_.end(), 0);
    std::vector<int32_t> slots(s.context);
    std::iota(slots.begin(), slots.end(), 0);
    for (int i = 0; i < s.num_sequences; ++i) {
      const absl::Span<const int32_t> own(pages_.data() + i * pages_each, pages_each);
      const OwnedTensor all = RandomTensor(backend, s.context, cols);
      const KvSegment write = {
          .num_rows = s.context, .pages = own, .write_slots = slots, .first_visible = 1};
      PREFIXD_CHECK(backend
                        ->WriteKv(all.view, nullptr, s.num_heads,
                                  absl::Span<const KvSegment>(&write, 1), pool_.get())
                        .ok());
      segments_.push_back({.row_begin = i * s.num_rows,
                           .num_rows = s.num_rows,
                           .pages = own,
                           .first_visible = s.context - s.num_rows + 1,
                           .visible_prefix = s.visible_prefix,
                           .first_position = s.context - s.num_rows});
    }
    q_ = RandomTensor(backend, int64_t{s.num_sequences} * s.num_rows, cols);
    y_ = RandomTensor(backend, q_.view.rows, int64_t{s.num_heads} * s.head_dim);
    slopes_ = RandomTensor(backend, 1, s.num_heads);
  }

  double bytes() const {
    return 2.0 * s_.num_sequences * s_.context * s_.num_kv_heads * s_.head_dim *
           static_cast<double>(DTypeSize(s_.dtype));
  }
  double flops() const {
    double seen = 0;
    for (int i = 0; i < s_.num_rows; ++i) {
      seen += std::max(s_.context - s_.num_rows + 1 + i, s_.visible_prefix);
    }
    return 4.0 * s_.num_sequences * seen * s_.num_heads * s_.head_dim;
  }
  // Of one call.
  double Seconds(bool alibi) const {
    const int calls = std::clamp(static_cast<int>(1e9 / flops()), 1, 50);
    const double begin = NowSeconds();
    for (int i = 0; i < calls; ++i) {
      PREFIXD_CHECK(
          backend_
              ->PagedAttention(q_.view, *pool_, s_.num_heads,
                               {.scale = 0.125f, .alibi_slopes = alibi ? &slopes_.view : nullptr},
                               segments_, y_.view)
              .ok());
    }
    return (NowSeconds() - begin) / calls;
  }

 private:
  Backend* const backend_;
  const AttentionShape s_;
  std::unique_ptr<KvPool> pool_;
  std::vector<int32_t> pages_;
  std::vector<KvSegment> segments_;
  OwnedTensor q_, y_, slopes_;
};

void BenchPagedAttention(Backend* backend, Probes* probes, const Options& options,
                         const AttentionShape& s) {
  const PagedBatch batch(backend, s);
  Samples samples;
  std::vector<double> of_plain;
  for (int repetition = 0; repetition <= options.repetitions; ++repetition) {
    const double plain = s.alibi ? batch.Seconds(false) : 1;
    const double seconds = batch.Seconds(s.alibi);
    if (repetition == 0) continue;
    samples.Add(seconds, batch.bytes(), batch.flops(), probes);
    of_plain.push_back(seconds / plain);
  }
  PrintLine(s.name, samples, batch.bytes(), batch.flops());
  if (s.alibi) std::printf("%-40s %9.3f\n", "  of the same without a bias", Median(of_plain));
}

void BenchCrossAttention(Backend* backend, Probes* probes, const Options& options) {
  constexpr int kRows = 520, kHeads = 8, kHeadDim = 64, kKeys = 64;
  const OwnedTensor q = RandomTensor(backend, kRows, kHeads * kHeadDim);
  const OwnedTensor kv = RandomTensor(backend, kKeys, 2 * kHeads * kHeadDim);
  const OwnedTensor y = RandomTensor(backend, kRows, kHeads * kHeadDim);
  for (const int rows : {kRows, 1}) {
    const CrossSegment segment = {0, rows, kv.view};
    const double bytes = 2.0 * kKeys * kHeads * kHeadDim * 4;
    const double flops = 4.0 * rows * kKeys * kHeads * kHeadDim;
    Samples samples;
    for (int repetition = 0; repetition <= options.repetitions; ++repetition) {
      constexpr int kCalls = 20;
      const double begin = NowSeconds();
      for (int i = 0; i < kCalls; ++i) {
        PREFIXD_CHECK(backend
                          ->CrossAttention(q.view.Rows(0, rows), kHeads, 0.125f,
                                           absl::Span<const CrossSegment>(&segment, 1),
                                           y.view.Rows(0, rows))
                          .ok());
      }
      if (repetition > 0) samples.Add((NowSeconds() - begin) / kCalls, bytes, flops, probes);
    }
    char name[64];
    std::snprintf(name, sizeof(name), "cross attention %d x 8 x 64 over 64", rows);
    PrintLine(name, samples, bytes, flops);
  }
}

void BenchVisionAttention(Backend* backend, Probes* probes, const Options& options, int rows,
                          int num_heads, int head_dim) {
  const OwnedTensor qkv = RandomTensor(backend, rows, int64_t{3} * num_heads * head_dim);
  const OwnedTensor y = RandomTensor(backend, rows, int64_t{num_heads} * head_dim);
  const double bytes = 2.0 * rows * num_heads * head_dim * 4;
  const double flops = 4.0 * rows * rows * num_heads * head_dim;
  Samples samples;
  for (int repetition = 0; repetition <= options.repetitions; ++repetition) {
    const double begin = NowSeconds();
    PREFIXD_CHECK(backend->VisionAttention(qkv.view, num_heads, 0.125f, y.view).ok());
    if (repetition > 0) samples.Add(NowSeconds() - begin, bytes, flops, probes);
  }
  char name[64];
  std::snprintf(name, sizeof(name), "vision attention %d x %d x %d", rows, num_heads, head_dim);
  PrintLine(name, samples, bytes, flops);
}

void BenchAttention(Backend* backend, Probes* probes, const Options& options) {
  const AttentionShape shapes[] = {
      {"decode f32 1 x 1024, 9/3 x 64", DType::kF32, 9, 3, 64, 1, 1024, 1},
      {"decode f32 32 x 1024, 9/3 x 64", DType::kF32, 9, 3, 64, 32, 1024, 1},
      {"decode bf16 32 x 1024, 9/3 x 64", DType::kBF16, 9, 3, 64, 32, 1024, 1},
      {"decode f32 8 x 1024, 32/32 x 128", DType::kF32, 32, 32, 128, 8, 1024, 1},
      {"prefill f32 512 rows, 9/3 x 64", DType::kF32, 9, 3, 64, 1, 512, 512},
      {"prefill f32 250 of 1500 rows, 9/3 x 64", DType::kF32, 9, 3, 64, 1, 1500, 250},
      {"prefill bf16 250 of 1500 rows, 9/3 x 64", DType::kBF16, 9, 3, 64, 1, 1500, 250},
      {"prefill f32 250 of 1000 rows, 32/32 x 128", DType::kF32, 32, 32, 128, 1, 1000, 250},
      {"prefill f32 600 rows, 8/1 x 256", DType::kF32, 8, 1, 256, 1, 600, 600},
      {"prefix f32 600 rows, 8/1 x 256", DType::kF32, 8, 1, 256, 1, 600, 600, 600},
      {"decode f32 1 x 600, 8/1 x 256", DType::kF32, 8, 1, 256, 1, 600, 1},
      {"ALiBi decode f32 1 x 1024, 16/16 x 128", DType::kF32, 16, 16, 128, 1, 1024, 1, 0, true},
      {"ALiBi decode f32 8 x 1024, 16/16 x 128", DType::kF32, 16, 16, 128, 8, 1024, 1, 0, true},
      {"ALiBi prefill f32 512 rows, 16/16 x 128", DType::kF32, 16, 16, 128, 1, 512, 512, 0, true},
  };
  for (const AttentionShape& shape : shapes) BenchPagedAttention(backend, probes, options, shape);
  BenchVisionAttention(backend, probes, options, 577, 16, 64);
  BenchVisionAttention(backend, probes, options, 256, 16, 72);
  BenchCrossAttention(backend, probes, options);
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Times the CPU backend's ops beside the machine's limits");
  app.add_option("--level", options.level, "auto, portable, avx2, avx512 or avx512bf16");
  app.add_option("--threads", options.num_threads, "0: one per usable CPU")
      ->check(CLI::Range(0, 256));
  app.add_option("--repetitions", options.repetitions)->check(CLI::Range(1, 1000));
  app.add_option("--only", options.only)
      ->check(CLI::IsMember({"linear", "blocks", "attention", "tree"}));
  CLI11_PARSE(app, argc, argv);
  auto backend = CreateCpuBackend({.cpu_level = options.level, .num_threads = options.num_threads});
  if (!backend.ok()) {
    std::fprintf(stderr, "op_bench: %s\n", backend.status().ToString().c_str());
    return 1;
  }
  const BackendInfo& info = (*backend)->info();
  Probes probes(cpu::SelectLevel(info.level)->kernels, info.num_threads);
  std::vector<double> reads, peaks;
  for (int i = 0; i < options.repetitions; ++i) {
    reads.push_back(probes.ReadBytesPerSecond());
    peaks.push_back(probes.FlopsPerSecond());
  }
  std::printf("level %s, %d threads; memory read %.1f GB/s, f32 multiply-add peak %.1f GFLOP/s\n",
              info.level.c_str(), info.num_threads, Median(reads) * 1e-9, Median(peaks) * 1e-9);
  PrintHeader();
  if (options.only.empty() || options.only == "linear") {
    for (const DType dtype : {DType::kBF16, DType::kF32}) {
      for (const auto& [n, k] :
           {std::pair<int, int>{576, 576}, {1536, 576}, {4096, 4096}, {49152, 576}}) {
        BenchLinear(backend->get(), &probes, options, dtype, n, k);
      }
    }
  }
  if (options.only.empty() || options.only == "attention") {
    BenchAttention(backend->get(), &probes, options);
  }
  if (options.only.empty() || options.only == "blocks") {
    BenchBlockProducts(backend->get(), options.repetitions);
  }
  if (options.only.empty() || options.only == "tree") {
    BenchTreeOps(backend->get(), options.repetitions);
  }
  return 0;
}

}  // namespace
}  // namespace prefixd

int main(int argc, char** argv) { return prefixd::Main(argc, argv); }
