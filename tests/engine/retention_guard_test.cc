// The quality guard in the engine, on the demo model: what it measures is what a run with full KV
// says, when it raises default budgets, and that it is never in anybody's way.
#include <bit>
#include <cmath>

#include <gmock/gmock.h>

#include "absl/strings/str_split.h"
#include "engine/shadow_replay.h"
#include "tests/engine/retention_fixture.h"

namespace prefixd::testing {
namespace {

using ::testing::HasSubstr;

EngineOptions Guarded(double budget, const std::string& policy) {
  EngineOptions options;
  options.retention = "exact";
  options.retention_budget = budget;
  options.retention_policy = policy;
  options.guard_sample_rate = 1.0;
  return options;
}

class RetentionGuard : public RetentionLoopTest {
 protected:
  // Distinct prompts over the pictures of the demo model.
  static Request Ask(int number, const RetentionParams& retention = {}) {
    constexpr const char* kQuestions[] = {
        "What is in the picture?", "How many objects can you see?", "Describe the image.",
        "What color is the background?", "What do you see at the bottom right?"};
    const std::string picture =
        PictureBytes(absl::StrCat("picture-", number % 2 == 0 ? "02" : "15", ".png"));
    Request request = Chat(picture, kQuestions[number % 5], retention);
    request.sampling.seed = 100 + static_cast<uint64_t>(number);
    return request;
  }
};

// Ids and log-probs as served, from the bytes of a stream with one alternative.
struct ServedRow {
  int32_t token, most_likely;
  float logprob;
};
std::vector<ServedRow> RowsOf(const ChoiceBytes& choice) {
  std::vector<ServedRow> rows;
  const std::vector<std::string> entries = absl::StrSplit(choice.logprobs, ' ', absl::SkipEmpty());
  for (size_t i = 0; i + 1 < entries.size(); i += 2) {
    const std::vector<std::string> sampled = absl::StrSplit(entries[i], '/');
    const std::vector<std::string> top = absl::StrSplit(entries[i + 1], '/');
    rows.push_back({std::stoi(sampled[0]), std::stoi(top[0]),
                    std::bit_cast<float>(static_cast<uint32_t>(std::stoul(sampled[2])))});
  }
  return rows;
}

// The window's numbers, from runs with full KV over the same outputs.
TEST_F(RetentionGuard, MeasuresWhatARunWithFullKvSays) {
  EngineOptions options = Guarded(0.3, "prefixkv");
  options.guard_min_agreement = 0.0;  // It only looks.
  options.guard_max_drift = 100.0;
  OpenDemo(options);
  Build();
  int64_t tokens = 0, agreements = 0;
  double drift = 0;
  constexpr int kRequests = 10;
  for (int i = 0; i < kRequests; ++i) {
    SCOPED_TRACE(i);
    Request request = Ask(i);
    if (i % 2 == 1) request.sampling.temperature = 1.0f;
    if (i % 3 == 2) request.output.num_choices = 2;
    if (i % 5 == 4) request.retention.scope = RetentionScope::kShared;
    const ByteSink served = Run(request);
    ASSERT_EQ(Stats().retention.guard_replayed, static_cast<uint64_t>(i + 1));

    Request full = request;
    full.bypass_prefix_cache = true;
    full.retention.scope = RetentionScope::kOff;
    full.output.num_choices = 1;
    full.forced_output = served.choices[0].ids;
    const ByteSink judged = Run(full);
    const std::vector<ServedRow> was = RowsOf(served.choices[0]), is = RowsOf(judged.choices[0]);
    ASSERT_EQ(was.size(), served.choices[0].ids.size());
    ASSERT_EQ(is.size(), was.size());
    double sum = 0;
    for (size_t t = 0; t < is.size(); ++t) {
      ASSERT_EQ(is[t].token, was[t].token);
      agreements += is[t].most_likely == was[t].most_likely;
      sum += std::fabs(static_cast<double>(is[t].logprob) - static_cast<double>(was[t].logprob));
    }
    tokens += static_cast<int64_t>(is.size());
    drift += sum;
  }
  const RetentionStats stats = Stats().retention;
  EXPECT_EQ(stats.guard_sampled, static_cast<uint64_t>(kRequests));
  EXPECT_EQ(stats.guard_agreement, static_cast<double>(agreements) / static_cast<double>(tokens));
  EXPECT_EQ(stats.guard_logprob_drift, drift / static_cast<double>(tokens));
  EXPECT_LT(stats.guard_agreement, 1.0);
  EXPECT_GT(stats.guard_logprob_drift, 0.0);
  std::printf("%ld tokens, agreement %.4f, drift %.4f nats\n", tokens, stats.guard_agreement,
              stats.guard_logprob_drift);
}

TEST_F(RetentionGuard, FullKvAgreesWithItselfToTheBit) {
  EngineOptions options = Guarded(0.999, "prefixkv");
  OpenDemo(options);
  Build();
  for (int i = 0; i < 9; ++i) {
    Request request = Ask(i);
    request.stopping.max_tokens = 3;
    request.retention.profile = "";
    request.retention.protect = 1000;  // More than the prompt has.
    Run(request);
  }
  EXPECT_EQ(Stats().retention.guard_replayed, 9u);
  EXPECT_EQ(Stats().retention.guard_agreement, 1.0);
  EXPECT_EQ(Stats().retention.guard_logprob_drift, 0.0);
  EXPECT_EQ(Stats().retention.guard_raises, 0u);
  EXPECT_EQ(Stats().cache.image_query_tokens, 9u * 144u) << "a prompt counts before it is taken";
}

TEST_F(RetentionGuard, AWrongSettingIsFoundWithinAHundredRequests) {
  OpenDemo(Guarded(0.1, "random"));
  Build();
  int requests = 0;
  ::testing::internal::CaptureStderr();
  while (Stats().retention.guard_raises == 0 && requests < 100) Run(Ask(requests++));
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, HasSubstr("the quality guard raises default KV budgets, the lowest from 0.1 to "
                             "0.2: agreement was 0."));
  RetentionStats stats = Stats().retention;
  EXPECT_EQ(stats.guard_raises, 1u);
  EXPECT_EQ(requests, 8);  // The fewest that decide anything.
  EXPECT_DOUBLE_EQ(stats.default_budget, 0.2);
  // The next request has the new budget, one that names a budget has its own.
  const ByteSink next = Run(Ask(requests++));
  EXPECT_DOUBLE_EQ(next.finished->retention.budget, 0.2);
  EXPECT_EQ(Run(Ask(requests++, {.budget = 0.1})).finished->retention.budget, 0.1);
  EXPECT_EQ(Stats().retention.guard_sampled, 9u);
  // In the end nothing is held back.
  while (Stats().retention.default_budget < 1.0 && requests < 200) Run(Ask(requests++));
  stats = Stats().retention;
  EXPECT_EQ(stats.default_budget, 1.0);
  EXPECT_LE(stats.guard_raises, 9u);
  const uint64_t sampled = stats.guard_sampled;
  EXPECT_EQ(Run(Ask(requests++)).finished->retention.budget, 1.0);
  EXPECT_EQ(Stats().retention.guard_sampled, sampled);
  std::printf("raised to 1 after %d requests\n", requests);
}

// Upside down: the layers that need most get least.
TEST_F(RetentionGuard, AWrongProfileIsFoundToo) {
  const TemporaryDirectory profiles;
  profiles.Write("prefixkv_wrong_0.9.json", "[0.999, 0.999, 0.999, 0.999, 0.999, 0.405]");
  EngineOptions options = Guarded(0.1, "prefixkv");
  options.retention_profiles = profiles.path();
  options.retention_profile = "wrong";
  OpenDemo(options);
  Build();
  int requests = 0;
  while (Stats().retention.guard_raises == 0 && requests < 100) Run(Ask(requests++));
  EXPECT_EQ(Stats().retention.guard_raises, 1u);
  EXPECT_LE(requests, 100);
}

TEST_F(RetentionGuard, ExplicitBudgetsAreNeitherSampledNorTouched) {
  OpenDemo(Guarded(0.1, "random"));
  Build();
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Run(Ask(i, {.budget = 0.1})).finished->retention.budget, 0.1);
    Run(Ask(i, {.scope = RetentionScope::kOff}));
  }
  EXPECT_EQ(Stats().retention.guard_sampled, 0u);
  EXPECT_EQ(Stats().retention.guard_raises, 0u);
  EXPECT_EQ(Stats().retention.default_budget, 0.1);
}

