// Requests that are wrong on purpose. Each must get its code and a reason, and leave the daemon as
// it was: same process, serving, every page and request slot back, and a control stream unharmed.
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/e2e/bad_request_fixture.h"

namespace prefixd::testing {
namespace {

using grpc::StatusCode;
using BadInput = BadRequestTest;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kContext = 2048;  // Of the demo model.
constexpr int kVocabulary = 576;
constexpr int kImageToken = 566;

// A text of exactly `tokens` tokens, found through CountTokens.
v1::GenerateRequest PromptOfTokens(int tokens) {
  v1::GenerateRequest request;
  auto* input = request.mutable_tokens();
  for (int i = 0; i < tokens; ++i) input->add_ids(300 + i % 200);
  return request;
}

TEST_F(BadInput, ModelNames) {
  Check({"B1", [](auto* r) { r->set_model("someone-else"); }, StatusCode::NOT_FOUND});
  for (const std::string& name :
       {std::string("../x"), std::string("/etc"), std::string("a%2fb"), std::string("a\0b", 3),
        std::string(4096, 'm'), std::string("a b"), std::string(".")}) {
    Check({"B2 " + name.substr(0, 8), [&](auto* r) { r->set_model(name); },
           StatusCode::INVALID_ARGUMENT, "model"});
  }
}

TEST_F(BadInput, EmptyInputs) {
  Check({"B3 no input", [](auto* r) { r->clear_input(); }});
  Check({"B3 no messages", [](auto* r) { r->mutable_chat()->clear_messages(); }});
  Check({"B3 no parts", [](auto* r) { r->mutable_prompt(); }});
  Check({"B3 no tokens", [](auto* r) { r->mutable_tokens(); }});
}

TEST_F(BadInput, HugeTextsAreRefusedByTheirTokensQuickly) {
  std::string emoji;
  while (emoji.size() < (1 << 20) - 64) emoji += "\xF0\x9F\x91\xA9\xE2\x80\x8D";
  std::string marks = "a";
  while (marks.size() < (1 << 20) - 64) marks += "\xCC\x81";
  for (const std::string& text : {std::string((1 << 20) - 64, 'a'), marks, emoji}) {
    Check({"B4", [&](auto* r) { r->mutable_prompt()->add_parts()->set_text(text); }});
  }
  Check({"B4 over the byte limit", [](auto* r) {
           r->mutable_prompt()->add_parts()->set_text(std::string((1 << 20) + 1, 'a'));
         }});
}

TEST_F(BadInput, ContextLength) {
  const auto prompt_of = [](int tokens) {
    return [tokens](v1::GenerateRequest* r) {
      const int max_tokens = r->stopping().max_tokens();
      *r = PromptOfTokens(tokens);
      r->mutable_stopping()->set_max_tokens(max_tokens);
    };
  };
  Check({"B5", prompt_of(kContext + 1)});
  Check({"B6", prompt_of(kContext)});
  v1::GenerateRequest request = PromptOfTokens(kContext + 1);
  const Answer answer = daemon_->Generate(request);
  EXPECT_EQ(answer.reason(), "CONTEXT_LENGTH_EXCEEDED");
  EXPECT_TRUE(absl::StrContains(answer.status.error_message(), "2049"));
  EXPECT_TRUE(absl::StrContains(answer.status.error_message(), "2048"));

  request = PromptOfTokens(kContext - 1);
  request.mutable_stopping()->set_ignore_eos(true);
  const Answer one = daemon_->Generate(request);
  ASSERT_TRUE(one.status.ok()) << one.status.error_message();
  EXPECT_EQ(one.finished.usage().completion_tokens(), 1);
  ExpectUnharmed("B6");
}

TEST_F(BadInput, MaxTokens) {
  for (const int32_t value : {0, -1, std::numeric_limits<int32_t>::min()}) {
    Check({"B7", [=](auto* r) { r->mutable_stopping()->set_max_tokens(value); },
           StatusCode::INVALID_ARGUMENT, "max_tokens"});
  }
  v1::GenerateRequest request = Valid();
  request.mutable_stopping()->set_max_tokens(std::numeric_limits<int32_t>::max());
  EXPECT_TRUE(daemon_->Generate(request).status.ok());  // Clamped.
  Check({"B7 min", [](auto* r) { r->mutable_stopping()->set_min_tokens(-1); },
         StatusCode::INVALID_ARGUMENT, "min_tokens"});
}

TEST_F(BadInput, SamplingValues) {
  for (const float value : {kNan, kInfinity, -kInfinity, -1.0f, 1e38f}) {
    Check({"B8", [=](auto* r) { r->mutable_sampling()->set_temperature(value); },
           StatusCode::INVALID_ARGUMENT, "temperature"});
  }
  for (const float value : {kNan, 0.0f, 1.0001f, -0.0f, -1.0f}) {
    Check({"B9", [=](auto* r) { r->mutable_sampling()->set_top_p(value); },
           StatusCode::INVALID_ARGUMENT, "top_p"});
  }
  for (const int32_t value : {-2, kVocabulary + 1}) {
    Check({"B9", [=](auto* r) { r->mutable_sampling()->set_top_k(value); },
           StatusCode::INVALID_ARGUMENT, "top_k"});
  }
  for (const float value : {kNan, 0.0f, -1.0f, 1e30f}) {
    Check({"B10", [=](auto* r) { r->mutable_sampling()->set_repetition_penalty(value); },
           StatusCode::INVALID_ARGUMENT, "repetition_penalty"});
  }
  for (const float value : {kNan, 1e30f, -2.5f}) {
    Check({"B10", [=](auto* r) { r->mutable_sampling()->set_frequency_penalty(value); },
           StatusCode::INVALID_ARGUMENT, "frequency_penalty"});
    Check({"B10", [=](auto* r) { r->mutable_sampling()->set_presence_penalty(value); },
           StatusCode::INVALID_ARGUMENT, "presence_penalty"});
  }
  v1::GenerateRequest greedy = Ask("Describe the image.", picture_);
  greedy.mutable_sampling()->set_temperature(1e-45f);
  EXPECT_EQ(daemon_->Generate(greedy).text(), control_);
}

TEST_F(BadInput, LogitBias) {
  const auto bias = [](int32_t id, float value) {
    return
        [=](v1::GenerateRequest* r) { (*r->mutable_sampling()->mutable_logit_bias())[id] = value; };
  };
  Check({"B11 id", bias(kVocabulary, 1.0f), StatusCode::INVALID_ARGUMENT, "logit_bias"});
  Check({"B11 negative", bias(-1, 1.0f), StatusCode::INVALID_ARGUMENT, "logit_bias"});
  Check({"B11 nan", bias(5, kNan), StatusCode::INVALID_ARGUMENT, "logit_bias"});
  Check({"B11 many",
         [](auto* r) {
           for (int i = 0; i < 1000000; ++i) (*r->mutable_sampling()->mutable_logit_bias())[i] = 1;
         },
         StatusCode::INVALID_ARGUMENT, "logit_bias"});
}

TEST_F(BadInput, StopStrings) {
  Check({"B12 many",
         [](auto* r) {
           for (int i = 0; i < 500000; ++i) r->mutable_stopping()->add_stop("x");
         },
         StatusCode::INVALID_ARGUMENT, "stop"});
  Check({"B12 empty", [](auto* r) { r->mutable_stopping()->add_stop(""); },
         StatusCode::INVALID_ARGUMENT, "stop"});
  Check({"B12 long", [](auto* r) { r->mutable_stopping()->add_stop(std::string(1 << 20, 's')); },
         StatusCode::INVALID_ARGUMENT, "stop"});
}

TEST_F(BadInput, Counts) {
  for (const int32_t value : {0, -1, 9, 16384}) {
    Check({"B13", [=](auto* r) { r->mutable_output()->set_n(value); }, StatusCode::INVALID_ARGUMENT,
           "output.n"});
  }
  for (const int32_t value : {-1, 21, kVocabulary}) {
    Check({"B14", [=](auto* r) { r->mutable_output()->set_logprobs(value); },
           StatusCode::INVALID_ARGUMENT, "logprobs"});
  }
}

TEST_F(BadInput, RetentionBudgets) {
  constexpr double kNanBudget = std::numeric_limits<double>::quiet_NaN();
  for (const double value : {kNanBudget, 0.0, -0.1, 1.1, 1e-9}) {
    Check({"B25", [=](auto* r) { r->mutable_retention()->set_budget(value); },
           StatusCode::INVALID_ARGUMENT, "retention.budget"});
  }
  Check({"B25 scope",
         [](auto* r) { r->mutable_retention()->set_scope(static_cast<v1::RetentionScope>(9)); },
         StatusCode::INVALID_ARGUMENT, "retention.scope"});
  Check({"B25 numbers", [](auto* r) { r->mutable_retention()->set_protect(0); },
         StatusCode::INVALID_ARGUMENT, "retention.protect"});
}

TEST_F(BadInput, RetentionNames) {
  for (const std::string& name :
       {std::string("nobody-knows-it"), std::string("../p.json"), std::string("/etc/passwd"),
        std::string("a\0b", 3), std::string(4096, 'p')}) {
    Check({"B26 profile " + name.substr(0, 8),
           [&](auto* r) { r->mutable_retention()->set_profile(name); },
           StatusCode::INVALID_ARGUMENT, "retention.profile"});
    Check({"B26 policy " + name.substr(0, 8),
           [&](auto* r) { r->mutable_retention()->set_policy(name); }, StatusCode::INVALID_ARGUMENT,
           "retention.policy"});
  }
}

TEST_F(BadInput, SeedsAreReproducible) {
  for (const uint64_t seed : {uint64_t{0}, std::numeric_limits<uint64_t>::max()}) {
    v1::GenerateRequest request = Ask("Describe the image.", picture_);
    request.mutable_sampling()->set_temperature(3.0f);
    request.mutable_sampling()->set_seed(seed);
    request.mutable_output()->set_token_ids(true);
    const Answer first = daemon_->Generate(request), second = daemon_->Generate(request);
    ASSERT_TRUE(first.status.ok()) << first.status.error_message();
    EXPECT_EQ(first.token_ids, second.token_ids);
    EXPECT_EQ(first.started.seed(), seed);
  }
}

TEST_F(BadInput, TokenIds) {
  const auto ids = [](std::vector<int32_t> values) {
    return [values](v1::GenerateRequest* r) {
      r->mutable_tokens();
      for (const int32_t id : values) r->mutable_tokens()->add_ids(id);
    };
  };
  Check({"B16 negative", ids({1, -1})});
  Check({"B16 vocabulary", ids({1, kVocabulary})});
  Check({"B16 placeholder", ids({1, kImageToken, 300})});
  v1::GenerateRequest request = Valid();
  ids({300, 1, 301})(&request);  // BOS in the middle is a token like any other.
  EXPECT_TRUE(daemon_->Generate(request).status.ok());
}

TEST_F(BadInput, SpecialTokensInTextArePlainText) {
  const auto count = [](const std::string& text) {
    v1::CountTokensRequest request;
    auto* message = request.mutable_chat()->add_messages();
    message->set_role(v1::ROLE_USER);
    message->add_parts()->set_text(text);
    grpc::ClientContext context;
    v1::CountTokensResponse response;
    const grpc::Status status = daemon_->generation()->CountTokens(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.image_tokens(), 0);
    return response.prompt_tokens();
  };
  // As text they take several tokens; as a special token one, as an image 144.
  EXPECT_GT(count("a <image> b") - count("a  b"), 2);
  EXPECT_LT(count("a <image> b"), 60);
  EXPECT_GT(count("a </s> b") - count("a  b"), 2);
  for (const char* text : {"<image>", "<|im_end|>", "[INST]", "</s>", "<pad>"}) {
    EXPECT_TRUE(daemon_->Generate(Ask(text, picture_)).status.ok()) << text;
  }
  ExpectUnharmed("B17");
}

TEST_F(BadInput, PlaceholdersAndImagesMustAgree) {
  const auto tokens = [](int placeholders, int images) {
    return [=](v1::GenerateRequest* r) {
      r->mutable_tokens()->add_ids(1);
      for (int i = 0; i < placeholders; ++i) r->mutable_tokens()->add_ids(kImageToken);
      for (int i = 0; i < images; ++i) r->mutable_tokens()->add_images()->set_data(picture_);
    };
  };
  Check({"B18 3/2", tokens(3, 2)});
  Check({"B18 2/3", tokens(2, 3)});
  v1::GenerateRequest request = Valid();
  tokens(2, 2)(&request);
  const Answer answer = daemon_->Generate(request);
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  EXPECT_EQ(answer.started.image_tokens(), 288);
  EXPECT_EQ(answer.started.prompt_tokens(), 289);
}

TEST_F(BadInput, TooManyImages) {
  Check({"B19", [](auto* r) {
           auto* message = r->mutable_chat()->mutable_messages(0);
           for (int i = 0; i < 9; ++i) message->add_parts()->mutable_image()->set_data(picture_);
         }});
}

TEST_F(BadInput, Aborts) {
  grpc::ClientContext context;
  v1::AbortRequestRequest request;
  v1::AbortRequestResponse response;
  request.set_request_id("nobody");
  EXPECT_EQ(daemon_->admin()->AbortRequest(&context, request, &response).error_code(),
            StatusCode::NOT_FOUND);
  grpc::ClientContext cancelled;  // Before the first token.
  auto reader = daemon_->generation()->Generate(&cancelled, Valid());
  cancelled.TryCancel();
  cancelled.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), StatusCode::CANCELLED);
  ExpectUnharmed("B30");
}

