// Directories with tokenizer files for tests.
#ifndef PREFIXD_TESTS_TOKENIZER_TOKENIZER_FILES_H_
#define PREFIXD_TESTS_TOKENIZER_TOKENIZER_FILES_H_

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/tokenizer/gguf_vocabulary.h"
#include "engine/tokenizer/sentencepiece_file.h"
#include "engine/tokenizer/tokenizer.h"

namespace prefixd {

// What refused files are answered with.
inline constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;
inline constexpr absl::StatusCode kUnimplemented = absl::StatusCode::kUnimplemented;

// A directory that goes away with the object.
class TokenizerDirectory {
 public:
  TokenizerDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tokenizer_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~TokenizerDirectory() { std::filesystem::remove_all(path_); }
  TokenizerDirectory(const TokenizerDirectory&) = delete;
  TokenizerDirectory& operator=(const TokenizerDirectory&) = delete;

  TokenizerDirectory& Write(const std::string& name, const std::string& text) {
    std::ofstream(path_ + "/" + name, std::ios::binary) << text;
    return *this;
  }
  absl::StatusOr<std::unique_ptr<const Tokenizer>> Load() const { return Tokenizer::Load(path_); }

 private:
  std::string path_;
};

inline std::string ReadGolden(const std::string& name) {
  std::ifstream file(absl::StrCat(PREFIXD_SOURCE_DIR, "/tests/golden/tokenizer/", name),
                     std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// A vocabulary as a GGUF file has it: the byte-level model of a golden tokenizer.json, with the few
// tokens that tests/golden/make/tokenizer.py gives the kinds plain_*.
inline GgufVocabulary PlainVocabulary(const std::string& name, const std::string& pre) {
  const auto json = nlohmann::json::parse(ReadGolden(name + ".json"));
  GgufVocabulary vocabulary{.model = "gpt2", .pre = pre};
  const auto& vocab = json["model"]["vocab"];
  vocabulary.tokens.resize(vocab.size());
  for (const auto& [token, id] : vocab.items()) vocabulary.tokens[id.get<size_t>()] = token;
  vocabulary.types.assign(vocab.size(), 1);
  vocabulary.types[vocab["<|endoftext|>"].get<size_t>()] = 3;
  for (const char* token : {"<|im_start|>", "<|im_end|>", "<image>", "<image>s"}) {
    vocabulary.tokens.push_back(token);
    vocabulary.types.push_back(vocabulary.tokens.size() == vocab.size() + 4 ? 4 : 3);
  }
  for (const auto& merge : json["model"]["merges"]) {
    vocabulary.merges.push_back(merge.is_string() ? merge.get<std::string>()
                                                  : absl::StrCat(merge[0].get<std::string>(), " ",
                                                                 merge[1].get<std::string>()));
  }
  vocabulary.bos = static_cast<int32_t>(vocab.size());
  return vocabulary;
}

// The pieces of a golden tokenizer.model as a GGUF file has them.
inline GgufVocabulary PieceVocabulary(const std::string& name) {
  const auto model = ParseSentencePieceModel(ReadGolden(name + ".model"));
  if (!model.ok()) return {};
  GgufVocabulary vocabulary{.model = "llama"};
  vocabulary.tokens = model->pieces.texts;
  vocabulary.scores = model->pieces.scores;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    vocabulary.types.push_back(static_cast<int32_t>(model->pieces.types[id]));
    if (vocabulary.types.back() != 4) continue;
    // Converters write a user-defined piece as it stands in the text.
    absl::StrReplaceAll({{"\xE2\x96\x81", " "}}, &vocabulary.tokens[id]);
  }
  vocabulary.bos = static_cast<int32_t>(model->bos_id);
  vocabulary.eos = static_cast<int32_t>(model->eos_id);
  vocabulary.add_space_prefix = model->pieces.spaces.add_dummy_prefix;
  return vocabulary;
}

// A directory with vocab.json and merges.txt that says what PlainVocabulary("gpt2", ...) says.
inline absl::StatusOr<std::unique_ptr<const Tokenizer>> LoadGpt2Files() {
  const GgufVocabulary vocabulary = PlainVocabulary("gpt2", "gpt-2");
  nlohmann::json vocab, config;
  const size_t first_added = vocabulary.tokens.size() - 4;
  for (size_t id = 0; id < first_added; ++id) vocab[vocabulary.tokens[id]] = id;
  for (size_t id = first_added; id < vocabulary.tokens.size(); ++id) {
    config["added_tokens_decoder"][absl::StrCat(id)] = {{"content", vocabulary.tokens[id]},
                                                        {"special", vocabulary.types[id] == 3},
                                                        {"normalized", false}};
  }
  std::string merges = "#version: 0.2\n";
  for (const std::string& merge : vocabulary.merges) absl::StrAppend(&merges, merge, "\n");
  return TokenizerDirectory()
      .Write("vocab.json", vocab.dump())
      .Write("merges.txt", merges)
      .Write("tokenizer_config.json", config.dump())
      .Load();
}

inline absl::StatusOr<std::unique_ptr<const Tokenizer>> LoadGoldenOrStatus(
    const std::string& name) {
  if (name == "demo") return Tokenizer::Load(absl::StrCat(PREFIXD_SOURCE_DIR, "/models/demo"));
  if (name == "gpt2_files") return LoadGpt2Files();
  if (name == "plain_gpt2") return TokenizerFromGguf(PlainVocabulary("gpt2", "gpt-2"), name);
  if (name == "plain_smollm2") return TokenizerFromGguf(PlainVocabulary("smollm2", "smollm"), name);
  if (name == "plain_llama3") {
    return TokenizerFromGguf(PlainVocabulary("llama3", "llama-bpe"), name);
  }
  if (absl::StartsWith(name, "gguf_pieces_")) {
    return TokenizerFromGguf(PieceVocabulary(name.substr(5)), name);
  }
  const std::string file = absl::StartsWith(name, "pieces_") ? ".model" : ".json";
  return TokenizerDirectory().Write("tokenizer" + file, ReadGolden(name + file)).Load();
}

// A tokenizer of the goldens, "demo" for that of the demo model. Null if it does not load.
inline std::unique_ptr<const Tokenizer> LoadGolden(const std::string& name) {
  auto loaded = LoadGoldenOrStatus(name);
  if (loaded.ok()) return *std::move(loaded);
  std::fprintf(stderr, "%s\n", loaded.status().ToString().c_str());
  return nullptr;
}

// All kinds of LoadGolden.
inline std::vector<const char*> GoldenKinds() {
  return {"demo",         "llama_legacy",   "llama_metaspace",   "metaspace_split",
          "gemma",        "gpt2",           "smollm2",           "llama3",
          "neox_nfc",     "neox",           "paligemma",         "plain_gpt2",
          "gpt2_files",   "plain_smollm2",  "plain_llama3",      "pieces_llama",
          "pieces_gemma", "pieces_trimmed", "gguf_pieces_llama", "gguf_pieces_gemma"};
}

// The reference's ids of a kind; several ways to the same tokenizer share them.
inline nlohmann::json GoldenIds(std::string name) {
  if (name == "gpt2_files") name = "plain_gpt2";
  if (absl::StartsWith(name, "gguf_")) name = name.substr(5);
  return nlohmann::json::parse(ReadGolden(name + ".ids.json"));
}

}  // namespace prefixd

#endif  // PREFIXD_TESTS_TOKENIZER_TOKENIZER_FILES_H_
