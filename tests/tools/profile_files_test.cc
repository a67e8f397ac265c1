#include "tools/profile_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "cache/retention/profile.h"
#include "tests/tools/folder.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;

// Three layers around each tenth.
std::vector<std::vector<double>> Profile() {
  std::vector<std::vector<double>> profile;
  for (int tenths = 1; tenths <= 9; ++tenths) {
    const double ratio = tenths / 10.0;
    profile.push_back({ratio - 1.0 / 30, ratio, ratio + 1.0 / 30});
  }
  return profile;
}

TEST(ProfileFiles, AreListsAsPythonWritesThem) {
  EXPECT_EQ(ProfileText({0.0, 0.5, 0.25}), "[0.0, 0.5, 0.25]\n");
  EXPECT_EQ(ProfileText({1.0 / 3}), "[0.3333333333333333]\n");
  EXPECT_EQ(ProfileFileName("llava-v1.5-7b", 8), "prefixkv_llava-v1.5-7b_0.8.json");
}

TEST(ProfileFiles, AreReadBackByTheEngine) {
  const testing::Folder folder;
  ASSERT_EQ(WriteProfile(folder.path(), "cats", Profile()), absl::OkStatus());
  const auto profile = RetentionProfile::Load(folder.path(), "cats", 3);
  ASSERT_TRUE(profile.ok()) << profile.status();
  for (int tenths = 1; tenths <= 9; ++tenths) {
    EXPECT_THAT(
        profile->At(tenths / 10.0).value(),
        ::testing::Pointwise(::testing::DoubleEq(), Profile()[static_cast<size_t>(tenths - 1)]));
  }
}

TEST(ProfileFiles, WritesNothingThatTheEngineWouldRefuse) {
  const testing::Folder folder;
  std::vector<std::vector<double>> profile = Profile();
  profile[8] = {0.2, 0.2, 0.2};  // At 0.9.
  const absl::Status status = WriteProfile(folder.path(), "cats", profile);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("prefixkv_cats_0.9.json"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(ProfileFiles, KnowsWhatCanNameAProfile) {
  EXPECT_TRUE(IsProfileName("llava-v1.5-7b"));
  EXPECT_TRUE(IsProfileName(std::string(64, 'x')));
  for (const std::string& name : {std::string(), std::string("."), std::string(".."),
                                  std::string("a/b"), std::string("a b"), std::string(65, 'x')}) {
    EXPECT_FALSE(IsProfileName(name)) << name;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(WriteProfile("/nowhere", "a/b", Profile())));
}

}  // namespace
}  // namespace prefixd