TEST_F(RetentionGuard, TenantsDefaultsAreRaised) {
  EngineOptions options;
  options.retention_policy = "random";
  options.guard_sample_rate = 1.0;
  options.tenants = {{.name = "plain", .page_share = 1.0},
                     {.name = "thrifty",
                      .page_share = 1.0,
                      .retention = {.scope = RetentionScope::kExact, .budget = 0.1}}};
  OpenDemo(options);
  Build();
  const auto budget = [this](int number) {
    Request request = Ask(number);
    request.tenant = "thrifty";
    return Run(request, 1).finished->retention.budget;
  };
  for (int i = 0; i < 8; ++i) EXPECT_EQ(budget(i), 0.1);
  EXPECT_EQ(Stats().retention.guard_raises, 1u);
  EXPECT_DOUBLE_EQ(budget(9), 0.2);
  EXPECT_EQ(Stats().retention.default_budget, 1.0);  // The server's own.
}

// What was served under the old budget says nothing about the new one.
TEST_F(RetentionGuard, ARaiseForgetsTheReplaysThatWait) {
  OpenDemo(Guarded(0.1, "random"));
  Build();
  for (int i = 0; i < 16; ++i) Submit(Ask(i));
  RunToEnd();
  const RetentionStats stats = Stats().retention;
  EXPECT_EQ(stats.guard_sampled, 16u);
  EXPECT_EQ(stats.guard_raises, 1u);
  EXPECT_EQ(stats.guard_replayed, 8u);
  EXPECT_EQ(stats.guard_dropped, 8u);
  EXPECT_DOUBLE_EQ(stats.default_budget, 0.2);
}