TEST_F(BadInput, ALiveRequestIdIsTaken) {
  v1::GenerateRequest request = Valid();
  request.set_request_id("twice");
  request.mutable_stopping()->set_ignore_eos(true);
  request.mutable_stopping()->set_max_tokens(1500);
  grpc::ClientContext first;
  auto reader = daemon_->generation()->Generate(&first, request);
  v1::GenerateResponse response;
  ASSERT_TRUE(reader->Read(&response));
  const Answer second = daemon_->Generate(request);
  EXPECT_EQ(second.status.error_code(), StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(second.reason(), "REQUEST_EXISTS");
  first.TryCancel();
  while (reader->Read(&response)) {
  }
  EXPECT_EQ(reader->Finish().error_code(), StatusCode::CANCELLED);
  ExpectUnharmed("B31");
  request.mutable_stopping()->set_max_tokens(2);
  EXPECT_TRUE(daemon_->Generate(request).status.ok());
}

TEST_F(BadInput, AllViolationsComeAtOnce) {
  v1::GenerateRequest request = Valid();
  request.mutable_sampling()->set_temperature(-1);
  request.mutable_sampling()->set_top_p(2);
  request.mutable_output()->set_n(99);
  const Answer answer = daemon_->Generate(request);
  for (const char* field : {"sampling.temperature", "sampling.top_p", "output.n"}) {
    EXPECT_TRUE(absl::StrContains(answer.fields(), field)) << answer.fields();
  }
}

}  // namespace
}  // namespace prefixd::testing
