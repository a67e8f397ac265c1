// The three forms of input, and what is wrong with them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "google/protobuf/unknown_field_set.h"
#include "server/convert.h"
#include "tests/server/convert_fixture.h"

namespace prefixd::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;

constexpr char kInput[] = "INVALID_ARGUMENT INPUT_INVALID";
constexpr char kRange[] = "INVALID_ARGUMENT PARAMETER_OUT_OF_RANGE";

v1::ChatMessage* Message(v1::GenerateRequest* r, int i) {
  return r->mutable_chat()->mutable_messages(i);
}

void AddMessage(v1::GenerateRequest* r, v1::Role role, const std::string& text) {
  v1::ChatMessage* message = r->mutable_chat()->add_messages();
  message->set_role(role);
  message->add_parts()->set_text(text);
}

TEST(ConvertInput, KeepsMessagesAndPartsInOrder) {
  const auto request = Convert([](v1::GenerateRequest* r) {
    r->clear_chat();
    AddMessage(r, v1::ROLE_SYSTEM, "Be brief.");
    AddMessage(r, v1::ROLE_USER, "one");
    AddMessage(r, v1::ROLE_ASSISTANT, "two");
    AddMessage(r, v1::ROLE_USER, "three");
    Message(r, 3)->add_parts()->mutable_image()->set_data("bytes");
    Message(r, 3)->add_parts()->set_text("four");
  });
  ASSERT_TRUE(request.ok()) << request.status();
  const ChatInput& chat = std::get<ChatInput>(request->input);
  ASSERT_EQ(chat.messages.size(), 4u);
  EXPECT_EQ(chat.messages[0].role, Role::kSystem);
  EXPECT_EQ(chat.messages[2].role, Role::kAssistant);
  ASSERT_EQ(chat.messages[3].parts.size(), 3u);
  EXPECT_EQ(std::get<TextPart>(chat.messages[3].parts[0]).text, "three");
  EXPECT_EQ(std::get<ImagePart>(chat.messages[3].parts[1]).bytes, "bytes");
  EXPECT_EQ(std::get<TextPart>(chat.messages[3].parts[2]).text, "four");
}

TEST(ConvertInput, RequiresOneForm) {
  EXPECT_THAT(Problems([](auto* r) { r->clear_chat(); }),
              ElementsAre(kInput, "input: one of chat, prompt and tokens is required"));
}

TEST(ConvertInput, RefusesChatsThatAreNone) {
  const struct {
    Change change;
    const char* problem;
  } cases[] = {
      {[](auto* r) { r->mutable_chat()->clear_messages(); },
       "chat.messages: at least one message is required"},
      {[](auto* r) { Message(r, 0)->clear_parts(); },
       "chat.messages[0].parts: at least one part is required"},
      {[](auto* r) { Message(r, 0)->add_parts(); },
       "chat.messages[0].parts[2]: neither text nor image is set"},
      {[](auto* r) { Message(r, 0)->set_role(static_cast<v1::Role>(9)); },
       "chat.messages[0].role: role 9; required is one of ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT"},
      {[](auto* r) {
         AddMessage(r, v1::ROLE_SYSTEM, "late");
         AddMessage(r, v1::ROLE_USER, "x");
       },
       "chat.messages[1].role: a system message must be the first"},
      {[](auto* r) { AddMessage(r, v1::ROLE_ASSISTANT, "x"); },
       "chat.messages[1].role: the last message must be the user's"},
      {[](auto* r) {
         AddMessage(r, v1::ROLE_ASSISTANT, "x");
         Message(r, 1)->add_parts()->mutable_image()->set_data("bytes");
         AddMessage(r, v1::ROLE_USER, "y");
       },
       "chat.messages[1].parts: a message of the assistant holds an image"},
  };
  for (const auto& c : cases) EXPECT_THAT(Problems(c.change), ElementsAre(kInput, c.problem));
}

