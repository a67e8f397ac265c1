// Parameters of requests: defaults, ranges, and all violations at once.
#include "server/convert.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "google/protobuf/unknown_field_set.h"
#include "server/to_proto.h"
#include "tests/server/convert_fixture.h"

namespace prefixd::testing {
namespace {

using ::testing::ElementsAre;

constexpr char kRange[] = "INVALID_ARGUMENT PARAMETER_OUT_OF_RANGE";
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Convert, TakesTheModelsDefaultsForWhatIsNotSet) {
  const auto request = Convert([](auto*) {});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->sampling.temperature, 0.5f);
  EXPECT_EQ(request->sampling.top_p, 0.9f);
  EXPECT_EQ(request->sampling.top_k, 40);
  EXPECT_EQ(request->sampling.seed, std::nullopt);
  EXPECT_EQ(request->stopping.max_tokens, std::nullopt);
  EXPECT_EQ(request->output.num_choices, 1);
  EXPECT_EQ(request->output.logprobs, std::nullopt);
}

TEST(Convert, TakesZeroWhereItIsSet) {
  const auto request = Convert([](auto* r) {
    r->mutable_sampling()->set_temperature(0);
    r->mutable_sampling()->set_top_k(0);
    r->mutable_sampling()->set_seed(0);
    r->mutable_output()->set_logprobs(0);
  });
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->sampling.temperature, 0.0f);
  EXPECT_EQ(request->sampling.top_k, 0);
  EXPECT_EQ(request->sampling.seed, 0u);
  EXPECT_EQ(request->output.logprobs, 0);
}

TEST(Convert, TakesEveryParameter) {
  const auto request = Convert([](v1::GenerateRequest* r) {
    v1::SamplingParams* sampling = r->mutable_sampling();
    sampling->set_temperature(1.5f);
    sampling->set_top_p(0.25f);
    sampling->set_top_k(50);
    sampling->set_min_p(0.125f);
    sampling->set_repetition_penalty(1.25f);
    sampling->set_presence_penalty(-2);
    sampling->set_frequency_penalty(2);
    sampling->set_seed(std::numeric_limits<uint64_t>::max());
    (*sampling->mutable_logit_bias())[49] = -100;
    (*sampling->mutable_logit_bias())[0] = 100;
    sampling->set_num_beams(8);
    sampling->set_length_penalty(-10);
    r->set_kv_cache(v1::KV_CACHE_MODE_DISABLED);
    v1::StoppingParams* stopping = r->mutable_stopping();
    stopping->set_max_tokens(5);
    stopping->set_min_tokens(5);
    stopping->add_stop("end");
    stopping->add_stop_token_ids(49);
    stopping->set_include_stop(true);
    stopping->set_ignore_eos(true);
    stopping->mutable_soft_time_limit()->set_nanos(500000000);
    r->mutable_output()->set_n(8);
    r->mutable_output()->set_logprobs(20);
    r->mutable_output()->set_token_ids(true);
    r->set_priority(-100);
    r->set_model("fake");
    r->set_prefix("prefixes/0-z");
    r->set_bypass_prefix_cache(true);
    r->set_cache_salt(std::string(128, 's'));
  });
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->sampling.temperature, 1.5f);
  EXPECT_EQ(request->sampling.top_p, 0.25f);
  EXPECT_EQ(request->sampling.top_k, 50);
  EXPECT_EQ(request->sampling.min_p, 0.125f);
  EXPECT_EQ(request->sampling.repetition_penalty, 1.25f);
  EXPECT_EQ(request->sampling.presence_penalty, -2.0f);
  EXPECT_EQ(request->sampling.frequency_penalty, 2.0f);
  EXPECT_EQ(request->sampling.seed, 18446744073709551615u);
  EXPECT_THAT(request->sampling.logit_bias,
              ElementsAre(std::pair(0, 100.0f), std::pair(49, -100.0f)));
  EXPECT_EQ(request->sampling.num_beams, 8);
  EXPECT_EQ(request->sampling.length_penalty, -10.0f);
  EXPECT_TRUE(request->recompute_all);
  EXPECT_EQ(request->stopping.max_tokens, 5);
  EXPECT_EQ(request->stopping.min_tokens, 5);
  EXPECT_THAT(request->stopping.stop, ElementsAre("end"));
  EXPECT_THAT(request->stopping.stop_token_ids, ElementsAre(49));
  EXPECT_TRUE(request->stopping.include_stop);
  EXPECT_TRUE(request->stopping.ignore_eos);
  EXPECT_EQ(request->stopping.soft_time_limit, absl::Milliseconds(500));
  EXPECT_EQ(request->output.num_choices, 8);
  EXPECT_EQ(request->output.logprobs, 20);
  EXPECT_TRUE(request->output.token_ids);
  EXPECT_EQ(request->priority, -100);
  EXPECT_EQ(request->prefix, "prefixes/0-z");
  EXPECT_TRUE(request->bypass_prefix_cache);
  EXPECT_EQ(request->cache_salt, std::string(128, 's'));
}

