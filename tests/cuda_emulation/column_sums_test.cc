#include "engine/backend/cuda/kernels/column_sums.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/cuda_emulation/chunk_batch.h"
#include "tests/cuda_emulation/emulator/device_array.h"
#include "tests/cuda_emulation/emulator/testing.h"

namespace prefixd::cuda_test {
namespace {

using cuda::KernelBug;
using cuda::SummedRows;

constexpr double kMaxError = 1e-5;

// Of every chunk, the sums of its sequence's slots.
template <typename T>
using Sums = std::vector<std::vector<T>>;

// Some sums of rows before; not zero, or a kernel that overwrites would pass.
float Before(size_t chunk, int64_t slot) {
  return 0.25f * static_cast<float>(chunk) + 0.125f * static_cast<float>(slot % 5);
}

int64_t NumSlots(const Chunk& chunk) { return int64_t{chunk.cached} + chunk.length; }

Sums<double> Reference(const ChunkBatch& batch, const AttentionResult& attention) {
  const ChunkBatchOptions& options = batch.options();
  const int group = options.num_heads / options.num_kv_heads;
  Sums<double> sums;
  for (size_t c = 0; c < options.chunks.size(); ++c) {
    sums.emplace_back(NumSlots(options.chunks[c]));
    for (size_t s = 0; s < sums[c].size(); ++s) sums[c][s] = Before(c, s);
    for (int32_t i = 0; i < options.chunks[c].length; ++i) {
      const int64_t row = batch.first_row(static_cast<int>(c)) + i;
      for (int head = 0; head < options.num_heads; ++head) {
        std::vector<double> q(options.head_dim);
        for (int d = 0; d < options.head_dim; ++d) {
          q[d] = batch.q().at(row, int64_t{head} * options.head_dim + d);
        }
        const double lse = attention.lse[row * options.num_heads + head];
        for (int32_t s = 0; s < batch.visible()[row]; ++s) {
          const float* k = batch.cache().k(static_cast<int64_t>(c), s, head / group);
          double score = 0;
          for (int d = 0; d < options.head_dim; ++d) score += q[d] * k[d];
          score *= batch.scale();
          if (options.alibi) {
            score += double{batch.slopes()[head]} *
                     (PositionOf(s) - PositionOf(batch.visible()[row] - 1));
          }
          sums[c][s] += std::exp2(score / std::log(2.0) - lse) / options.num_heads;
        }
      }
    }
  }
  return sums;
}

// Adds rows [begin[c], end[c]) of every chunk c to `sums`. All of it by one launch.
cudaError_t AddRows(ChunkBatch* batch, const std::vector<float>& lse,
                    const std::vector<int32_t>& begin, const std::vector<int32_t>& end,
                    Sums<float>* sums) {
  std::vector<emu::DeviceArray<float>> device_sums;
  std::vector<SummedRows> segments;
  int64_t scratch = 0;
  for (size_t c = 0; c < sums->size(); ++c) {
    device_sums.emplace_back((*sums)[c]);
    SummedRows segment;
    segment.row_begin = batch->first_row(static_cast<int>(c)) + begin[c];
    segment.num_rows = end[c] - begin[c];
    for (int32_t i = 0; i < segment.num_rows; ++i) {
      segment.num_slots = std::max(segment.num_slots, batch->visible()[segment.row_begin + i]);
    }
    segment.scratch_offset = scratch;
    segment.sums = device_sums.back().data();
    scratch += int64_t{segment.num_rows} * segment.num_slots;
    segments.push_back(segment);
  }
  // A row more than there is, NaN.
  emu::DeviceArray<float> device_scratch(scratch + segments.back().num_slots), device_lse(lse);
  emu::DeviceArray<SummedRows> device_segments(segments);
  cuda::ColumnSums call;
  call.q = &batch->device_q();
  call.pages = batch->device_pages();
  call.num_heads = batch->options().num_heads;
  call.scale = batch->scale();
  call.slopes = batch->device_slopes();
  call.rows = batch->device_rows();
  call.lse = device_lse.data();
  call.segments = device_segments.data();
  call.host_segments = segments.data();
  call.num_segments = static_cast<int32_t>(segments.size());
  call.scratch = device_scratch.data();
  const cudaError_t error = cuda::LaunchColumnSums(call, nullptr);
  for (size_t c = 0; c < sums->size(); ++c) (*sums)[c] = device_sums[c].Download();
  return error;
}

Sums<float> StartingSums(const ChunkBatch& batch) {
  Sums<float> sums;
  for (size_t c = 0; c < batch.options().chunks.size(); ++c) {
    sums.emplace_back(NumSlots(batch.options().chunks[c]));
    for (size_t s = 0; s < sums[c].size(); ++s) sums[c][s] = Before(c, s);
  }
  return sums;
}

// All rows, `step` rows of every chunk a launch.
cudaError_t AddAllRows(ChunkBatch* batch, const std::vector<float>& lse, int32_t step,
                       Sums<float>* sums) {
  *sums = StartingSums(*batch);
  int32_t longest = 0;
  for (const Chunk& chunk : batch->options().chunks) longest = std::max(longest, chunk.length);
  for (int32_t first = 0; first < longest; first += step) {
    std::vector<int32_t> begin, end;
    for (const Chunk& chunk : batch->options().chunks) {
      begin.push_back(std::min(first, chunk.length));
      end.push_back(std::min(first + step, chunk.length));
    }
    const cudaError_t error = AddRows(batch, lse, begin, end, sums);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

constexpr int32_t kAllRows = 1 << 20;

// The largest relative error of a sum; NaN if one is NaN.
double LargestRelativeError(const Sums<double>& want, const Sums<float>& got) {
  double largest = 0;
  for (size_t c = 0; c < want.size(); ++c) {
    for (size_t s = 0; s < want[c].size(); ++s) {
      if (want[c][s] == 0 && got[c][s] == 0) continue;
      const double error = std::abs(got[c][s] - want[c][s]) / want[c][s];
      if (std::isnan(error)) return error;
      largest = std::max(largest, error);
    }
  }
  return largest;
}

std::vector<float> Rounded(const std::vector<double>& values) {
  return std::vector<float>(values.begin(), values.end());
}

struct Case {
  Element type = Element::kBF16;
  Element kv_type = Element::kBF16;
  int head_dim = 64;
  int num_heads = 1;
  int num_kv_heads = 1;
  std::vector<Chunk> chunks;
};

ChunkBatchOptions Options(const Case& test) {
  ChunkBatchOptions options;
  options.type = test.type;
  options.kv_type = test.kv_type;
  options.head_dim = test.head_dim;
  options.num_heads = test.num_heads;
  options.num_kv_heads = test.num_kv_heads;
  options.chunks = test.chunks;
  return options;
}

double ErrorOf(ChunkBatch* batch) {
  const AttentionResult attention = batch->Reference();
  Sums<float> got;
  if (AddAllRows(batch, Rounded(attention.lse), kAllRows, &got) != cudaSuccess) {
    return std::numeric_limits<double>::quiet_NaN();
  }
  return LargestRelativeError(Reference(*batch, attention), got);
}

void ExpectAgreement(const Case& test, int num_seeds) {
  SCOPED_TRACE(test.head_dim);
  ChunkBatch batch(Options(test));
  emu::ForAllOrders(num_seeds, [&] { EXPECT_LE(ErrorOf(&batch), kMaxError); });
}

constexpr Element kF32 = Element::kF32, kF16 = Element::kF16, kBF16 = Element::kBF16;

TEST(ColumnSums, AgreesAtAllLengthsAroundATile) {
  ExpectAgreement(
      {kBF16, kBF16, 64, 1, 1, {{0, 1}, {130, 15}, {7, 16}, {33, 17}, {0, 63}, {64, 64}, {60, 65}}},
      1);
}

TEST(ColumnSums, AgreesInTwentyRandomOrders) {
  ExpectAgreement({kBF16, kBF16, 64, 4, 2, {{30, 66}, {0, 20}}}, 20);
  ExpectAgreement({kF32, kF32, 24, 2, 2, {{30, 20}}}, 20);
}

TEST(ColumnSums, AgreesOnLongChunks) {
  ExpectAgreement({kF16, kF16, 64, 1, 1, {{0, 257}, {300, 40}}}, 0);
}

TEST(ColumnSums, AgreesForAllGroupsOfHeads) {
  ExpectAgreement({kBF16, kBF16, 64, 6, 2, {{50, 65}}}, 1);
  ExpectAgreement({kF16, kF16, 128, 4, 2, {{5, 65}, {0, 3}}}, 0);
  ExpectAgreement({kF16, kF16, 64, 4, 1, {{40, 20}}}, 0);
  ExpectAgreement({kBF16, kBF16, 128, 8, 1, {{20, 17}, {0, 16}}}, 0);
  ExpectAgreement({kBF16, kBF16, 128, 3, 3, {{63, 66}}}, 1);
}

TEST(ColumnSums, AgreesWithBidirectionalPrefixes) {
  ExpectAgreement({kBF16, kBF16, 64, 2, 1, {{0, 130, 100}, {0, 65, 65}, {16, 40, 30}}}, 0);
}

TEST(ColumnSums, AgreesForHeadsNarrowerThanTheirTiles) {
  ExpectAgreement({kBF16, kBF16, 80, 2, 1, {{20, 70, 50}}}, 0);
  ExpectAgreement({kF16, kF16, 72, 2, 2, {{0, 30}}}, 0);
}

TEST(ColumnSums, AgreesWithDistances) {
  for (const Case& test :
       {Case{kBF16, kBF16, 64, 3, 3, {{30, 70}, {0, 20}}},
        Case{kF16, kF16, 128, 2, 2, {{0, 66, 50}}}, Case{kBF16, kBF16, 80, 2, 1, {{5, 30}}},
        Case{kF32, kF32, 24, 2, 2, {{30, 20}}}}) {
    ChunkBatchOptions options = Options(test);
    options.alibi = true;
    ChunkBatch batch(options);
    EXPECT_LE(ErrorOf(&batch), kMaxError) << test.head_dim;
  }
}

// A log-sum-exp that is smaller than a score, as roundings of huge scores make it.
TEST(ColumnSums, CountNoProbabilityAboveOne) {
  for (const int head_dim : {64, 5}) {
    ChunkBatch batch(Options({kBF16, kBF16, head_dim, 2, 1, {{0, 3}}}));
    Sums<float> sums;
    ASSERT_EQ(AddAllRows(&batch, std::vector<float>(6, -100.0f), kAllRows, &sums), cudaSuccess);
    for (int64_t s = 0; s < 3; ++s) EXPECT_EQ(sums[0][s], Before(0, s) + static_cast<float>(3 - s));
  }
}

TEST(ColumnSums, AgreesForTypesAndHeadsWithoutTensorCores) {
  ExpectAgreement({kF32, kF32, 64, 2, 1, {{20, 40}, {0, 130}}}, 1);
  ExpectAgreement({kF32, kBF16, 64, 2, 2, {{20, 40}}}, 0);
  ExpectAgreement({kBF16, kBF16, 96, 2, 1, {{20, 40, 50}}}, 0);
  ExpectAgreement({kF16, kF16, 256, 2, 1, {{20, 4}}}, 0);
  ExpectAgreement({kBF16, kF16, 5, 4, 2, {{0, 7}}}, 0);
}

TEST(ColumnSums, AgreesWhereFewSlotsMatter) {
  ChunkBatchOptions options = Options({kBF16, kBF16, 64, 2, 1, {{40, 100}}});
  options.sharpness = 4;
  ChunkBatch batch(options);
  EXPECT_LE(ErrorOf(&batch), kMaxError);
}

TEST(ColumnSums, ReachesPagesBeyond32Bits) {
  for (const int head_dim : {64, 32}) {
    ChunkBatchOptions options = Options({kBF16, kBF16, head_dim, 2, 1, {{20, 20}}});
    options.first_page = (int64_t{1} << 33) / (2 * cuda::kSlots * head_dim);
    ChunkBatch batch(options);
    EXPECT_LE(ErrorOf(&batch), kMaxError);
  }
}

TEST(ColumnSums, AreTheSameBitsForEveryCutIntoCalls) {
  for (const Case& test : {Case{kBF16, kBF16, 64, 4, 2, {{30, 70}, {0, 100, 90}, {64, 1}}},
                           Case{kF32, kF32, 24, 4, 2, {{30, 70}, {0, 100, 90}, {64, 1}}}}) {
    ChunkBatch batch(Options(test));
    const std::vector<float> lse = Rounded(batch.Reference().lse);
    Sums<float> whole;
    ASSERT_EQ(AddAllRows(&batch, lse, kAllRows, &whole), cudaSuccess);
    for (const int32_t step : {16, 37, 64}) {
      Sums<float> cut;
      ASSERT_EQ(AddAllRows(&batch, lse, step, &cut), cudaSuccess);
      EXPECT_EQ(cut, whole) << "steps of " << step;
    }
  }
}

TEST(ColumnSums, AreTheSameBitsInEveryBatch) {
  const Case test{kBF16, kBF16, 64, 2, 1, {{30, 70}, {0, 100, 90}, {64, 1}}};
  ChunkBatch batch(Options(test));
  const std::vector<float> lse = Rounded(batch.Reference().lse);
  Sums<float> together;
  ASSERT_EQ(AddAllRows(&batch, lse, kAllRows, &together), cudaSuccess);
  Sums<float> alone = StartingSums(batch);
  for (size_t c = 0; c < test.chunks.size(); ++c) {
    std::vector<int32_t> begin(test.chunks.size(), 0), end(test.chunks.size(), 0);
    end[c] = test.chunks[c].length;
    ASSERT_EQ(AddRows(&batch, lse, begin, end, &alone), cudaSuccess);
  }
  EXPECT_EQ(alone, together);
}

TEST(ColumnSums, RejectsWrongShapes) {
  ChunkBatch batch(Options({kBF16, kBF16, 64, 2, 1, {{0, 4}}}));
  emu::DeviceArray<float> sums(4), scratch(16), lse(8);
  const SummedRows segment = {0, 4, 4, 0, 0, sums.data()};
  emu::DeviceArray<SummedRows> segments(std::vector<SummedRows>{segment});
  SummedRows host_segment = segment;
  cuda::ColumnSums good;
  good.q = &batch.device_q();
  good.pages = batch.device_pages();
  good.num_heads = 2;
  good.scale = 1;
  good.rows = batch.device_rows();
  good.lse = lse.data();
  good.segments = segments.data();
  good.host_segments = &host_segment;
  good.num_segments = 1;
  good.scratch = scratch.data();
  const auto error = [&](void (*change)(cuda::ColumnSums*)) {
    cuda::ColumnSums call = good;
    change(&call);
    return cuda::LaunchColumnSums(call, nullptr);
  };
  EXPECT_EQ(error([](auto*) {}), cudaSuccess);
  EXPECT_EQ(error([](auto* call) { call->num_segments = 0; }), cudaSuccess);
  EXPECT_EQ(error([](auto* call) { call->num_segments = 65536; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto* call) { call->q = nullptr; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto* call) { call->lse = nullptr; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto* call) { call->scratch = nullptr; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto* call) { call->segments = nullptr; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto* call) { call->num_heads = 3; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto* call) { call->pages.num_kv_heads = 0; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto* call) { call->pages.head_dim = 0; }), cudaErrorInvalidValue);
  host_segment.num_rows = 5;  // Rows that the call does not have.
  EXPECT_EQ(error([](auto*) {}), cudaErrorInvalidValue);
}

bool IsWrong() {
  ChunkBatch batch(Options({kBF16, kBF16, 64, 4, 2, {{30, 66}, {0, 20}}}));
  return !(ErrorOf(&batch) <= kMaxError);
}

TEST(ColumnSumsBugs, AFoldOfARowBeyondTheLastIsCaught) {
  EXPECT_TRUE(IsCaught(KernelBug::kFoldReadsTailRow, IsWrong));
}

TEST(ColumnSumsBugs, AFoldThatSkipsARowIsCaught) {
  EXPECT_TRUE(IsCaught(KernelBug::kFoldSkipsRow, IsWrong));
}

TEST(ColumnSumsBugs, AMissingBarrierIsCaught) {
  EXPECT_TRUE(IsCaught(KernelBug::kColumnSumsNoBarrier, IsWrong));
}

TEST(ColumnSumsBugs, NothingIsCaughtWithoutABug) {
  EXPECT_FALSE(IsCaught(KernelBug::kNone, IsWrong));
}

}  // namespace
}  // namespace prefixd::cuda_test