TEST(ConvertInput, BoundsMessagesAndParts) {
  EXPECT_THAT(Problems([](auto* r) {
                for (int i = 0; i < 1024; ++i) AddMessage(r, v1::ROLE_USER, "");
              }),
              ElementsAre(kRange, "chat.messages: 1025 messages, the limit is 1024"));
  EXPECT_THAT(Problems([](auto* r) {
                for (int i = 0; i < 63; ++i) Message(r, 0)->add_parts()->set_text("");
              }),
              ElementsAre(kRange, "chat.messages[0].parts: 65 parts, the limit is 64"));
}

TEST(ConvertInput, BoundsTheTextOfAllParts) {
  EXPECT_THAT(Problems([](auto* r) {
                Message(r, 0)->add_parts()->set_text(std::string(500, 'a'));
                Message(r, 0)->add_parts()->set_text(std::string(488, 'a'));
              }),
              ElementsAre(kRange, "input: 1001 bytes of text, the limit is 1000"));
}

TEST(ConvertInput, ChecksImagesBeforeTheyAreDecoded) {
  const auto image = [](const std::string& data) {
    return [data](v1::GenerateRequest* r) {
      Message(r, 0)->mutable_parts(1)->mutable_image()->set_data(data);
    };
  };
  EXPECT_THAT(Problems(image("")),
              ElementsAre("INVALID_ARGUMENT IMAGE_FORMAT_UNSUPPORTED",
                          "chat.messages[0].parts[1].image.data: the image has no bytes"));
  EXPECT_THAT(Problems(image(std::string(101, 'x'))),
              ElementsAre("INVALID_ARGUMENT IMAGE_TOO_LARGE",
                          "chat.messages[0].parts[1].image.data: 101 bytes, the limit is 100"));
  EXPECT_THAT(Problems(image(std::string(100, 'x'))), ElementsAre("OK"));
}

// SHA-256 of "abc", FIPS 180-2.
const std::string kAbcDigest(
    "\xba\x78\x16\xbf\x8f\x01\xcf\xea\x41\x41\x40\xde\x5d\xae\x22\x23"
    "\xb0\x03\x61\xa3\x96\x17\x7a\x9c\xb4\x10\xff\x61\xf2\x00\x15\xad",
    32);

Change ImageOf(const std::string& data, const std::string& digest) {
  return [=](v1::GenerateRequest* r) {
    v1::Image* image = Message(r, 0)->mutable_parts(1)->mutable_image();
    image->set_data(data);
    image->set_image_sha256(digest);
  };
}

TEST(ConvertInput, TakesADigestForAnImage) {
  const auto request = Convert(ImageOf("", kAbcDigest));
  ASSERT_TRUE(request.ok()) << request.status();
  const auto image =
      std::get<ImagePart>(std::get<ChatInput>(request->input).messages[0].parts.at(1));
  EXPECT_EQ(image.bytes, "");
  EXPECT_EQ(image.sha256, kAbcDigest);
  const auto both = Convert(ImageOf("abc", kAbcDigest));
  ASSERT_TRUE(both.ok()) << both.status();
  const auto with_bytes =
      std::get<ImagePart>(std::get<ChatInput>(both->input).messages[0].parts.at(1));
  EXPECT_EQ(with_bytes.bytes, "abc");
  EXPECT_EQ(with_bytes.sha256, kAbcDigest);
}

TEST(ConvertInput, RefusesDigestsThatAreNone) {
  const std::string field = "chat.messages[0].parts[1].image.image_sha256: ";
  for (const size_t size : {1u, 31u, 33u, 64u, 1u << 20}) {
    EXPECT_THAT(Problems(ImageOf("", std::string(size, 'x'))),
                ElementsAre(kInput, field + std::to_string(size) + " bytes, a SHA-256 has 32"));
  }
  EXPECT_THAT(Problems(ImageOf("abd", kAbcDigest)),
              ElementsAre(kInput, field + "not the SHA-256 of the image's bytes"));
  // What is too large to be taken is not hashed either.
  EXPECT_THAT(Problems(ImageOf(std::string(101, 'x'), kAbcDigest)),
              ElementsAre("INVALID_ARGUMENT IMAGE_TOO_LARGE",
                          "chat.messages[0].parts[1].image.data: 101 bytes, the limit is 100"));
}

