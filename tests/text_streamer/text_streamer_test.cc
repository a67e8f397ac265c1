#include "engine/text_streamer.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/tokenizer/unicode.h"
#include "tests/tokenizer/tokenizer_files.h"

namespace prefixd {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";

std::vector<int32_t> Encode(const Tokenizer& tokenizer, const std::string& text) {
  const auto ids = tokenizer.Encode({{text, false}}, false);
  return ids.ok() ? *ids : std::vector<int32_t>{};
}

// Ids of the demo tokenizer's byte tokens.
std::vector<int32_t> ByteTokens(const std::string& bytes) {
  std::vector<int32_t> ids;
  for (const char c : bytes) ids.push_back(3 + static_cast<uint8_t>(c));
  return ids;
}

struct Streamed {
  std::vector<std::string> deltas;  // One a token, and the one of Finish.
  std::string text;
  std::string stop;
};

Streamed Stream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids,
                TextStreamer::Options options = {}) {
  TextStreamer streamer(&tokenizer, std::move(options));
  Streamed streamed;
  for (const int32_t id : ids) streamed.deltas.push_back(streamer.Push(id));
  streamed.deltas.push_back(streamer.Finish());
  for (const std::string& delta : streamed.deltas) streamed.text += delta;
  streamed.stop = streamer.matched_stop();
  return streamed;
}

// The rule of the header on the whole text: for every end, the longest stop string that ends there.
Streamed Naive(const std::string& text, const TextStreamer::Options& options) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::string longest;
    for (const std::string& stop : options.stop) {
      if (stop.size() > longest.size() && stop.size() <= end &&
          text.compare(end - stop.size(), stop.size(), stop) == 0) {
        longest = stop;
      }
    }
    if (longest.empty()) continue;
    return {{}, text.substr(0, options.include_stop ? end : end - longest.size()), longest};
  }
  return {{}, text, ""};
}

TEST(TextStreamer, GivesEveryWordWhenItComes) {
  const auto tokenizer = LoadGolden("demo");
  const std::vector<int32_t> ids = Encode(*tokenizer, "the red circle");
  const Streamed streamed = Stream(*tokenizer, ids);
  EXPECT_EQ(streamed.text, "the red circle");
  for (size_t i = 0; i < ids.size(); ++i) EXPECT_NE(streamed.deltas[i], "") << i;
}

TEST(TextStreamer, WaitsForTheWholeCharacter) {
  const auto tokenizer = LoadGolden("demo");
  std::vector<int32_t> ids = ByteTokens("\xF0\x9F\x98\x80");
  const std::vector<int32_t> word = Encode(*tokenizer, "a");
  ids.insert(ids.end(), word.begin(), word.end());
  const Streamed streamed = Stream(*tokenizer, ids);
  EXPECT_EQ(streamed.deltas[0] + streamed.deltas[1] + streamed.deltas[2], "");
  EXPECT_EQ(streamed.text, "\xF0\x9F\x98\x80 a");
}

TEST(TextStreamer, EndsAnIncompleteCharacterAsReplacement) {
  const auto tokenizer = LoadGolden("demo");
  const Streamed streamed = Stream(*tokenizer, ByteTokens("\xF0\x9F"));
  EXPECT_EQ(streamed.text, std::string(kReplacement) + kReplacement);
}

TEST(TextStreamer, GivesOutALongRunOfBytesAsItComes) {
  const auto tokenizer = LoadGolden("demo");
  std::string text;
  for (int i = 0; i < 40; ++i) text += "\xE7\x94\x9F";
  const Streamed streamed = Stream(*tokenizer, ByteTokens(text));
  EXPECT_EQ(streamed.text, text);
  EXPECT_EQ(streamed.deltas[15], "");
  EXPECT_EQ(streamed.deltas[16].size(), 15u);
  EXPECT_EQ(streamed.deltas[17], "\xE7\x94\x9F");
}

TEST(TextStreamer, KeepsTheFrontOfALongInvalidRun) {
  const auto tokenizer = LoadGolden("demo");
  const std::string front(20, 'x');
  const Streamed streamed = Stream(*tokenizer, ByteTokens(front + "\xFF"));
  EXPECT_EQ(streamed.text, front + kReplacement);
}

TEST(TextStreamer, StripsOneLeadingSpaceOfTheWholeText) {
  const auto tokenizer = LoadGolden("demo");
  const int32_t space = *tokenizer->TokenToId("\xE2\x96\x81");
  EXPECT_EQ(Stream(*tokenizer, {space, space, space}).text, "  ");
  EXPECT_EQ(Stream(*tokenizer, ByteTokens("  ")).text, " ");
}

TEST(TextStreamer, SkipsSpecialAndUnknownTokens) {
  const auto tokenizer = LoadGolden("demo");
  std::vector<int32_t> ids = {1, 566, 9999, -1};
  const std::vector<int32_t> word = Encode(*tokenizer, "red");
  ids.insert(ids.end(), word.begin(), word.end());
  ids.push_back(2);
  EXPECT_EQ(Stream(*tokenizer, ids).text, "red");
}

