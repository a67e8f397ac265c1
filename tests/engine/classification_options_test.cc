// What EngineOptions::Validate says about classification.
#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/options.h"

namespace prefixd {
namespace {

std::string Problem(const std::function<void(ClassificationOptions*)>& edit) {
  EngineOptions options;
  options.model_path = "demo";
  edit(&options.classification);
  const absl::Status status = options.Validate();
  return status.ok() ? "OK" : std::string(status.message());
}

TEST(ClassificationOptions, NameOptionValueAndRange) {
  EXPECT_EQ(Problem([](auto*) {}), "OK");
  EXPECT_EQ(Problem([](auto* o) { o->max_names = 2; }), "OK");
  EXPECT_EQ(Problem([](auto* o) { o->max_names = 1; }),
            "max_class_names is 1, the range is [2, 100000]");
  EXPECT_EQ(Problem([](auto* o) { o->max_names = 100'001; }),
            "max_class_names is 100001, the range is [2, 100000]");
  EXPECT_EQ(Problem([](auto* o) { o->max_sets = 0; }), "OK");
  EXPECT_EQ(Problem([](auto* o) { o->max_sets = -1; }),
            "max_class_sets is -1, the range is [0, 100000]");
  EXPECT_EQ(Problem([](auto* o) { o->scoring_workspace = 1 << 20; }), "OK");
  EXPECT_EQ(Problem([](auto* o) { o->scoring_workspace = (1 << 20) - 1; }),
            "scoring_workspace is 1048575, the range is [1048576, 1099511627776]");
}

}  // namespace
}  // namespace prefixd
