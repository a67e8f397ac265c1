#include "client/prefixctl/conversation.h"

#include <gtest/gtest.h>

namespace prefixd::ctl {
namespace {

TEST(Conversation, ResendsEarlierTurns) {
  Conversation conversation({.system = "Be brief."});
  conversation.AddImage("PNG");
  conversation.Keep("What is it?", "A cat.");
  const v1::GenerateRequest request = conversation.Ask("What colour?");
  ASSERT_EQ(request.chat().messages_size(), 4);
  EXPECT_EQ(request.chat().messages(0).role(), v1::ROLE_SYSTEM);
  EXPECT_EQ(request.chat().messages(1).parts(0).image().data(), "PNG");
  EXPECT_EQ(request.chat().messages(1).parts(1).text(), "What is it?");
  EXPECT_EQ(request.chat().messages(2).role(), v1::ROLE_ASSISTANT);
  EXPECT_EQ(request.chat().messages(2).parts(0).text(), "A cat.");
  ASSERT_EQ(request.chat().messages(3).parts_size(), 1);
  EXPECT_EQ(request.chat().messages(3).parts(0).text(), "What colour?");
}

TEST(Conversation, KeepsImagesWaitingUntilATurnIsKept) {
  Conversation conversation({});
  conversation.AddImage("PNG");
  EXPECT_EQ(conversation.Ask("a").chat().messages(0).parts_size(), 2);
  EXPECT_EQ(conversation.Ask("b").chat().messages(0).parts_size(), 2);
  conversation.Keep("b", "c");
  EXPECT_EQ(conversation.num_waiting_images(), 0u);
}

TEST(Conversation, ForgetsTurnsButNotSettings) {
  Conversation conversation({});
  ASSERT_TRUE(conversation.Set("temperature", "0.5").ok());
  conversation.Keep("a", "b");
  conversation.Clear();
  const v1::GenerateRequest request = conversation.Ask("c");
  EXPECT_EQ(request.chat().messages_size(), 1);
  EXPECT_FLOAT_EQ(request.sampling().temperature(), 0.5f);
}

TEST(Conversation, GoesBackToTheServersDefaultForAnEmptyValue) {
  Conversation conversation({.generation = {.max_tokens = 7}});
  EXPECT_EQ(conversation.Ask("a").stopping().max_tokens(), 7);
  ASSERT_TRUE(conversation.Set("max-tokens", "").ok());
  EXPECT_FALSE(conversation.Ask("a").stopping().has_max_tokens());
}

TEST(Conversation, ChangesRetentionBetweenQuestions) {
  Conversation conversation({.retention = {.scope = "exact", .budget = 0.5}});
  EXPECT_EQ(conversation.Ask("a").retention().ShortDebugString(),
            "scope: RETENTION_SCOPE_EXACT budget: 0.5");
  for (const auto& [name, value] : {std::pair("retention", "shared"), std::pair("budget", "0.25"),
                                    std::pair("policy", "h2o"), std::pair("profile", "p")}) {
    EXPECT_TRUE(conversation.Set(name, value).ok()) << name;
  }
  EXPECT_EQ(conversation.Ask("b").retention().ShortDebugString(),
            "scope: RETENTION_SCOPE_SHARED budget: 0.25 policy: \"h2o\" profile: \"p\"");
  for (const char* name : {"retention", "budget", "policy", "profile"}) {
    EXPECT_TRUE(conversation.Set(name, "").ok()) << name;
  }
  EXPECT_FALSE(conversation.Ask("c").has_retention());
}

TEST(Conversation, RefusesUnknownSettingsAndWords) {
  Conversation conversation({});
  EXPECT_EQ(conversation.Set("heat", "1").message(),
            "unknown setting \"heat\"; there are system, max-tokens, temperature, top-p, top-k, "
            "seed, stop, retention, budget, policy and profile");
  EXPECT_EQ(conversation.Set("budget", "little").message(), "budget: \"little\" is not a number");
  EXPECT_EQ(conversation.Set("retention", "on").message(),
            "retention: \"on\" is none of off, exact and shared");
  EXPECT_EQ(conversation.Set("top-k", "many").message(), "top-k: \"many\" is not a number");
}

}  // namespace
}  // namespace prefixd::ctl
