// Beam search through the engine equals the reference's generate() on the demo model, hypothesis by
// hypothesis (tests/golden/make/beam_search.py), alone and beside other searches.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/json.h"
#include "engine/engine_parts.h"
#include "tests/engine/stream_family.h"

namespace prefixd::testing {
namespace {

class BeamGoldenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    EngineOptions options;
    options.model_path = PREFIXD_SOURCE_DIR "/models/demo";
    options.backend = "cpu";
    options.max_running = 32;
    options.kv_memory_bytes = 64 << 20;
    options.check_invariants = true;
    auto parts = OpenEngineParts(options);
    ASSERT_TRUE(parts.ok()) << parts.status();
    parts_ = std::make_unique<EngineParts>(*std::move(parts));
    auto loop = BuildStepLoop(parts_.get(), [](uint64_t, uint64_t) { return true; }, &clock_,
                              {.on_scheduled = [](const auto&) {}, .on_end = [](const auto&) {}});
    ASSERT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
    auto golden = ReadJsonFile(PREFIXD_SOURCE_DIR "/tests/golden/beam_search.json", 1 << 20);
    ASSERT_TRUE(golden.ok()) << golden.status();
    cases_ = golden->at("cases");
    ASSERT_GE(cases_.size(), 16u);
  }

  std::shared_ptr<ByteSink> Submit(const nlohmann::json& golden) {
    auto active = std::make_unique<ActiveRequest>();
    Request& request = active->request;
    request.id = absl::StrCat("search-", next_id_++);
    TokenInput input{.ids = golden.at("ids").get<std::vector<int32_t>>()};
    if (const std::string picture = golden.at("picture"); !picture.empty()) {
      input.images.push_back(
          {*ReadFile(absl::StrCat(PREFIXD_SOURCE_DIR "/models/demo/pictures/", picture), 1 << 20)});
    }
    request.input = std::move(input);
    request.sampling.num_beams = golden.at("num_beams");
    request.sampling.length_penalty = golden.at("length_penalty");
    request.stopping.max_tokens = golden.at("max_tokens");
    request.output.num_choices = request.sampling.num_beams;
    request.output.token_ids = true;
    auto prompt = parts_->prompts->Build(
        {.input = request.input, .tenant = "", .cache_salt = "", .share = true, .kept = {}},
        ImageWork::kDecode);
    EXPECT_TRUE(prompt.ok()) << prompt.status();
    active->prompt = *std::move(prompt);
    auto sink = std::make_shared<ByteSink>();
    active->sink = sink;
    active->handle = std::make_shared<RequestHandle>();
    active->submitted = clock_.Now();
    loop_->Accept(std::move(active));
    return sink;
  }
  void RunToEnd() {
    for (int steps = 0; loop_->Step(); ++steps) ASSERT_LT(steps, 5000);
  }
  static void Check(const nlohmann::json& golden, const ByteSink& sink) {
    ASSERT_TRUE(sink.finished.has_value()) << sink.status;
    const auto expected = golden.at("hypotheses").get<std::vector<std::vector<int32_t>>>();
    ASSERT_EQ(sink.choices.size(), expected.size());
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(sink.choices[i].ids, expected[i]) << i;
  }

  ManualClock clock_;
  std::unique_ptr<EngineParts> parts_;
  std::unique_ptr<StepLoop> loop_;
  nlohmann::json cases_;
  int next_id_ = 0;
};

TEST_F(BeamGoldenTest, EveryHypothesisIsTheReferences) {
  for (const nlohmann::json& golden : cases_) {
    SCOPED_TRACE(golden.dump());
    const auto sink = Submit(golden);
    RunToEnd();
    Check(golden, *sink);
  }
}

TEST_F(BeamGoldenTest, AlsoBesideOtherSearches) {
  std::vector<std::shared_ptr<ByteSink>> sinks;
  for (const nlohmann::json& golden : cases_) sinks.push_back(Submit(golden));
  RunToEnd();
  for (size_t i = 0; i < sinks.size(); ++i) Check(cases_[i], *sinks[i]);
}

}  // namespace
}  // namespace prefixd::testing
