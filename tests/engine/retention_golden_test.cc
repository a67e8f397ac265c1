// What the engine computes on the demo model, against attention that transformers computed
// (tests/golden/retention): the sums that it selects by, the sums that it stores with prefixes, and
// the tokens that it keeps.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "tests/engine/retention_fixture.h"
#include "tests/retention/retention_testing.h"

namespace prefixd::testing {
namespace {

using ::nlohmann::json;

constexpr int kDemoLayers = 6;
constexpr double kScoreTolerance = 1e-4;  // Of the largest score of the layer.
constexpr double kNearTie = 1e-3;         // Of the score itself.

std::vector<float> Floats(const json& base64) {
  std::string bytes;
  EXPECT_TRUE(absl::Base64Unescape(base64.get<std::string>(), &bytes));
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// The largest difference, as a share of the largest value of the layer.
double LargestDifference(const SpyBackend::Scores& scores, const std::vector<float>& expected) {
  EXPECT_EQ(scores.values.size(), expected.size());
  double worst = 0;
  const size_t slots = static_cast<size_t>(scores.slots);
  for (size_t begin = 0; begin + slots <= expected.size(); begin += slots) {
    double largest = 0, off = 0;
    for (size_t k = begin; k < begin + slots; ++k) {
      largest = std::max(largest, std::fabs(static_cast<double>(expected[k])));
      off = std::max(off, std::fabs(static_cast<double>(scores.values[k]) - expected[k]));
    }
    worst = std::max(worst, off / largest);
  }
  return worst;
}

class RetentionGolden : public RetentionLoopTest {
 protected:
  void SetUp() override {
    OpenDemo();
    Build();
  }

  Request Ask(const json& prompt, const RetentionParams& retention) {
    Request request =
        Chat(PictureBytes(prompt["picture"].get<std::string>()), prompt["question"], retention);
    request.stopping.max_tokens = 1;
    return request;
  }

  const json prompts_ = ReadRetentionGolden("demo_prompts.json")["prompts"];
};

TEST_F(RetentionGolden, ScoresAreTheAttentionOfTransformers) {
  ASSERT_EQ(prompts_.size(), 6u);
  double worst = 0;
  for (const json& prompt : prompts_) {
    SCOPED_TRACE(prompt["golden"].get<std::string>());
    const Request request = Ask(prompt, Exact("prefixkv", 0.5));
    auto built = parts_->prompts->Build({.input = request.input}, ImageWork::kDecode);
    ASSERT_TRUE(built.ok()) << built.status();
    ASSERT_EQ(built->token_ids, prompt["token_ids"].get<std::vector<int32_t>>());

    loop_->Flush(-1);
    backend_->scores.clear();
    EXPECT_EQ(Run(request).finished->cache.hit_tokens, 0);
    // At the end of the image if that is another page, at the last page boundary, and for the
    // selection.
    const size_t count = backend_->scores.size();
    ASSERT_TRUE(count == 2 || count == 3) << count;
    const SpyBackend::Scores stored = backend_->scores[count - 2];
    EXPECT_EQ(stored.num_layers, kDemoLayers);
    ASSERT_EQ(stored.slots, prompt["stored_rows"].get<int64_t>());
    const double stored_off = LargestDifference(stored, Floats(prompt["stored_scores"]));
    EXPECT_LT(stored_off, kScoreTolerance);
    const SpyBackend::Scores all = backend_->scores[count - 1];
    ASSERT_EQ(all.slots, static_cast<int64_t>(built->token_ids.size()));
    const json golden = ReadRetentionGolden(prompt["golden"].get<std::string>() + ".json");
    const double all_off = LargestDifference(all, Floats(golden["scores"]));
    EXPECT_LT(all_off, kScoreTolerance);
    worst = std::max({worst, stored_off, all_off});

    // What the next one takes from the index, and what it adds, is the same to the bit. The last
    // row is always computed, so a checkpoint there is of no use to the same prompt.
    const int64_t taken = stored.slots < all.slots ? stored.slots : backend_->scores[0].slots;
    backend_->scores.clear();
    EXPECT_EQ(Run(request).finished->cache.hit_tokens, taken);
    ASSERT_EQ(backend_->scores.size(), 1u);
    EXPECT_EQ(backend_->scores[0].values, all.values);
  }
  std::printf("scores are off by at most %.1e of the largest of their layer\n", worst);
}

// Tokens that one set has and the other has not, whose scores are not those of a near tie.
std::vector<std::string> Differences(const std::vector<int32_t>& kept, const json& mask,
                                     absl::Span<const float> scores, int layer) {
  const std::vector<int32_t> expected = PositionsOf(mask, static_cast<int32_t>(scores.size()));
  std::vector<int32_t> differing;
  std::set_symmetric_difference(kept.begin(), kept.end(), expected.begin(), expected.end(),
                                std::back_inserter(differing));
  std::vector<std::string> lines;
  for (const int32_t position : differing) {
    lines.push_back(absl::StrCat("layer ", layer, " position ", position, " score ",
                                 scores[static_cast<size_t>(position)]));
  }
  return lines;
}

// Whether the scores of all positions that differ are one another's, but for rounding.
bool IsNearTie(const std::vector<int32_t>& kept, const json& mask, absl::Span<const float> scores) {
  const std::vector<int32_t> expected = PositionsOf(mask, static_cast<int32_t>(scores.size()));
  if (kept.size() != expected.size()) return false;
  std::vector<int32_t> differing;
  std::set_symmetric_difference(kept.begin(), kept.end(), expected.begin(), expected.end(),
                                std::back_inserter(differing));
  if (differing.empty()) return true;
  double low = scores[static_cast<size_t>(differing[0])], high = low;
  for (const int32_t position : differing) {
    low = std::min<double>(low, scores[static_cast<size_t>(position)]);
    high = std::max<double>(high, scores[static_cast<size_t>(position)]);
  }
  return high - low <= kNearTie * high;
}

TEST_F(RetentionGolden, KeptSetsAreThoseOfTheGoldens) {
  int sets = 0, ties = 0;
  for (const json& prompt : prompts_) {
    const json golden = ReadRetentionGolden(prompt["golden"].get<std::string>() + ".json");
    const std::vector<float> scores = Floats(golden["scores"]);
    const size_t tokens = golden["tokens"];
    for (const json& recorded : golden["cases"]) {
      for (const std::string policy : {"prefixkv", "local", "h2o", "prefixkv-debiased"}) {
        if (!recorded.contains(policy)) continue;
        SCOPED_TRACE(absl::StrCat(prompt["golden"].get<std::string>(), " ", policy, " budget ",
                                  recorded["budget"].get<double>()));
        RetentionParams retention = Exact(policy, recorded["budget"].get<double>());
        retention.start_size = recorded["start_size"].get<int32_t>();
        retention.protect = recorded["protect"].get<int32_t>();
        backend_->gathered.clear();
        Run(Ask(prompt, retention));
        ASSERT_EQ(backend_->gathered.size(), size_t{kDemoLayers});
        for (int layer = 0; layer < kDemoLayers; ++layer) {
          const auto of_layer =
              absl::MakeConstSpan(scores).subspan(static_cast<size_t>(layer) * tokens, tokens);
          const json& kept = recorded[policy]["kept"];
          const json& mask = kept[kept.size() == 1 ? 0 : static_cast<size_t>(layer)];
          ++sets;
          const auto lines = Differences(backend_->gathered[layer], mask, of_layer, layer);
          if (lines.empty()) continue;
          ++ties;
          std::printf("%s\n", absl::StrJoin(lines, "\n").c_str());
          EXPECT_TRUE(IsNearTie(backend_->gathered[layer], mask, of_layer));
        }
      }
    }
  }
  std::printf("%d kept sets, %d with a near tie\n", sets, ties);
  EXPECT_GT(sets, 500);
  EXPECT_LT(ties, sets / 50);
}

}  // namespace
}  // namespace prefixd::testing