TEST_F(RetentionGuard, ReplaysRunWhenIdleAndYield) {
  EngineOptions options = Guarded(0.3, "prefixkv");
  options.guard_min_agreement = 0.0;
  options.guard_max_drift = 100.0;
  OpenDemo(options);
  Build();
  std::vector<std::shared_ptr<ByteSink>> sinks;
  for (int i = 0; i < 20; ++i) sinks.push_back(Submit(Ask(i)));
  // Everybody ends before the first replay begins.
  const auto live = [this] { return Stats().running + Stats().waiting; };
  while (live() > 0) {
    ASSERT_TRUE(loop_->Step());
    EXPECT_EQ(Stats().retention.guard_replayed, 0u);
  }
  // The queue takes so many, the others were dropped.
  EXPECT_EQ(Stats().retention.guard_sampled, 20u);
  EXPECT_EQ(Stats().retention.guard_dropped, 20 - ShadowReplay::kMaxQueued);
  // Half way through a replay work arrives: its pages are free in the step that serves that.
  const int32_t idle = Stats().free_pages;
  while (Stats().free_pages == idle) ASSERT_TRUE(loop_->Step());
  const uint64_t replayed = Stats().retention.guard_replayed;
  Request request = Chat("", "How are you?", {.scope = RetentionScope::kOff});
  request.bypass_prefix_cache = true;
  const auto sink = Submit(request);
  ASSERT_TRUE(loop_->Step());
  EXPECT_EQ(Stats().requests.size(), 1u);
  EXPECT_EQ(Stats().free_pages, idle - Stats().requests[0].kv_pages);
  while (!sink->ended) {
    ASSERT_TRUE(loop_->Step());
    EXPECT_EQ(Stats().retention.guard_replayed, replayed);
  }
  RunToEnd();
  EXPECT_EQ(Stats().retention.guard_replayed, ShadowReplay::kMaxQueued);
  EXPECT_EQ(Stats().free_pages, idle);
  EXPECT_FALSE(loop_->Step());
  EXPECT_EQ(loop_->NextTimer(), absl::InfiniteFuture());
}

TEST_F(RetentionGuard, PrefixesExpireWhileItReplays) {
  OpenDemo(Guarded(0.3, "prefixkv"));
  Build();
  const Request prefix = Chat("", "How are you? I hope that you are well.");
  const auto entry =
      parts_->prefixes->Reserve({.id = "short", .input = prefix.input, .ttl = absl::Seconds(1)},
                                {.total = 1, .per_tenant = 1});
  ASSERT_TRUE(entry.ok()) << entry.status();
  Submit(prefix, 0, *entry);
  RunToEnd();
  EXPECT_GT(Stats().cache.pinned_pages, 0);
  const auto sink = Submit(Ask(0));
  while (!sink->ended) ASSERT_TRUE(loop_->Step());
  ASSERT_TRUE(loop_->Step());
  clock_.Advance(absl::Seconds(2));
  ASSERT_TRUE(loop_->Step());
  EXPECT_EQ(Stats().retention.guard_replayed, 0u);
  EXPECT_EQ(Stats().cache.pinned_pages, 0);
}

TEST_F(RetentionGuard, ReplaysPublishNothing) {
  OpenDemo(Guarded(0.3, "random"));
  Build();
  Request request = Ask(0);
  request.bypass_prefix_cache = true;
  const ByteSink served = Run(request);
  EXPECT_EQ(Stats().retention.guard_replayed, 1u);
  EXPECT_EQ(Stats().free_pages, num_pages_);
  EXPECT_EQ(Stats().cache.columns, 0);
  EXPECT_EQ(Stats().cache.feature_entries, 0);
  request.bypass_prefix_cache = false;
  request.retention.scope = RetentionScope::kOff;
  EXPECT_EQ(Run(request).finished->cache.hit_tokens, 0);
}

// Where requests need the pages, replays are given up.
TEST_F(RetentionGuard, AReplayWithoutRoomIsDropped) {
  OpenDemo(Guarded(0.1, "local"));
  // 160 tokens are 60 pages, and with 400 new ones 210; under the budget a tenth of those.
  Build(/*num_pages=*/90);
  Request request = Ask(0);
  request.stopping.max_tokens = 400;
  request.stopping.ignore_eos = true;
  Run(request);
  EXPECT_EQ(Stats().retention.guard_sampled, 1u);
  EXPECT_EQ(Stats().retention.guard_replayed, 0u);
  EXPECT_EQ(Stats().retention.guard_dropped, 1u);
  loop_->Flush(-1);
  EXPECT_EQ(Stats().free_pages, num_pages_);
}

}  // namespace
}  // namespace prefixd::testing
