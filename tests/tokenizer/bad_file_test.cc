// What a tokenizer directory may not say: every refusal names the file and the key.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/tokenizer/tokenizer_files.h"

namespace prefixd {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json Small() {
  return json::parse(R"({"version": "1.0",
    "added_tokens": [{"id": 4, "content": "<s>", "special": true, "normalized": false}],
    "normalizer": null, "pre_tokenizer": null, "post_processor": null,
    "decoder": {"type": "Fuse"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "c": 3}, "merges": ["a b"]}})");
}

absl::Status LoadStatus(const std::string& tokenizer, const std::string& config = "{}") {
  return TokenizerDirectory()
      .Write("tokenizer.json", tokenizer)
      .Write("tokenizer_config.json", config)
      .Load()
      .status();
}

struct Change {
  const char* name;
  const char* pointer;  // Where the small tokenizer changes, and to what.
  const char* value;
  absl::StatusCode code;
  const char* says;
};

class ChangedFile : public testing::TestWithParam<Change> {};

TEST_P(ChangedFile, IsRefused) {
  const Change& change = GetParam();
  json file = Small();
  file[json::json_pointer(change.pointer)] = json::parse(change.value);
  const absl::Status status = LoadStatus(file.dump());
  EXPECT_EQ(status.code(), change.code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer.json"));
  EXPECT_THAT(std::string(status.message()), HasSubstr(change.says));
}

const Change kChanges[] = {
    {"MergeResultAbsent", "/model/merges", R"(["a b", "b c"])", kInvalid, "model.merges[1]"},
    {"MergePartAbsent", "/model/merges", R"([["a", "z"]])", kInvalid, "model.merges[0]"},
    {"MergeOfThree", "/model/merges", R"(["a b c"])", kInvalid, "model.merges[0]"},
    {"MergesNoList", "/model/merges", "3", kInvalid, "model.merges"},
    {"NegativeId", "/model/vocab/a", "-1", kInvalid, "model.vocab"},
    {"HugeId", "/model/vocab/a", "2147483648", kInvalid, "model.vocab"},
    {"SparseId", "/model/vocab/a", "1048576", kInvalid, "model.vocab"},
    {"FractionalId", "/model/vocab/a", "1.5", kInvalid, "model.vocab"},
    {"IdTwice", "/model/vocab/a", "1", kInvalid, "model.vocab"},
    {"VocabNoObject", "/model/vocab", "[]", kInvalid, "model.vocab"},
    {"OtherModel", "/model/type", R"("Unigram")", kUnimplemented, "Unigram"},
    {"Dropout", "/model/dropout", "0.1", kUnimplemented, "model.dropout"},
    {"SubwordPrefix", "/model/continuing_subword_prefix", R"("##")", kUnimplemented,
     "continuing_subword_prefix"},
    {"UnknownTokenAbsent", "/model/unk_token", R"("<unk>")", kInvalid, "model.unk_token"},
    {"AddedTokenEmpty", "/added_tokens/0/content", R"("")", kInvalid, "added_tokens[0].content"},
    {"AddedTokenNegative", "/added_tokens/0/id", "-4", kInvalid, "added_tokens[0].id"},
    {"AddedTokenFarOff", "/added_tokens/0/id", "1048576", kInvalid, "added_tokens[0].id"},
    {"AddedTokenTakesAnId", "/added_tokens/0/id", "1", kInvalid, "added_tokens"},
    {"Normalizer", "/normalizer", R"({"type": "Precompiled", "precompiled_charsmap": "!"})",
     kUnimplemented, "Precompiled"},
    {"NormalizerRegex", "/normalizer",
     R"({"type": "Replace", "pattern": {"Regex": "(a+)+"}, "content": ""})", kUnimplemented,
     "normalizer.pattern"},
    {"PreTokenizer", "/pre_tokenizer", R"({"type": "UnicodeScripts"})", kUnimplemented,
     "UnicodeScripts"},
    {"FixedLength", "/pre_tokenizer", R"({"type": "FixedLength", "length": 0})", kUnimplemented,
     "FixedLength"},
    {"SlowRegex", "/pre_tokenizer",
     R"({"type": "Split", "pattern": {"Regex": "(a+)+"}, "behavior": "Isolated"})", kUnimplemented,
     "(a+)+"},
    {"LookBehind", "/pre_tokenizer",
     R"({"type": "Sequence", "pretokenizers": [
         {"type": "Split", "pattern": {"Regex": "(?<=a)b"}, "behavior": "Isolated"}]})",
     kUnimplemented, "pretokenizers[0].pattern.Regex"},
    {"PostProcessor", "/post_processor", R"({"type": "RobertaProcessing"})", kUnimplemented,
     "RobertaProcessing"},
    {"TemplateOfAnAbsentToken", "/post_processor",
     R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<bos>"}},
         {"Sequence": {"id": "A"}}], "special_tokens": {}})",
     kInvalid, "<bos>"},
    {"TemplateOfAnAbsentId", "/post_processor",
     R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<bos>"}},
         {"Sequence": {"id": "A"}}],
         "special_tokens": {"<bos>": {"id": "<bos>", "ids": [9], "tokens": ["<bos>"]}}})",
     kInvalid, "<bos>"},
    {"Decoder", "/decoder", R"({"type": "WordPiece"})", kUnimplemented, "WordPiece"},
    {"StripReversed", "/decoder",
     R"({"type": "Sequence", "decoders": [{"type": "Fuse"},
         {"type": "Strip", "content": " ", "start": -1, "stop": -3}]})",
     kUnimplemented, "decoder.decoders[1]"},
};

