// What requests under KV budgets share: prefixes with their scores (EXACT), and compressed prefixes
// (SHARED). Bytes and kept tokens are those of lonely runs.
#include <numeric>

#include "tests/engine/retention_fixture.h"

namespace prefixd::testing {
namespace {

constexpr int kBefore = 40, kImageEnd = kBefore + 16, kCheckpoint = kImageEnd / 16 * 16;

class RetentionSharing : public RetentionLoopTest {
 protected:
  void SetUp() override {
    OpenTiny();
    Build();
  }

  // A picture between text that all have in common and `after` tokens of its own.
  Request Ask(int salt, const RetentionParams& retention, int after = 50) const {
    return Tiny(kBefore, picture_, after, salt, retention);
  }

  void ExpectSame(const ByteSink& sink, const ByteSink& alone) {
    EXPECT_EQ(sink.choices, alone.choices);
    EXPECT_EQ(sink.finished->retention.kept_tokens, alone.finished->retention.kept_tokens);
    EXPECT_EQ(sink.finished->retention.decode_drops, alone.finished->retention.decode_drops);
    EXPECT_EQ(sink.finished->retention.saved_kv_bytes, alone.finished->retention.saved_kv_bytes);
    EXPECT_DOUBLE_EQ(sink.finished->retention.score_mass, alone.finished->retention.score_mass);
    EXPECT_EQ(sink.finished->cache.hit_tokens + sink.finished->cache.computed_tokens,
              sink.finished->usage.prompt_tokens);
  }

