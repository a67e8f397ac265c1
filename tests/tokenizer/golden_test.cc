// Ids and texts of the libraries `tokenizers` and `sentencepiece` (tests/golden/make/tokenizer.py).
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "base/sha256.h"
#include "tests/tokenizer/tokenizer_files.h"

namespace prefixd {
namespace {

// Four characters of base64: the first three bytes of the SHA-256.
std::string DigestOf(const std::string& line) {
  const Sha256Digest digest = Sha256Of(line);
  return absl::Base64Escape(absl::string_view(reinterpret_cast<const char*>(digest.data()), 3));
}

class TokenizerGolden : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerGolden, GivesTheReferencesIdsOnTwoThousandStrings) {
  const std::unique_ptr<const Tokenizer> tokenizer = LoadGolden(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  const auto strings = nlohmann::json::parse(ReadGolden("strings.json"));
  const auto golden = GoldenIds(GetParam());
  const std::string digests = golden["digests"];
  ASSERT_EQ(strings.size(), 2000u);
  ASSERT_EQ(digests.size(), 8000u);
  int differing = 0;
  for (size_t i = 0; i < strings.size(); ++i) {
    const std::string text = strings[i];
    const bool add_special_tokens = (i & 1) != 0;
    const bool trusted = (i & 2) == 0;
    const auto ids = tokenizer->Encode({{text, trusted}}, add_special_tokens);
    ASSERT_TRUE(ids.ok()) << ids.status();
    const std::string line = absl::StrJoin(*ids, " ");
    if (i < golden["ids"].size()) {
      EXPECT_EQ(line, golden["ids"][i].get<std::string>()) << i;
    }
    if (DigestOf(line) == digests.substr(i * 4, 4)) continue;
    if (++differing <= 10) ADD_FAILURE() << i << ": " << strings[i].dump() << " gave " << line;
  }
  EXPECT_EQ(differing, 0);
}

TEST_P(TokenizerGolden, GivesTheReferencesTexts) {
  const std::unique_ptr<const Tokenizer> tokenizer = LoadGolden(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  const auto golden = GoldenIds(GetParam());
  ASSERT_GE(golden["decoded"].size(), 50u);
  for (const auto& row : golden["decoded"]) {
    const std::vector<int32_t> ids = row[0];
    EXPECT_EQ(tokenizer->Decode(ids, row[1].get<bool>()), row[2].get<std::string>()) << row[0];
  }
}

INSTANTIATE_TEST_SUITE_P(Families, TokenizerGolden, testing::ValuesIn(GoldenKinds()),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace prefixd
