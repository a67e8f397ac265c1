// The real SmolLM2-135M-Instruct, Q4_1, against transformers on the dequantised file
// (tests/golden/make/smollm2.py): ids of the tokenizer in the file, greedy tokens, perplexity, and
// scores of a hundred names (smollm2_names.py).
// SKIPs where the package that holds the file cannot be fetched.
#include <gtest/gtest.h>
#include <stdio.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/json.h"
#include "base/sha256.h"
#include "engine/open_tokenizer.h"
#include "tests/models/model_testing.h"
#include "tests/models/trie_scoring.h"

namespace prefixd::testing {
namespace {

using nlohmann::json;

// What a command wrote to its standard output; `ok` if it ended with status 0.
std::string OutputOf(const std::string& command, bool* ok) {
  FILE* const pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return *ok = false, "";
  std::string output;
  char buffer[256];
  while (fgets(buffer, sizeof(buffer), pipe) != nullptr) output += buffer;
  *ok = ::pclose(pipe) == 0;
  return std::string(absl::StripAsciiWhitespace(output));
}

class SmolLm2 : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    bool ok = false;
    const std::string output = OutputOf(
        PREFIXD_SOURCE_DIR "/deploy/fetch_smollm2.sh " PREFIXD_SOURCE_DIR "/build/smollm2 2>&1",
        &ok);
    (ok ? path_ : reason_) = output.substr(output.rfind('\n') + 1);
    auto golden = ReadJsonFile(PREFIXD_SOURCE_DIR "/tests/golden/smollm2.json", 1 << 20);
    ASSERT_TRUE(golden.ok()) << golden.status();
    golden_ = *std::move(golden);
  }

  void SetUp() override {
    if (path_.empty()) GTEST_SKIP() << "SmolLM2 is not at hand: " << reason_;
  }

  // The logits of every row of `ids`.
  static std::vector<float> Logits(LoadedModel* loaded, const std::vector<int32_t>& ids) {
    TestSequence sequence = loaded->NewSequence(ids);
    return loaded->Run(&sequence);
  }

  inline static std::string path_, reason_;
  inline static json golden_;
};

// Row `row` of logits with `vocab` columns.
absl::Span<const float> Row(const std::vector<float>& logits, size_t row, size_t vocab) {
  return absl::MakeConstSpan(logits).subspan(row * vocab, vocab);
}

int32_t Best(absl::Span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

double LogProb(absl::Span<const float> logits, int32_t id) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - top);
  return logits[id] - top - std::log(sum);
}

TEST_F(SmolLm2, DescribesItself) {
  const auto files = OpenModelFiles(path_);
  ASSERT_TRUE(files.ok()) << files.status();
  const ModelSpec& spec = (*files)->spec();
  EXPECT_EQ(spec.num_layers, 30);
  EXPECT_EQ(spec.num_kv_heads, 3);
  EXPECT_EQ(spec.vocab_size, 49152);
  EXPECT_EQ(spec.context_length, 8192);
  EXPECT_EQ(spec.weights_dtype, "q4_1");
  EXPECT_EQ(spec.num_parameters, 134515008u);
  EXPECT_LT(spec.weight_bytes, 97u << 20);  // As in the file, not widened.
  EXPECT_EQ(spec.generation.eos_token_ids, (std::vector<int32_t>{2, 0}));
}

TEST_F(SmolLm2, GivesTheIdsOfTheReference) {
  const auto tokenizer = OpenTokenizer(path_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  for (const json& prompt : golden_["prompts"]) {
    std::vector<std::string> pieces = {
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
        "Face<|im_end|>\n"};
    for (size_t i = 0; i < prompt["turns"].size(); ++i) {
      pieces.push_back(absl::StrCat("<|im_start|>", i % 2 == 0 ? "user" : "assistant", "\n"));
      pieces.push_back(prompt["turns"][i].get<std::string>());
      pieces.push_back("<|im_end|>\n");
    }
    pieces.push_back("<|im_start|>assistant\n");
    std::vector<TextSpan> spans;
    for (size_t i = 0; i < pieces.size(); ++i) spans.push_back({pieces[i], i % 3 != 2});
    const auto ids = (*tokenizer)->Encode(spans, false);
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, prompt["ids"].get<std::vector<int32_t>>()) << prompt["turns"];
  }
  const std::string text = golden_["text"]["text"];
  const auto ids = (*tokenizer)->Encode({{text, false}}, false);
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_EQ(*ids, golden_["text"]["ids"].get<std::vector<int32_t>>());
  EXPECT_EQ((*tokenizer)->Decode(*ids, true), text);
}