  const std::string picture_ = PictureBytes("picture-01.png");
  const std::string other_picture_ = PictureBytes("picture-15.png");
};

// --- EXACT ---------------------------------------------------------------------------------------

TEST_F(RetentionSharing, AHitOnAPrefixWithScoresIsAColdRun) {
  for (const std::string policy : {"prefixkv", "h2o", "elastic"}) {
    SCOPED_TRACE(policy);
    loop_->Flush(-1);
    const ByteSink alone = RunAlone(Ask(2, Exact(policy, 0.3)));
    EXPECT_EQ(Run(Ask(1, Exact(policy, 0.5))).finished->cache.hit_tokens, 0);
    const ByteSink hit = Run(Ask(2, Exact(policy, 0.3)));
    EXPECT_EQ(hit.finished->cache.hit_tokens, kCheckpoint);
    EXPECT_EQ(hit.finished->cache.images_encoded, 0);
    EXPECT_FALSE(hit.finished->retention.snapshot_hit);
    ExpectSame(hit, alone);
    // The whole prompt again: up to its last page boundary.
    const ByteSink again = Run(Ask(2, Exact(policy, 0.3)));
    EXPECT_EQ(again.finished->cache.hit_tokens, (kImageEnd + 50 - 1) / 16 * 16);
    ExpectSame(again, alone);
  }
}

TEST_F(RetentionSharing, ScoresAreAttachedToPagesThatCameWithoutThem) {
  const ByteSink alone = RunAlone(Ask(3, Exact("prefixkv", 0.3)));
  Run(Ask(1, {}));
  EXPECT_EQ(Stats().retention.score_bytes, 0u);
  const ByteSink first = Run(Ask(2, Exact("prefixkv", 0.3)));
  EXPECT_EQ(first.finished->cache.hit_tokens, 0);
  EXPECT_GT(Stats().retention.score_bytes, 0u);
  const ByteSink second = Run(Ask(3, Exact("prefixkv", 0.3)));
  EXPECT_EQ(second.finished->cache.hit_tokens, kCheckpoint);
  ExpectSame(second, alone);
  // And a request without a budget takes every column of what they published.
  EXPECT_EQ(Run(Ask(3, {})).finished->cache.hit_tokens, (kImageEnd + 50 - 1) / 16 * 16);
}

TEST_F(RetentionSharing, PoliciesHitAsFarAsTheirScoresAllow) {
  constexpr int kAfter = 100, kPrompt = kImageEnd + kAfter;
  const struct {
    const char* policy;
    int32_t hit;
  } cases[] = {{"snapkv", kPrompt - 64},        {"pyramidkv", kPrompt - 64},
               {"local", kPrompt / 16 * 16},    {"streaming-llm", kPrompt / 16 * 16},
               {"random", kPrompt / 16 * 16},   {"full", kPrompt / 16 * 16},
               {"prefixkv", kPrompt / 16 * 16}, {"prefixkv-window", kPrompt / 16 * 16}};
  static_assert(kPrompt % 16 != 0);
  for (const auto& c : cases) {
    SCOPED_TRACE(c.policy);
    loop_->Flush(-1);
    const ByteSink alone = RunAlone(Ask(2, Exact(c.policy, 0.3), kAfter));
    EXPECT_EQ(Run(Ask(2, Exact(c.policy, 0.3), kAfter)).finished->cache.hit_tokens, 0);
    const ByteSink hit = Run(Ask(2, Exact(c.policy, 0.3), kAfter));
    EXPECT_EQ(hit.finished->cache.hit_tokens, c.hit);
    ExpectSame(hit, alone);
  }
}

TEST_F(RetentionSharing, WhatFollowsASelectionIsNeverPublished) {
  Request request = Ask(1, Exact("prefixkv", 0.3));
  request.stopping.max_tokens = 60;
  const ByteSink first = Run(request);
  // The same prompt and its answer, without a budget: only the prompt's columns are there.
  Request longer = FollowUp(request, first.choices[0].ids, 1);
  longer.retention = {};
  const ByteSink alone = RunAlone(longer);
  const ByteSink hit = Run(longer);
  EXPECT_EQ(hit.finished->cache.hit_tokens, (kImageEnd + 50) / 16 * 16);
  EXPECT_EQ(hit.choices, alone.choices);
}

// --- SHARED --------------------------------------------------------------------------------------

TEST_F(RetentionSharing, TheSecondSessionStartsFromTheSnapshot) {
  for (const std::string policy : {"prefixkv", "prefixkv-window", "local", "snapkv", "elastic"}) {
    SCOPED_TRACE(policy);
    loop_->Flush(-1);
    const ByteSink alone = RunAlone(Ask(2, Shared(policy, 0.5)));
    EXPECT_EQ(alone.finished->retention.selected_from, kImageEnd);
    const ByteSink first = Run(Ask(1, Shared(policy, 0.5)));
    EXPECT_FALSE(first.finished->retention.snapshot_hit);
    EXPECT_EQ(first.finished->cache.images_encoded, 1);
    const ByteSink second = Run(Ask(2, Shared(policy, 0.5)));
    EXPECT_TRUE(second.finished->retention.snapshot_hit);
    EXPECT_EQ(second.finished->cache.hit_tokens, kImageEnd);
    EXPECT_EQ(second.finished->cache.computed_tokens, 50);
    EXPECT_EQ(second.finished->cache.images_encoded, 0);
    EXPECT_EQ(second.finished->cache.images_in_prefix, 1);
    EXPECT_EQ(second.finished->retention.selected_from, kImageEnd);
    EXPECT_GT(second.finished->cache.shared_kv_bytes, 0u);
    ExpectSame(second, alone);
  }
}

TEST_F(RetentionSharing, OnlyTheSameRecipeHits) {
  Run(Ask(1, Shared("prefixkv", 0.5)));
  const auto hits = [&](const Request& request) {
    const ByteSink alone = RunAlone(request);
    const ByteSink sink = Run(request);
    ExpectSame(sink, alone);
    return sink.finished->retention.snapshot_hit;
  };
  EXPECT_TRUE(hits(Ask(2, Shared("prefixkv", 0.5))));
  EXPECT_FALSE(hits(Ask(2, Shared("prefixkv", 0.4))));
  EXPECT_FALSE(hits(Ask(2, Shared("prefixkv-debiased", 0.5))));
  Request request = Ask(2, Shared("prefixkv", 0.5));
  request.retention.start_size = 4;
  EXPECT_FALSE(hits(request));
  request = Ask(2, Shared("prefixkv", 0.5));
  request.retention.distance = 10;
  EXPECT_FALSE(hits(request));
  request = Ask(2, Shared("prefixkv", 0.5));
  request.cache_salt = "salt";
  EXPECT_FALSE(hits(request));
  request = Ask(2, Shared("prefixkv", 0.5));
  std::get<TokenInput>(request.input).images[0].bytes = other_picture_;
  EXPECT_FALSE(hits(request));
  // Each is there by now.
  EXPECT_TRUE(hits(request));
  EXPECT_TRUE(hits(Ask(3, Shared("prefixkv", 0.4))));
}

TEST_F(RetentionSharing, AnotherPictureBehindTheBoundaryIsTheSuffix) {
  Request request = Ask(1, Shared("prefixkv", 0.5));
  TokenInput& input = std::get<TokenInput>(request.input);
  input.ids.push_back(kTinyPlaceholder);
  input.ids.push_back(kTinyFirstByte + 65);
  input.images.push_back({.bytes = other_picture_});
  const ByteSink alone = RunAlone(request);
  EXPECT_EQ(alone.finished->retention.selected_from, kImageEnd);
  Run(Ask(2, Shared("prefixkv", 0.5)));
  const ByteSink sink = Run(request);
  EXPECT_TRUE(sink.finished->retention.snapshot_hit);
  EXPECT_EQ(sink.finished->cache.hit_tokens, kImageEnd);
  ExpectSame(sink, alone);
}

TEST_F(RetentionSharing, OtherTenantsHaveTheirOwnSnapshots) {
  EngineOptions options;
  options.tenants = {{.name = "a", .page_share = 1.0}, {.name = "b", .page_share = 1.0}};
  OpenTiny(options);
  Build();
  Request request = Ask(1, Shared("prefixkv", 0.5));
  const auto hits = [&](int32_t tenant) {
    request.tenant = options.tenants[tenant].name;
    return Run(request, tenant).finished->retention.snapshot_hit;
  };
  EXPECT_FALSE(hits(0));
  EXPECT_FALSE(hits(1));
  EXPECT_TRUE(hits(0));
  EXPECT_TRUE(hits(1));
  EXPECT_EQ(Stats().retention.snapshots, 2);
  loop_->Flush(0);
  EXPECT_EQ(Stats().retention.snapshots, 1);
  EXPECT_TRUE(hits(1));
  EXPECT_FALSE(hits(0));
  loop_->Flush(-1);
  EXPECT_EQ(Stats().retention.snapshots, 0);
  EXPECT_EQ(Stats().retention.snapshot_pages, 0);
  EXPECT_EQ(Stats().free_pages, num_pages_);
}

TEST_F(RetentionSharing, SnapshotsAreEvictedForRequests) {
  // A snapshot of 28 tokens a layer: four pages. Each request of the others leaves columns, too.
  Build(/*num_pages=*/60);
  Run(Ask(1, Shared("prefixkv", 0.5)));
  EXPECT_EQ(Stats().retention.snapshots, 1);
  for (int salt = 10; salt < 20; ++salt) {
    Request request = Tiny(0, "", 200, salt);
    std::get<TokenInput>(request.input).ids[0] = kTinyFirstByte + salt;
    Run(request);
  }
  EXPECT_EQ(Stats().retention.snapshots, 0);
  EXPECT_EQ(Stats().retention.snapshots_evicted, 1u);
  EXPECT_FALSE(Run(Ask(2, Shared("prefixkv", 0.5))).finished->retention.snapshot_hit);
}

TEST_F(RetentionSharing, BypassNeitherReadsNorMakesSnapshots) {
  Request request = Ask(1, Shared("prefixkv", 0.5));
  RunAlone(request);
  EXPECT_EQ(Stats().retention.snapshots, 0);
  Run(request);
  EXPECT_EQ(Stats().retention.snapshots, 1);
  const ByteSink bypass = RunAlone(request);
  EXPECT_FALSE(bypass.finished->retention.snapshot_hit);
  EXPECT_EQ(bypass.finished->cache.hit_tokens, 0);
  EXPECT_EQ(bypass.finished->cache.miss, CacheMiss::kBypassed);
  EXPECT_EQ(Stats().retention.snapshot_hits + Stats().retention.snapshot_misses, 1u);
}

TEST_F(RetentionSharing, NothingComputedOnASnapshotIsFoundWithoutABudget) {
  Request request = Ask(1, Shared("prefixkv", 0.5));
  request.stopping.max_tokens = 60;
  Run(Ask(2, Shared("prefixkv", 0.5)));
  const ByteSink shared = Run(request);
  ASSERT_TRUE(shared.finished->retention.snapshot_hit);
  Request off = FollowUp(request, shared.choices[0].ids, 1);
  off.retention = {};
  const ByteSink alone = RunAlone(off);
  const ByteSink sink = Run(off);
  // The columns of the prefix, which the first session computed before it selected, and no more.
  EXPECT_EQ(sink.finished->cache.hit_tokens, kCheckpoint);
  EXPECT_EQ(sink.choices, alone.choices);
}

TEST_F(RetentionSharing, WhereNothingIsThereToShare) {
  const absl::Status text = RunToFailure(Tiny(0, "", 50, 1, Shared("prefixkv", 0.5)));
  EXPECT_EQ(text.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(text), "FEATURE_UNSUPPORTED");
  EXPECT_EQ(text.message(), "retention.scope SHARED needs a named prefix or an image to share");
  const absl::Status image = RunToFailure(Ask(1, Shared("prefixkv", 0.5), 0));
  EXPECT_EQ(image.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(image.message(),
            "retention.scope SHARED needs text after the prefix or image it shares");

  EngineOptions options;
  options.retention = "shared";
  options.retention_budget = 0.5;
  OpenTiny(options);
  Build();
  const ByteSink by_default = Run(Tiny(0, "", 50, 1));
  EXPECT_EQ(by_default.finished->retention.scope, RetentionScope::kExact);
  EXPECT_EQ(by_default.finished->retention.selected_from, 50);
  EXPECT_EQ(Run(Ask(1, {})).finished->retention.scope, RetentionScope::kShared);
}

// Two sessions at once: the second waits for the snapshot of the first.
TEST_F(RetentionSharing, SessionsAtOnceComputeThePrefixOnce) {
  std::vector<ByteSink> alone;
  for (int salt = 1; salt <= 4; ++salt) {
    alone.push_back(RunAlone(Ask(salt, Shared("prefixkv", 0.5))));
  }
  std::vector<std::shared_ptr<ByteSink>> sinks;
  for (int salt = 1; salt <= 4; ++salt) sinks.push_back(Submit(Ask(salt, Shared("prefixkv", 0.5))));
  RunToEnd();
  int hits = 0, encoded = 0;
  for (size_t i = 0; i < sinks.size(); ++i) {
    ASSERT_TRUE(sinks[i]->finished.has_value()) << sinks[i]->status;
    ExpectSame(*sinks[i], alone[i]);
    hits += sinks[i]->finished->retention.snapshot_hit;
    encoded += sinks[i]->finished->cache.images_encoded;
  }
  EXPECT_EQ(hits, 3);
  EXPECT_EQ(encoded, 1);
}

// Who made a snapshot and starts from it again after preemption did not find it there.
TEST_F(RetentionSharing, PreemptionIsNoHit) {
  std::vector<Request> requests = {Ask(1, Shared("prefixkv", 0.7)),
                                   Ask(2, Shared("prefixkv", 0.7))};
  std::get<TokenInput>(requests[1].input).images[0].bytes = other_picture_;
  std::vector<ByteSink> alone;
  for (Request& request : requests) {
    request.stopping.max_tokens = 200;
    alone.push_back(RunAlone(request));
  }
  Build(/*num_pages=*/44);
  const auto first = Submit(requests[0]), second = Submit(requests[1]);
  RunToEnd();
  ASSERT_TRUE(first->finished.has_value() && second->finished.has_value());
  EXPECT_EQ(first->finished->cache.preemptions, 0);
  EXPECT_GT(second->finished->cache.preemptions, 0);
  ExpectSame(*first, alone[0]);
  ExpectSame(*second, alone[1]);
  EXPECT_GT(Stats().retention.snapshot_hits, 0u);  // Of the store: it was looked up again.
  EXPECT_FALSE(second->finished->retention.snapshot_hit);
}

// --- Turn 2 (docs/decisions.md, rule 20)
// ----------------------------------------------------------

TEST_F(RetentionSharing, TheSecondTurnSelectsAfreshOrStartsFromTheSnapshot) {
  for (const RetentionParams& retention : {Exact("prefixkv", 0.4), Shared("prefixkv", 0.4)}) {
    const bool shared = retention.scope == RetentionScope::kShared;
    SCOPED_TRACE(shared ? "SHARED" : "EXACT");
    loop_->Flush(-1);
    const Request first = Ask(1, retention);
    const ByteSink one = Run(first);
    const Request second = FollowUp(first, one.choices[0].ids, 5);
    const int32_t prompt = kImageEnd + 50 + 20 + 6;
    const ByteSink alone = RunAlone(second);
    const ByteSink two = Run(second);
    ExpectSame(two, alone);
    EXPECT_EQ(two.finished->usage.prompt_tokens, prompt);
    EXPECT_EQ(two.finished->retention.selected_from, shared ? kImageEnd : prompt);
    EXPECT_EQ(two.finished->retention.snapshot_hit, shared);
    EXPECT_EQ(two.finished->cache.hit_tokens, shared ? kImageEnd : (kImageEnd + 50) / 16 * 16);
  }
}

}  // namespace
}  // namespace prefixd::testing