TEST(Convert, TurnsTinyTemperaturesIntoGreedy) {
  const auto request = Convert([](auto* r) { r->mutable_sampling()->set_temperature(1e-45f); });
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->sampling.temperature, 0.0f);
}

TEST(Convert, RefusesSamplingOutsideItsRange) {
  const struct {
    Change change;
    const char* problem;
  } cases[] = {
      {[](auto* r) { r->mutable_sampling()->set_temperature(-1); },
       "sampling.temperature: -1 is outside the range [0, 100]"},
      {[](auto* r) { r->mutable_sampling()->set_temperature(kNan); },
       "sampling.temperature: nan is outside the range [0, 100]"},
      {[](auto* r) { r->mutable_sampling()->set_temperature(kInfinity); },
       "sampling.temperature: inf is outside the range [0, 100]"},
      {[](auto* r) { r->mutable_sampling()->set_temperature(1e38f); },
       "sampling.temperature: 1e+38 is outside the range [0, 100]"},
      {[](auto* r) { r->mutable_sampling()->set_num_beams(9); },
       "sampling.num_beams: 9 is outside the range [1, 8]"},
      {[](auto* r) { r->mutable_sampling()->set_num_beams(0); },
       "sampling.num_beams: 0 is outside the range [1, 8]"},
      {[](auto* r) { r->mutable_sampling()->set_length_penalty(10.5f); },
       "sampling.length_penalty: 10.5 is outside the range [-10, 10]"},
      {[](auto* r) { r->mutable_sampling()->set_top_p(0); },
       "sampling.top_p: 0 is outside the range (0, 1]"},
      {[](auto* r) { r->mutable_sampling()->set_top_p(-0.0f); },
       "sampling.top_p: -0 is outside the range (0, 1]"},
      {[](auto* r) { r->mutable_sampling()->set_top_p(1.5f); },
       "sampling.top_p: 1.5 is outside the range (0, 1]"},
      {[](auto* r) { r->mutable_sampling()->set_top_p(kNan); },
       "sampling.top_p: nan is outside the range (0, 1]"},
      {[](auto* r) { r->mutable_sampling()->set_min_p(1.5f); },
       "sampling.min_p: 1.5 is outside the range [0, 1]"},
      {[](auto* r) { r->mutable_sampling()->set_top_k(-1); },
       "sampling.top_k: -1 is outside the range [0, 50]"},
      {[](auto* r) { r->mutable_sampling()->set_top_k(51); },
       "sampling.top_k: 51 is outside the range [0, 50]"},
      {[](auto* r) { r->mutable_sampling()->set_repetition_penalty(0); },
       "sampling.repetition_penalty: 0 is outside the range (0, 100]"},
      {[](auto* r) { r->mutable_sampling()->set_repetition_penalty(1e30f); },
       "sampling.repetition_penalty: 1e+30 is outside the range (0, 100]"},
      {[](auto* r) { r->mutable_sampling()->set_frequency_penalty(kNan); },
       "sampling.frequency_penalty: nan is outside the range [-2, 2]"},
      {[](auto* r) { r->mutable_sampling()->set_presence_penalty(2.5f); },
       "sampling.presence_penalty: 2.5 is outside the range [-2, 2]"},
      {[](auto* r) { (*r->mutable_sampling()->mutable_logit_bias())[50] = 1; },
       "sampling.logit_bias[50]: 50 is outside the range [0, 49]"},
      {[](auto* r) { (*r->mutable_sampling()->mutable_logit_bias())[-1] = 1; },
       "sampling.logit_bias[-1]: -1 is outside the range [0, 49]"},
      {[](auto* r) { (*r->mutable_sampling()->mutable_logit_bias())[3] = kNan; },
       "sampling.logit_bias[3]: nan is outside the range [-100, 100]"},
      {[](auto* r) {
         for (int i = 0; i < 1025; ++i) (*r->mutable_sampling()->mutable_logit_bias())[i] = 1;
       },
       "sampling.logit_bias: 1025 entries, the limit is 1024"},
  };
  for (const auto& c : cases) EXPECT_THAT(Problems(c.change), ElementsAre(kRange, c.problem));
}