INSTANTIATE_TEST_SUITE_P(Keys, ChangedFile, testing::ValuesIn(kChanges),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(TokenizerFile, LoadsWithoutAnyChange) { EXPECT_TRUE(LoadStatus(Small().dump()).ok()); }

TEST(TokenizerFile, MayNotHaveAKeyTwice) {
  std::string text = Small().dump();
  text.insert(1, R"("version": "0.9", )");
  const absl::Status status = LoadStatus(text);
  EXPECT_EQ(status.code(), kInvalid);
  EXPECT_THAT(std::string(status.message()), HasSubstr("version"));
}

TEST(TokenizerFile, MayNotHaveATokenTwice) {
  std::string text = Small().dump();
  const std::string token = R"("ab":2)";
  text.insert(text.find(token), R"("ab":7,)");
  EXPECT_EQ(LoadStatus(text).code(), kInvalid);
}

TEST(TokenizerFile, MayNotStartWithAByteOrderMark) {
  const absl::Status status = LoadStatus("\xEF\xBB\xBF" + Small().dump());
  EXPECT_EQ(status.code(), kInvalid);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer.json"));
}

TEST(TokenizerFile, MayNotBeCutOff) {
  const std::string text = Small().dump();
  EXPECT_EQ(LoadStatus(text.substr(0, text.size() / 2)).code(), kInvalid);
  EXPECT_EQ(LoadStatus("").code(), kInvalid);
  EXPECT_EQ(LoadStatus("[]").code(), kInvalid);
}

TEST(TokenizerFile, MayNotAddATokenOfAMegabyte) {
  json file = Small();
  file["added_tokens"][0]["content"] = std::string(1 << 20, 'x');
  const absl::Status status = LoadStatus(file.dump());
  EXPECT_EQ(status.code(), kInvalid);
  EXPECT_THAT(std::string(status.message()), HasSubstr("added_tokens[0].content"));
}

TEST(TokenizerFile, MayNotNestDeeply) {
  std::string nested = R"({"type": "Fuse"})";
  for (int i = 0; i < 80; ++i) {
    nested = absl::StrCat(R"({"type": "Sequence", "decoders": [)", nested, "]}");
  }
  json file = Small();
  std::string text = file.dump();
  const std::string decoder = R"({"type":"Fuse"})";
  text.replace(text.find(decoder), decoder.size(), nested);
  EXPECT_EQ(LoadStatus(text).code(), kInvalid);
}

TEST(TokenizerConfig, NamesAnIdThatIsNone) {
  const absl::Status status =
      LoadStatus(Small().dump(), R"({"added_tokens_decoder": {"x": {"content": "<x>"}}})");
  EXPECT_EQ(status.code(), kInvalid);
  EXPECT_THAT(std::string(status.message()), testing::AllOf(HasSubstr("tokenizer_config.json"),
                                                            HasSubstr("added_tokens_decoder")));
}

TEST(TokenizerConfig, NamesABeginningThatIsNoToken) {
  const absl::Status status = LoadStatus(Small().dump(), R"({"bos_token": "<bos>"})");
  EXPECT_EQ(status.code(), kInvalid);
  EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer_config.json: bos_token"));
}

TEST(TokenizerConfig, MergesItsAddedTokens) {
  const auto tokenizer = TokenizerDirectory()
                             .Write("tokenizer.json", Small().dump())
                             .Write("tokenizer_config.json", R"({"bos_token": {"content": "<s>"},
                                     "eos_token": "<e>", "add_bos_token": true,
                                     "add_eos_token": true,
                                     "chat_template": [{"name": "tools", "template": "T"},
                                                       {"name": "default", "template": "D"}],
                                     "added_tokens_decoder": {
                                       "4": {"content": "<s>", "special": false},
                                       "6": {"content": "<e>", "special": true}}})")
                             .Load();
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocab_size(), 7);
  EXPECT_FALSE((*tokenizer)->IsSpecial(4));
  EXPECT_TRUE((*tokenizer)->IsSpecial(6));
  EXPECT_EQ((*tokenizer)->eos_token_id(), 6);
  EXPECT_EQ((*tokenizer)->chat_template(), "D");
  const auto ids = (*tokenizer)->Encode({{"ab<e>c", true}}, true);
  EXPECT_EQ(*ids, (std::vector<int32_t>{4, 2, 6, 3, 6}));
}

TEST(TokenizerConfig, GivesWayToTheTemplateFiles) {
  TokenizerDirectory directory;
  directory.Write("tokenizer.json", Small().dump())
      .Write("tokenizer_config.json", R"({"chat_template": "config"})");
  EXPECT_EQ((*directory.Load())->chat_template(), "config");
  directory.Write("chat_template.json", R"({"chat_template": "json"})");
  EXPECT_EQ((*directory.Load())->chat_template(), "json");
  directory.Write("chat_template.jinja", "jinja");
  EXPECT_EQ((*directory.Load())->chat_template(), "jinja");
}

}  // namespace
}  // namespace prefixd
