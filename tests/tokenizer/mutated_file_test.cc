// Files that are cut off and files with changed bytes: a refusal or a tokenizer that works,
// quickly. The number of changed files of each kind: PREFIXD_TOKENIZER_MUTATIONS.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "tests/tokenizer/tokenizer_files.h"

namespace prefixd {
namespace {

int NumMutations() {
  const char* wanted = std::getenv("PREFIXD_TOKENIZER_MUTATIONS");
  return wanted == nullptr ? 200 : std::atoi(wanted);
}

using File = std::pair<std::string, std::string>;  // Name and content.

// The files of a kind; the first one is changed.
std::vector<File> FilesOf(const std::string& kind) {
  if (kind == "json") return {{"tokenizer.json", ReadGolden("smollm2.json")}};
  if (kind == "pieces") return {{"tokenizer.model", ReadGolden("pieces_llama.model")}};
  if (kind == "trimmed") return {{"tokenizer.model", ReadGolden("pieces_trimmed.model")}};
  const GgufVocabulary vocabulary = PlainVocabulary("gpt2", "gpt-2");
  nlohmann::json vocab;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) vocab[vocabulary.tokens[id]] = id;
  std::string merges = "#version: 0.2\n";
  for (const std::string& merge : vocabulary.merges) absl::StrAppend(&merges, merge, "\n");
  const File vocab_file = {"vocab.json", vocab.dump()};
  const File merges_file = {"merges.txt", merges};
  if (kind == "merges") return {merges_file, vocab_file};
  if (kind == "vocab") return {vocab_file, merges_file};
  return {{"tokenizer_config.json",
           R"({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": true,
               "legacy": false, "added_tokens_decoder": {"800": {"content": "<x>",
               "special": true, "lstrip": false}, "2": {"content": "</s>", "special": true}},
               "chat_template": [{"name": "default", "template": "T"}]})"},
          {"tokenizer.model", ReadGolden("pieces_llama.model")}};
}

class ChangedTokenizerFile : public testing::TestWithParam<const char*> {
 protected:
  ChangedTokenizerFile() : files_(FilesOf(GetParam())) {
    for (const auto& [name, content] : files_) directory_.Write(name, content);
  }

  // Returns whether the directory loads with this content of its first file.
  bool Loads(const std::string& content) {
    directory_.Write(files_[0].first, content);
    const auto tokenizer = directory_.Load();
    if (!tokenizer.ok()) {
      EXPECT_FALSE(tokenizer.status().message().empty());
      return false;
    }
    const auto ids =
        (*tokenizer)->Encode({{"<s>Hello, the  circle\n isn't 12 \xE7\x94\x9F", true}}, true);
    EXPECT_TRUE(ids.ok());
    for (const int32_t id : *ids) EXPECT_LT(id, (*tokenizer)->vocab_size());
    (*tokenizer)->Decode(*ids, false);
    return true;
  }

  const std::string& content() const { return files_[0].second; }

 private:
  std::vector<File> files_;
  TokenizerDirectory directory_;
};

TEST_P(ChangedTokenizerFile, IsRefusedWhereItBreaksOff) {
  ASSERT_TRUE(Loads(content()));
  const bool may_end_anywhere =
      std::string(GetParam()) == "merges";  // Fewer lines are a file, too.
  for (size_t size = 0; size < content().size(); size += 64) {
    const bool loads = Loads(content().substr(0, size));
    EXPECT_TRUE(may_end_anywhere || !loads) << size;
  }
}

TEST_P(ChangedTokenizerFile, IsRefusedOrWorks) {
  std::mt19937_64 random(20261126);
  const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  const int count = NumMutations();
  int refused = 0;
  for (int i = 0; i < count; ++i) {
    std::string changed = content();
    for (size_t changes = 1 + below(4); changes > 0; --changes) {
      const size_t at = below(changed.size());
      switch (below(5)) {
        case 0:
          changed[at] = static_cast<char>(below(256));
          break;
        case 1:
          changed[at] = static_cast<char>(changed[at] ^ (1 << below(8)));
          break;
        case 2:
          changed.erase(at, 1 + below(16));
          break;
        case 3:
          changed.insert(at, changed.substr(below(changed.size()), 1 + below(64)));
          break;
        default:
          changed.replace(at, 1, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01");
          break;
      }
    }
    if (!Loads(changed)) ++refused;
  }
  EXPECT_GT(refused, count / 20);
}

INSTANTIATE_TEST_SUITE_P(Kinds, ChangedTokenizerFile,
                         testing::Values("json", "pieces", "trimmed", "vocab", "merges", "config"),
                         [](const auto& info) { return std::string(info.param); });

TEST(ChangedGgufVocabulary, IsRefusedOrWorks) {
  std::mt19937_64 random(20261126);
  const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  const GgufVocabulary whole[] = {PlainVocabulary("llama3", "llama-bpe"),
                                  PieceVocabulary("pieces_llama")};
  int refused = 0;
  const int count = NumMutations();
  for (int i = 0; i < count; ++i) {
    GgufVocabulary changed = whole[i % 2];
    const size_t at = below(changed.tokens.size());
    switch (below(8)) {
      case 0:
        changed.tokens[at] = changed.tokens[below(changed.tokens.size())];
        break;
      case 1:
        changed.tokens[at] = std::string(below(8), static_cast<char>(below(256)));
        break;
      case 2:
        changed.tokens.resize(at);
        break;
      case 3:
        changed.types[at] = static_cast<int32_t>(below(9)) - 1;
        break;
      case 4:
        changed.scores.resize(at);
        break;
      case 5:
        if (changed.scores.size() > at) changed.scores[at] = static_cast<float>(random()) * 1e30f;
        break;
      case 6:
        if (!changed.merges.empty()) changed.merges[below(changed.merges.size())].resize(below(5));
        break;
      default:
        changed.eos = static_cast<int32_t>(random());
    }
    const auto tokenizer = TokenizerFromGguf(std::move(changed), "m.gguf");
    if (!tokenizer.ok()) {
      ++refused;
      continue;
    }
    const auto ids = (*tokenizer)->Encode({{"<s>Hello, the  circle isn't 12", true}}, true);
    ASSERT_TRUE(ids.ok());
    for (const int32_t id : *ids) ASSERT_LT(id, (*tokenizer)->vocab_size());
  }
  EXPECT_GT(refused, count / 10);
}

}  // namespace
}  // namespace prefixd
