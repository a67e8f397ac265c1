// Names scored as a tree of rows against the original implementations, which score each in a pass
// of its own (tests/golden/make/make_classification_goldens.py), and bit for bit against the same
// model's plain rows.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/models/model_testing.h"
#include "tests/models/trie_scoring.h"

namespace prefixd::testing {
namespace {

constexpr int32_t kPages = 40;  // A context of 256 rows and 384 nodes.

std::string GoldenPath(const std::string& name) {
  return absl::StrCat(GoldenDirectory(), "/../classification/", name, ".safetensors");
}

// Every level, and the last with activations, keys and values in bf16.
std::vector<std::string> Backends() {
  std::vector<std::string> names = BackendNames();
  if (names.back() == "avx512bf16") names.push_back("bf16");
  return names;
}

std::unique_ptr<Backend> BackendOf(const std::string& name) {
  if (name != "bf16") return MakeBackend(name);
  return *CreateBackend({.name = "cpu",
                         .cpu_level = "avx512bf16",
                         .num_threads = 2,
                         .activation_dtype = DType::kBF16});
}

// A golden's context and names, and the model they are for.
class ScoredCase {
 public:
  ScoredCase(const std::string& name, const std::string& backend)
      : golden_(GoldenPath(name)),
        loaded_(absl::StrCat(GoldenDirectory(), "/", name), BackendOf(backend), kPages,
                backend == "bf16" ? DType::kBF16 : DType::kF32) {
    for (int i = 0; i < golden_.Ints("num_images")[0]; ++i) {
      std::vector<float> pixels = TinyPixels(loaded_.spec().image->image_size);
      std::rotate(pixels.begin(), pixels.begin() + 101 * i, pixels.end());
      features_.push_back(loaded_.Encode(pixels));
    }
    const std::vector<int32_t> ids = golden_.Ints("name_ids"), begins = golden_.Ints("name_begins");
    for (size_t k = 0; k + 1 < begins.size(); ++k) {
      names_.push_back({ids.begin() + begins[k], ids.begin() + begins[k + 1]});
    }
    scorer_ = std::make_unique<NameScorer>(&loaded_, Context());
  }

  const Golden& golden() const { return golden_; }
  const Names& names() const { return names_; }
  NameScorer& scorer() { return *scorer_; }

  std::vector<float> TreeByToken(const Names& names, const TokenTrie& trie, const TreeWay& way) {
    return ByToken(trie, names, scorer_->Tree(trie, way));
  }

 private:
  TestSequence Context() {
    const std::vector<int32_t> ids = golden_.Ints("ids");
    std::vector<Tensor> images;
    for (const OwnedTensor& image : features_) images.push_back(image.view);
    const bool crossed = loaded_.spec().image && loaded_.spec().image->cross_attended;
    TestSequence context =
        crossed ? loaded_.NewMediaSequence(ids, images) : loaded_.NewImageSequence(ids, images);
    if (golden_.Has("prompt_rows")) context.visible_prefix = golden_.Ints("prompt_rows")[0];
    return context;
  }