TEST(ConvertInput, TakesADigestAmongTokens) {
  const auto request = Convert([](auto* r) {
    for (const int id : {1, 7, 49, 0}) r->mutable_tokens()->add_ids(id);
    r->mutable_tokens()->add_images()->set_image_sha256(kAbcDigest);
  });
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(std::get<TokenInput>(request->input).images[0].sha256, kAbcDigest);
}

TEST(ConvertInput, NeverTakesAnAddressForAnImage) {
  for (const char* url : {"http://example.org/a.png", "HTTPS://example.org", "file:///etc/passwd",
                          "data:image/png;base64,AAAA", "ftp://example.org"}) {
    EXPECT_THAT(
        Problems([&](auto* r) { Message(r, 0)->mutable_parts(1)->mutable_image()->set_data(url); }),
        ElementsAre(kInput,
                    "chat.messages[0].parts[1].image.data: an address is not fetched; send "
                    "the image's bytes"))
        << url;
  }
}

TEST(ConvertInput, RefusesReservedFieldsOfImagesAndMessages) {
  const auto unknown = [](google::protobuf::Message* message, int number) {
    message->GetReflection()->MutableUnknownFields(message)->AddLengthDelimited(number);
  };
  EXPECT_THAT(
      Problems([&](auto* r) { unknown(Message(r, 0)->mutable_parts(1)->mutable_image(), 5); }),
      ElementsAre("UNIMPLEMENTED FEATURE_UNSUPPORTED"));
  EXPECT_EQ(
      Problems([&](auto* r) { unknown(Message(r, 0)->mutable_parts(1)->mutable_image(), 4); })[0],
      kInput);
  EXPECT_THAT(Problems([&](auto* r) { unknown(Message(r, 0), 3); }),
              ElementsAre("UNIMPLEMENTED FEATURE_UNSUPPORTED"));
  EXPECT_THAT(Problems([](auto* r) { Message(r, 0)->set_role(static_cast<v1::Role>(4)); }),
              ElementsAre("UNIMPLEMENTED FEATURE_UNSUPPORTED"));
}

TEST(ConvertInput, BoundsTheNumberOfImages) {
  EXPECT_THAT(Problems([](auto* r) {
                Message(r, 0)->add_parts()->mutable_image()->set_data("x");
                Message(r, 0)->add_parts()->mutable_image()->set_data("x");
              }),
              ElementsAre(kRange, "input: 3 images, the limit is 2"));
}

TEST(ConvertInput, RefusesWhatTheModelDoesNotTake) {
  EngineModelInfo text_model = FakeModel();
  text_model.supports_images = false;
  text_model.image_token_id = -1;
  text_model.max_images = 0;
  EXPECT_THAT(Problems([](auto*) {}, text_model),
              ElementsAre("FAILED_PRECONDITION FEATURE_UNSUPPORTED"));
  EXPECT_THAT(Problems([](auto* r) { Message(r, 0)->mutable_parts()->RemoveLast(); }, text_model),
              ElementsAre("OK"));
  EngineModelInfo base_model = FakeModel();
  base_model.chat_template = "";
  EXPECT_THAT(Problems([](auto*) {}, base_model),
              ElementsAre("FAILED_PRECONDITION FEATURE_UNSUPPORTED"));
}

TEST(ConvertInput, TakesAPrompt) {
  const auto request = Convert([](auto* r) {
    r->mutable_prompt()->add_parts()->mutable_image()->set_data("bytes");
    r->mutable_prompt()->add_parts()->set_text("<image> is text");
  });
  ASSERT_TRUE(request.ok()) << request.status();
  const PromptInput& prompt = std::get<PromptInput>(request->input);
  ASSERT_EQ(prompt.parts.size(), 2u);
  EXPECT_EQ(std::get<TextPart>(prompt.parts[1]).text, "<image> is text");
  EXPECT_THAT(Problems([](auto* r) { r->mutable_prompt()->add_parts()->set_text(""); }),
              ElementsAre(kInput, "prompt.parts: there is neither text nor an image"));
  EXPECT_THAT(Problems([](auto* r) { r->mutable_prompt(); }),
              ElementsAre(kInput, "prompt.parts: at least one part is required"));
}

