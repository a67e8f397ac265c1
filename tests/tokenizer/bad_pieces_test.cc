// What tokenizer.model, vocab.json with merges.txt and a GGUF vocabulary may not say: every refusal
// names the file and what is wrong.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "engine/tokenizer/limits.h"
#include "tests/tokenizer/piece_file.h"
#include "tests/tokenizer/tokenizer_files.h"

namespace prefixd {
namespace {

using testing::HasSubstr;

absl::Status LoadPieces(const std::string& bytes) {
  return TokenizerDirectory().Write("tokenizer.model", bytes).Load().status();
}

struct BadPieces {
  const char* name;
  std::function<void(PieceFile*)> change;
  absl::StatusCode code;
  const char* says;
};

class BadPieceFile : public testing::TestWithParam<BadPieces> {};

TEST_P(BadPieceFile, IsRefused) {
  PieceFile file;
  GetParam().change(&file);
  const absl::Status status = LoadPieces(file.Bytes());
  EXPECT_EQ(status.code(), GetParam().code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer.model: "));
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().says));
}

const BadPieces kBadPieces[] = {
    {"ScoreNaN", [](auto* f) { f->pieces += Piece("c", NAN); }, kInvalid, "score of piece 7"},
    {"ScoreInfinite", [](auto* f) { f->pieces += Piece("c", INFINITY); }, kInvalid, "piece 7"},
    {"PieceEmpty", [](auto* f) { f->pieces += Piece("", -5); }, kInvalid, "token 7 has 0 bytes"},
    {"PieceTooLong", [](auto* f) { f->pieces += Piece(std::string(kMaxTokenBytes + 1, 'x')); },
     kInvalid, "token 7 has 4097 bytes"},
    {"PieceTwice", [](auto* f) { f->pieces += Piece("ab", -9); }, kInvalid, "tokens 3 and 7"},
    {"PieceNotUtf8", [](auto* f) { f->pieces += Piece("\xFF"); }, kInvalid, "token 7 is not UTF-8"},
    {"TypeUnknown", [](auto* f) { f->pieces += Piece("c", -5, 7); }, kInvalid,
     "piece 7 has type 7"},
    {"TypeZero", [](auto* f) { f->pieces += Piece("c", -5, 0); }, kInvalid, "piece 7 has type 0"},
    {"TypeHuge", [](auto* f) { f->pieces += BytesField(1, BytesField(1, "c") + IntField(3, -1)); },
     kInvalid, "piece 7 has type -1"},
    {"TwoUnknownPieces", [](auto* f) { f->pieces += Piece("<u>", 0, kUnknownPiece); }, kInvalid,
     "2 unknown pieces"},
    {"NoUnknownPiece", [](auto* f) { f->pieces = Piece("a"); }, kInvalid, "0 unknown pieces"},
    {"NoPieces", [](auto* f) { f->pieces = ""; }, kInvalid, "no tokens"},
    {"PieceIsANumber", [](auto* f) { f->pieces += IntField(1, 3); }, kInvalid, "field 1"},
    {"TextIsANumber", [](auto* f) { f->pieces += BytesField(1, IntField(1, 3)); }, kInvalid,
     "field 1"},
    {"ScoreIsANumber", [](auto* f) { f->pieces += BytesField(1, IntField(2, 3)); }, kInvalid,
     "field 2"},
    {"BytesAreMissing", [](auto* f) { f->trainer += IntField(35, 1); }, kInvalid, "<0x00>"},
    {"Unigram", [](auto* f) { f->trainer = IntField(3, 1); }, kUnimplemented, "unigram"},
    {"UnigramUnsaid", [](auto* f) { f->trainer = ""; }, kUnimplemented, "unigram"},
    {"WordModel", [](auto* f) { f->trainer = IntField(3, 3); }, kUnimplemented, "word"},
    {"ModelTypeUnknown", [](auto* f) { f->trainer = IntField(3, 9); }, kInvalid, "model_type: 9"},
    {"Suffix", [](auto* f) { f->trainer += IntField(24, 1); }, kUnimplemented,
     "treat_whitespace_as_suffix"},
    {"FlagIsTwo", [](auto* f) { f->trainer += IntField(35, 2); }, kInvalid, "field 35"},
    {"CharacterMap",
     [](auto* f) { f->normalizer = BytesField(1, "nmt_nfkc") + BytesField(2, "xyz"); },
     kUnimplemented, "precompiled_charsmap: normalisation `nmt_nfkc`"},
    {"Group", [](auto* f) { f->pieces += std::string("\x0B\x0C", 2); }, kInvalid, "unknown coding"},
    {"FieldZero", [](auto* f) { f->pieces += std::string("\x00\x01", 2); }, kInvalid,
     "no field number"},
    {"LongNumber", [](auto* f) { f->pieces += "\x18" + std::string(10, '\xFF') + "\x01"; },
     kInvalid, "more than 64 bits"},
    {"BreaksOff",
     [](auto* f) {
       f->normalizer +=
           "\x12\x7F"
           "x";
     },
     kInvalid, "breaks off"},
    {"HugeLength", [](auto* f) { f->pieces += "\x0A" + Varint(~uint64_t{0}); }, kInvalid,
     "breaks off"},
    {"SplitsTooMany",
     [](auto* f) {
       for (int i = 0; i < 20; ++i) f->pieces += Piece(std::string(4000, 'a') + absl::StrCat(i));
     },
     kInvalid, "too long to be split"},
};

INSTANTIATE_TEST_SUITE_P(Fields, BadPieceFile, testing::ValuesIn(kBadPieces),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(PieceFile, LoadsWithoutAnyChange) {
  const auto tokenizer = TokenizerDirectory().Write("tokenizer.model", PieceFile().Bytes()).Load();
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ(*(*tokenizer)->Encode({{"ab a", true}}, true), (std::vector<int32_t>{1, 3, 4, 5}));
  EXPECT_EQ((*tokenizer)->bos_token_id(), 1);
  EXPECT_EQ((*tokenizer)->eos_token_id(), 2);
}

TEST(PieceFile, MustHaveBothSpecifications) {
  const PieceFile file;
  EXPECT_THAT(std::string(LoadPieces(file.pieces + BytesField(2, file.trainer)).message()),
              HasSubstr("normalizer_spec"));
  EXPECT_THAT(std::string(LoadPieces(file.pieces + BytesField(3, file.normalizer)).message()),
              HasSubstr("trainer_spec"));
  EXPECT_EQ(LoadPieces("").code(), kInvalid);
}

TEST(PieceFile, MayNotHaveTenMillionPieces) {
  std::string pieces;
  for (int i = 0; i < 10'000'000; ++i) pieces += std::string("\x0A\x00", 2);
  const absl::Status status = LoadPieces(pieces);
  EXPECT_EQ(status.code(), kInvalid);
  EXPECT_THAT(std::string(status.message()), HasSubstr("more than 1048576 pieces"));
}

TEST(PieceFile, TakesTheConfigsWord) {
  const auto tokenizer =
      TokenizerDirectory()
          .Write("tokenizer.model", PieceFile().Bytes())
          .Write("tokenizer_config.json", R"({"add_bos_token": false, "add_eos_token": true,
              "eos_token": "<e>", "added_tokens_decoder": {
                "7": {"content": "<e>", "special": true}, "8": {"content": "!", "special": false}}})")
          .Load();
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ(*(*tokenizer)->Encode({{"a!<e>b", true}}, true), (std::vector<int32_t>{5, 8, 7, 6, 7}));
}

TEST(PieceFile, PutsNoSpaceAfterASpecialTokenIfItIsNotLegacy) {
  PieceFile file;
  file.normalizer = BytesField(1, "identity") + IntField(4, 0);  // With a dummy prefix.
  TokenizerDirectory directory;
  directory.Write("tokenizer.model", file.Bytes());
  EXPECT_EQ(*(*directory.Load())->Encode({{"a<s>b", true}}, false),
            (std::vector<int32_t>{4, 5, 1, 4, 6}));
  directory.Write("tokenizer_config.json", R"({"legacy": false})");
  EXPECT_EQ(*(*directory.Load())->Encode({{"a<s>b", true}}, false),
            (std::vector<int32_t>{4, 5, 1, 6}));
}

absl::Status LoadGpt2(const std::string& vocab, const std::string& merges) {
  return TokenizerDirectory()
      .Write("vocab.json", vocab)
      .Write("merges.txt", merges)
      .Load()
      .status();
}

TEST(Gpt2Files, NameTheLineThatIsWrong) {
  const std::string vocab = R"({"a": 0, "b": 1, "ab": 2, "c": 3})";
  EXPECT_TRUE(LoadGpt2(vocab, "#version: 0.2\na b\n").ok());
  EXPECT_TRUE(LoadGpt2(vocab, "a b").ok());
  EXPECT_TRUE(LoadGpt2(vocab, "#version: 0.2\r\na b\r\n").ok());
  const std::pair<const char*, const char*> bad[] = {
      {"#version: 0.2\na b\nb c\n", "merges.txt:3: \"bc\""},
      {"a b\n\n", "merges.txt:2: not two tokens"},
      {"\na b\n", "merges.txt:1: not two tokens"},
      {"a b c\n", "merges.txt:1: not two tokens"},
      {"a b\n#version: 0.2\n", "merges.txt:2: "},
      {"a z\n", "merges.txt:1: \"z\""},
  };
  for (const auto& [merges, says] : bad) {
    const absl::Status status = LoadGpt2(vocab, merges);
    EXPECT_EQ(status.code(), kInvalid) << merges;
    EXPECT_THAT(std::string(status.message()), HasSubstr(says));
  }
}

TEST(Gpt2Files, NameTheTokenThatIsWrong) {
  for (const char* vocab : {"[]", "3", R"({"a": -1})", R"({"a": 1.5})", R"({"a": 0, "b": 0})",
                            R"({"a": 0, "a": 1})", R"({"a": 4000000000})", R"({"a": 1000000})"}) {
    const absl::Status status = LoadGpt2(vocab, "");
    EXPECT_EQ(status.code(), kInvalid) << vocab;
    EXPECT_THAT(std::string(status.message()), HasSubstr("vocab.json")) << vocab;
  }
}

TEST(TokenizerDirectoryFiles, AreTakenInTheirOrder) {
  TokenizerDirectory directory;
  EXPECT_EQ(directory.Load().status().code(), absl::StatusCode::kNotFound);
  directory.Write("vocab.json", R"({"a": 0})");
  EXPECT_EQ(directory.Load().status().code(), absl::StatusCode::kNotFound);
  directory.Write("merges.txt", "");
  EXPECT_EQ((*directory.Load())->vocab_size(), 1);
  directory.Write("tokenizer.model", PieceFile().Bytes());
  EXPECT_EQ((*directory.Load())->vocab_size(), 7);
  directory.Write("tokenizer.json", ReadGolden("gpt2.json"));
  EXPECT_GT((*directory.Load())->vocab_size(), 500);
}

struct BadGguf {
  const char* name;
  const char* model;
  std::function<void(GgufVocabulary*)> change;
  absl::StatusCode code;
  const char* says;
};

GgufVocabulary SmallVocabulary(const std::string& model) {
  GgufVocabulary vocabulary{.model = model};
  vocabulary.tokens = {"<unk>", "<s>", "a", "b", "ab"};
  vocabulary.types = {2, 3, 1, 1, 1};
  if (model == "llama") vocabulary.scores = {0, 0, -2, -3, -1};
  if (model == "gpt2") vocabulary.merges = {"a b"};
  vocabulary.bos = 1;
  return vocabulary;
}

class BadGgufVocabulary : public testing::TestWithParam<BadGguf> {};

TEST_P(BadGgufVocabulary, IsRefused) {
  GgufVocabulary vocabulary = SmallVocabulary(GetParam().model);
  GetParam().change(&vocabulary);
  const absl::Status status = TokenizerFromGguf(std::move(vocabulary), "m.gguf").status();
  EXPECT_EQ(status.code(), GetParam().code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("m.gguf: tokenizer."));
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().says));
}

