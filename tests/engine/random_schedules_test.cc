// Random schedules on pools that are too small: sharing, single flight, eviction, preemption,
// priorities, tenants, forks, stalls, cancels and deadlines all at once. Whatever happens, tokens
// are those of the lonely run, and every page comes back.
#include <random>

#include <gtest/gtest.h>

#include "tests/engine/step_loop_fixture.h"

namespace prefixd::testing {
namespace {

class RandomSchedulesTest : public StepLoopTest {
 protected:
  struct Expected {
    std::shared_ptr<Recorder> sink;
    std::shared_ptr<RequestHandle> handle;
    std::vector<int32_t> tokens;
  };

  int32_t Draw(int32_t low, int32_t high) {
    return std::uniform_int_distribution<int32_t>(low, high)(random_);
  }
  bool Chance(double p) { return std::bernoulli_distribution(p)(random_); }

  // Few beginnings, so that many share.
  std::unique_ptr<ActiveRequest> DrawRequest() {
    auto request = MakeRequest(PromptOf(Draw(1, 40), Draw(0, 1)), Draw(1, 40));
    if (Chance(0.4)) AppendImage(Draw(1, 2), request.get());
    for (const int32_t id : PromptOf(Draw(1, 30), Draw(0, 2))) {
      request->prompt.token_ids.push_back(id);
    }
    request->tenant = Draw(0, num_tenants_ - 1);
    request->request.tenant = std::to_string(request->tenant);
    request->request.cache_salt = Chance(0.1) ? "salt" : "";
    request->request.priority = Chance(0.2) ? Draw(-1, 1) : 0;
    request->request.output.num_choices = Chance(0.2) ? Draw(2, 3) : 1;
    if (Chance(0.1)) request->request.deadline = clock_.Now() + absl::Milliseconds(Draw(1, 200));
    if (Chance(0.9)) Share(request.get());
    return request;
  }

  void RunSeed(uint32_t seed) {
    random_.seed(seed);
    num_tenants_ = Draw(1, 3);
    std::vector<TenantOptions> tenants;
    for (int32_t t = 0; t < num_tenants_; ++t) {
      tenants.push_back({.name = std::to_string(t),
                         .weight = static_cast<double>(Draw(1, 3)),
                         .page_share = 1.0,
                         .page_floor = Chance(0.5) ? 0.1 : 0.0});
    }
    const int32_t num_pages = kLayers * Draw(36, 80);
    const int32_t max_running = Draw(3, 8);
    Build({.max_batch_tokens = Draw(max_running, 64),
           .max_running = max_running,
           .reserve_all = Chance(0.2),
           .feature_cache_memory = Chance(0.5) ? uint64_t{1} << 20 : 0,
           .tenants = tenants,
           .key_bits = Chance(0.3) ? 8 : 256},
          num_pages, /*context_length=*/160);
    std::vector<Expected> requests;
    for (int step = 0; step < 400; ++step) {
      if (requests.size() < 60 && Chance(0.3)) {
        auto request = DrawRequest();
        Expected expected{.handle = request->handle};
        expected.tokens = LonelyRun(SeenBy(request->prompt), *request->request.stopping.max_tokens);
        expected.sink = Submit(std::move(request));
        requests.push_back(std::move(expected));
      }
      if (!requests.empty()) {
        Expected& any = requests[Draw(0, static_cast<int32_t>(requests.size()) - 1)];
        if (Chance(0.02)) any.handle->stop = StopCause::kCancelled;
        any.sink->writable = Chance(0.8);
        if (Chance(0.01)) loop_->Flush(Chance(0.5) ? -1 : Draw(0, num_tenants_ - 1));
      }
      loop_->Step();
      clock_.Advance(absl::Milliseconds(1));
    }
    for (Expected& request : requests) request.sink->writable = true;
    RunToEnd();
    for (const Expected& request : requests) {
      ASSERT_TRUE(request.sink->ended);
      if (request.sink->finished) {
        for (const std::vector<int32_t>& tokens : request.sink->tokens) {
          ASSERT_EQ(tokens, request.tokens);
        }
        const CacheReceipt& cache = request.sink->finished->cache;
        ASSERT_EQ(cache.hit_tokens + cache.computed_tokens,
                  request.sink->finished->usage.prompt_tokens);
      } else {
        const absl::StatusCode code = request.sink->status.code();
        ASSERT_TRUE(code == absl::StatusCode::kCancelled ||
                    code == absl::StatusCode::kDeadlineExceeded ||
                    code == absl::StatusCode::kResourceExhausted)
            << request.sink->status;
      }
    }
    preemptions_ += Stats().preemptions;
    hits_ += Stats().cache.text_hit_tokens;
    loop_->Flush(-1);
    ASSERT_EQ(Stats().free_pages, num_pages);
    loop_.reset();
  }

  std::mt19937 random_;
  int32_t num_tenants_ = 1;
  uint64_t preemptions_ = 0, hits_ = 0;
};

TEST_F(RandomSchedulesTest, TokensAreThoseOfTheLonelyRun) {
  const char* seeds = std::getenv("PREFIXD_SCHEDULE_SEEDS");
  const uint32_t num_seeds = seeds != nullptr ? std::atoi(seeds) : 200;
  for (uint32_t seed = 0; seed < num_seeds; ++seed) {
    SCOPED_TRACE(seed);
    RunSeed(seed);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(preemptions_, num_seeds);
  EXPECT_GT(hits_, 100 * num_seeds);
}

}  // namespace
}  // namespace prefixd::testing