TEST(ConvertInput, TakesTokens) {
  const auto request = Convert([](auto* r) {
    for (const int id : {1, 7, 49, 0}) r->mutable_tokens()->add_ids(id);
    r->mutable_tokens()->add_images()->set_data("bytes");
  });
  ASSERT_TRUE(request.ok()) << request.status();
  const TokenInput& tokens = std::get<TokenInput>(request->input);
  EXPECT_THAT(tokens.ids, ElementsAre(1, 7, 49, 0));
  ASSERT_EQ(tokens.images.size(), 1u);
  EXPECT_EQ(tokens.images[0].bytes, "bytes");
}

TEST(ConvertInput, ChecksTokens) {
  EXPECT_THAT(Problems([](auto* r) { r->mutable_tokens(); }),
              ElementsAre(kInput, "tokens.ids: at least one token id is required"));
  EXPECT_THAT(Problems([](auto* r) {
                for (const int id : {1, -1, 50}) r->mutable_tokens()->add_ids(id);
              }),
              ElementsAre(kRange, "tokens.ids[1]: -1 is outside the range [0, 49]",
                          "tokens.ids[2]: 50 is outside the range [0, 49]"));
  EXPECT_THAT(Problems([](auto* r) {
                for (int i = 0; i < 100; ++i) r->mutable_tokens()->add_ids(1);
              }),
              ElementsAre("INVALID_ARGUMENT CONTEXT_LENGTH_EXCEEDED",
                          "tokens.ids: 100 tokens, the context holds 100 with at least one to "
                          "generate"));
  EXPECT_THAT(Problems([](auto* r) {
                for (const int id : {7, 7, 7}) r->mutable_tokens()->add_ids(id);
                for (int i = 0; i < 2; ++i) r->mutable_tokens()->add_images()->set_data("x");
              }),
              ElementsAre("INVALID_ARGUMENT IMAGE_COUNT_MISMATCH",
                          "tokens.images: 2 images for 3 image placeholders in tokens.ids"));
}

// Of a model whose vocabulary has no placeholder: its id is the only one beyond.
TEST(ConvertInput, APlaceholderMayLieBeyondTheVocabulary) {
  EngineModelInfo model = FakeModel();
  model.image_token_id = model.vocab_size;
  v1::CountTokensRequest request;
  for (const int id : {1, model.vocab_size}) request.mutable_tokens()->add_ids(id);
  EXPECT_FALSE(ConvertCountTokensRequest(request, model, FakeLimits()).ok());
  request.mutable_tokens()->add_images()->set_data("x");
  const auto converted = ConvertCountTokensRequest(request, model, FakeLimits());
  EXPECT_TRUE(converted.ok()) << converted.status();
  request.mutable_tokens()->add_ids(model.vocab_size + 1);
  EXPECT_FALSE(ConvertCountTokensRequest(request, model, FakeLimits()).ok());
}

TEST(ConvertInput, CountTokensChecksTheSame) {
  v1::CountTokensRequest request;
  request.set_model("nobody");
  EXPECT_EQ(ConvertCountTokensRequest(request, FakeModel(), FakeLimits()).status().code(),
            absl::StatusCode::kNotFound);
  request.clear_model();
  EXPECT_EQ(ConvertCountTokensRequest(request, FakeModel(), FakeLimits()).status().code(),
            absl::StatusCode::kInvalidArgument);
  request.mutable_prompt()->add_parts()->set_text("x");
  const auto counted = ConvertCountTokensRequest(request, FakeModel(), FakeLimits());
  ASSERT_TRUE(counted.ok()) << counted.status();
  EXPECT_EQ(std::get<TextPart>(std::get<PromptInput>(counted->input).parts[0]).text, "x");
  request.set_prefix("elsewhere/p");
  request.set_cache_salt(std::string(129, 's'));
  const absl::Status status =
      ConvertCountTokensRequest(request, FakeModel(), FakeLimits()).status();
  EXPECT_EQ(GetErrorDetail(status)->field_violations.size(), 2u) << status;
}

}  // namespace
}  // namespace prefixd::testing
