// Backend::HeadLogprobs against loops in double and against Linear, and its rows against
// themselves.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>

#include "tests/backend/block_weights.h"
#include "tests/backend/op_harness.h"

namespace prefixd {
namespace {

using HeadLogprobsTest = OpTest;
PREFIXD_INSTANTIATE_FOR_ALL_BACKENDS(HeadLogprobsTest);

constexpr int32_t kTile = static_cast<int32_t>(Backend::kHeadTile);

// What is asked for: a column of a row each.
struct Wanted {
  std::vector<int32_t> rows, columns;

  void Add(int32_t row, int32_t column) {
    rows.push_back(row);
    columns.push_back(column);
  }
};

HostMatrix HeadLogprobsOf(Backend* backend, const HostMatrix& x, const Matrix& weight,
                          const Wanted& wanted) {
  const GuardedTensor rows = GuardedTensor::Input(backend, x);
  // Something behind the end that must stay.
  std::vector<float> y(wanted.rows.size() + 1, std::numeric_limits<float>::quiet_NaN());
  y.back() = 42.0f;
  const absl::Status status =
      backend->HeadLogprobs(rows.view(), weight, wanted.rows, wanted.columns,
                            absl::MakeSpan(y).first(wanted.rows.size()));
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(y.back(), 42.0f);
  y.pop_back();
  return RowVector(std::move(y));
}

HostMatrix InDouble(const HostMatrix& x, const HostMatrix& weight, const Wanted& wanted) {
  HostMatrix y(1, static_cast<int64_t>(wanted.rows.size()));
  std::vector<double> logits(weight.rows);
  double log_sum = 0;
  for (size_t i = 0; i < wanted.rows.size(); ++i) {
    if (i == 0 || wanted.rows[i] != wanted.rows[i - 1]) {
      for (int64_t n = 0; n < weight.rows; ++n) {
        logits[n] = 0;
        for (int64_t k = 0; k < x.cols; ++k) {
          logits[n] += double{x.row(wanted.rows[i])[k]} * weight.row(n)[k];
        }
      }
      const double largest = *std::max_element(logits.begin(), logits.end());
      double sum = 0;
      for (const double logit : logits) sum += std::exp(logit - largest);
      log_sum = largest + std::log(sum);
    }
    y.values[i] = static_cast<float>(std::min(0.0, logits[wanted.columns[i]] - log_sum));
  }
  return y;
}

// Columns at the borders of panels and tiles, some twice and not in order, of rows with gaps.
Wanted SomeOf(int32_t rows, int32_t vocab) {
  Wanted wanted;
  for (int32_t row = 0; row < rows; row += 1 + row % 3) {
    for (const int32_t column :
         {vocab - 1, 0, 1, 63, 64, kTile - 1, kTile, kTile + 1, 2 * kTile, vocab / 2, 0}) {
      if (column < vocab) wanted.Add(row, column);
    }
  }
  return wanted;
}

// What the op computes from.
HostMatrix Input(const BackendUnderTest& tested, HostMatrix x) {
  x = RoundedTo(tested.tensor_dtype, std::move(x));
  return tested.rounds_activations() ? RoundedTo(DType::kBF16, std::move(x)) : x;
}

HostMatrix WeightsOf(const BackendUnderTest& tested, DType dtype, HostMatrix weight) {
  return RoundedTo(tested.tensor_dtype, RoundedTo(dtype, std::move(weight)));
}

TEST_P(HeadLogprobsTest, AgreesWithDoubles) {
  RandomValues random(300);
  const std::vector<int32_t> vocabs =
      GetParam().slow
          ? std::vector<int32_t>{1, 65, kTile + 1}
          : std::vector<int32_t>{1,         7,     63,        64,        100,
                                 kTile - 1, kTile, kTile + 1, 2 * kTile, 3 * kTile + 77};
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const int32_t vocab : vocabs) {
      for (const auto& [rows, depth] :
           GetParam().Cases(std::vector<std::pair<int32_t, int32_t>>{{1, 33}, {10, 20}, {7, 1}})) {
        SCOPED_TRACE(::testing::Message() << DTypeName(dtype) << " [" << rows << ", " << depth
                                          << "] x [" << depth << ", " << vocab << "]");
        HostMatrix x = random.Matrix(rows, depth);
        for (float& value : x.values) value *= 4;
        x = Input(GetParam(), x);
        const HostMatrix weight = WeightsOf(GetParam(), dtype, random.Matrix(vocab, depth));
        const auto matrix = MakeWeight(backend_.get(), dtype, weight);
        const Wanted wanted = SomeOf(rows, vocab);
        ExpectNear(HeadLogprobsOf(backend_.get(), x, *matrix, wanted), InDouble(x, weight, wanted),
                   2e-5);
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(HeadLogprobsTest, OfALargeVocabulary) {
  if (GetParam().slow) GTEST_SKIP() << "an emulated card takes minutes for 150,000 columns";
  constexpr int32_t kVocab = 150'000, kDepth = 3, kRows = 5;
  RandomValues random(301);
  const HostMatrix x = Input(GetParam(), random.Matrix(kRows, kDepth));
  const HostMatrix weight = WeightsOf(GetParam(), DType::kBF16, random.Matrix(kVocab, kDepth));
  const auto matrix = MakeWeight(backend_.get(), DType::kBF16, weight);
  Wanted wanted = SomeOf(kRows, kVocab);
  for (int32_t column = 0; column < kVocab; column += kTile - 1) wanted.Add(kRows - 1, column);
  ExpectNear(HeadLogprobsOf(backend_.get(), x, *matrix, wanted), InDouble(x, weight, wanted), 5e-6);
}

TEST_P(HeadLogprobsTest, ARowsProbabilitiesSumToOne) {
  constexpr int32_t kVocab = kTile + 301;
  RandomValues random(302);
  const HostMatrix x = random.Matrix(2, 12);
  const auto matrix = MakeWeight(backend_.get(), DType::kF32, random.Matrix(kVocab, 12));
  Wanted wanted;
  for (int32_t row = 0; row < 2; ++row) {
    for (int32_t column = 0; column < kVocab; ++column) wanted.Add(row, column);
  }
  const HostMatrix y = HeadLogprobsOf(backend_.get(), x, *matrix, wanted);
  for (int32_t row = 0; row < 2; ++row) {
    double sum = 0;
    for (int32_t column = 0; column < kVocab; ++column) {
      sum += std::exp(double{y.values[row * kVocab + column]});
    }
    ExpectNearValue(sum, 1, 1e-6);
  }
}

TEST_P(HeadLogprobsTest, IsNeverAboveZero) {
  // One token has all there is, up to the last digit.
  RandomValues random(303);
  for (const int32_t vocab : {1, 2, 70}) {
    HostMatrix x(6, 5, 4.0f), weight = random.Matrix(vocab, 5);
    for (int32_t row = 0; row < 6; ++row) x.row(row)[0] = 1.0f + 0.125f * static_cast<float>(row);
    std::fill_n(weight.row(vocab - 1), 5, 7.0f);
    const auto matrix = MakeWeight(backend_.get(), DType::kF32, weight);
    Wanted wanted;
    for (int32_t row = 0; row < 6; ++row) wanted.Add(row, vocab - 1);
    for (const float value : HeadLogprobsOf(backend_.get(), x, *matrix, wanted).values) {
      EXPECT_LE(value, 0.0f);
      EXPECT_GE(value, -1e-6f);
    }
  }
}

// Where one token has all there is, a log-probability is the difference of two logits.
void ExpectLogitsOfLinear(Backend* backend, const HostMatrix& x, const Matrix& weight) {
  const int32_t vocab = static_cast<int32_t>(weight.rows());
  const GuardedTensor rows = GuardedTensor::Input(backend, x);
  const HostMatrix logits = RunOp(backend, x.rows, vocab, [&](const Tensor& y) {
    return backend->Linear(rows.view(), weight, {}, y);
  });
  Wanted wanted;
  std::vector<float> expected;
  int32_t decided = 0;
  for (int32_t row = 0; row < x.rows; ++row) {
    std::vector<float> sorted(logits.row(row), logits.row(row) + vocab);
    std::sort(sorted.begin(), sorted.end());
    if (sorted[vocab - 1] - sorted[vocab - 2] < 45) continue;
    ++decided;
    for (int32_t column = 0; column < vocab; column += 7) {
      wanted.Add(row, column);
      expected.push_back(
          static_cast<float>(double{logits.row(row)[column]} - double{sorted.back()}));
    }
  }
  ASSERT_GE(decided, x.rows / 4);
  ExpectSameBits(HeadLogprobsOf(backend, x, weight, wanted), RowVector(expected));
}

TEST_P(HeadLogprobsTest, LogitsAreThoseOfLinear) {
  // On a device the logits of 16-bit tensors keep their 32 bits here.
  if (!GetParam().exact || backend_->info().name == "ref" ||
      GetParam().tensor_dtype != DType::kF32) {
    GTEST_SKIP() << "Linear rounds its logits here, HeadLogprobs does not";
  }
  RandomValues random(304);
  HostMatrix x = random.Matrix(14, 512);
  for (float& value : x.values) value *= 300;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    SCOPED_TRACE(DTypeName(dtype));
    const auto matrix = MakeWeight(backend_.get(), dtype, random.Matrix(kTile + 130, 512));
    ExpectLogitsOfLinear(backend_.get(), x, *matrix);
  }
  for (const DType dtype : kBlockTypes) {
    SCOPED_TRACE(DTypeName(dtype));
    const auto matrix = MakeBlockWeight(backend_.get(), RandomBlocks(305, dtype, kTile + 130, 512));
    ExpectLogitsOfLinear(backend_.get(), x, *matrix);
  }
}

TEST_P(HeadLogprobsTest, TakesWeightsInBlocks) {
  RandomValues random(306);
  const HostMatrix x = Input(GetParam(), random.Matrix(3, 256));
  for (const DType dtype :
       GetParam().Cases(std::vector<DType>(std::begin(kBlockTypes), std::end(kBlockTypes)))) {
    SCOPED_TRACE(DTypeName(dtype));
    const BlockWeights weights = RandomBlocks(307, dtype, 100, 256);
    const auto matrix = MakeBlockWeight(backend_.get(), weights);
    const Wanted wanted = SomeOf(3, 100);
    ExpectNear(HeadLogprobsOf(backend_.get(), x, *matrix, wanted),
               InDouble(x, RoundedTo(GetParam().tensor_dtype, weights.values), wanted), 1e-4);
  }
}

TEST_P(HeadLogprobsTest, NeitherCutsNorThreadsNorOtherRowsShow) {
  PREFIXD_NEEDS_EXACT_ROWS();
  const int32_t rows = backend_->info().name == "ref" ? 40 : GetParam().Many(600, 20);
  constexpr int32_t kVocab = kTile + 200;
  RandomValues random(308);
  const HostMatrix x = random.Matrix(rows, 18);
  const HostMatrix weight = random.Matrix(kVocab, 18);
  Wanted all;
  for (int32_t row = 0; row < rows; ++row) {
    for (const int32_t column : {row, kVocab - 1 - row, kTile}) all.Add(row, column);
  }
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    HostMatrix expected;
    for (const int threads : GetParam().Threads({1, 2, 3})) {
      const auto backend = GetParam().Create(threads);
      const auto matrix = MakeWeight(backend.get(), dtype, weight);
      const HostMatrix y = HeadLogprobsOf(backend.get(), x, *matrix, all);
      if (expected.rows == 0) expected = y;
      ExpectSameBits(y, expected);
      // Every step-th row, alone or with the others of its kind; first as rows of a larger matrix,
      // then cut out of it.
      for (const int32_t step : {1, 2, 37, 150}) {
        Wanted some;
        HostMatrix of_some(1, 0);
        for (int32_t row = step - 1; row < rows; row += step) {
          for (int32_t i = 0; i < 3; ++i) {
            some.Add(row, all.columns[3 * row + i]);
            of_some.values.push_back(expected.values[3 * row + i]);
          }
          if (step < 37) continue;
          Wanted one;
          one.Add(0, all.columns[3 * row + 1]);
          EXPECT_EQ(std::bit_cast<uint32_t>(
                        HeadLogprobsOf(backend.get(), x.Rows(row, 1), *matrix, one).values[0]),
                    std::bit_cast<uint32_t>(expected.values[3 * row + 1]));
        }
        of_some.cols = static_cast<int64_t>(of_some.values.size());
        ExpectSameBits(HeadLogprobsOf(backend.get(), x, *matrix, some), of_some);
        if (HasFailure()) FAIL() << threads << " threads, every " << step << "th row";
      }
    }
  }
}

TEST_P(HeadLogprobsTest, IsNotFiniteWhereALogitIsNot) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  RandomValues random(309);
  const int32_t vocab = kTile + 70;
  const HostMatrix weight = Absolute(random.Matrix(vocab, 6));
  const HostMatrix x = Absolute(random.Matrix(5, 6));
  Wanted wanted;
  for (int32_t row = 0; row < 5; ++row) {
    for (const int32_t column : {0, 5, kTile + 3}) wanted.Add(row, column);
  }
  const auto clean = MakeWeight(backend_.get(), DType::kF32, weight);
  const HostMatrix expected = HeadLogprobsOf(backend_.get(), x, *clean, wanted);
  for (const float value : expected.values) EXPECT_TRUE(std::isfinite(value));
  for (const float bad : {kNan, kInfinity}) {
    HostMatrix with_bad = x;
    with_bad.row(2)[3] = bad;
    const HostMatrix y = HeadLogprobsOf(backend_.get(), with_bad, *clean, wanted);
    for (int32_t i = 0; i < 15; ++i) {
      if (i / 3 == 2) {
        EXPECT_FALSE(std::isfinite(y.values[i]));
      } else {
        EXPECT_EQ(y.values[i], expected.values[i]);  // The neighbours'.
      }
    }
    // One logit of all of them, anywhere.
    for (const int32_t column : {0, 17, 4090, kTile + 1, vocab - 1}) {
      HostMatrix bad_weight = weight;
      bad_weight.row(column)[1] = bad;
      const auto matrix = MakeWeight(backend_.get(), DType::kF32, bad_weight);
      for (const float value : HeadLogprobsOf(backend_.get(), x, *matrix, wanted).values) {
        EXPECT_FALSE(std::isfinite(value)) << bad << " in column " << column;
      }
    }
  }
}

// Peak resident bytes since the last reset; 0 where the system does not tell.
int64_t PeakBytes() {
  std::FILE* const file = std::fopen("/proc/self/status", "r");
  long long kilobytes = 0;
  char line[256];
  while (file != nullptr && std::fgets(line, sizeof(line), file) != nullptr) {
    if (std::sscanf(line, "VmHWM: %lld", &kilobytes) == 1) break;
  }
  if (file != nullptr) std::fclose(file);
  return kilobytes * 1024;
}

bool ResetPeak() {
  std::FILE* const file = std::fopen("/proc/self/clear_refs", "w");
  if (file == nullptr) return false;
  const bool written = std::fputs("5", file) >= 0;
  return std::fclose(file) == 0 && written;
}

TEST_P(HeadLogprobsTest, LogitsAreNeverThereTogether) {
  if (GetParam().slow) GTEST_SKIP() << "an emulated card takes minutes for 150,000 columns";
  constexpr int32_t kVocab = 150'000, kRows = 200;
  if (!ResetPeak() || PeakBytes() == 0) GTEST_SKIP() << "/proc gives no peak of memory here";
  RandomValues random(310);
  const HostMatrix x = random.Matrix(kRows, 2);
  const auto matrix = MakeWeight(backend_.get(), DType::kF32, random.Matrix(kVocab, 2));
  Wanted wanted;
  for (int32_t row = 0; row < kRows; ++row) wanted.Add(row, kVocab - 1 - row);
  ASSERT_TRUE(ResetPeak());
  const int64_t before = PeakBytes();
  const HostMatrix y = HeadLogprobsOf(backend_.get(), x, *matrix, wanted);
  EXPECT_EQ(y.cols, kRows);
  // All logits would take 120 MB, a tile of them takes 3.3 MB.
  EXPECT_LT(PeakBytes() - before, 30'000'000);
}

TEST_P(HeadLogprobsTest, OfNothingDoesNothing) {
  RandomValues random(311);
  const auto matrix = MakeWeight(backend_.get(), DType::kF32, random.Matrix(9, 4));
  EXPECT_EQ(HeadLogprobsOf(backend_.get(), random.Matrix(3, 4), *matrix, {}).cols, 0);
  EXPECT_EQ(HeadLogprobsOf(backend_.get(), HostMatrix(0, 4), *matrix, {}).cols, 0);
}

TEST_P(HeadLogprobsTest, ChecksItsIndices) {
  RandomValues random(312);
  const HostMatrix x = random.Matrix(3, 4);
  const auto matrix = MakeWeight(backend_.get(), DType::kF32, random.Matrix(9, 4));
  EXPECT_DEATH((void)HeadLogprobsOf(backend_.get(), x, *matrix, {{0}, {9}}), "");
  EXPECT_DEATH((void)HeadLogprobsOf(backend_.get(), x, *matrix, {{0}, {-1}}), "");
  EXPECT_DEATH((void)HeadLogprobsOf(backend_.get(), x, *matrix, {{3}, {0}}), "");
  EXPECT_DEATH((void)HeadLogprobsOf(backend_.get(), x, *matrix, {{1, 0}, {0, 0}}), "");
}

}  // namespace
}  // namespace prefixd