const BadGguf kBadGguf[] = {
    {"OtherModel", "gpt2", [](auto* v) { v->model = "t5"; }, kUnimplemented, "ggml.model: `t5`"},
    {"NoModel", "gpt2", [](auto* v) { v->model = ""; }, kUnimplemented, "ggml.model: ``"},
    {"OtherPre", "gpt2", [](auto* v) { v->pre = "qwen2"; }, kUnimplemented, "ggml.pre: `qwen2`"},
    {"NoTokens", "gpt2", [](auto* v) { *v = {.model = "gpt2"}; }, kInvalid, "no tokens"},
    {"TooManyTokens", "gpt2",
     [](auto* v) {
       v->tokens.resize(kMaxVocabSize + 1);
       v->types.clear();
     },
     kInvalid, "1048577 tokens"},
    {"TokenEmpty", "gpt2", [](auto* v) { v->tokens[2] = ""; }, kInvalid, "token 2 has 0 bytes"},
    {"TokenNotUtf8", "gpt2", [](auto* v) { v->tokens[2] = "\xC3"; }, kInvalid, "token 2"},
    {"TokenTwice", "gpt2", [](auto* v) { v->tokens[2] = "b"; }, kInvalid, "tokens 2 and 3"},
    {"FewerTypes", "gpt2", [](auto* v) { v->types.pop_back(); }, kInvalid, "4 entries for 5"},
    {"TypeSeven", "gpt2", [](auto* v) { v->types[4] = 7; }, kInvalid, "token 4 has type 7"},
    {"TypeZero", "llama", [](auto* v) { v->types[4] = 0; }, kInvalid, "token 4 has type 0"},
    {"MergeOfNoToken", "gpt2", [](auto* v) { v->merges = {"a z"}; }, kInvalid,
     "ggml.merges: \"z\""},
    {"MergeOfOne", "gpt2", [](auto* v) { v->merges = {"ab"}; }, kInvalid, "ggml.merges: not two"},
    {"TooManyMerges", "gpt2", [](auto* v) { v->merges.assign(kMaxMerges + 1, "a b"); }, kInvalid,
     "ggml.merges: 2097153"},
    {"BosOutside", "gpt2", [](auto* v) { v->bos = 5; }, kInvalid, "ggml.bos_token_id: id 5"},
    {"EosNegative", "llama", [](auto* v) { v->eos = -1; }, kInvalid, "ggml.eos_token_id: id -1"},
    {"PaddingOutside", "llama", [](auto* v) { v->padding = 99; }, kInvalid, "padding_token_id"},
    {"FewerScores", "llama", [](auto* v) { v->scores.pop_back(); }, kInvalid, "ggml.scores: 4"},
    {"ScoreNaN", "llama", [](auto* v) { v->scores[3] = NAN; }, kInvalid, "score of piece 3"},
    {"NoUnknown", "llama", [](auto* v) { v->types[0] = 3; }, kInvalid, "0 unknown pieces"},
    {"OneByte", "llama", [](auto* v) { v->types[4] = 6; }, kInvalid, "byte fallback"},
    {"LongTemplate", "gpt2",
     [](auto* v) { v->chat_template = std::string(kMaxChatTemplateBytes + 1, 'x'); }, kInvalid,
     "chat_template: 262145 bytes"},
};

