#include "client/prefixctl/repl.h"

#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/prefixctl/ask.h"
#include "client/prefixctl/conversation.h"
#include "client/prefixctl/exit_code.h"
#include "client/prefixctl/explain.h"
#include "client/prefixctl/line_editor.h"

namespace prefixd::ctl {
namespace {

constexpr char kHelp[] =
    "  /image FILE       add a picture to the next question\n"
    "  /set NAME VALUE   change system, max-tokens, temperature, top-p, top-k, seed, stop,\n"
    "                    retention, budget, policy or profile; without VALUE: the server's "
    "default\n"
    "  /clear            forget the conversation\n"
    "  /bye              leave (or Ctrl-D)\n"
    "  \"\"\"               begins and ends a question of several lines\n"
    "Ctrl-C stops an answer; twice, it leaves.";

constexpr char kQuotes[] = "\"\"\"";

class Repl {
 public:
  explicit Repl(Session* session) : session_(session), conversation_(session->options) {}

  int Run();

 private:
  // Reads a question or a command; false when the person leaves. Empty after Ctrl-C.
  bool ReadInput(std::string* input);
  // Reads on until the closing quotes.
  bool ReadQuoted(std::string* input);
  // Returns whether the conversation goes on.
  bool Command(absl::string_view line);
  void AddImage(const std::string& path);
  void Question(const std::string& question);
  void Note(absl::string_view line) { session_->messages.Note(line); }
  void Say(const absl::Status& status);

  Session* const session_;
  Conversation conversation_;
  LineEditor editor_;
  bool leaving_ = false;  // The last thing typed was Ctrl-C.
  int exit_code_ = kExitOk;
};

int Repl::Run() {
  for (const std::string& path : session_->options.images) AddImage(path);
  Note("Ask, or /help.");
  std::string input;
  while (ReadInput(&input)) {
    const absl::string_view line = absl::StripAsciiWhitespace(input);
    if (line.empty()) continue;
    editor_.Remember(input);
    if (absl::StartsWith(line, "/")) {
      if (!Command(line)) break;
    } else {
      Question(std::string(line));
    }
  }
  return exit_code_;
}

bool Repl::ReadInput(std::string* input) {
  input->clear();
  switch (editor_.Read(">>> ", input)) {
    case LineEditor::Result::kEnd:
      return false;
    case LineEditor::Result::kInterrupted:
      if (leaving_) {
        exit_code_ = kExitInterrupted;
        return false;
      }
      leaving_ = true;
      Note("Ctrl-C again, Ctrl-D or /bye to leave.");
      input->clear();
      return true;
    case LineEditor::Result::kLine:
      break;
  }
  leaving_ = false;
  return !absl::StartsWith(*input, kQuotes) || ReadQuoted(input);
}

bool Repl::ReadQuoted(std::string* input) {
  std::string text = input->substr(3);
  while (!absl::EndsWith(text, kQuotes)) {
    std::string line;
    if (editor_.Read("... ", &line) != LineEditor::Result::kLine) {
      input->clear();
      return true;
    }
    absl::StrAppend(&text, "\n", line);
  }
  *input = text.substr(0, text.size() - 3);
  return true;
}

bool Repl::Command(absl::string_view line) {
  const size_t space = line.find(' ');
  const std::string name(line.substr(0, space));
  const absl::string_view rest =
      space == absl::string_view::npos ? "" : absl::StripAsciiWhitespace(line.substr(space));
  if (name == "/bye" || name == "/exit" || name == "/quit") return false;
  if (name == "/help" || name == "/?") {
    Note(kHelp);
  } else if (name == "/clear") {
    conversation_.Clear();
    Note("forgotten");
  } else if (name == "/image" && !rest.empty()) {
    AddImage(std::string(rest));
  } else if (name == "/set" && !rest.empty()) {
    const size_t end = rest.find(' ');
    const absl::string_view value =
        end == absl::string_view::npos ? "" : absl::StripAsciiWhitespace(rest.substr(end));
    Say(conversation_.Set(rest.substr(0, end), value));
  } else {
    const std::string near = Suggest(name, {"/image", "/set", "/clear", "/help", "/bye"});
    session_->messages.Error(
        near == name ? absl::StrCat(name, " needs a value")
                     : absl::StrCat("unknown command ", name,
                                    near.empty() ? "" : absl::StrCat("; did you mean ", near, "?")),
        "/help lists the commands");
  }
  return true;
}

void Repl::AddImage(const std::string& path) {
  absl::StatusOr<std::string> bytes = ReadImage(path);
  if (!bytes.ok()) {
    Say(bytes.status());
    return;
  }
  conversation_.AddImage(*std::move(bytes));
  Note(absl::StrCat(path, " goes with the next question"));
}

void Repl::Question(const std::string& question) {
  Answer answer;
  const absl::Status status = Ask(session_, conversation_.Ask(question), &answer);
  if (status.ok()) {
    conversation_.Keep(question, answer.text);
  } else if (absl::IsCancelled(status)) {
    Note("(stopped; this turn is forgotten)");
  } else {
    Say(status);
  }
}

void Repl::Say(const absl::Status& status) {
  if (status.ok()) return;
  const Explanation explanation = Explain(status, session_->options.server);
  session_->messages.Error(explanation.message, explanation.next_step);
}

}  // namespace

int RunRepl(Session* session) { return Repl(session).Run(); }

}  // namespace prefixd::ctl
