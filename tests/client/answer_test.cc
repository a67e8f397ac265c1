#include "client/prefixctl/answer.h"

#include <gtest/gtest.h>

namespace prefixd::ctl {
namespace {

v1::GenerateResponse Delta(int index, const std::string& text) {
  v1::GenerateResponse event;
  event.mutable_delta()->set_index(index);
  event.mutable_delta()->set_text(text);
  return event;
}

TEST(Answer, GathersTheFirstChoice) {
  Answer answer;
  answer.Add(Delta(0, "a "));
  answer.Add(Delta(1, "other"));
  answer.Add(Delta(0, "cat"));
  EXPECT_EQ(answer.text, "a cat");
  EXPECT_FALSE(answer.complete);
  v1::GenerateResponse last;
  last.mutable_finished();
  answer.Add(last);
  EXPECT_TRUE(answer.complete);
}

TEST(Answer, NamesFinishReasonsAsTheProtosDo) {
  EXPECT_EQ(FinishReasonName(v1::FINISH_REASON_EOS), "eos");
  EXPECT_EQ(FinishReasonName(v1::FINISH_REASON_STOP_STRING), "stop_string");
  EXPECT_EQ(FinishReasonName(v1::FINISH_REASON_MAX_TOKENS), "max_tokens");
  EXPECT_EQ(FinishReasonName(static_cast<v1::FinishReason>(77)), "reason_77");
}

TEST(Answer, SumsUpUsageAndSpeed) {
  Answer answer;
  answer.finish_reason = v1::FINISH_REASON_EOS;
  answer.started.set_seed(42);
  v1::Usage* const usage = answer.finished.mutable_usage();
  usage->set_prompt_tokens(171);
  usage->set_image_tokens(144);
  usage->set_completion_tokens(11);
  v1::Timings* const timings = answer.finished.mutable_timings();
  timings->mutable_prefill()->set_nanos(80'000'000);
  timings->mutable_first_token()->set_nanos(100'000'000);
  timings->mutable_total()->set_nanos(300'000'000);
  EXPECT_EQ(
      Summary(answer),
      "prompt 171 tokens (image 144, cached 0), answer 11 tokens (eos, seed 42); queue 0.0 ms, "
      "prefill 80.0 ms, first token 100.0 ms, total 300.0 ms, 50.0 tokens/s");
}

TEST(Answer, TellsWhatTheCacheDid) {
  Answer answer;
  EXPECT_EQ(CacheSummary(answer), "");
  answer.finished.mutable_usage()->set_prompt_tokens(594);
  v1::CacheReceipt* const cache = answer.finished.mutable_receipt()->mutable_cache();
  cache->set_miss(v1::CACHE_MISS_REASON_BYPASSED);
  EXPECT_EQ(CacheSummary(answer), "cached 0/594 tokens (0 %); the cache was bypassed");
  cache->set_hit_tokens(580);
  cache->set_images(1);
  cache->set_images_in_prefix(1);
  cache->set_miss(v1::CACHE_MISS_REASON_NONE);
  EXPECT_EQ(CacheSummary(answer), "cached 580/594 tokens (97 %), image: cached");
  cache->set_images_in_prefix(0);
  cache->set_images_encoded(1);
  cache->set_miss(v1::CACHE_MISS_REASON_EVICTED);
  EXPECT_EQ(CacheSummary(answer),
            "cached 580/594 tokens (97 %), image: computed; the rest was evicted");
  cache->set_images(3);
  cache->set_feature_hits(2);
  cache->set_miss(v1::CACHE_MISS_REASON_NOT_CACHED);
  cache->set_preemptions(2);
  EXPECT_EQ(CacheSummary(answer),
            "cached 580/594 tokens (97 %), images: 2 of 3 cached; the rest is new to the cache; "
            "preempted 2x");
}

TEST(Answer, NamesMissesAsTheProtosDo) {
  EXPECT_EQ(CacheMissName(v1::CACHE_MISS_REASON_NOT_CACHED), "not_cached");
  EXPECT_EQ(CacheMissName(static_cast<v1::CacheMissReason>(77)), "reason_77");
}

}  // namespace
}  // namespace prefixd::ctl
