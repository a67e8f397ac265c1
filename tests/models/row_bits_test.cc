// A row's logits depend on its own sequence alone, bit for bit: not on how the prefill was cut, on
// batch mates or on the number of threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/models/model_testing.h"

namespace prefixd::testing {
namespace {

constexpr size_t kVocab = 576;

std::vector<int32_t> Ids(int count, int seed) {
  std::vector<int32_t> ids;
  for (int i = 0; i < count; ++i) ids.push_back((i * 37 + seed * 101 + i * i * 7) % 560 + 3);
  return ids;
}

class RowBits : public ::testing::TestWithParam<std::string> {
 protected:
  // The logits of all rows of `ids`, alone, in one step.
  std::vector<float> Lonely(const std::vector<int32_t>& ids) {
    LoadedModel loaded(DemoDirectory(), GetParam(), 1);
    TestSequence sequence = loaded.NewSequence(ids);
    return loaded.Run(&sequence);
  }
};

TEST_P(RowBits, StayWhenThePrefillIsCut) {
  const std::vector<int32_t> ids = Ids(70, 1);
  const std::vector<float> whole = Lonely(ids);
  LoadedModel loaded(DemoDirectory(), GetParam());
  for (const int chunk : {1, 7, 16, 33}) {
    SCOPED_TRACE(absl::StrCat("chunk ", chunk));
    TestSequence sequence = loaded.NewSequence(ids);
    std::vector<float> logits;
    while (sequence.computed < 70) {
      const int32_t rows = std::min(chunk, 70 - sequence.computed);
      const std::vector<float> part = loaded.Step({&sequence}, {rows});
      logits.insert(logits.end(), part.begin(), part.end());
    }
    EXPECT_EQ(logits, whole);
  }
}

TEST_P(RowBits, StayInARaggedBatch) {
  const std::vector<int32_t> a = Ids(41, 2), b = Ids(5, 3), c = Ids(64, 4);
  const std::vector<float> lonely_a = Lonely(a), lonely_b = Lonely(b), lonely_c = Lonely(c);
  LoadedModel loaded(DemoDirectory(), GetParam());
  TestSequence sequence_a = loaded.NewSequence(a), sequence_b = loaded.NewSequence(b),
               sequence_c = loaded.NewSequence(c);
  // b and c first lag behind, so that the second step mixes a decode row with prefills.
  std::vector<float> first = loaded.Step({&sequence_a, &sequence_c}, {40, 17});
  std::vector<float> second = loaded.Step({&sequence_c, &sequence_a, &sequence_b}, {47, 1, 5});

  const auto rows = [](const std::vector<float>& logits, size_t begin, size_t count) {
    return std::vector<float>(logits.begin() + begin * kVocab,
                              logits.begin() + (begin + count) * kVocab);
  };
  EXPECT_EQ(rows(first, 0, 40), rows(lonely_a, 0, 40));
  EXPECT_EQ(rows(first, 40, 17), rows(lonely_c, 0, 17));
  EXPECT_EQ(rows(second, 0, 47), rows(lonely_c, 17, 47));
  EXPECT_EQ(rows(second, 47, 1), rows(lonely_a, 40, 1));
  EXPECT_EQ(rows(second, 48, 5), lonely_b);
}

TEST_P(RowBits, StayWhenAnImageIsCut) {
  const Golden golden(absl::StrCat(GoldenDirectory(), "/demo.safetensors"));
  const std::vector<int32_t> ids = golden.Ints("prompt_0.ids");
  const std::vector<float> pixels = golden.Floats("pixels");
  LoadedModel loaded(DemoDirectory(), GetParam());
  const OwnedTensor features =
      loaded.Encode(absl::MakeConstSpan(pixels).subspan(0, size_t{3} * 96 * 96));
  TestSequence whole = loaded.NewSequence(ids, &features.view);
  TestSequence cut = loaded.NewSequence(ids, &features.view);
  const std::vector<float> expected = loaded.Run(&whole);
  std::vector<float> logits;
  const int32_t count = static_cast<int32_t>(ids.size());
  while (cut.computed < count) {
    const std::vector<float> part =
        loaded.Step({&cut}, {std::min<int32_t>(50, count - cut.computed)});
    logits.insert(logits.end(), part.begin(), part.end());
  }
  EXPECT_EQ(logits, expected);
}

INSTANTIATE_TEST_SUITE_P(All, RowBits, ::testing::ValuesIn(SupportedCpuLevels()));

}  // namespace
}  // namespace prefixd::testing
