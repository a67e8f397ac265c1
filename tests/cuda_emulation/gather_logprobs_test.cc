#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "engine/backend/cuda/kernels/draw_tokens.h"
#include "tests/cuda_emulation/draw_testing.h"
#include "tests/cuda_emulation/emulator/device_array.h"
#include "tests/cuda_emulation/emulator/testing.h"
#include "tests/cuda_emulation/host_floats.h"

namespace prefixd::cuda {
namespace {

struct Pairs {
  std::vector<int32_t> rows, columns;
};

// Runs of pairs of one row; a row may come again later.
Pairs RandomPairs(int32_t num_rows, int32_t vocabulary, int runs, int longest,
                  std::mt19937_64* random) {
  Pairs pairs;
  for (int run = 0; run < runs; ++run) {
    const int32_t row = static_cast<int32_t>((*random)() % num_rows);
    for (int left = 1 + static_cast<int>((*random)() % longest); left > 0; --left) {
      pairs.rows.push_back(row);
      pairs.columns.push_back(static_cast<int32_t>((*random)() % vocabulary));
    }
  }
  return pairs;
}

template <typename T>
void ExpectLogSoftmax(Element type, int32_t num_rows, int32_t vocabulary, int64_t padding,
                      const Pairs& pairs, std::mt19937_64* random) {
  const int64_t stride = vocabulary + padding;
  std::normal_distribution<float> normal(3, 5);
  std::vector<T> logits(1 + num_rows * stride, host::FromFloat<T>(6e4f));
  for (int64_t row = 0; row < num_rows; ++row) {
    for (int64_t id = 0; id < vocabulary; ++id) {
      logits[1 + row * stride + id] = host::FromFloat<T>(normal(*random));
    }
  }
  const size_t count = pairs.rows.size();
  emu::DeviceArray<T> device_logits(logits);
  emu::DeviceArray<int32_t> rows(pairs.rows), columns(pairs.columns);
  emu::DeviceArray<float> y(count);
  ASSERT_EQ(LaunchGatherLogprobs({device_logits.data() + 1, type, num_rows, vocabulary, stride},
                                 rows.data(), columns.data(), static_cast<int64_t>(count), y.data(),
                                 nullptr),
            cudaSuccess);
  const std::vector<float> gathered = y.Download();
  for (size_t i = 0; i < count; ++i) {
    const T* row = &logits[1 + pairs.rows[i] * stride];
    double sum = 0;
    for (int32_t id = 0; id < vocabulary; ++id) sum += std::exp(double{host::ToFloat(row[id])});
    const double expected = host::ToFloat(row[pairs.columns[i]]) - std::log(sum);
    ASSERT_NEAR(gathered[i], expected, 1e-5) << "pair " << i;
  }
}

TEST(GatherLogprobs, AreTheLogOfTheSoftmax) {
  std::mt19937_64 random(1);
  for (const int32_t vocabulary : {1, 2, 31, 100, 1000, 1029}) {
    const Pairs pairs = RandomPairs(5, vocabulary, 12, 90, &random);
    ExpectLogSoftmax<float>(Element::kF32, 5, vocabulary, 0, pairs, &random);
    ExpectLogSoftmax<host::f16>(Element::kF16, 5, vocabulary, 3, pairs, &random);
    ExpectLogSoftmax<host::bf16>(Element::kBF16, 5, vocabulary, 6, pairs, &random);
  }
}

TEST(GatherLogprobs, OfALargeVocabulary) {
  std::mt19937_64 random(2);
  const Pairs pairs = RandomPairs(2, 32064, 3, 2500, &random);
  ExpectLogSoftmax<host::bf16>(Element::kBF16, 2, 32064, 0, pairs, &random);
}

TEST(GatherLogprobs, AreTheSameInEveryOrderOfThreads) {
  std::mt19937_64 random(3);
  const Pairs pairs = RandomPairs(4, 300, 6, 200, &random);
  emu::ForAllOrders(20, [&] { ExpectLogSoftmax<float>(Element::kF32, 4, 300, 1, pairs, &random); });
}

TEST(GatherLogprobs, RefusesWhatItCannotDo) {
  DeviceMatrix logits{nullptr, Element::kF32, 1, 4, 3};
  EXPECT_EQ(LaunchGatherLogprobs(logits, nullptr, nullptr, 1, nullptr, nullptr),
            cudaErrorInvalidValue);
  logits.stride = 4;
  EXPECT_EQ(LaunchGatherLogprobs(logits, nullptr, nullptr, -1, nullptr, nullptr),
            cudaErrorInvalidValue);
  EXPECT_EQ(LaunchGatherLogprobs(logits, nullptr, nullptr, 0, nullptr, nullptr), cudaSuccess);
}

}  // namespace
}  // namespace prefixd::cuda
