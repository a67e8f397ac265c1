// Times the CPU backend's products and attention beside what the machine can do in the same run.
// Plain text; the numbers are medians of alternating repetitions, each compared with the probe of
// its own repetition. Weights are streamed from a set larger than the caches.
//
//   op_bench [--level avx512] [--threads 2] [--repetitions 5] [--only linear|attention]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/check.h"
#include "bench/probes.h"
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

OwnedTensor RandomTensor(Backend* backend, int64_t rows, int64_t cols) {
  OwnedTensor tensor;
  tensor.buffer = backend->Allocate(rows * cols * sizeof(float)).value();
  tensor.view = {tensor.buffer.data(), DType::kF32, rows, cols, cols};
  std::mt19937 random(7);
  std::vector<float> values(rows * cols);
  for (float& v : values) v = static_cast<float>(random() % 2001) * 1e-3f - 1.0f;
  PREFIXD_CHECK(backend->Upload(values, tensor.view).ok());
  return tensor;
}

std::unique_ptr<Matrix> RandomMatrix(Backend* backend, DType dtype, int64_t rows, int64_t cols) {
  std::mt19937 random(9);
  std::vector<uint8_t> bytes(rows * RowBytes(dtype, cols));
  if (IsQuantized(dtype)) {
    // Random codes; every byte below 48, so that the f16 numbers among them are small.
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random() % 48);
    auto matrix = backend->CreateMatrix(dtype, rows, cols).value();
    PREFIXD_CHECK(backend->WriteMatrixRows(0, bytes, matrix.get()).ok());
    return matrix;
  }
  // Random mantissas under the exponents of numbers between 1/4 and 1/2.
  for (size_t i = 0; i < bytes.size(); i += DTypeSize(dtype)) {
    const uint32_t bits = 0x3E800000 | (random() & 0x807FFFFF);
    const uint64_t stored = dtype == DType::kF32 ? bits : bits >> 16;
    std::memcpy(&bytes[i], &stored, DTypeSize(dtype));
  }
  auto matrix = backend->CreateMatrix(dtype, rows, cols).value();
  PREFIXD_CHECK(backend->WriteMatrixRows(0, bytes, matrix.get()).ok());
  return matrix;
}

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
};

void BenchPagedAttention(Backend* backend, Probes* probes, const Options& options,
                         const AttentionShape& s) {
  const int pages_each = (s.context + kPageSlots - 1) / kPageSlots;
  KvPoolShape shape = {s.num_sequences * pages_each, s.num_kv_heads, s.head_dim, s.dtype};
  const auto pool = backend->CreateKvPool(shape).value();
  const int64_t cols = int64_t{s.num_heads + 2 * s.num_kv_heads} * s.head_dim;
  std::vector<int32_t> pages(shape.num_pages), slots(s.context);
  for (int i = 0; i < shape.num_pages; ++i) pages[i] = i;
  for (int i = 0; i < s.context; ++i) slots[i] = i;
  std::vector<KvSegment> segments;
  for (int i = 0; i < s.num_sequences; ++i) {
    const absl::Span<const int32_t> own(pages.data() + i * pages_each, pages_each);
    const OwnedTensor all = RandomTensor(backend, s.context, cols);
    const KvSegment write = {0, s.context, own, slots, 1};
    PREFIXD_CHECK(backend
                      ->WriteKv(all.view, nullptr, s.num_heads,
                                absl::Span<const KvSegment>(&write, 1), pool.get())
                      .ok());
    segments.push_back({i * s.num_rows, s.num_rows, own, {}, s.context - s.num_rows + 1});
  }
  const OwnedTensor q = RandomTensor(backend, int64_t{s.num_sequences} * s.num_rows, cols);
  const OwnedTensor y = RandomTensor(backend, q.view.rows, int64_t{s.num_heads} * s.head_dim);
  const double bytes = 2.0 * s.num_sequences * s.context * s.num_kv_heads * s.head_dim *
                       static_cast<double>(DTypeSize(s.dtype));
  const double seen = s.num_rows * (s.context - 0.5 * (s.num_rows - 1));
  const double flops = 4.0 * s.num_sequences * seen * s.num_heads * s.head_dim;
  Samples samples;
  for (int repetition = 0; repetition <= options.repetitions; ++repetition) {
    const int calls = std::clamp(static_cast<int>(1e9 / flops), 1, 50);
    const double begin = NowSeconds();
    for (int i = 0; i < calls; ++i) {
      PREFIXD_CHECK(
          backend->PagedAttention(q.view, *pool, s.num_heads, {.scale = 0.125f}, segments, y.view)
              .ok());
    }
    if (repetition > 0) samples.Add((NowSeconds() - begin) / calls, bytes, flops, probes);
  }
  PrintLine(s.name, samples, bytes, flops);
}

void BenchVisionAttention(Backend* backend, Probes* probes, const Options& options) {
  constexpr int kRows = 577, kHeads = 16, kHeadDim = 64;
  const OwnedTensor qkv = RandomTensor(backend, kRows, 3 * kHeads * kHeadDim);
  const OwnedTensor y = RandomTensor(backend, kRows, kHeads * kHeadDim);
  const double bytes = 2.0 * kRows * kHeads * kHeadDim * 4;
  const double flops = 4.0 * kRows * kRows * kHeads * kHeadDim;
  Samples samples;
  for (int repetition = 0; repetition <= options.repetitions; ++repetition) {
    const double begin = NowSeconds();
    PREFIXD_CHECK(backend->VisionAttention(qkv.view, kHeads, 0.125f, y.view).ok());
    if (repetition > 0) samples.Add(NowSeconds() - begin, bytes, flops, probes);
  }
  PrintLine("vision attention 577 x 16 x 64", samples, bytes, flops);
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
  };
  for (const AttentionShape& shape : shapes) BenchPagedAttention(backend, probes, options, shape);
  BenchVisionAttention(backend, probes, options);
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app("Times the CPU backend's ops beside the machine's limits");
  app.add_option("--level", options.level, "auto, portable, avx2, avx512 or avx512bf16");
  app.add_option("--threads", options.num_threads, "0: one per usable CPU")
      ->check(CLI::Range(0, 256));
  app.add_option("--repetitions", options.repetitions)->check(CLI::Range(1, 1000));
  app.add_option("--only", options.only)->check(CLI::IsMember({"linear", "attention"}));
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
  if (options.only != "attention") {
    for (const DType dtype : {DType::kBF16, DType::kF32}) {
      for (const auto& [n, k] :
           {std::pair<int, int>{576, 576}, {1536, 576}, {4096, 4096}, {49152, 576}}) {
        BenchLinear(backend->get(), &probes, options, dtype, n, k);
      }
    }
  }
  if (options.only != "linear") BenchAttention(backend->get(), &probes, options);
  return 0;
}

}  // namespace
}  // namespace prefixd

int main(int argc, char** argv) { return prefixd::Main(argc, argv); }