TEST(Convert, RefusesStoppingAndOutputOutsideTheirRange) {
  const struct {
    Change change;
    const char* problem;
  } cases[] = {
      {[](auto* r) { r->mutable_stopping()->set_max_tokens(0); },
       "stopping.max_tokens: 0 is outside the range [1, 2147483647]"},
      {[](auto* r) { r->mutable_stopping()->set_max_tokens(-2147483647 - 1); },
       "stopping.max_tokens: -2147483648 is outside the range [1, 2147483647]"},
      {[](auto* r) { r->mutable_stopping()->set_min_tokens(65); },
       "stopping.min_tokens: 65 is outside the range [0, 64]"},
      {[](auto* r) {
         r->mutable_stopping()->set_max_tokens(4);
         r->mutable_stopping()->set_min_tokens(5);
       },
       "stopping.min_tokens: 5 is outside the range [0, 4]"},
      {[](auto* r) {
         for (int i = 0; i < 17; ++i) r->mutable_stopping()->add_stop("x");
       },
       "stopping.stop: 17 stop strings, the limit is 16"},
      {[](auto* r) { r->mutable_stopping()->add_stop(""); },
       "stopping.stop[0]: the stop string is empty"},
      {[](auto* r) { r->mutable_stopping()->add_stop(std::string(257, 's')); },
       "stopping.stop[0]: 257 bytes, the limit is 256"},
      {[](auto* r) {
         for (int i = 0; i < 65; ++i) r->mutable_stopping()->add_stop_token_ids(1);
       },
       "stopping.stop_token_ids: 65 stop token ids, the limit is 64"},
      {[](auto* r) { r->mutable_stopping()->add_stop_token_ids(50); },
       "stopping.stop_token_ids[0]: 50 is outside the range [0, 49]"},
      {[](auto* r) { r->mutable_stopping()->mutable_soft_time_limit(); },
       "stopping.soft_time_limit: 0 s and 0 ns is outside the range (0 s, 600 s]"},
      {[](auto* r) { r->mutable_stopping()->mutable_soft_time_limit()->set_seconds(601); },
       "stopping.soft_time_limit: 601 s and 0 ns is outside the range (0 s, 600 s]"},
      {[](auto* r) {
         r->mutable_stopping()->mutable_soft_time_limit()->set_seconds(9223372036854775807);
       },
       "stopping.soft_time_limit: 9223372036854775807 s and 0 ns is outside the range (0 s, 600 "
       "s]"},
      {[](auto* r) { r->mutable_output()->set_n(16384); },
       "output.n: 16384 is outside the range [1, 8]"},
      {[](auto* r) { r->mutable_output()->set_n(0); }, "output.n: 0 is outside the range [1, 8]"},
      {[](auto* r) { r->mutable_output()->set_logprobs(-1); },
       "output.logprobs: -1 is outside the range [0, 20]"},
      {[](auto* r) { r->mutable_output()->set_logprobs(21); },
       "output.logprobs: 21 is outside the range [0, 20]"},
      {[](auto* r) { r->set_priority(101); }, "priority: 101 is outside the range [-100, 100]"},
      {[](auto* r) { r->set_cache_salt(std::string(129, 's')); },
       "cache_salt: 129 bytes, the limit is 128"},
  };
  for (const auto& c : cases) EXPECT_THAT(Problems(c.change), ElementsAre(kRange, c.problem));
}

TEST(Convert, ListsAllViolationsAtOnce) {
  const Change change = [](v1::GenerateRequest* r) {
    r->set_request_id("no spaces please");
    r->set_model("../x");
    r->mutable_sampling()->set_temperature(-1);
    r->mutable_stopping()->set_max_tokens(0);
    r->mutable_output()->set_n(9);
  };
  EXPECT_THAT(
      Problems(change),
      ElementsAre(kRange, "request_id: a request id has 1..128 characters of [A-Za-z0-9._:/-]",
                  "model: a model name has 1..128 characters of [A-Za-z0-9._/-] and no component "
                  ". or ..",
                  "sampling.temperature: -1 is outside the range [0, 100]",
                  "stopping.max_tokens: 0 is outside the range [1, 2147483647]",
                  "output.n: 9 is outside the range [1, 8]"));
  EXPECT_EQ(Convert(change).status().message(),
            "request_id: a request id has 1..128 characters of [A-Za-z0-9._:/-] (and 4 more)");
}

