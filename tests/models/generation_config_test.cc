#include "engine/models/generation_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/models/model_testing.h"

namespace prefixd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int32_t kVocab = 100;

absl::StatusOr<GenerationDefaults> Read(const std::string& generation, const std::string& config,
                                        int32_t vocab_size = kVocab) {
  const TemporaryDirectory directory;
  if (!generation.empty()) directory.Write("generation_config.json", generation);
  const auto reader = ConfigReader::Parse(config, "config.json");
  EXPECT_TRUE(reader.ok()) << reader.status();
  return ReadGenerationDefaults(directory.path(), {*reader}, vocab_size);
}

TEST(GenerationConfig, GivesTheClassDefaultsWhereAllIsAbsent) {
  const auto defaults = Read("", "{}");
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_FALSE(defaults->do_sample);
  EXPECT_EQ(defaults->temperature, 1.0f);
  EXPECT_EQ(defaults->top_k, 50);
  EXPECT_EQ(defaults->top_p, 1.0f);
  EXPECT_EQ(defaults->repetition_penalty, 1.0f);
  EXPECT_THAT(defaults->eos_token_ids, ElementsAre(2));
}

TEST(GenerationConfig, HasNoDefaultEndOutsideTheVocabulary) {
  const auto defaults = Read("", "{}", 2);
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_THAT(defaults->eos_token_ids, IsEmpty());
}

TEST(GenerationConfig, ReadsSamplingAndAListOfEnds) {
  const auto defaults = Read(
      R"({"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.9,
          "repetition_penalty": 1.1, "eos_token_id": [5, 7], "max_length": 4096})",
      R"({"eos_token_id": 9})");
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_TRUE(defaults->do_sample);
  EXPECT_EQ(defaults->temperature, 0.6f);
  EXPECT_EQ(defaults->top_k, 20);
  EXPECT_EQ(defaults->top_p, 0.9f);
  EXPECT_EQ(defaults->repetition_penalty, 1.1f);
  EXPECT_THAT(defaults->eos_token_ids, ElementsAre(5, 7));
}

TEST(GenerationConfig, TakesTheEndOfTheConfigWhereItNamesNone) {
  EXPECT_THAT(Read("{}", R"({"eos_token_id": 9})")->eos_token_ids, ElementsAre(9));
  EXPECT_THAT(Read(R"({"eos_token_id": null})", R"({"eos_token_id": [9, 8]})")->eos_token_ids,
              ElementsAre(9, 8));
}

TEST(GenerationConfig, RefusesWhatIsOutOfRange) {
  std::string many = "[0";
  for (int i = 0; i < 100'000; ++i) many += ",0";
  many += "]";
  struct Case {
    std::string generation, message;
  };
  const Case kCases[] = {
      {absl::StrCat(R"({"eos_token_id": )", many, "}"), "100001 values, the limit is 64"},
      {R"({"eos_token_id": 100})", "100 is not in [0, 99]"},
      {R"({"eos_token_id": [2, -1]})", "-1 is not in [0, 99]"},
      {R"({"eos_token_id": "</s>"})", "is not an integer"},
      {R"({"temperature": -1})", "temperature: -1 is not in"},
      {R"({"top_p": 1.5})", "top_p: 1.5 is not in"},
      {R"({"top_k": 1.5})", "top_k: 1.5 is not an integer"},
      {R"({"repetition_penalty": 0})", "repetition_penalty: 0 is not in"},
      {R"({"do_sample": 1})", "do_sample: 1 is not a boolean"},
      {"[]", "not a JSON object"},
      {R"({"temperature": 1e400})", "generation_config.json"},
  };
  for (const Case& bad : kCases) {
    SCOPED_TRACE(bad.message);
    const auto defaults = Read(bad.generation, "{}");
    EXPECT_EQ(defaults.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(defaults.status().message()), HasSubstr(bad.message));
    EXPECT_THAT(std::string(defaults.status().message()), HasSubstr("generation_config.json"));
  }
}

TEST(GenerationConfig, NamesTheConfigThatHasABadEnd) {
  const auto defaults = Read("{}", R"({"eos_token_id": 100})");
  EXPECT_EQ(defaults.status().message(), "config.json: eos_token_id: 100 is not in [0, 99]");
}

}  // namespace
}  // namespace prefixd::testing
