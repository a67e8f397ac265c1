// GPT-2, MPT and GPT-NeoX: a row's logits depend on its own sequence alone, bit for bit. (Their
// values are held to transformers by tiny_golden_test.)
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/models/model_testing.h"
#include "tools/random_model.h"

namespace prefixd::testing {
namespace {

constexpr int kVocab = 61;

std::vector<int32_t> Ids(int count, int seed) {
  std::vector<int32_t> ids;
  for (int i = 0; i < count; ++i) ids.push_back((i * 37 + seed * 101 + i * i * 7) % kVocab);
  return ids;
}

std::vector<float> Rows(const std::vector<float>& logits, int begin, int count) {
  return {logits.begin() + begin * kVocab, logits.begin() + (begin + count) * kVocab};
}

class PlainText : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  std::string directory() const {
    return absl::StrCat(GoldenDirectory(), "/", std::get<0>(GetParam()));
  }
  std::string backend() const { return std::get<1>(GetParam()); }

  // The logits of all rows of `ids`, alone, in one step, by one thread.
  std::vector<float> Lonely(const std::vector<int32_t>& ids) {
    LoadedModel loaded(directory(), backend(), 1);
    TestSequence sequence = loaded.NewSequence(ids);
    return loaded.Run(&sequence);
  }
};

TEST_P(PlainText, BitsStayWhenThePrefillIsCut) {
  const std::vector<int32_t> ids = Ids(45, 1);
  const std::vector<float> whole = Lonely(ids);
  LoadedModel loaded(directory(), backend());
  for (const int chunk : {1, 7, 16}) {
    SCOPED_TRACE(chunk);
    TestSequence sequence = loaded.NewSequence(ids);
    std::vector<float> logits;
    while (sequence.computed < 45) {
      const std::vector<float> part =
          loaded.Step({&sequence}, {std::min(chunk, 45 - sequence.computed)});
      logits.insert(logits.end(), part.begin(), part.end());
    }
    EXPECT_EQ(logits, whole);
  }
}

TEST_P(PlainText, BitsStayInARaggedBatch) {
  const std::vector<int32_t> a = Ids(41, 2), b = Ids(5, 3), c = Ids(30, 4);
  const std::vector<float> lonely_a = Lonely(a), lonely_b = Lonely(b), lonely_c = Lonely(c);
  LoadedModel loaded(directory(), backend());
  TestSequence sequence_a = loaded.NewSequence(a), sequence_b = loaded.NewSequence(b),
               sequence_c = loaded.NewSequence(c);
  const std::vector<float> first = loaded.Step({&sequence_a, &sequence_c}, {40, 17});
  const std::vector<float> second =
      loaded.Step({&sequence_c, &sequence_a, &sequence_b}, {13, 1, 5});
  EXPECT_EQ(Rows(first, 0, 40), Rows(lonely_a, 0, 40));
  EXPECT_EQ(Rows(first, 40, 17), Rows(lonely_c, 0, 17));
  EXPECT_EQ(Rows(second, 0, 13), Rows(lonely_c, 17, 13));
  EXPECT_EQ(Rows(second, 13, 1), Rows(lonely_a, 40, 1));
  EXPECT_EQ(Rows(second, 14, 5), lonely_b);
}

INSTANTIATE_TEST_SUITE_P(All, PlainText,
                         ::testing::Combine(::testing::Values("gpt2-defaults", "gpt_neox-defaults",
                                                              "gpt_neox-sequential",
                                                              "mpt-twelve-heads", "mpt-clip",
                                                              "mosaic_gpt-qk-norm"),
                                            ::testing::ValuesIn(SupportedCpuLevels())),
                         [](const auto& info) {
                           return absl::StrReplaceAll(
                               absl::StrCat(std::get<0>(info.param), "_", std::get<1>(info.param)),
                               {{"-", "_"}});
                         });

// The random checkpoints are complete and give numbers.
TEST(RandomShapes, AreServed) {
  for (const char* shape : {"tiny-gpt2", "tiny-mpt", "tiny-neox", "tiny-openflamingo"}) {
    SCOPED_TRACE(shape);
    const TemporaryDirectory directory;
    ASSERT_TRUE(WriteRandomModel({.shape = shape}, directory.path()).ok());
    LoadedModel loaded(directory.path(), BackendNames().back());
    TestSequence sequence = loaded.NewSequence({5, 70, 80, 90});
    const std::vector<float> logits = loaded.Run(&sequence);
    ASSERT_EQ(logits.size(), 4u * 320);
    const std::vector<float> zeros(logits.size());
    EXPECT_LT(LargestGap(logits, zeros), 100.0f);  // A NaN would be infinite.
    EXPECT_GT(LargestGap(logits, zeros), 0.1f);
  }
}

}  // namespace
}  // namespace prefixd::testing
