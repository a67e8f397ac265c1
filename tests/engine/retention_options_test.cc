// What EngineOptions::Validate says about retention and the quality guard.
#include <functional>
#include <limits>
#include <string>

#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/options.h"

namespace prefixd {
namespace {

#define KNOWN_POLICIES                                                                           \
  "full, prefixkv, prefixkv-debiased, prefixkv-window, local, h2o, elastic, snapkv, pyramidkv, " \
  "streaming-llm, random"

using Edit = std::function<void(EngineOptions*)>;

// The message, with the option that the error names before it; "OK".
std::string Problem(const Edit& edit) {
  EngineOptions options;
  options.model_path = "demo";
  edit(&options);
  const absl::Status status = options.Validate();
  if (status.ok()) return "OK";
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  const ErrorDetail detail = GetErrorDetail(status).value_or(ErrorDetail{});
  EXPECT_EQ(detail.reason, "PARAMETER_OUT_OF_RANGE");
  std::string option;
  for (const auto& [key, value] : detail.metadata) {
    if (key == "option") option = value;
  }
  return option + ": " + std::string(status.message());
}

TEST(RetentionOptions, TheDefaultsAndTheEndsOfAllRangesAreFine) {
  EXPECT_EQ(Problem([](auto*) {}), "OK");
  EXPECT_EQ(Problem([](EngineOptions* o) {
              o->retention = "shared";
              o->retention_budget = 0.001;
              o->retention_profiles = "/profiles";
              o->retention_profile = "llava-v1.5-7b";
              o->retention_start_size = 0;
              o->retention_protect = 1024;
              o->retention_distance = -65536;
              o->guard_sample_rate = 1;
              o->guard_min_agreement = 0;
              o->guard_max_drift = 100;
              o->guard_budget_step = 1;
            }),
            "OK");
}

TEST(RetentionOptions, NameOptionValueAndRange) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const struct {
    Edit edit;
    const char* problem;
  } cases[] = {
      {[](auto* o) { o->retention = "on"; },
       "retention: retention is \"on\", allowed: off, exact, shared"},
      {[](auto* o) { o->retention_budget = kNan; },
       "retention_budget: retention_budget is nan, the range is [0.001, 1]"},
      {[](auto* o) { o->retention_budget = 0; },
       "retention_budget: retention_budget is 0, the range is [0.001, 1]"},
      {[](auto* o) { o->retention_budget = 1.5; },
       "retention_budget: retention_budget is 1.5, the range is [0.001, 1]"},
      {[](auto* o) { o->retention_policy = "../p"; },
       "retention_policy: retention_policy is \"../p\", known are " KNOWN_POLICIES},
      {[](auto* o) { o->retention_policy = ""; },
       "retention_policy: retention_policy is \"\", known are " KNOWN_POLICIES},
      {[](auto* o) { o->retention_policy = std::string(100, 'p'); },
       "retention_policy: retention_policy is \""
       "pppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppppp\", known "
       "are " KNOWN_POLICIES},
      {[](auto* o) {
         o->retention_profiles = "/profiles";
         o->retention_profile = "..";
       },
       "retention_profile: retention_profile is \"..\", the name of a profile has 1..64 characters "
       "of [A-Za-z0-9._-]"},
      {[](auto* o) { o->retention_profile = "p"; },
       "retention_profile: retention_profile is \"p\", but retention_profiles, its directory, is "
       "not set"},
      {[](auto* o) { o->retention_start_size = 1025; },
       "retention_start_size: retention_start_size is 1025, the range is [0, 1024]"},
      {[](auto* o) { o->retention_protect = 0; },
       "retention_protect: retention_protect is 0, the range is [1, 1024]"},
      {[](auto* o) { o->retention_distance = 65537; },
       "retention_distance: retention_distance is 65537, the range is [-65536, 65536]"},
      {[](auto* o) { o->guard_sample_rate = 1.01; },
       "guard_sample_rate: guard_sample_rate is 1.01, the range is [0, 1]"},
      {[](auto* o) { o->guard_min_agreement = -0.5; },
       "guard_min_agreement: guard_min_agreement is -0.5, the range is [0, 1]"},
      {[](auto* o) { o->guard_max_drift = 0; },
       "guard_max_drift: guard_max_drift is 0, the range is (0, 100]"},
      {[](auto* o) { o->guard_max_drift = kNan; },
       "guard_max_drift: guard_max_drift is nan, the range is (0, 100]"},
      {[](auto* o) { o->guard_budget_step = 0; },
       "guard_budget_step: guard_budget_step is 0, the range is (0, 1]"},
  };
  for (const auto& c : cases) EXPECT_EQ(Problem(c.edit), c.problem);
}

TEST(RetentionOptions, NameTheTenant) {
  const auto problem = [](const RetentionParams& params, const char* profiles = "") {
    return Problem([&](EngineOptions* o) {
      o->tenants.push_back({.name = "acme", .retention = params});
      o->retention_profiles = profiles;
    });
  };
  EXPECT_EQ(problem({}), "OK");
  EXPECT_EQ(problem({.profile = ""}), "OK");
  EXPECT_EQ(problem({.profile = "p"}, "/profiles"), "OK");
  EXPECT_EQ(problem({.profile = "p"}),
            "tenants: tenant \"acme\": retention.profile is \"p\", but retention_profiles, its "
            "directory, is not set");
  EXPECT_EQ(problem({.budget = 0.0005}),
            "tenants: tenant \"acme\": retention.budget is 0.0005, the range is [0.001, 1]");
  EXPECT_EQ(problem({.policy = "A"}),
            "tenants: tenant \"acme\": retention.policy is \"A\", known are " KNOWN_POLICIES);
  EXPECT_EQ(problem({.start_size = -1}),
            "tenants: tenant \"acme\": retention.start_size is -1, the range is [0, 1024]");
}

}  // namespace
}  // namespace prefixd
