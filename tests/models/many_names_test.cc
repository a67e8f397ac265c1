// Scores of names at a larger scale: the thousand names of bench/class_names.txt behind a text on
// the demo model, and random names behind random contexts of text and pictures on a tiny LLaVA.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/models/model_testing.h"
#include "tests/models/trie_scoring.h"

namespace prefixd::testing {
namespace {

constexpr double kTolerance = 1e-4;

// Scores are within the tolerance, and two names whose expected scores are more than twice as far
// apart are in the same order.
void ExpectScores(const std::vector<double>& scores, const std::vector<double>& expected,
                  double* largest_gap) {
  ASSERT_EQ(scores.size(), expected.size());
  std::vector<size_t> order(expected.size());
  for (size_t k = 0; k < order.size(); ++k) {
    order[k] = k;
    const double gap = std::abs(scores[k] - expected[k]);
    ASSERT_LE(gap, kTolerance) << "name " << k;
    *largest_gap = std::max(*largest_gap, gap);
  }
  std::sort(order.begin(), order.end(),
            [&expected](size_t a, size_t b) { return expected[a] > expected[b]; });
  for (size_t i = 0; i < order.size(); ++i) {
    for (size_t j = i + 1; j < order.size(); ++j) {
      if (expected[order[i]] - expected[order[j]] <= 2 * kTolerance) continue;
      ASSERT_GT(scores[order[i]], scores[order[j]]) << order[i] << " and " << order[j];
    }
  }
}

// --- A thousand names

Names ThousandNames(const Tokenizer& tokenizer) {
  const std::string text = *ReadFile(PREFIXD_SOURCE_DIR "/bench/class_names.txt", 1 << 20);
  Names names;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    names.push_back(*tokenizer.Encode({{.text = line}}, false));
  }
  return names;
}

class ThousandNamesTest : public ::testing::TestWithParam<std::string> {
 protected:
  static constexpr int32_t kPages = 360;
  // What `ref` says, computed once.
  static const std::vector<double>& Expected(const Names& names,
                                             const std::vector<int32_t>& context) {
    static const std::vector<double> kExpected = [&names, &context] {
      LoadedModel loaded(DemoDirectory(), "ref", 2, kPages);
      NameScorer scorer(&loaded, loaded.NewSequence(context));
      return Means(names, scorer.OneByOne(names));
    }();
    return kExpected;
  }
};

TEST_P(ThousandNamesTest, BehindATextAreRankedAsAlone) {
  const auto tokenizer = Tokenizer::Load(DemoDirectory());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const Names names = ThousandNames(**tokenizer);
  ASSERT_EQ(names.size(), 1000u);
  const std::vector<int32_t> context =
      *(*tokenizer)->Encode({{.text = "USER: What is in the picture? ASSISTANT: "}}, true);
  LoadedModel loaded(DemoDirectory(), GetParam(), 2, kPages);
  NameScorer scorer(&loaded, loaded.NewSequence(context));
  const TokenTrie trie = TokenTrie::Build(names);
  const std::vector<float> by_token = ByToken(trie, names, scorer.Tree(trie));
  EXPECT_EQ(scorer.num_rows(), trie.num_internal());
  EXPECT_EQ(by_token, scorer.OneByOne(names));
  double largest_gap = 0;
  ExpectScores(Means(names, by_token), Expected(names, context), &largest_gap);
  RecordProperty("largest_gap", absl::StrCat(largest_gap));
  RecordProperty("rows", absl::StrCat(trie.num_internal(), " of ", trie.rows_one_by_one()));
}

INSTANTIATE_TEST_SUITE_P(All, ThousandNamesTest, ::testing::ValuesIn(SupportedCpuLevels()));

// --- Random contexts

constexpr int32_t kImageToken = 63;
constexpr int32_t kRowsOfImage = 9;

// Text of 1 to 60 tokens, and up to two pictures in it.
std::vector<int32_t> RandomContext(std::mt19937* random, int* num_images) {
  *num_images = static_cast<int>((*random)() % 3);
  std::vector<int32_t> ids;
  const auto add_text = [&ids, random](uint32_t limit) {
    for (uint32_t n = (*random)() % limit; n > 0; --n) {
      ids.push_back(static_cast<int32_t>((*random)() % kImageToken));
    }
  };
  add_text(20);
  for (int i = 0; i < *num_images; ++i) {
    ids.insert(ids.end(), kRowsOfImage, kImageToken);
    ids.push_back(static_cast<int32_t>((*random)() % kImageToken));
    add_text(20);
  }
  ids.push_back(static_cast<int32_t>((*random)() % kImageToken));
  return ids;
}

// 50 names of 1 to 10 tokens; half of them begin as another does.
Names RandomNames(std::mt19937* random) {
  Names names;
  for (int k = 0; k < 50; ++k) {
    std::vector<int32_t> name;
    if (k > 0 && (*random)() % 2 == 0) {
      const std::vector<int32_t>& other = names[(*random)() % names.size()];
      name.assign(other.begin(),
                  other.begin() + 1 + static_cast<int64_t>((*random)() % other.size()));
    }
    const size_t length = std::max(name.size(), size_t{1 + (*random)() % 10});
    while (name.size() < length) {
      name.push_back(static_cast<int32_t>((*random)() % kImageToken));
    }
    names.push_back(name);
  }
  return names;
}

TEST(RandomContextsTest, ScoresAreThoseOfDoublesOneByOne) {
  int num_contexts = 100;
  double largest_gap = 0;
  const char* const wanted = std::getenv("PREFIXD_SCORING_CONTEXTS");
  if (wanted != nullptr) {
    ASSERT_TRUE(absl::SimpleAtoi(wanted, &num_contexts));
  }
  struct Loaded {
    explicit Loaded(const std::string& backend)
        : model(absl::StrCat(GoldenDirectory(), "/llava-new-spelling-sharded"), backend, 1, 30) {
      std::vector<float> pixels = TinyPixels(28);
      for (int i = 0; i < 4; ++i) {
        images.push_back(model.Encode(pixels));
        std::rotate(pixels.begin(), pixels.begin() + 101, pixels.end());
      }
    }
    NameScorer Scorer(const std::vector<int32_t>& ids, int first_image, int num_images) {
      std::vector<Tensor> features;
      for (int i = 0; i < num_images; ++i) features.push_back(images[(first_image + i) % 4].view);
      return NameScorer(&model, model.NewImageSequence(ids, features));
    }
    LoadedModel model;
    std::vector<OwnedTensor> images;
  };
  std::vector<std::unique_ptr<Loaded>> levels;
  for (const std::string& name : SupportedCpuLevels()) {
    levels.push_back(std::make_unique<Loaded>(name));
  }
  Loaded ref("ref");
  for (int i = 0; i < num_contexts; ++i) {
    SCOPED_TRACE(absl::StrCat("context ", i));
    std::mt19937 random(static_cast<uint32_t>(i));
    int num_images = 0;
    const std::vector<int32_t> ids = RandomContext(&random, &num_images);
    const Names names = RandomNames(&random);
    const TokenTrie trie = TokenTrie::Build(names);
    const std::vector<double> expected =
        Means(names, ref.Scorer(ids, i % 4, num_images).OneByOne(names));
    for (const auto& level : levels) {
      SCOPED_TRACE(level->model.backend().info().level);
      NameScorer scorer = level->Scorer(ids, i % 4, num_images);
      ExpectScores(Means(names, ByToken(trie, names, scorer.Tree(trie))), expected, &largest_gap);
      if (HasFatalFailure()) return;
    }
  }
  RecordProperty("largest_gap", absl::StrCat(largest_gap));
}

}  // namespace
}  // namespace prefixd::testing
