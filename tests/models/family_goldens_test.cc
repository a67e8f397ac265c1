// Every family has goldens made with its original implementation: a checkpoint and what it answers,
// and the script that made them. A family that is registered without them fails here.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <filesystem>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/json.h"
#include "engine/models/model_loader.h"
#include "tests/models/model_testing.h"

namespace prefixd::testing {
namespace {

TEST(FamilyGoldensTest, EveryRegisteredFamilyHasCheckpointsWithExpectedLogits) {
  std::set<std::string> with_goldens;
  for (const auto& entry : std::filesystem::directory_iterator(GoldenDirectory())) {
    if (!entry.is_directory()) continue;
    SCOPED_TRACE(entry.path().string());
    const std::string directory = entry.path().string();
    ASSERT_TRUE(FileExists(absl::StrCat(directory, "/expected.safetensors")));
    const auto config = ReadJsonFile(absl::StrCat(directory, "/config.json"), 1 << 20);
    ASSERT_TRUE(config.ok()) << config.status();
    const auto files = OpenModelFiles(directory);
    ASSERT_TRUE(files.ok()) << files.status();
    with_goldens.insert(config->value("model_type", ""));
  }
  const std::vector<std::string> registered = RegisteredModelTypes();
  ASSERT_GE(registered.size(), 8u);
  for (const std::string& type : registered) {
    EXPECT_TRUE(with_goldens.contains(type))
        << type << " has no directory in tests/golden/models (docs/models.md, Adding a family)";
  }
}

// Each directory is one that a test names: otherwise nobody would compare it.
TEST(FamilyGoldensTest, EveryCheckpointIsComparedByATest) {
  std::string tests;
  for (const auto& entry :
       std::filesystem::directory_iterator(absl::StrCat(PREFIXD_SOURCE_DIR, "/tests/models"))) {
    if (entry.path().extension() == ".cc") {
      absl::StrAppend(&tests, *ReadFile(entry.path().string(), 1 << 20));
    }
  }
  for (const auto& entry : std::filesystem::directory_iterator(GoldenDirectory())) {
    if (!entry.is_directory()) continue;
    const std::string name = entry.path().filename().string();
    EXPECT_TRUE(absl::StrContains(tests, absl::StrCat("\"", name, "\""))) << name;
  }
}

}  // namespace
}  // namespace prefixd::testing
