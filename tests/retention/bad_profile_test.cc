// The bad-input catalogue of budget profiles: nothing wrong gets in, and every error names the
// file, the entry and both numbers.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cache/retention/profile.h"

namespace prefixd {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// The error of a file for a model of four layers at ratio 0.5.
std::string ErrorOf(const std::string& text, double forget_ratio = 0.5) {
  const auto ratios = RetentionProfile::ParseFile("p.json", text, 4, forget_ratio);
  if (ratios.ok()) return "accepted";
  EXPECT_EQ(ratios.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ratios.status().message()), HasSubstr("p.json: "));
  EXPECT_LT(ratios.status().message().size(), 200u);
  return std::string(ratios.status().message());
}

std::string ListOf(int entries) {
  return absl::StrCat(
      "[", absl::StrJoin(std::vector<double>(static_cast<size_t>(entries), 0.5), ","), "]");
}

TEST(BadProfile, AGoodOneIsAccepted) {
  EXPECT_EQ(ErrorOf(ListOf(4)), "accepted");
  EXPECT_EQ(ErrorOf("[0, 0.999, 0.999, 0.002]\n"), "accepted");
  EXPECT_EQ(ErrorOf("[0, 0.0, 0, 0]", 0), "accepted");
}

TEST(BadProfile, WrongLengthsNameBothNumbers) {
  EXPECT_THAT(ErrorOf("[]"), HasSubstr("0 entries, but the model has 4 layers"));
  EXPECT_THAT(ErrorOf(ListOf(3)), HasSubstr("3 entries, but the model has 4 layers"));
  EXPECT_THAT(ErrorOf(ListOf(5)), HasSubstr("5 entries, but the model has 4 layers"));
  EXPECT_THAT(ErrorOf(ListOf(32)), HasSubstr("32 entries, but the model has 4 layers"));
  EXPECT_THAT(ErrorOf(ListOf(200000)), HasSubstr("200000 entries, but the model has 4 layers"));
  EXPECT_THAT(ErrorOf(ListOf(1000000)), AllOf(HasSubstr("4000001 bytes"), HasSubstr("1048576")));
}

TEST(BadProfile, WrongEntriesNameTheEntryAndTheRange) {
  for (const auto& [entry, shown] : std::vector<std::pair<std::string, std::string>>{
           {"\"NaN\"", "entry 2 is \"NaN\""},
           {"-0.1", "entry 2 is -0.1"},
           {"1.0", "entry 2 is 1.0"},
           {"1.5", "entry 2 is 1.5"},
           {"0.9991", "entry 2 is 0.9991"},
           {"null", "entry 2 is null"},
           {"true", "entry 2 is true"},
           {"[0.5]", "entry 2 is [0.5]"},
           {"{\"a\": 0.5}", "entry 2 is {\"a\":0.5}"},
           {"18446744073709551615", "entry 2 is 18446744073709551615"},
           {"-9223372036854775808", "entry 2 is -9223372036854775808"},
           {absl::StrCat("\"", std::string(100000, 'x'), "\""), "entry 2 is \"xxxxx"},
           {absl::StrCat(std::string(60, '['), std::string(60, ']')), "entry 2 is [[[["}}) {
    EXPECT_THAT(ErrorOf(absl::StrCat("[0.5, 0.5, ", entry, ", 0.5]")),
                AllOf(HasSubstr(shown), HasSubstr("[0, 0.999]")));
  }
  EXPECT_THAT(ErrorOf("[0, 0, 0.001, 0]", 0),
              AllOf(HasSubstr("entry 2 is 0.001"), HasSubstr("[0, 0]")));
}

TEST(BadProfile, WhatIsNoStrictJsonIsRefused) {
  for (const char* text :
       {"", " ", "[0.5, 0.5, NaN, 0.5]", "[0.5, 0.5, Infinity, 0.5]", "[0.5, 0.5, 1e999, 0.5]",
        "[0.5, 0.5, 0.5, 0.5,]", "[0.5, 0.5, 0.5, 0.5", "[0.5, 0.5, 0.5, 0.5] [",
        "[.5, .5, .5, .5]", "\xEF\xBB\xBF[0.5, 0.5, 0.5, 0.5]", "[0.5, 0.5, // half\n 0.5, 0.5]",
        "[0x1, 0, 0, 0]"}) {
    EXPECT_NE(ErrorOf(text), "accepted") << text;
  }
  EXPECT_NE(ErrorOf(std::string(100000, '[')), "accepted");
  EXPECT_THAT(ErrorOf("{\"ratios\": [0.5, 0.5, 0.5, 0.5]}"), HasSubstr("object, expected a list"));
  EXPECT_THAT(ErrorOf("0.5"), HasSubstr("number, expected a list"));
}