INSTANTIATE_TEST_SUITE_P(Fields, BadGgufVocabulary, testing::ValuesIn(kBadGguf),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(GgufVocabulary, LoadsWithoutAnyChange) {
  const auto byte_level = TokenizerFromGguf(SmallVocabulary("gpt2"), "m.gguf");
  ASSERT_TRUE(byte_level.ok()) << byte_level.status();
  EXPECT_EQ(*(*byte_level)->Encode({{"abba", false}}, true), (std::vector<int32_t>{4, 3, 2}));
  const auto pieces = TokenizerFromGguf(SmallVocabulary("llama"), "m.gguf");
  ASSERT_TRUE(pieces.ok()) << pieces.status();
  EXPECT_EQ(*(*pieces)->Encode({{"abba", false}}, true), (std::vector<int32_t>{1, 0, 4, 3, 2}));
}

TEST(GgufVocabulary, SaysWhichTokenIsUnknown) {
  GgufVocabulary vocabulary = SmallVocabulary("llama");
  vocabulary.types[0] = 3;  // As some converters have it.
  vocabulary.unknown = 0;
  const auto tokenizer = TokenizerFromGguf(vocabulary, "m.gguf");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ(*(*tokenizer)->Encode({{"?a", false}}, false), (std::vector<int32_t>{0, 2}));
}

TEST(GgufVocabulary, SaysWhichTokensStandAroundAText) {
  GgufVocabulary vocabulary = SmallVocabulary("gpt2");
  vocabulary.add_bos = true;
  vocabulary.add_eos = true;
  vocabulary.eos = 4;
  vocabulary.chat_template = "T";
  const auto tokenizer = TokenizerFromGguf(vocabulary, "m.gguf");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ(*(*tokenizer)->Encode({{"b", false}}, true), (std::vector<int32_t>{1, 3, 4}));
  EXPECT_EQ(*(*tokenizer)->Encode({{"b", false}}, false), (std::vector<int32_t>{3}));
  EXPECT_EQ((*tokenizer)->chat_template(), "T");
  EXPECT_EQ((*tokenizer)->eos_token_id(), 4);
}

}  // namespace
}  // namespace prefixd