TEST(Convert, ListsAtMost24Violations) {
  const std::vector<std::string> problems = Problems([](v1::GenerateRequest* r) {
    for (int i = 100; i < 200; ++i) (*r->mutable_sampling()->mutable_logit_bias())[i] = 1;
  });
  EXPECT_EQ(problems.size(), 25u);
}

TEST(Convert, TellsAnUnknownModelFromAMalformedName) {
  EXPECT_THAT(Problems([](auto* r) { r->set_model("other/model-7b"); }),
              ElementsAre("NOT_FOUND MODEL_NOT_FOUND"));
  for (const std::string& name :
       {std::string("../x"), std::string("/etc"), std::string("a%2fb"), std::string("a\0b", 3),
        std::string(4096, 'a'), std::string("a b"), std::string("."), std::string("a/../b"),
        std::string("a//b"), std::string("a/")}) {
    EXPECT_EQ(Problems([&](auto* r) { r->set_model(name); })[0], kRange) << name;
  }
}

TEST(Convert, ChecksNamesOfPrefixes) {
  const std::string wrong =
      "prefix: the name of a prefix is prefixes/ and 1..63 characters of [a-z0-9-]";
  for (const std::string& name :
       {std::string("p"), std::string("prefixes/"), std::string("prefixes/A"),
        std::string("prefixes/a b"), std::string("prefixes/../a"), std::string("prefixes/a/b"),
        std::string("/prefixes/a"), std::string("prefixes/a\0", 11),
        std::string("prefixes/\xc3\xa4"), "prefixes/" + std::string(64, 'a'),
        std::string(1 << 20, 'a')}) {
    EXPECT_THAT(Problems([&](auto* r) { r->set_prefix(name); }), ElementsAre(kRange, wrong))
        << name.substr(0, 80);
  }
  EXPECT_THAT(Problems([](auto* r) { r->set_prefix("prefixes/" + std::string(63, 'a')); }),
              ElementsAre("OK"));
}

TEST(Convert, ChecksRequestIds) {
  EXPECT_TRUE(IsRequestId("a-Z_0.9:/x"));
  EXPECT_TRUE(IsRequestId(std::string(128, 'a')));
  EXPECT_FALSE(IsRequestId(""));
  EXPECT_FALSE(IsRequestId(std::string(129, 'a')));
  EXPECT_FALSE(IsRequestId("a b"));
  EXPECT_FALSE(IsRequestId("a\n"));
  EXPECT_FALSE(IsRequestId("\xc3\xa4"));
}

// As a newer client would send a field that this server reserves.
void AddUnknown(google::protobuf::Message* message, int number) {
  message->GetReflection()->MutableUnknownFields(message)->AddLengthDelimited(number)->assign("x");
}

TEST(Convert, KeepsTheKvCacheUnlessToldOtherwise) {
  for (const auto mode : {v1::KV_CACHE_MODE_UNSPECIFIED, v1::KV_CACHE_MODE_ENABLED}) {
    const auto request = Convert([mode](auto* r) { r->set_kv_cache(mode); });
    ASSERT_TRUE(request.ok()) << request.status();
    EXPECT_FALSE(request->recompute_all);
  }
  EXPECT_THAT(Problems([](auto* r) { r->set_kv_cache(static_cast<v1::KvCacheMode>(7)); }),
              ElementsAre("INVALID_ARGUMENT PARAMETER_OUT_OF_RANGE", "kv_cache: 7 is not a value"));
}

TEST(Convert, RefusesReservedFeatures) {
  for (const int number : {13, 16, 17}) {
    EXPECT_THAT(Problems([&](auto* r) { AddUnknown(r, number); }),
                ElementsAre("UNIMPLEMENTED FEATURE_UNSUPPORTED"))
        << number;
  }
  EXPECT_THAT(Problems([](auto* r) { AddUnknown(r->mutable_output(), 4); }),
              ElementsAre("UNIMPLEMENTED FEATURE_UNSUPPORTED"));
  // Other unknown fields are ignored, as protobuf promises.
  EXPECT_THAT(Problems([](auto* r) { AddUnknown(r, 100); }), ElementsAre("OK"));
}

TEST(ToProto, NamesTheEngineWithItsLevelIfItHasOne) {
  EXPECT_EQ(EngineName({.backend = "cpu", .level = "avx2"}), "cpu/avx2");
  EXPECT_EQ(EngineName({.backend = "cuda"}), "cuda");
}

}  // namespace
}  // namespace prefixd::testing
