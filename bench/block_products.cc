#include "bench/block_products.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <vector>

#include "base/check.h"
#include "bench/probes.h"
#include "bench/random_operands.h"

namespace prefixd {
namespace {

constexpr double kSetBytes = 100e6;  // Weights that one measurement walks through.

struct TypeUnderTest {
  DType dtype = DType::kF32;
  std::vector<std::unique_ptr<Matrix>> weights;
  size_t next = 0;
  std::vector<double> seconds;
};

constexpr DType kTypes[] = {DType::kF32,  DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1,
                            DType::kQ5_0, DType::kQ5_1, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

// Seconds of CPU time of a product, per thread: neighbours on the machine do not count.
double Time(Backend* backend, const Tensor& x, const Tensor& y, TypeUnderTest* type) {
  const double flops = 2.0 * static_cast<double>(x.rows) * x.cols * y.cols;
  const int calls = std::clamp(static_cast<int>(2e9 / flops), 1, 200);
  const double begin = CpuSeconds();
  for (int i = 0; i < calls; ++i) {
    const Matrix& weight = *type->weights[type->next++ % type->weights.size()];
    PREFIXD_CHECK(backend->Linear(x, weight, {}, y).ok());
  }
  return (CpuSeconds() - begin) / calls / backend->info().num_threads;
}

double MedianRatio(const TypeUnderTest& baseline, const TypeUnderTest& type) {
  std::vector<double> ratios;
  for (size_t i = 0; i < type.seconds.size(); ++i) {
    ratios.push_back(baseline.seconds[i] / type.seconds[i]);
  }
  return Median(ratios);
}

void BenchShape(Backend* backend, int repetitions, int64_t n, int64_t k) {
  std::vector<TypeUnderTest> types;
  for (const DType dtype : kTypes) {
    if (k % BlockOf(dtype).elements != 0) continue;
    TypeUnderTest type = {.dtype = dtype};
    const double bytes = static_cast<double>(n * RowBytes(dtype, k));
    for (double size = 0; size < kSetBytes; size += bytes) {
      type.weights.push_back(RandomMatrix(backend, dtype, n, k));
    }
    types.push_back(std::move(type));
  }
  for (const int64_t m : {1, 4, 8, 256}) {
    const OwnedTensor x = RandomTensor(backend, m, k), y = RandomTensor(backend, m, n);
    for (TypeUnderTest& type : types) type.seconds.clear();
    for (int repetition = 0; repetition <= repetitions; ++repetition) {
      for (TypeUnderTest& type : types) {
        const double seconds = Time(backend, x.view, y.view, &type);
        if (repetition > 0) type.seconds.push_back(seconds);  // The first warms up.
      }
    }
    for (const TypeUnderTest& type : types) {
      const double seconds = Median(type.seconds);
      const absl::string_view name = DTypeName(type.dtype);
      std::printf(
          "blocks %-5.*s M=%-3d N=%-5d K=%-5d %9.4f ms %7.1f GB/s %6.2f of f32 %6.2f of "
          "bf16\n",
          static_cast<int>(name.size()), name.data(), static_cast<int>(m), static_cast<int>(n),
          static_cast<int>(k), seconds * 1e3,
          static_cast<double>(n * RowBytes(type.dtype, k)) / seconds * 1e-9,
          MedianRatio(types[0], type), MedianRatio(types[1], type));
    }
    std::fflush(stdout);
  }
}

}  // namespace

void BenchBlockProducts(Backend* backend, int repetitions) {
  BenchShape(backend, repetitions, 1536, 576);
  BenchShape(backend, repetitions, 2048, 8192);
}

}  // namespace prefixd
