// What the demo model answers through the daemon, greedily in float32: the recipe's own greedy
// answers on every shipped picture, right answers in every kind, and the conversation that
// README.md shows.
#include <map>
#include <mutex>
#include <thread>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/json.h"
#include "tests/e2e/daemon.h"

namespace prefixd::testing {
namespace {

constexpr size_t kMaxFileBytes = 16 << 20;

std::string Contents(const std::string& path) {
  const auto bytes = ReadFile(SourcePath(path), kMaxFileBytes);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  return bytes.ok() ? std::string(*bytes) : "";
}

nlohmann::json Json(const std::string& path) {
  const auto value = ReadJsonFile(SourcePath(path), kMaxFileBytes);
  EXPECT_TRUE(value.ok()) << value.status();
  return value.ok() ? *value : nlohmann::json();
}

struct Question {
  std::string picture, kind, text, right;
  std::string recipe;  // The recipe's own greedy answer; empty if none is on record.
};

std::vector<Question> ShippedQuestions() {
  std::vector<Question> questions;
  const nlohmann::json pictures = Json("models/demo/pictures/answers.json");
  for (const auto& [picture, items] : pictures.items()) {
    for (const auto& item : items) {
      questions.push_back({"models/demo/pictures/" + picture, item["kind"], item["question"],
                           item["right_answer"], item["model_answer_greedy"]});
    }
  }
  return questions;
}

std::vector<Question> CalibrationQuestions() {
  std::vector<Question> questions;
  const nlohmann::json entries = Json("models/demo/calibration/calibration.json");
  for (const auto& entry : entries) {
    const std::string picture =
        absl::StrCat("models/demo/calibration/", entry["file"].get<std::string>());
    questions.push_back({picture, "describe", entry["question"], entry["reference_answer"], ""});
    for (const auto& item : entry["more"]) {
      questions.push_back({picture, item["kind"], item["question"], item["right_answer"], ""});
    }
  }
  return questions;
}

// The daemon's answers, in order; eight questions at a time.
std::vector<std::string> AskAll(Daemon* daemon, const std::vector<Question>& questions) {
  std::vector<std::string> answers(questions.size());
  std::mutex mutex;
  size_t next = 0;
  const auto work = [&] {
    while (true) {
      size_t i = 0;
      {
        std::lock_guard lock(mutex);
        if (next == questions.size()) return;
        i = next++;
      }
      const Answer answer =
          daemon->Generate(Ask(questions[i].text, Contents(questions[i].picture)));
      EXPECT_TRUE(answer.status.ok()) << answer.status.error_message();
      answers[i] = answer.text();
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) threads.emplace_back(work);
  }
  return answers;
}

TEST(DemoAnswers, EqualTheRecipesOwnGreedyAnswers) {
  const std::vector<Question> questions = ShippedQuestions();
  ASSERT_GE(questions.size(), 150u);
  Daemon daemon;
  const std::vector<std::string> answers = AskAll(&daemon, questions);
  for (size_t i = 0; i < questions.size(); ++i) {
    EXPECT_EQ(answers[i], questions[i].recipe) << questions[i].picture << " " << questions[i].text;
  }
}

TEST(DemoAnswers, AreRightInEveryKind) {
  std::vector<Question> questions = ShippedQuestions();
  for (Question& question : CalibrationQuestions()) questions.push_back(std::move(question));
  ASSERT_GE(questions.size(), 400u);
  Daemon daemon;
  const std::vector<std::string> answers = AskAll(&daemon, questions);
  std::map<std::string, std::pair<int, int>> right_and_all;  // By kind.
  for (size_t i = 0; i < questions.size(); ++i) {
    auto& [right, all] = right_and_all[questions[i].kind];
    ++all;
    if (answers[i] == questions[i].right) {
      ++right;
    } else {
      std::printf("%s, \"%s\": \"%s\", right is \"%s\"\n", questions[i].picture.c_str(),
                  questions[i].text.c_str(), answers[i].c_str(), questions[i].right.c_str());
    }
  }
  EXPECT_EQ(right_and_all.size(), 8u);
  for (const auto& [kind, counts] : right_and_all) {
    const auto& [right, all] = counts;
    EXPECT_GE(right * 100, all * (kind == "digit" ? 90 : 95))
        << kind << ": " << right << " of " << all;
  }
}

// README.md shows "$ prefixctl run ... -i PICTURE" and turns behind it: ">>> question", lines of
// the answer, and the line of the cache.
struct Turn {
  std::string question, answer, cached;
};
struct Conversation {
  std::string picture;
  std::vector<Turn> turns;
};

Conversation ReadmeConversation() {
  Conversation found;
  std::string command;
  bool in_answer = false;
  const std::string readme = Contents("README.md");
  for (absl::string_view line : absl::StrSplit(readme, '\n')) {
    if (absl::StartsWith(line, "$ ")) command = std::string(line);
    if (line == "```") in_answer = false;
    if (absl::ConsumePrefix(&line, ">>> ")) {
      if (found.turns.empty()) {
        const std::vector<std::string> words = absl::StrSplit(command, ' ');
        found.picture = words.back();
      }
      found.turns.push_back({std::string(line), "", ""});
      in_answer = true;
    } else if (in_answer && absl::StartsWith(line, "cached ")) {
      found.turns.back().cached = std::string(line);
      in_answer = false;
    } else if (in_answer) {
      absl::StrAppend(&found.turns.back().answer, found.turns.back().answer.empty() ? "" : " ",
                      line);
    }
  }
  return found;
}

TEST(DemoAnswers, ReadmeShowsAConversationAsItIs) {
  const Conversation conversation = ReadmeConversation();
  ASSERT_GE(conversation.turns.size(), 3u);
  Daemon daemon;
  v1::GenerateRequest request = Ask(conversation.turns[0].question, Contents(conversation.picture));
  double share_before = -1;
  for (size_t i = 0; i < conversation.turns.size(); ++i) {
    const Turn& turn = conversation.turns[i];
    if (i > 0) {
      v1::ChatMessage* const question = request.mutable_chat()->add_messages();
      question->set_role(v1::ROLE_USER);
      question->add_parts()->set_text(turn.question);
    }
    const Answer answer = daemon.Generate(request);
    ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
    EXPECT_EQ(answer.text(), turn.answer) << turn.question;
    const v1::Usage& usage = answer.finished.usage();
    EXPECT_EQ(turn.cached.substr(0, turn.cached.find(',')),
              absl::StrCat("cached ", usage.cached_prompt_tokens(), "/", usage.prompt_tokens(),
                           " tokens (", 100 * usage.cached_prompt_tokens() / usage.prompt_tokens(),
                           " %)"));
    const double share = static_cast<double>(usage.cached_prompt_tokens()) / usage.prompt_tokens();
    EXPECT_GT(share, share_before) << turn.question;
    share_before = share;
    v1::ChatMessage* const said = request.mutable_chat()->add_messages();
    said->set_role(v1::ROLE_ASSISTANT);
    said->add_parts()->set_text(answer.text());
  }
}

}  // namespace
}  // namespace prefixd::testing