TEST(TextStreamer, StopsAcrossTokens) {
  const auto tokenizer = LoadGolden("demo");
  const std::vector<int32_t> ids = Encode(*tokenizer, "a circle, a square and a triangle");
  const Streamed without = Stream(*tokenizer, ids, {.stop = {"square a"}});
  EXPECT_EQ(without.text, "a circle, a ");
  EXPECT_EQ(without.stop, "square a");
  const Streamed with = Stream(*tokenizer, ids, {.stop = {"square a"}, .include_stop = true});
  EXPECT_EQ(with.text, "a circle, a square a");
}

TEST(TextStreamer, ReleasesWhatOnlyBeganAStopString) {
  const auto tokenizer = LoadGolden("demo");
  const Streamed streamed =
      Stream(*tokenizer, Encode(*tokenizer, "a square dance"), {.stop = {"square dancer"}});
  EXPECT_EQ(streamed.text, "a square dance");
  EXPECT_EQ(streamed.stop, "");
}

TEST(TextStreamer, TakesTheStopStringThatIsCompleteFirst) {
  const auto tokenizer = LoadGolden("demo");
  const std::vector<int32_t> ids = Encode(*tokenizer, "circle");
  EXPECT_EQ(Stream(*tokenizer, ids, {.stop = {"ircle", "cl"}}).stop, "cl");
  EXPECT_EQ(Stream(*tokenizer, ids, {.stop = {"cl", "ircl"}}).stop, "ircl");
}

TEST(TextStreamer, SaysNothingAfterAStopString) {
  const auto tokenizer = LoadGolden("demo");
  TextStreamer streamer(tokenizer.get(), {.stop = {"a"}});
  for (const int32_t id : Encode(*tokenizer, "banana")) streamer.Push(id);
  EXPECT_EQ(streamer.matched_stop(), "a");
  EXPECT_EQ(streamer.Push(300), "");
  EXPECT_EQ(streamer.Finish(), "");
}

class RandomTokens : public testing::TestWithParam<const char*> {};

TEST_P(RandomTokens, StreamToTheDecodedText) {
  const auto tokenizer = LoadGolden(GetParam());
  ASSERT_NE(tokenizer, nullptr);
  std::mt19937 random(20261125);
  const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  int stopped = 0;
  int replaced = 0;
  for (int round = 0; round < 2000; ++round) {
    std::vector<int32_t> ids;
    size_t run = 0;
    const size_t size = 1 + below(40);
    while (ids.size() < size) {
      const int32_t id =
          static_cast<int32_t>(below(static_cast<size_t>(tokenizer->vocab_size()) + 2));
      if (tokenizer->IsByteToken(id)) {
        if (++run > TextStreamer::kMaxHeldRun) continue;
      } else if (!tokenizer->IsSpecial(id) && !tokenizer->TokenBytes(id).empty()) {
        run = 0;
      }
      ids.push_back(id);
    }
    const std::string text = tokenizer->Decode(ids, true);
    if (text.find(kReplacement) != std::string::npos) ++replaced;
    TextStreamer::Options options{.include_stop = round % 2 == 0};
    for (size_t i = below(4); i > 0 && !text.empty(); --i) {
      // Stretches of the text, cut at characters; some changed so that they match in part only.
      size_t begin = below(text.size());
      while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
      size_t end = std::min(text.size(), begin + 1 + below(8));
      while (end < text.size() && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) ++end;
      std::string stop = text.substr(begin, end - begin);
      if (below(2) == 0) stop += "#";
      options.stop.push_back(stop);
    }
    const Streamed expected = Naive(text, options);
    const Streamed streamed = Stream(*tokenizer, ids, options);
    ASSERT_EQ(streamed.text, expected.text) << "round " << round;
    ASSERT_EQ(streamed.stop, expected.stop) << "round " << round;
    for (const std::string& delta : streamed.deltas) ASSERT_TRUE(IsValidUtf8(delta));
    if (!streamed.stop.empty()) ++stopped;
  }
  EXPECT_GT(stopped, 500);
  // Only tokens that are bytes can be no text.
  EXPECT_TRUE(replaced > 200 || std::string(GetParam()) == "pieces_trimmed") << replaced;
}

INSTANTIATE_TEST_SUITE_P(Families, RandomTokens,
                         testing::Values("demo", "gpt2", "neox_nfc", "gemma", "llama_legacy",
                                         "llama_metaspace", "smollm2", "llama3", "neox",
                                         "paligemma", "gpt2_files", "plain_smollm2", "plain_llama3",
                                         "pieces_llama", "pieces_gemma", "pieces_trimmed",
                                         "gguf_pieces_llama", "gguf_pieces_gemma"),
                         [](const auto& info) { return std::string(info.param); });

TEST(TextStreamer, StreamsTheMetaspaceDecodersText) {
  const auto tokenizer = LoadGolden("metaspace_split");
  for (const char* text : {"the red circle", "  two", "x", " "}) {
    const std::vector<int32_t> ids = Encode(*tokenizer, text);
    EXPECT_EQ(Stream(*tokenizer, ids).text, tokenizer->Decode(ids, true)) << text;
  }
}

}  // namespace
}  // namespace prefixd
