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
  auto found = ChatTemplate::Find("", {.forced = std::string(name)});
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

ChatTemplateOptions ImageOptions() {
  ChatTemplateOptions options;
  options.special_tokens = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
  options.image_placeholder = "<image>";
  return options;
}

TEST(ChatTemplate, RendersTheModelsOwn) {
  const auto tokenizer = Tokenizer::Load(kDemo);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const json golden = Golden();
  const std::pair<std::string, std::string> texts[] = {
      {"demo", (*tokenizer)->chat_template()},
      {"llava_hf", golden["templates"]["llava_hf"].get<std::string>()},
      {"chatml", golden["templates"]["chatml"].get<std::string>()}};
  for (const auto& [name, text] : texts) {
    const auto chat =
        ChatTemplate::Find(text, name == "chatml" ? ChatTemplateOptions() : ImageOptions());
    ASSERT_TRUE(chat.ok()) << chat.status();
    EXPECT_EQ((*chat)->name(), "jinja");
    EXPECT_EQ((*chat)->add_special_tokens(), name != "chatml");
    int compared = 0;
    for (const json& test : golden["cases"]) {
      if (!test.contains(name)) continue;
      const auto pieces = (*chat)->Render(MessagesOf(test["messages"]));
      ASSERT_TRUE(pieces.ok()) << pieces.status();
      EXPECT_EQ(TextOf(*pieces), test[name]["text"].get<std::string>()) << test["name"];
      if (name == "demo") {
        EXPECT_EQ(IdsOf(*pieces, (*chat)->add_special_tokens()),
                  test["demo"]["ids"].get<std::vector<int32_t>>())
            << test["name"];
      }
      ++compared;
    }
    EXPECT_GE(compared, 5);
  }
}

TEST(ChatTemplate, IsFoundInTokenizerConfig) {
  const auto config = ReadJsonFile(absl::StrCat(kDemo, "/tokenizer_config.json"), 1 << 20);
  ASSERT_TRUE(config.ok()) << config.status();
  const auto found = ChatTemplate::Find((*config)["chat_template"].get<std::string>());
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ((*found)->name(), "jinja");
}

TEST(ChatTemplate, NamesLineAndConstructOfWhatItDoesNotKnow) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "no chat template"},
      {"{% if x %}", "endif"},
      {"a\n{% include '/etc/passwd' %}", "line 2: {% include %} is not supported"},
      {"\n\n{{ x | nope }}", "line 3: filter \"nope\" is not supported"},
      {"{{ x is nope }}", "line 1: test \"nope\""},
      {"{{ x.encode('utf-8') }}", "line 1: method \"encode\""},
      {"{% for x in y recursive %}{% endfor %}", "line 1: {% for ... recursive %}"},
      {"{{ f(*x) }}", "line 1: an argument with *"},
      {"{{ 'x' }", "line 1"}};
  for (const auto& [text, problem] : cases) {
    const absl::Status status = ChatTemplate::Find(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << text;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(problem)) << text;
    const auto detail = GetErrorDetail(status);
    ASSERT_TRUE(detail.has_value()) << text;
    EXPECT_EQ(detail->reason, "FEATURE_UNSUPPORTED");
  }
}

TEST(ChatTemplate, PassesOnWhatTheTemplateRaises) {
  const auto chat = ChatTemplate::Find(
      "{% if messages | length > 1 %}{{ raise_exception('One message, ' ~ 'please') }}{% endif "
      "%}ok");
  ASSERT_TRUE(chat.ok()) << chat.status();
  const ChatMessage user{Role::kUser, {TextPart{"Hi"}}};
  EXPECT_TRUE((*chat)->Render({user}).ok());
  const absl::Status status = (*chat)->Render({user, user}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "messages: One message, please");
}

