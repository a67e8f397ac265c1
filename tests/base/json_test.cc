#include "base/json.h"

#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"

namespace prefixd {
namespace {

TEST(Json, ReadsNestedValues) {
  const auto value = ParseJson(R"({"a": [1, {"b": null}, [2.5, true]], "c": "x"})");
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ((*value)["a"][0], 1);
  EXPECT_TRUE((*value)["a"][1]["b"].is_null());
  EXPECT_EQ((*value)["a"][2][0], 2.5);
  EXPECT_EQ((*value)["c"], "x");
}

TEST(Json, RefusesWhatIsAmbiguousOrUnbounded) {
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  for (const std::string& text :
       {std::string(R"({"a": 1, "a": 2})"), deep, std::string("1e400"), std::string("[1,]"),
        std::string("{} x"), std::string(""), std::string("\xEF\xBB\xBF{}"), std::string("[NaN]"),
        std::string("\"\xFF\"")}) {
    EXPECT_FALSE(ParseJson(text).ok()) << text.substr(0, 20);
  }
}

TEST(Json, SaysWhichKeyIsDuplicated) {
  const auto value = ParseJson(R"({"shape": 1, "shape": 2})");
  EXPECT_TRUE(absl::StrContains(value.status().message(), "duplicate key \"shape\""));
}

}  // namespace
}  // namespace prefixd
