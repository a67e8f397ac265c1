#include "tools/random_values.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/sha256.h"
#include "tests/weights/files.h"
#include "tools/random_model.h"

namespace prefixd::testing {
namespace {

TEST(RandomValue, HasMeanZeroAndVarianceOne) {
  const uint64_t key = TensorKey(1, "weight");
  double sum = 0, squares = 0;
  constexpr int kCount = 100'000;
  for (int i = 0; i < kCount; ++i) {
    const double value = RandomValue(key, i);
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum / kCount, 0, 0.01);
  EXPECT_NEAR(squares / kCount, 1, 0.02);
}

TEST(RandomValue, DependsOnSeedNameAndIndex) {
  const float value = RandomValue(TensorKey(1, "a"), 0);
  EXPECT_NE(value, RandomValue(TensorKey(2, "a"), 0));
  EXPECT_NE(value, RandomValue(TensorKey(1, "b"), 0));
  EXPECT_NE(value, RandomValue(TensorKey(1, "a"), 1));
}

TEST(RandomModel, IsTheSameBytesEverywhere) {
  const TemporaryDirectory directory;
  ASSERT_TRUE(WriteRandomModel({.shape = "tiny-llava", .seed = 7}, directory.path()).ok());
  const auto bytes = ReadFile(directory.File("model.safetensors"), 1 << 20);
  ASSERT_TRUE(bytes.ok());
  EXPECT_EQ(ToHex(Sha256Of(*bytes)),
            "eabd759360ba70dffc8f228bf5bfd6b3cf46e104def32cad0f2e5e246b137d93");
}

TEST(RandomModel, NamesTheShapesThatExist) {
  const TemporaryDirectory directory;
  const absl::Status status = WriteRandomModel({.shape = "7b"}, directory.path());
  EXPECT_EQ(status.message(),
            "there is no shape \"7b\"; known: 135m, llava-135m, llava-7b-profile, many-kv-heads, "
            "wide-vocabulary, "
            "tiny-llama, tiny-llava, tiny-llava-wide-heads, tiny-paligemma, tiny-openflamingo, "
            "gpt2-124m, tiny-gpt2, tiny-mpt, tiny-neox");
}

}  // namespace
}  // namespace prefixd::testing
