// KV budgets in the engine: a budget of 1 changes no bit, also where everything is scored, selected
// and moved; choices, preemption, positions, and what receipts and statistics say.
#include "tests/engine/retention_fixture.h"

#include <numeric>
#include <set>

#include "cache/retention/policy.h"

namespace prefixd::testing {
namespace {

std::vector<std::string> PolicyNames() {
  std::vector<std::string> names;
  for (const RetentionPolicy* policy : RetentionPolicies()) names.emplace_back(policy->name());
  return names;
}

std::vector<int32_t> UpTo(int32_t count) {
  std::vector<int32_t> all(static_cast<size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

class RetentionEngine : public RetentionLoopTest {};

TEST_F(RetentionEngine, ABudgetOfOneChangesNoBit) {
  OpenTiny();
  Build();
  const std::vector<std::string> policies = PolicyNames();
  const std::vector<Request> family =
      MakeStreamFamily(60, {PictureBytes("picture-01.png"), PictureBytes("picture-15.png")}, 21);
  int shared = 0, choices = 0, sampled = 0;
  for (size_t i = 0; i < family.size(); ++i) {
    Request request = family[i];
    request.retention = {};
    const ByteSink off = RunAlone(request);
    for (const std::string& policy : {policies[i % policies.size()], std::string("prefixkv")}) {
      SCOPED_TRACE(absl::StrCat("request ", i, ", ", policy));
      const auto check = [&](const RetentionParams& retention) {
        request.retention = retention;
        backend_->gathered.clear();
        const ByteSink kept = Run(request);
        ASSERT_EQ(kept.choices, off.choices);
        const RetentionReceipt& receipt = kept.finished->retention;
        EXPECT_EQ(receipt.scope, *retention.scope);
        EXPECT_EQ(receipt.policy, policy);
        EXPECT_EQ(receipt.kept_tokens, std::vector<int32_t>(kTinyLayers, receipt.selected_from));
        EXPECT_EQ(receipt.decode_drops, 0);
        EXPECT_EQ(receipt.saved_kv_bytes, 0u);
        EXPECT_EQ(kept.finished->cache.evicted_tokens, 0);
        // Everything was moved, once a layer, unless the snapshot was there.
        ASSERT_EQ(backend_->gathered.size(), receipt.snapshot_hit ? 0u : size_t{kTinyLayers});
        for (const auto& sources : backend_->gathered) {
          EXPECT_EQ(sources, UpTo(receipt.selected_from));
        }
      };
      check(Exact(policy, 1.0));
      const TokenInput& input = std::get<TokenInput>(request.input);
      const bool shareable = !input.images.empty() && input.ids.back() != kTinyPlaceholder;
      if (!shareable || policy == "h2o") continue;
      check(Shared(policy, 1.0));
      ++shared;
    }
    choices += request.output.num_choices > 1;
    sampled += request.sampling.temperature > 0;
  }
  EXPECT_GT(shared, 20);
  EXPECT_GT(choices, 5);
  EXPECT_GT(sampled, 20);
  EXPECT_GT(Stats().retention.snapshot_hits, 5u);
}

TEST_F(RetentionEngine, ABudgetOfOneChangesNoBitOfTheDemo) {
  OpenDemo();
  Build();
  const std::string picture = PictureBytes("picture-08.jpg");
  for (const std::string question : {"What is in the picture?", "How many objects can you see?"}) {
    Request request = Chat(picture, question);
    const ByteSink off = RunAlone(request);
    for (const RetentionParams& retention : {Exact("prefixkv", 1.0), Exact("h2o", 1.0),
                                             Shared("prefixkv", 1.0), Shared("snapkv", 1.0)}) {
      request.retention = retention;
      EXPECT_EQ(Run(request).choices, off.choices) << question << " " << *retention.policy;
    }
  }
}

// Each choice drops on its own; what the prompt left is shared until one of them writes there.
TEST_F(RetentionEngine, ChoicesShareWhatTheSelectionLeft) {
  OpenTiny();
  Build();
  Request request = Tiny(100, "", 60, 1, Exact("prefixkv", 0.5), 12);
  request.sampling.temperature = 1.5f;
  const ByteSink one = RunAlone(request);
  request.output.num_choices = 4;
  const ByteSink four = RunAlone(request);
  ASSERT_EQ(four.choices.size(), 4u);
  EXPECT_EQ(four.choices[0], one.choices[0]);
  std::set<std::string> texts;
  for (const ChoiceBytes& choice : four.choices) texts.insert(choice.logprobs);
  EXPECT_EQ(texts.size(), 4u);
  EXPECT_EQ(four.finished->retention.kept_tokens, one.finished->retention.kept_tokens);
  EXPECT_EQ(four.finished->retention.decode_drops, 4 * one.finished->retention.decode_drops);
  EXPECT_EQ(four.finished->retention.saved_kv_bytes, one.finished->retention.saved_kv_bytes);
  // Four of their own would hold four times as much; only what is written is copied.
  EXPECT_LT(four.finished->cache.kv_bytes, 3 * one.finished->cache.kv_bytes);
  EXPECT_EQ(Stats().free_pages, num_pages_);
}

TEST_F(RetentionEngine, PreemptionReplaysWithoutSendingAgain) {
  OpenTiny();
  Build();
  std::vector<Request> requests;
  std::vector<ByteSink> alone;
  for (int i = 0; i < 4; ++i) {
    Request request = Tiny(0, "", 70 + 10 * i, i, Exact(i % 2 == 0 ? "prefixkv" : "h2o", 0.7), 150);
    request.sampling.temperature = 1.0f;
    request.output.num_choices = 1 + i % 3;
    requests.push_back(request);
    alone.push_back(RunAlone(request));
  }
  Build(/*num_pages=*/84);
  std::vector<std::shared_ptr<ByteSink>> sinks;
  for (const Request& request : requests) sinks.push_back(Submit(request));
  RunToEnd();
  for (size_t i = 0; i < sinks.size(); ++i) {
    SCOPED_TRACE(i);
    ASSERT_TRUE(sinks[i]->finished.has_value()) << sinks[i]->status;
    EXPECT_EQ(sinks[i]->choices, alone[i].choices);
    EXPECT_EQ(sinks[i]->finished->retention.kept_tokens, alone[i].finished->retention.kept_tokens);
    EXPECT_EQ(sinks[i]->finished->retention.decode_drops,
              alone[i].finished->retention.decode_drops);
    EXPECT_EQ(sinks[i]->finished->usage.completion_tokens,
              alone[i].finished->usage.completion_tokens);
  }
  EXPECT_GT(Stats().preemptions, 0u);
  EXPECT_GT(Stats().recomputed_tokens, 0u);
  loop_->Flush(-1);
  EXPECT_EQ(Stats().free_pages, num_pages_);
}

// A layer as the published code's list has it: one entry goes when it holds one more than its share
// of all tokens seen, once it is longer than the first slot that may go.
struct ListedLayer {
  int32_t length = 0, first_droppable = 0;
  double forget_ratio = 0;
  int64_t drops = 0;
  void Step(int32_t seen) {
    ++length;
    if (std::trunc(length - seen * (1.0 - forget_ratio)) < 1 || first_droppable >= length) return;
    --length;
    ++drops;
  }
};

ListedLayer LayerAfter(int32_t kept, int32_t prompt, int32_t start_size, int32_t distance) {
  ListedLayer layer{.length = kept};
  layer.first_droppable = distance > 0           ? distance
                          : kept + distance >= 1 ? kept + distance
                                                 : kept / 2;
  layer.first_droppable = std::max(layer.first_droppable, start_size);
  layer.forget_ratio = static_cast<double>(prompt - kept) / prompt;
  return layer;
}

TEST_F(RetentionEngine, ReferencePositionsFollowTheFirstLayer) {
  OpenTiny();
  Build();
  constexpr int kPrompt = 120, kNew = 40;
  Request request = Tiny(0, "", kPrompt, 3, Exact("prefixkv", 0.4), kNew);
  for (const bool reference : {false, true}) {
    request.retention.reference_positions = reference;
    backend_->positions.clear();
    const ByteSink sink = RunAlone(request);
    std::vector<int32_t> given;
    for (const auto& rows : backend_->positions)
      given.insert(given.end(), rows.begin(), rows.end());
    std::vector<int32_t> expected = UpTo(kPrompt);
    ListedLayer layer = LayerAfter(sink.finished->retention.kept_tokens[0], kPrompt, 1, -25);
    for (int32_t token = 0; token + 1 < kNew; ++token) {
      expected.push_back(reference ? layer.length : kPrompt + token);
      layer.Step(kPrompt + token + 1);
    }
    EXPECT_EQ(given, expected)
        << reference << ::testing::PrintToString(std::vector<int>(given.begin() + 120, given.end()))
        << ::testing::PrintToString(std::vector<int>(expected.begin() + 120, expected.end()))
        << sink.finished->retention.kept_tokens[0];
  }
}

TEST_F(RetentionEngine, ReceiptsCountDropsAndBytes) {
  OpenTiny();
  Build();
  constexpr int kPrompt = 150, kNew = 60;
  for (const std::string policy : {"prefixkv", "local", "elastic", "random"}) {
    SCOPED_TRACE(policy);
    const ByteSink sink = RunAlone(Tiny(0, "", kPrompt, 3, Exact(policy, 0.3), kNew));
    const RetentionReceipt& receipt = sink.finished->retention;
    ASSERT_EQ(receipt.selected_from, kPrompt);
    ASSERT_EQ(receipt.kept_tokens.size(), size_t{kTinyLayers});
    EXPECT_EQ(receipt.kept_tokens[0] + receipt.kept_tokens[1], 2 * kPrompt * 3 / 10);
    int64_t drops = 0, dropped = 0;
    for (const int32_t kept : receipt.kept_tokens) {
      ListedLayer layer = LayerAfter(kept, kPrompt, 1, -25);
      for (int32_t token = 0; token + 1 < kNew; ++token) layer.Step(kPrompt + token + 1);
      drops += layer.drops;
      dropped += kPrompt - kept + layer.drops;
    }
    EXPECT_GT(drops, kNew / 2);
    EXPECT_EQ(receipt.decode_drops, drops);
    EXPECT_EQ(receipt.saved_kv_bytes, static_cast<uint64_t>(dropped) * parts_->page_bytes / 16);
    EXPECT_EQ(sink.finished->cache.evicted_tokens, dropped / kTinyLayers);
  }
}

TEST_F(RetentionEngine, PagesGoBackWhenThePromptIsCompressed) {
  OpenTiny();
  Build(1000, {.max_batch_tokens = 64});
  Request request = Tiny(0, "", 320, 3, Exact("prefixkv", 0.2), 30);
  request.bypass_prefix_cache = true;
  const auto sink = Submit(request);
  int32_t most = 0, before = 0, now = 0;
  while (loop_->Step()) {
    const EngineStats stats = Stats();
    if (stats.requests.empty()) break;
    before = now;
    now = stats.requests[0].kv_pages;
    EXPECT_EQ(stats.free_pages, num_pages_ - now);
    if (stats.requests[0].state == "decode" && most == 0) most = before;
    if (stats.requests[0].state == "decode") {
      EXPECT_LE(now, 2 * 320 / 5 / 16 + 2 + 2);
    }
  }
  EXPECT_EQ(most, 2 * 256 / 16);  // The last piece and the selection are one step.
  EXPECT_EQ(sink->finished->cache.kv_bytes, 2u * 320 / 16 * parts_->page_bytes);
}

TEST_F(RetentionEngine, StatisticsAreTheSumOfReceipts) {
  OpenTiny();
  Build();
  RetentionStats sum;
  sum.kept_tokens.resize(kTinyLayers);
  const std::string picture = PictureBytes("picture-01.png");
  for (int i = 0; i < 24; ++i) {
    Request request = Tiny(20, i % 3 == 0 ? "" : picture, 30 + i, i, {}, 8 + i);
    if (i % 4 == 1) request.retention = Exact("prefixkv", 0.4);
    if (i % 4 == 2) request.retention = Exact("snapkv", 0.4);
    if (i % 3 != 0 && i % 4 == 3) request.retention = Shared("prefixkv", 0.5);
    request.output.num_choices = 1 + i % 2;
    const RetentionReceipt receipt = Run(request).finished->retention;
    ++sum.requests[static_cast<size_t>(receipt.scope)];
    sum.decode_drops += static_cast<uint64_t>(receipt.decode_drops);
    sum.saved_kv_bytes += receipt.saved_kv_bytes;
    if (receipt.kept_tokens.empty()) continue;
    sum.selected_from += static_cast<uint64_t>(receipt.selected_from);
    for (size_t l = 0; l < kTinyLayers; ++l) {
      sum.kept_tokens[l] += static_cast<uint64_t>(receipt.kept_tokens[l]);
    }
    sum.score_mass += receipt.score_mass;
    ++sum.selections;
    sum.snapshot_hits += receipt.snapshot_hit;
  }
  const RetentionStats stats = Stats().retention;
  EXPECT_EQ(stats.requests, sum.requests);
  for (const uint64_t count : stats.requests) EXPECT_GT(count, 3u);
  EXPECT_EQ(stats.decode_drops, sum.decode_drops);
  EXPECT_GT(stats.decode_drops, 0u);
  EXPECT_EQ(stats.saved_kv_bytes, sum.saved_kv_bytes);
  EXPECT_EQ(stats.selected_from, sum.selected_from);
  EXPECT_EQ(stats.kept_tokens, sum.kept_tokens);
  EXPECT_DOUBLE_EQ(stats.score_mass, sum.score_mass);
  EXPECT_EQ(stats.selections, sum.selections);
  EXPECT_EQ(stats.snapshot_hits, sum.snapshot_hits);
  EXPECT_EQ(stats.snapshot_hits + stats.snapshot_misses, stats.requests[2]);
  EXPECT_EQ(stats.snapshots_made, stats.snapshot_misses);
  EXPECT_EQ(stats.snapshots_evicted, 0u);
  EXPECT_EQ(stats.snapshots, 1);
  EXPECT_GT(stats.score_bytes, 0u);
}

TEST_F(RetentionEngine, TenantsHaveTheirOwnDefaults) {
  EngineOptions options;
  options.retention_budget = 0.6;
  options.tenants = {{.name = "plain", .page_share = 1.0},
                     {.name = "thrifty",
                      .page_share = 1.0,
                      .retention = {.scope = RetentionScope::kExact, .budget = 0.2}}};
  OpenTiny(options);
  Build();
  Request request = Tiny(0, "", 100, 3);
  const auto receipt = [&](int32_t tenant) {
    request.tenant = options.tenants[tenant].name;
    return Run(request, tenant).finished->retention;
  };
  EXPECT_EQ(receipt(0).scope, RetentionScope::kOff);
  EXPECT_EQ(receipt(1).scope, RetentionScope::kExact);
  EXPECT_EQ(receipt(1).budget, 0.2);
  EXPECT_EQ(receipt(1).policy, "prefixkv");
  request.retention.scope = RetentionScope::kExact;
  EXPECT_EQ(receipt(0).budget, 0.6);
  request.retention.budget = 0.8;
  EXPECT_EQ(receipt(1).budget, 0.8);
  EXPECT_EQ(receipt(1).kept_tokens[0] + receipt(1).kept_tokens[1], 160);
  request.retention = {.scope = RetentionScope::kOff};
  EXPECT_EQ(receipt(1).scope, RetentionScope::kOff);
  request.retention = {.policy = "local"};
  EXPECT_EQ(receipt(1).policy, "local");
  EXPECT_EQ(receipt(1).budget, 0.2);
}

}  // namespace
}  // namespace prefixd::testing
