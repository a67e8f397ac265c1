// What one tenant can learn of another, and take from it: nothing. T-29 and T-31 of the catalogue
// of faults, in virtual time, so that "the same" means equal instead of indistinguishable.
#include <random>

#include <gtest/gtest.h>

#include "tests/engine/tenant_load.h"

namespace prefixd::testing {
namespace {

constexpr int kTrials = 250;
constexpr int32_t kPromptTokens = 150;

// What a client sees of its request, and when.
struct Seen {
  int32_t cached = 0, computed = 0, misses = 0;
  uint64_t kv_bytes = 0, shared_kv_bytes = 0;
  absl::Duration queue, first_token, total;
  std::vector<int32_t> tokens;

  bool operator==(const Seen&) const = default;
};

class IsolationTest : public TenantLoadTest {
 protected:
  struct Spy {
    int32_t tenant = 1;
    std::string name_space = "1";
  };

  // Tenant 0 has sent one prompt and is computing more; then the spy sends `guess`.
  Seen Probe(int32_t secret, int32_t guess, const Spy& spy) {
    BuildTenants(std::vector<TenantOptions>(2), 400, {.max_batch_tokens = 32, .page_bytes = 1});
    const auto submit = [&](int32_t tenant, int32_t salt, const std::string& name_space) {
      auto request = Of(tenant, PromptOf(kPromptTokens, salt), 5);
      ShareUnder(RootKey({.tenant = name_space}), &request->prompt);
      return Submit(std::move(request));
    };
    submit(0, secret, "0");
    RunToEnd();
    submit(0, secret, "0");
    submit(0, secret + 47, "0");
    const auto sink = submit(spy.tenant, guess, spy.name_space);
    RunToEnd();
    EXPECT_TRUE(sink->finished.has_value()) << sink->status;
    const FinishedEvent& done = *sink->finished;
    return {.cached = done.usage.cached_prompt_tokens,
            .computed = done.cache.computed_tokens,
            .misses = static_cast<int32_t>(done.cache.miss),
            .kv_bytes = done.cache.kv_bytes,
            .shared_kv_bytes = done.cache.shared_kv_bytes,
            .queue = done.timings.queue,
            .first_token = done.timings.first_token,
            .total = done.timings.total,
            .tokens = sink->tokens[0]};
  }

  // In how many of kTrials a guess that is right looks different from one that is wrong.
  int TellApart(const Spy& spy) {
    std::mt19937 random(20261126);
    int told = 0;
    for (int trial = 0; trial < kTrials; ++trial) {
      const int32_t guess = static_cast<int32_t>(random() % 94);
      const int32_t other = (guess + 1 + static_cast<int32_t>(random() % 93)) % 94;
      told += Probe(guess, guess, spy) != Probe(other, guess, spy);
    }
    return told;
  }
};

TEST_F(IsolationTest, ARightGuessOfAnotherTenantsPromptLooksLikeAWrongOne) {
  EXPECT_EQ(TellApart({.tenant = 1, .name_space = "1"}), 0);
}

// The index would refuse a tenant that comes under another's namespace; the keys alone suffice.
TEST_F(IsolationTest, KeysAloneKeepNamespacesApart) {
  EXPECT_EQ(TellApart({.tenant = 0, .name_space = "1"}), 0);
}

// The positive control: the audit sees a cache hit, and so would see a namespace that leaks.
TEST_F(IsolationTest, WithinANamespaceTheCacheShows) {
  EXPECT_EQ(TellApart({.tenant = 0, .name_space = "0"}), kTrials);
}

class HoardingTest : public TenantLoadTest {
 protected:
  // Pins `prompt`; returns the terminal status.
  absl::Status Pin(int32_t tenant, std::vector<int32_t> prompt) {
    auto entry = prefixes_.Reserve({.tenant = std::to_string(tenant), .ttl = absl::Hours(1)},
                                   {.total = 1000, .per_tenant = 1000});
    if (!entry.ok()) return entry.status();
    auto request = Of(tenant, std::move(prompt), 1);
    request->pins = *entry;
    const auto sink = Submit(std::move(request));
    RunToEnd();
    EXPECT_TRUE(sink->ended);
    if (!sink->status.ok()) prefixes_.Remove(**entry);
    return sink->status;
  }

  PrefixRegistry prefixes_;
};

TEST_F(HoardingTest, WhoPinsUpToItsQuotaLeavesOthersTheirFloor) {
  BuildTenants({{.page_share = 0.5}, {.page_share = 0.5, .page_floor = 0.2}}, 300,
               {.max_batch_tokens = 64, .pinned_share = 1.0, .prefixes = &prefixes_});
  // What the other tenant has cached stays, as far as its floor reaches.
  for (int32_t i = 0; i < 4; ++i) Submit(Of(1, PromptOf(80, i), 1));
  RunToEnd();
  ASSERT_GE(Stats().tenants[1].cached_pages, 60);

  absl::Status status;
  int pinned = 0;
  for (; status.ok() && pinned < 100; ++pinned) status = Pin(0, Fresh(64));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_GT(pinned, 5);
  EXPECT_LE(Stats().tenants[0].active_pages, Stats().tenants[0].page_quota);
  EXPECT_GE(Stats().tenants[1].cached_pages, Stats().tenants[1].page_floor);

  // The other one is served, to the last page of its own quota.
  const auto again = Submit(Of(1, PromptOf(80, 3), 1));
  RunToEnd();
  EXPECT_EQ(again->finished->cache.hit_tokens, 79);
  const int32_t fits = Stats().tenants[1].page_quota / kLayers * kPageSlots;
  const auto large = Submit(Of(1, Fresh(std::min(fits - 1, 511)), 1));
  RunToEnd();
  EXPECT_TRUE(large->status.ok()) << large->status;
  EXPECT_TRUE(large->finished.has_value());
}

}  // namespace
}  // namespace prefixd::testing