TEST(BadProfile, AMeanFarFromTheRatioIsRefused) {
  EXPECT_THAT(ErrorOf("[0.6, 0.6, 0.5, 0.5]"),
              AllOf(HasSubstr("0.55"), HasSubstr("0.02"), HasSubstr("the ratio 0.5")));
  EXPECT_EQ(ErrorOf("[0.57, 0.5, 0.5, 0.5]"), "accepted");
  EXPECT_THAT(ErrorOf("[0.57, 0.52, 0.5, 0.5]"), HasSubstr("0.5225"));
}

// A directory of its own for every test.
class BadProfileFiles : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "profileXXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void Write(const std::string& file, const std::string& text) {
    std::ofstream(directory_ + "/" + file) << text;
  }
  absl::Status LoadStatus(absl::string_view name) {
    return RetentionProfile::Load(directory_, name, 2).status();
  }

  std::string directory_;
};

TEST_F(BadProfileFiles, LoadsWhatIsThereAndNothingElse) {
  Write("prefixkv_a_0.0.json", "[0, 0]");
  Write("prefixkv_a_0.5.json", "[0.25, 0.75]");
  Write("prefixkv_a_0.25.json", "[0.25, 0.25]");
  // Not files of any profile, or of another one.
  Write("prefixkv_a_0.50.json", "junk");
  Write("prefixkv_a_1.0.json", "junk");
  Write("prefixkv_a_.5.json", "junk");
  Write("prefixkv_a_0.5.json.bak", "junk");
  Write("prefixkv__0.5.json", "junk");
  Write("prefixkv_a b_0.5.json", "junk");
  Write("prefixkv_a_b_0.5.json", "[0.5, 0.5]");
  Write("prefixkv_a_0.9_0.5.json", "[0.5, 0.5]");
  Write("prefixkv_zeros_0.0.json", "[0, 0]");
  EXPECT_THAT(RetentionProfile::List(directory_).value(),
              testing::ElementsAre("a", "a_0.9", "a_b"));
  const auto profile = RetentionProfile::Load(directory_, "a", 2);
  ASSERT_TRUE(profile.ok()) << profile.status();
  EXPECT_THAT(profile->At(0.5).value(), testing::ElementsAre(0.25, 0.75));
  EXPECT_THAT(profile->At(0.25).value(), testing::ElementsAre(0.25, 0.25));
  EXPECT_EQ(profile->At(0.6).status().code(), absl::StatusCode::kOutOfRange);
}

TEST_F(BadProfileFiles, OneBadFileFailsItsProfileAndIsNamed) {
  Write("prefixkv_a_0.5.json", "[0.5, 0.5]");
  Write("prefixkv_a_0.6.json", "[0.6, 1.6]");
  EXPECT_EQ(LoadStatus("a").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(LoadStatus("a").message()),
              AllOf(HasSubstr("/prefixkv_a_0.6.json"), HasSubstr("entry 1 is 1.6")));
}

TEST_F(BadProfileFiles, AProfileOfAnotherModelIsRefused) {
  Write("prefixkv_a_0.5.json", "[0.5, 0.5, 0.5]");
  EXPECT_THAT(std::string(LoadStatus("a").message()),
              HasSubstr("3 entries, but the model has 2 layers"));
}

TEST_F(BadProfileFiles, AHugeFileIsRefusedUnread) {
  Write("prefixkv_a_0.5.json", "[");
  std::filesystem::resize_file(directory_ + "/prefixkv_a_0.5.json", uintmax_t{1} << 30);
  EXPECT_FALSE(LoadStatus("a").ok());
  EXPECT_THAT(
      std::string(LoadStatus("a").message()),
      AllOf(HasSubstr("prefixkv_a_0.5.json"), HasSubstr("1073741824"), HasSubstr("1048576")));
}

TEST_F(BadProfileFiles, AFolderIsNoFile) {
  std::filesystem::create_directory(directory_ + "/prefixkv_a_0.5.json");
  EXPECT_FALSE(LoadStatus("a").ok());
}

TEST_F(BadProfileFiles, WhatIsNotThereIsNotFound) {
  EXPECT_EQ(LoadStatus("a").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(RetentionProfile::Load(directory_ + "/no", "a", 2).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(RetentionProfile::List(directory_ + "/no").status().code(),
            absl::StatusCode::kNotFound);
  Write("prefixkv_zeros_0.0.json", "[0, 0]");
  EXPECT_EQ(LoadStatus("zeros").code(), absl::StatusCode::kNotFound);
}

TEST_F(BadProfileFiles, NamesThatAreNoNamesAreRefused) {
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"), std::string("../a"),
        std::string("a b"), std::string("a\0b", 3), std::string(65, 'a')}) {
    EXPECT_EQ(LoadStatus(name).code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

}  // namespace
}  // namespace prefixd
