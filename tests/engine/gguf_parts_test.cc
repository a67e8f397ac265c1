// An engine of a GGUF file: tokenizer, name and digest come from it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/engine_parts.h"
#include "engine/open_tokenizer.h"
#include "engine/weights/gguf.h"
#include "tests/weights/gguf_files.h"

namespace prefixd {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<EngineParts> OpenGolden(const std::string& name) {
  EngineOptions options;
  options.model_path = absl::StrCat(PREFIXD_SOURCE_DIR "/tests/golden/gguf/", name, ".gguf");
  options.backend = "cpu";
  options.kv_memory_bytes = 16 << 20;
  return OpenEngineParts(options);
}

TEST(GgufParts, HaveTheTokenizerOfTheFile) {
  const auto parts = OpenGolden("q8_0");
  ASSERT_TRUE(parts.ok()) << parts.status();
  EXPECT_EQ(parts->model_info.name, "q8_0");
  EXPECT_EQ(parts->model_info.family, "llama");
  EXPECT_EQ(parts->model_info.vocab_size, 300);
  const Tokenizer& tokenizer = parts->prompts->tokenizer();
  EXPECT_EQ(tokenizer.TokenToId("<|im_end|>"), 2);
  EXPECT_THAT(tokenizer.chat_template(), HasSubstr("<|im_start|>"));
  const auto ids = tokenizer.Encode({{"the sea", false}, {"<|im_end|>", true}}, true);
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_EQ(ids->back(), 2);
  EXPECT_EQ(tokenizer.Decode(*ids, true), "the sea");
}

TEST(GgufParts, HaveADigestOfTheirOwn) {
  const auto one = OpenGolden("q8_0"), same = OpenGolden("q8_0"), other = OpenGolden("q4_0");
  ASSERT_TRUE(one.ok() && same.ok() && other.ok());
  EXPECT_EQ(one->model_info.digest, same->model_info.digest);
  EXPECT_NE(one->model_info.digest, other->model_info.digest);
}

absl::Status VocabularyError(const std::string& pair) {
  testing::GgufFileSpec spec;
  spec.pairs = {pair};
  if (!pair.empty() && pair.find("tokenizer.ggml.model") == std::string::npos) {
    spec.pairs.push_back(testing::GgufPair("tokenizer.ggml.model", 8, testing::GgufString("gpt2")));
  }
  const std::string bytes = spec.Bytes();
  const auto header = ParseGgufHeader(bytes, bytes.size(), "f.gguf");
  if (!header.ok()) return header.status();
  return ReadGgufVocabulary(header->metadata).status();
}

TEST(GgufVocabularyKeys, AreRefusedByNameWhereTheyAreOfAnotherType) {
  using testing::GgufPair, testing::GgufString, testing::Raw;
  const std::string integers = Raw<uint32_t>(5) + Raw<uint64_t>(1) + Raw<int32_t>(1);
  const std::vector<std::pair<std::string, const char*>> cases = {
      {GgufPair("other", 0, "x"), ""},
      {GgufPair("tokenizer.ggml.model", 0, "x"), "tokenizer.ggml.model: the value is of type u8"},
      {GgufPair("tokenizer.ggml.tokens", 9, integers), "expected an array of strings"},
      {GgufPair("tokenizer.ggml.scores", 9, integers), "expected an array of f32"},
      {GgufPair("tokenizer.ggml.merges", 8, GgufString("a b")), "expected an array of strings"},
      {GgufPair("tokenizer.ggml.token_type", 6, Raw<float>(1)), "expected an array of integers"},
      {GgufPair("tokenizer.ggml.bos_token_id", 5, Raw<int32_t>(-1)), "-1 is no token id"},
      {GgufPair("tokenizer.ggml.eos_token_id", 10, Raw<uint64_t>(uint64_t{1} << 31)),
       "2147483648 is no token id"},
      {GgufPair("tokenizer.ggml.add_bos_token", 4, Raw<uint32_t>(1)), "expected bool"},
  };
  for (const auto& [pair, message] : cases) {
    const absl::Status status = VocabularyError(pair);
    if (*message == '\0') {
      EXPECT_TRUE(status.ok()) << status;
      continue;
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
    EXPECT_THAT(std::string(status.message()), HasSubstr("f.gguf: tokenizer.ggml."));
  }
}

}  // namespace
}  // namespace prefixd