TEST(ChatTemplate, RefusesImagesThatTheTemplateLeavesOut) {
  const auto chat = ChatTemplate::Find(
      "{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}",
      ImageOptions());
  ASSERT_TRUE(chat.ok()) << chat.status();
  const absl::Status status =
      (*chat)->Render({{Role::kUser, {ImagePart{"bytes"}, TextPart{"Hi"}}}}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GetErrorDetail(status)->reason, "IMAGE_COUNT_MISMATCH");
  // One that writes a placeholder of its own is refused, too.
  const auto writes = ChatTemplate::Find("<image>{{ messages[0].content }}", ImageOptions());
  ASSERT_TRUE(writes.ok()) << writes.status();
  EXPECT_EQ((*writes)->Render({{Role::kUser, {TextPart{"Hi"}}}}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ChatTemplate, PutsImagesInFrontOfStringsForTemplatesWithoutParts) {
  const auto chat = ChatTemplate::Find(
      "{% for m in messages %}{{ m.role + ': ' + m.content }}{% endfor %}", ImageOptions());
  ASSERT_TRUE(chat.ok()) << chat.status();
  const auto pieces =
      (*chat)->Render({{Role::kUser, {TextPart{"Hi"}, ImagePart{"bytes"}, TextPart{"<image>"}}}});
  ASSERT_TRUE(pieces.ok()) << pieces.status();
  ASSERT_EQ(pieces->size(), 4u);
  EXPECT_EQ((*pieces)[1].kind, PromptPiece::Kind::kImage);
  EXPECT_EQ((*pieces)[2].text, "\n");
  EXPECT_EQ((*pieces)[3].text, "Hi<image>");
  EXPECT_EQ((*pieces)[3].kind, PromptPiece::Kind::kUser);
}

TEST(ChatTemplate, GivesPartsWhereAStringIsNotTaken) {
  const auto chat = ChatTemplate::Find(
      "{% for m in messages %}{% if m.role == 'user' %}{% for p in m.content %}[{{ p.text }}]"
      "{% endfor %}{% else %}({{ m.content + '' }}){% endif %}{% endfor %}");
  ASSERT_TRUE(chat.ok()) << chat.status();
  const auto pieces = (*chat)->Render({{Role::kSystem, {TextPart{"a"}, TextPart{"b"}}},
                                       {Role::kUser, {TextPart{"c"}, TextPart{"d"}}}});
  ASSERT_TRUE(pieces.ok()) << pieces.status();
  EXPECT_EQ(TextOf(*pieces), "(ab)[c][d]");
}

TEST(ChatTemplate, AddsBosToPromptsWithImagesUnlessTheTemplateWritesIt) {
  const char* const plain = "{% for m in messages %}{{ m.content }}{% endfor %}";
  const std::string with_bos = absl::StrCat("{{ bos_token }}", plain);
  EXPECT_TRUE((*ChatTemplate::Find(plain, ImageOptions()))->add_special_tokens());
  EXPECT_FALSE((*ChatTemplate::Find(with_bos, ImageOptions()))->add_special_tokens());
  EXPECT_FALSE((*ChatTemplate::Find(plain))->add_special_tokens());
  EXPECT_FALSE((*ChatTemplate::Find(with_bos))->add_special_tokens());
}

TEST(ChatTemplate, RefusesAnUnknownName) {
  const absl::Status status = ChatTemplate::Find("", {.forced = "alpaca"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("alpaca"));
}

TEST(ChatTemplate, SaysWhoWritesTheBeginning) {
  for (const char* name :
       {"demo", "llava_hf", "vicuna_v1", "llava_v1", "llava_v0", "llava_llama_2", "mpt"}) {
    EXPECT_TRUE(Named(name)->add_special_tokens()) << name;
  }
  EXPECT_FALSE(Named("chatml")->add_special_tokens());
}

TEST(ChatTemplate, RefusesAnEmptyConversation) {
  for (const char* name : {"demo", "llava_hf", "chatml", "vicuna_v1", "llava_v1", "llava_v0",
                           "llava_llama_2", "mpt"}) {
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

// The forms as the conversation classes of the original package write them.
TEST(LlavaV0, SeparatesWithHashes) {
  const ChatMessage picture{Role::kUser, {ImagePart{"bytes"}, TextPart{"Hi"}}};
  const auto pieces =
      Named("llava_v0")
          ->Render(
              {picture, {Role::kAssistant, {TextPart{"Yo."}}}, {Role::kUser, {TextPart{"Bye"}}}});
  ASSERT_TRUE(pieces.ok()) << pieces.status();
  EXPECT_EQ(
      TextOf(*pieces),
      "A chat between a curious human and an artificial intelligence assistant. The assistant "
      "gives helpful, detailed, and polite answers to the human's questions.###Human: "
      "<image>\nHi###Assistant: Yo.###Human: Bye###Assistant:");
}

TEST(LlavaLlama2, WrapsTheSystemTextIntoTheFirstTurn) {
  const ChatMessage picture{Role::kUser, {ImagePart{"bytes"}, TextPart{"Hi"}}};
  const auto pieces =
      Named("llava_llama_2")
          ->Render(
              {picture, {Role::kAssistant, {TextPart{"Yo."}}}, {Role::kUser, {TextPart{"Bye"}}}});
  ASSERT_TRUE(pieces.ok()) << pieces.status();
  EXPECT_EQ(TextOf(*pieces),
            "[INST] <<SYS>>\nYou are a helpful language and vision assistant. You are able to "
            "understand the visual content that the user provides, and assist the user with a "
            "variety of tasks using natural language.\n<</SYS>>\n\n<image>\nHi [/INST] Yo. "
            "</s><s>[INST] Bye [/INST]");
}

TEST(Mpt, IsChatMlWithoutNewlinesBetweenTurns) {
  const auto pieces = Named("mpt")->Render({{Role::kUser, {TextPart{"Hi"}}},
                                            {Role::kAssistant, {TextPart{"Yo."}}},
                                            {Role::kUser, {TextPart{"Bye"}}}});
  ASSERT_TRUE(pieces.ok()) << pieces.status();
  EXPECT_EQ(TextOf(*pieces),
            "<|im_start|>system\nA conversation between a user and an LLM-based AI assistant. The "
            "assistant gives helpful and honest answers.<|im_end|><|im_start|>user\nHi<|im_end|>"
            "<|im_start|>assistant\nYo.<|im_end|><|im_start|>user\nBye<|im_end|>"
            "<|im_start|>assistant\n");
}

}  // namespace
}  // namespace prefixd
