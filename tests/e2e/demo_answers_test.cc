// Every question about every demo picture, through the daemon: the answers are those of the
// checkpoint's own greedy decoding (models/demo/pictures/answers.json).
#include <mutex>
#include <thread>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "tests/e2e/daemon.h"

namespace prefixd::testing {
namespace {

constexpr size_t kMaxFileBytes = 16 << 20;

struct Question {
  std::string picture, text, expected;
};

std::vector<Question> AllQuestions() {
  const auto answers = ReadJsonFile(SourcePath("models/demo/pictures/answers.json"), kMaxFileBytes);
  EXPECT_TRUE(answers.ok()) << answers.status();
  std::vector<Question> questions;
  for (const auto& [picture, items] : answers->items()) {
    for (const auto& item : items) {
      questions.push_back({picture, item["question"], item["model_answer_greedy"]});
    }
  }
  return questions;
}

// The gap between the two most likely tokens where the answer leaves the expected text.
float GapAtDivergence(Daemon* daemon, v1::GenerateRequest request, const std::string& expected) {
  request.mutable_output()->set_logprobs(2);
  grpc::ClientContext context;
  const auto reader = daemon->generation()->Generate(&context, request);
  v1::GenerateResponse response;
  std::string text;
  float gap = 1e9f;
  while (reader->Read(&response)) {
    for (const auto& entry : response.delta().logprobs()) {
      const std::string next = text + entry.sampled().token();
      if (expected.compare(0, next.size(), next) != 0) {
        gap = std::min(gap, entry.top(0).logprob() - entry.top(1).logprob());
        context.TryCancel();
        return gap;
      }
      text = next;
    }
  }
  return gap;
}

TEST(DemoAnswers, EqualTheCheckpointsOwnGreedyAnswers) {
  const std::vector<Question> questions = AllQuestions();
  ASSERT_GE(questions.size(), 150u);
  Daemon daemon;
  std::mutex mutex;
  size_t next = 0, equal = 0;
  std::vector<Question> different;
  const auto work = [&] {
    while (true) {
      Question question;
      {
        std::lock_guard lock(mutex);
        if (next == questions.size()) return;
        question = questions[next++];
      }
      const auto picture =
          ReadFile(SourcePath("models/demo/pictures/" + question.picture), kMaxFileBytes);
      ASSERT_TRUE(picture.ok());
      const Answer answer = daemon.Generate(Ask(question.text, *picture));
      EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
      std::lock_guard lock(mutex);
      if (answer.text() == question.expected) {
        ++equal;
      } else {
        different.push_back(question);
        std::printf("%s, \"%s\": \"%s\", expected \"%s\"\n", question.picture.c_str(),
                    question.text.c_str(), answer.text().c_str(), question.expected.c_str());
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) threads.emplace_back(work);
  }
  std::printf("equal answers: %zu of %zu\n", equal, questions.size());
  EXPECT_GE(equal * 100, questions.size() * 99);
  for (const Question& question : different) {
    const auto picture =
        ReadFile(SourcePath("models/demo/pictures/" + question.picture), kMaxFileBytes);
    EXPECT_LT(GapAtDivergence(&daemon, Ask(question.text, *picture), question.expected), 1e-3f)
        << question.picture << " " << question.text;
  }
}

}  // namespace
}  // namespace prefixd::testing
