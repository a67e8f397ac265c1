// Texts and ids of transformers (tests/golden/make/chat_templates.py).
#include "engine/prompt/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/json.h"
#include "engine/tokenizer/tokenizer.h"

namespace prefixd {
namespace {

using nlohmann::json;

const char kDemo[] = PREFIXD_SOURCE_DIR "/models/demo";

json Golden() {
  std::ifstream file(PREFIXD_SOURCE_DIR "/tests/golden/chat_templates.json");
  return json::parse(file);
}

std::unique_ptr<const ChatTemplate> Named(absl::string_view name) {
  auto found = ChatTemplate::Find("", name);
  return found.ok() ? *std::move(found) : nullptr;
}

std::vector<ChatMessage> MessagesOf(const json& golden) {
  std::vector<ChatMessage> messages;
  for (const json& message : golden) {
    const std::string role = message["role"];
    ChatMessage& added = messages.emplace_back();
    added.role = role == "user" ? Role::kUser : role == "system" ? Role::kSystem : Role::kAssistant;
    for (const json& part : message["parts"]) {
      if (part.contains("image")) {
        added.parts.push_back(ImagePart{"bytes"});
      } else {
        added.parts.push_back(TextPart{part["text"]});
      }
    }
  }
  return messages;
}

std::string TextOf(const std::vector<PromptPiece>& pieces) {
  std::string text;
  for (const PromptPiece& piece : pieces) {
    text += piece.kind == PromptPiece::Kind::kImage ? "<image>" : piece.text;
  }
  return text;
}

// The ids as the prompt builder makes them, image placeholders not expanded.
std::vector<int32_t> IdsOf(const std::vector<PromptPiece>& pieces, bool add_special_tokens) {
  const auto tokenizer = Tokenizer::Load(kDemo);
  std::vector<TextSpan> spans;
  for (const PromptPiece& piece : pieces) {
    if (piece.kind == PromptPiece::Kind::kImage) {
      spans.push_back({"<image>", true});
    } else {
      spans.push_back({piece.text, piece.kind == PromptPiece::Kind::kTemplate});
    }
  }
  const auto ids = (*tokenizer)->Encode(spans, add_special_tokens);
  return ids.ok() ? *ids : std::vector<int32_t>{};
}

class RenderedTemplate : public testing::TestWithParam<const char*> {};

TEST_P(RenderedTemplate, IsTheReferencesText) {
  const auto chat = Named(GetParam());
  ASSERT_NE(chat, nullptr);
  EXPECT_EQ(chat->name(), GetParam());
  const json golden = Golden();
  int compared = 0;
  for (const json& test : golden["cases"]) {
    if (!test.contains(GetParam())) continue;
    const auto pieces = chat->Render(MessagesOf(test["messages"]));
    ASSERT_TRUE(pieces.ok()) << pieces.status();
    EXPECT_EQ(TextOf(*pieces), test[GetParam()]["text"].get<std::string>()) << test["name"];
    ++compared;
  }
  EXPECT_GE(compared, 5);
}

INSTANTIATE_TEST_SUITE_P(Names, RenderedTemplate,
                         testing::Values("demo", "llava_hf", "chatml", "vicuna_v1"),
                         [](const auto& info) { return std::string(info.param); });

TEST(DemoTemplate, GivesTheReferencesIds) {
  const auto chat = Named("demo");
  const json golden = Golden();
  ASSERT_EQ(golden["cases"].size(), 12u);
  for (const json& test : golden["cases"]) {
    const auto pieces = chat->Render(MessagesOf(test["messages"]));
    ASSERT_TRUE(pieces.ok()) << pieces.status();
    EXPECT_EQ(IdsOf(*pieces, chat->add_special_tokens()),
              test["demo"]["ids"].get<std::vector<int32_t>>())
        << test["name"];
  }
}

TEST(DemoTemplate, LeavesSpecialTokensThatAUserTypedAsText) {
  const auto chat = Named("demo");
  const json golden = Golden();
  ASSERT_EQ(golden["typed"].size(), 7u);
  for (const json& test : golden["typed"]) {
    const ChatMessage message{Role::kUser, {ImagePart{"bytes"}, TextPart{test["text"]}}};
    const auto pieces = chat->Render({message});
    ASSERT_TRUE(pieces.ok()) << pieces.status();
    EXPECT_EQ(IdsOf(*pieces, chat->add_special_tokens()), test["ids"].get<std::vector<int32_t>>())
        << test["name"];
  }
}

TEST(ChatTemplate, MarksOnlyTheMessagesTextAsTheUsers) {
  const auto pieces =
      Named("demo")->Render({{Role::kUser, {ImagePart{"bytes"}, TextPart{"Hello</s>"}}}});
  ASSERT_TRUE(pieces.ok()) << pieces.status();
  using Kind = PromptPiece::Kind;
  std::vector<std::pair<Kind, std::string>> found;
  for (const PromptPiece& piece : *pieces) found.emplace_back(piece.kind, piece.text);
  const std::vector<std::pair<Kind, std::string>> expected = {{Kind::kTemplate, "USER: "},
                                                              {Kind::kImage, ""},
                                                              {Kind::kTemplate, "\n"},
                                                              {Kind::kUser, "Hello</s>"},
                                                              {Kind::kTemplate, " ASSISTANT:"}};
  EXPECT_EQ(found, expected);
}

TEST(ChatTemplate, IsFoundByItsDigest) {
  const auto tokenizer = Tokenizer::Load(kDemo);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto by_file = ChatTemplate::Find((*tokenizer)->chat_template());
  ASSERT_TRUE(by_file.ok()) << by_file.status();
  EXPECT_EQ((*by_file)->name(), "demo");
  const json templates = Golden()["templates"];
  EXPECT_EQ((*ChatTemplate::Find(templates["llava_hf"].get<std::string>()))->name(), "llava_hf");
  EXPECT_EQ((*ChatTemplate::Find(templates["chatml"].get<std::string>()))->name(), "chatml");
}

TEST(ChatTemplate, IsFoundInTokenizerConfig) {
  const auto config = ReadJsonFile(absl::StrCat(kDemo, "/tokenizer_config.json"), 1 << 20);
  ASSERT_TRUE(config.ok()) << config.status();
  const auto found = ChatTemplate::Find((*config)["chat_template"].get<std::string>());
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ((*found)->name(), "demo");
}

TEST(ChatTemplate, IsNeverExecuted) {
  for (const char* text : {"", "{{ messages }}", "{% for i in range(10**9) %}x{% endfor %}",
                           "{{ ''.__class__.__mro__ }}", "{% include '/etc/passwd' %}"}) {
    const auto found = ChatTemplate::Find(text);
    EXPECT_EQ(found.status().code(), absl::StatusCode::kFailedPrecondition) << text;
    const auto detail = GetErrorDetail(found.status());
    ASSERT_TRUE(detail.has_value());
    EXPECT_EQ(detail->reason, "FEATURE_UNSUPPORTED");
  }
}

TEST(ChatTemplate, RefusesAnUnknownName) {
  const absl::Status status = ChatTemplate::Find("", "alpaca").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("alpaca"));
}

TEST(ChatTemplate, SaysWhoWritesTheBeginning) {
  for (const char* name : {"demo", "llava_hf", "vicuna_v1", "llava_v1"}) {
    EXPECT_TRUE(Named(name)->add_special_tokens()) << name;
  }
  EXPECT_FALSE(Named("chatml")->add_special_tokens());
}

TEST(ChatTemplate, RefusesAnEmptyConversation) {
  for (const char* name : {"demo", "llava_hf", "chatml", "vicuna_v1", "llava_v1"}) {
    EXPECT_EQ(Named(name)->Render({}).status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

TEST(ChatTemplate, NamesTheMessageThatItDoesNotTake) {
  const ChatMessage user{Role::kUser, {TextPart{"Hi"}}};
  const ChatMessage picture{Role::kUser, {ImagePart{"bytes"}}};
  const absl::Status twice = Named("vicuna_v1")->Render({user, user}).status();
  EXPECT_EQ(twice.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(twice.message()), testing::HasSubstr("messages[1]"));
  const absl::Status image = Named("chatml")->Render({user, picture}).status();
  EXPECT_EQ(image.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(image.message()), testing::HasSubstr("messages[1]"));
}

TEST(LlavaV1, HasItsOwnSystemText) {
  const auto pieces = Named("llava_v1")->Render({{Role::kUser, {TextPart{"Hi"}}}});
  EXPECT_EQ(
      TextOf(*pieces),
      "A chat between a curious human and an artificial intelligence assistant. The assistant "
      "gives helpful, detailed, and polite answers to the human's questions. USER: Hi "
      "ASSISTANT:");
}

}  // namespace
}  // namespace prefixd
