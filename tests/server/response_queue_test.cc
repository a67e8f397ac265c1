#include "server/response_queue.h"

#include <gtest/gtest.h>

namespace prefixd {
namespace {

v1::GenerateResponse Delta(int index, const std::string& text, int token_id) {
  v1::GenerateResponse response;
  response.mutable_delta()->set_index(index);
  response.mutable_delta()->set_text(text);
  response.mutable_delta()->add_token_ids(token_id);
  response.mutable_delta()->add_logprobs()->mutable_sampled()->set_token_id(token_id);
  return response;
}

v1::GenerateResponse ChoiceFinished(int index) {
  v1::GenerateResponse response;
  response.mutable_choice_finished()->set_index(index);
  return response;
}

TEST(ResponseQueue, MergesWaitingDeltasOfAChoice) {
  ResponseQueue queue;
  queue.Push(Delta(0, "a", 1));
  queue.Push(Delta(1, "x", 9));
  queue.Push(Delta(0, "b", 2));
  queue.Push(Delta(1, "y", 8));
  ASSERT_EQ(queue.size(), 2u);
  const v1::GenerateResponse first = queue.Pop();
  EXPECT_EQ(first.delta().index(), 0);
  EXPECT_EQ(first.delta().text(), "ab");
  ASSERT_EQ(first.delta().token_ids_size(), 2);
  EXPECT_EQ(first.delta().token_ids(1), 2);
  ASSERT_EQ(first.delta().logprobs_size(), 2);
  EXPECT_EQ(first.delta().logprobs(1).sampled().token_id(), 2);
  EXPECT_EQ(queue.Pop().delta().text(), "xy");
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.bytes(), 0u);
}

TEST(ResponseQueue, KeepsTheOrderOfOtherEvents) {
  ResponseQueue queue;
  v1::GenerateResponse started;
  started.mutable_started()->set_request_id("r");
  queue.Push(started);
  queue.Push(Delta(0, "a", 1));
  queue.Push(ChoiceFinished(0));
  queue.Push(Delta(1, "x", 2));
  EXPECT_TRUE(queue.Pop().has_started());
  EXPECT_EQ(queue.Pop().delta().text(), "a");
  EXPECT_EQ(queue.Pop().choice_finished().index(), 0);
  EXPECT_EQ(queue.Pop().delta().text(), "x");
}

TEST(ResponseQueue, StartsANewMessageAt64KiB) {
  ResponseQueue queue;
  for (int i = 0; i < 3; ++i) queue.Push(Delta(0, std::string(40 << 10, 'a'), i));
  EXPECT_EQ(queue.size(), 3u);
  EXPECT_GT(queue.bytes(), 120u << 10);
  queue.Push(Delta(0, "b", 3));  // Goes behind the last, not into an earlier message.
  queue.Pop();
  queue.Pop();
  const v1::GenerateResponse last = queue.Pop();
  EXPECT_EQ(last.delta().text().back(), 'b');
  EXPECT_EQ(queue.bytes(), 0u);
}

TEST(ResponseQueue, CountsTheMemoryOfLogprobs) {
  v1::GenerateResponse response;
  for (int token = 0; token < 50; ++token) {
    v1::TokenLogprobs* logprobs = response.mutable_delta()->add_logprobs();
    for (int i = 0; i < 20; ++i) {
      v1::Logprob* top = logprobs->add_top();
      top->set_token_id(token * 20 + i);
      top->set_token("word");
      top->set_logprob(-1.5f);
      top->set_rank(i + 1);
    }
  }
  EXPECT_GT(response.SpaceUsedLong(), 3 * response.ByteSizeLong());
  EXPECT_GE(MemoryOf(response), response.SpaceUsedLong());
  EXPECT_LE(MemoryOf(response), 2 * response.SpaceUsedLong());
}

TEST(ResponseQueue, ClearForgetsAll) {
  ResponseQueue queue;
  queue.Push(Delta(0, "a", 1));
  queue.Clear();
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.bytes(), 0u);
}

}  // namespace
}  // namespace prefixd