  const Golden golden_;
  LoadedModel loaded_;
  std::vector<OwnedTensor> features_;
  Names names_;
  std::unique_ptr<NameScorer> scorer_;
};

class TrieScores : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {
 protected:
  ScoredCase case_{std::get<0>(GetParam()), std::get<1>(GetParam())};
  const Names& names() const { return case_.names(); }
  const TokenTrie trie_ = TokenTrie::Build(case_.names());
};

// The original goes through float32 where `ref` is in double; its own roundings are below 1e-6.
TEST_P(TrieScores, AreThoseOfTheOriginal) {
  const std::string& backend = std::get<1>(GetParam());
  const double tolerance = backend == "ref" ? 1e-5 : backend == "bf16" ? 5e-2 : 1e-4;
  const std::vector<float> by_token = case_.TreeByToken(names(), trie_, {});
  const std::vector<float> expected = case_.golden().Floats("means");
  const std::vector<double> means = Means(names(), by_token);
  ASSERT_EQ(means.size(), expected.size());
  double gap = 0;
  for (size_t k = 0; k < means.size(); ++k) {
    EXPECT_NEAR(means[k], expected[k], tolerance) << "name " << k;
    gap = std::max(gap, std::abs(means[k] - expected[k]));
  }
  // A token's may be further off: the others of its name hide it in the mean.
  const double of_token = backend == "bf16" ? tolerance : 10 * tolerance;
  EXPECT_LE(LargestGap(by_token, case_.golden().Floats("logprobs")), of_token);
  RecordProperty("largest_gap", absl::StrCat(gap));
}

TEST_P(TrieScores, TakeARowForEachInnerNodeOnly) {
  case_.scorer().Tree(trie_);
  EXPECT_EQ(case_.scorer().num_rows(), trie_.num_internal());
  // Counted from the names: beginnings that another token follows.
  std::vector<std::vector<int32_t>> beginnings;
  for (const std::vector<int32_t>& name : names()) {
    for (size_t n = 1; n < name.size(); ++n) {
      beginnings.push_back({name.begin(), name.begin() + static_cast<int64_t>(n)});
    }
  }
  std::sort(beginnings.begin(), beginnings.end());
  beginnings.erase(std::unique(beginnings.begin(), beginnings.end()), beginnings.end());
  EXPECT_EQ(case_.scorer().num_rows(), static_cast<int64_t>(beginnings.size()));
  EXPECT_LT(trie_.num_internal(), trie_.rows_one_by_one());
}

TEST_P(TrieScores, HaveTheBitsOfNamesScoredAlone) {
  const std::vector<float> by_token = case_.TreeByToken(names(), trie_, {});
  EXPECT_EQ(by_token, case_.scorer().OneByOne(names()));
  EXPECT_EQ(by_token, case_.scorer().Uncached(names()));
}

TEST_P(TrieScores, KeepTheirBitsInAnyOrderOfNames) {
  const std::vector<float> by_token = case_.TreeByToken(names(), trie_, {});
  std::vector<size_t> order(names().size());
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(7));
  Names shuffled;
  for (const size_t k : order) shuffled.push_back(names()[k]);
  const std::vector<double> means = Means(names(), by_token);
  const std::vector<double> others =
      Means(shuffled, case_.TreeByToken(shuffled, TokenTrie::Build(shuffled), {}));
  for (size_t i = 0; i < order.size(); ++i) EXPECT_EQ(others[i], means[order[i]]);
}

TEST_P(TrieScores, KeepTheirBitsHoweverTheTreeIsCutAndLiesAndBesideOthers) {
  const std::vector<float> by_token = case_.TreeByToken(names(), trie_, {});
  for (const int32_t max_rows : {1, 3, 16, 77}) {
    SCOPED_TRACE(max_rows);
    EXPECT_EQ(by_token, case_.TreeByToken(names(), trie_, {.max_rows = max_rows}));
  }
  EXPECT_EQ(by_token, case_.TreeByToken(names(), trie_, {.slots_backwards = true}));
  EXPECT_EQ(by_token, case_.TreeByToken(names(), trie_, {.max_rows = 5, .slots_backwards = true}));
  EXPECT_EQ(by_token, case_.TreeByToken(names(), trie_, {.max_rows = 60, .company = 19}));
}

// Slots are handed on from node to node.
TEST_P(TrieScores, KeepTheirBitsInFewSlots) {
  const std::vector<float> by_token = case_.TreeByToken(names(), trie_, {});
  for (const int32_t max_rows : {1, 2, 8, 32}) {
    SCOPED_TRACE(max_rows);
    for (const int32_t num_slots :
         {TrieWalk::SlotsFor(trie_, 1), TrieWalk::SlotsFor(trie_, max_rows)}) {
      TrieWalk walk(&trie_, {.num_slots = num_slots});
      EXPECT_EQ(by_token, ByToken(trie_, names(), case_.scorer().Walk(trie_, max_rows, &walk)));
      EXPECT_EQ(case_.scorer().num_rows(), trie_.num_internal());
      EXPECT_LT(num_slots, trie_.num_internal());
    }
  }
}

// The best five by their means, without the others.
TEST_P(TrieScores, OfTheBestAreFoundWithFewerRows) {
  const std::vector<double> means = Means(names(), case_.TreeByToken(names(), trie_, {}));
  TopSearch top{.k = 5};
  for (const std::vector<int32_t>& name : names()) {
    top.divisors.push_back(static_cast<double>(name.size()));
  }
  TrieWalk walk(&trie_, {.num_slots = TrieWalk::SlotsFor(trie_, 4), .top = &top});
  const std::vector<double> found =
      Means(names(), ByToken(trie_, names(), case_.scorer().Walk(trie_, 4, &walk)));
  std::vector<size_t> order(means.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&means](size_t a, size_t b) { return means[a] > means[b]; });
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(found[order[i]], means[order[i]]) << i;
  for (size_t i = 5; i < order.size(); ++i) {
    if (std::isnan(found[order[i]])) continue;
    EXPECT_EQ(found[order[i]], means[order[i]]) << i;
  }
  EXPECT_LT(case_.scorer().num_rows(), trie_.num_internal());
}

// As the cached way of the original does, a row for every token: nothing is shared.
TEST_P(TrieScores, KeepTheirBitsWhenNothingIsMerged) {
  const TokenTrie chains = TokenTrie::Build(names(), TokenTrie::Merge::kNothing);
  const std::vector<float> by_token = case_.TreeByToken(names(), trie_, {});
  EXPECT_EQ(by_token, case_.TreeByToken(names(), chains, {}));
  EXPECT_EQ(case_.scorer().num_rows(), chains.rows_one_by_one());
}

INSTANTIATE_TEST_SUITE_P(
    All, TrieScores,
    ::testing::Combine(::testing::Values("llama-llama3-tied", "gpt2-defaults",
                                         "llava-new-spelling-sharded", "llava-bf16",
                                         "paligemma-bf16", "paligemma-gqa-new-spelling",
                                         "paligemma-untied", "openflamingo-mpt",
                                         "openflamingo-mosaic", "openflamingo-neox",
                                         "openflamingo-llama"),
                       ::testing::ValuesIn(Backends())),
    [](const auto& info) {
      return absl::StrReplaceAll(
          absl::StrCat(std::get<0>(info.param), "_", std::get<1>(info.param)), {{"-", "_"}});
    });

}  // namespace
}  // namespace prefixd::testing