TEST_F(SmolLm2, GivesTheReferencesIdsOnTwoThousandStrings) {
  const auto tokenizer = OpenTokenizer(path_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const std::string directory = PREFIXD_SOURCE_DIR "/tests/golden/tokenizer/";
  const auto strings = ReadJsonFile(directory + "strings.json", 1 << 20);
  const auto golden = ReadJsonFile(directory + "smollm2_gguf.ids.json", 1 << 20);
  ASSERT_TRUE(strings.ok() && golden.ok());
  const std::string digests = (*golden)["digests"];
  ASSERT_EQ(digests.size(), 4 * strings->size());
  for (size_t i = 0; i < strings->size(); ++i) {
    const std::string text = (*strings)[i];
    const auto ids = (*tokenizer)->Encode({{text, (i & 2) == 0}}, (i & 1) != 0);
    ASSERT_TRUE(ids.ok()) << ids.status();
    const Sha256Digest digest = Sha256Of(absl::StrJoin(*ids, " "));
    const absl::string_view start(reinterpret_cast<const char*>(digest.data()), 3);
    EXPECT_EQ(absl::Base64Escape(start), digests.substr(4 * i, 4)) << i << ": " << text;
  }
}

TEST_F(SmolLm2, ChoosesTheTokensOfTheReference) {
  LoadedModel loaded(path_, "auto");
  const auto vocab = static_cast<size_t>(loaded.spec().vocab_size);
  int positions = 0, agreed = 0;
  double largest_logprob_gap = 0;
  for (const json& prompt : golden_["prompts"]) {
    auto ids = prompt["ids"].get<std::vector<int32_t>>();
    const auto tokens = prompt["tokens"].get<std::vector<int32_t>>();
    const size_t first = ids.size() - 1;  // The row that chooses tokens[0].
    ids.insert(ids.end(), tokens.begin(), tokens.end() - 1);
    const std::vector<float> logits = Logits(&loaded, ids);
    for (size_t i = 0; i < tokens.size(); ++i) {
      const absl::Span<const float> row = Row(logits, first + i, vocab);
      const bool same = Best(row) == tokens[i];
      ++positions;
      agreed += same;
      EXPECT_TRUE(same || prompt["gaps"][i].get<double>() <= 0.1)
          << prompt["turns"] << " token " << i << ": " << Best(row) << ", expected " << tokens[i]
          << ", the reference's gap is " << prompt["gaps"][i];
      largest_logprob_gap =
          std::max(largest_logprob_gap,
                   std::abs(LogProb(row, tokens[i]) - prompt["logprobs"][i].get<double>()));
    }
  }
  EXPECT_EQ(positions, 20 * 64);
  EXPECT_GE(agreed, positions * 98 / 100);
  RecordProperty("agreed", agreed);
  printf("top-1 agreement %d of %d, log-probs within %.5f\n", agreed, positions,
         largest_logprob_gap);
}

TEST_F(SmolLm2, HasThePerplexityOfTheReference) {
  LoadedModel loaded(path_, "auto");
  const auto vocab = static_cast<size_t>(loaded.spec().vocab_size);
  const auto ids = golden_["text"]["ids"].get<std::vector<int32_t>>();
  const std::vector<float> logits = Logits(&loaded, ids);
  double sum = 0;
  for (size_t i = 0; i + 1 < ids.size(); ++i) sum -= LogProb(Row(logits, i, vocab), ids[i + 1]);
  const double perplexity = std::exp(sum / static_cast<double>(ids.size() - 1));
  const double expected = std::exp(golden_["text"]["mean_nll"].get<double>());
  EXPECT_NEAR(perplexity, expected, expected / 100);
  printf("perplexity %.4f, the reference's %.4f\n", perplexity, expected);
}

// Its vocabulary takes many tiles of the output head.
TEST_F(SmolLm2, ScoresNamesAsTheReferenceScoresEachAlone) {
  const auto golden = ReadJsonFile(PREFIXD_SOURCE_DIR "/tests/golden/smollm2_names.json", 1 << 20);
  ASSERT_TRUE(golden.ok()) << golden.status();
  const auto tokenizer = OpenTokenizer(path_);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  Names names;
  std::vector<float> expected_by_token;
  for (const json& item : (*golden)["names"]) {
    const std::string name = item["name"];
    names.push_back(item["ids"].get<std::vector<int32_t>>());
    EXPECT_EQ(*(*tokenizer)->Encode({{name, false}}, false), names.back()) << name;
    for (const json& value : item["logprobs"]) expected_by_token.push_back(value.get<float>());
  }
  ASSERT_EQ(names.size(), 100u);
  LoadedModel loaded(path_, "auto");
  NameScorer scorer(&loaded, loaded.NewSequence((*golden)["ids"].get<std::vector<int32_t>>()));
  const TokenTrie trie = TokenTrie::Build(names);
  const std::vector<float> by_token = ByToken(trie, names, scorer.Tree(trie));
  const std::vector<double> means = Means(names, by_token);
  const std::vector<double> expected = Means(names, expected_by_token);
  double largest_gap = 0;
  for (size_t k = 0; k < names.size(); ++k) {
    EXPECT_NEAR(means[k], expected[k], 1e-4) << (*golden)["names"][k]["name"];
    largest_gap = std::max(largest_gap, std::abs(means[k] - expected[k]));
  }
  printf("scores within %.6f\n", largest_gap);
  EXPECT_EQ(by_token, scorer.OneByOne(names));
}

}  // namespace
}  // namespace prefixd::testing
