#include "client/prefixctl/line_editor.h"

#include <histedit.h>

#include <cstdio>

#include "base/check.h"

namespace prefixd::ctl {
namespace {

constexpr int kHistoryLines = 1000;

}  // namespace

struct LineEditor::State {
  EditLine* editor = nullptr;
  History* history = nullptr;
  std::string prompt;
  bool interrupted = false;

  static State* Of(EditLine* editor) {
    void* data = nullptr;
    el_get(editor, EL_CLIENTDATA, &data);
    return static_cast<State*>(data);
  }
  static char* Prompt(EditLine* editor) { return Of(editor)->prompt.data(); }
  // Bound to Ctrl-C, which the terminal does not turn into a signal while a line is edited.
  static unsigned char Interrupt(EditLine* editor, int) {
    Of(editor)->interrupted = true;
    return CC_EOF;
  }
};

LineEditor::LineEditor() : state_(std::make_unique<State>()) {
  state_->editor = el_init("prefixctl", stdin, stdout, stderr);
  state_->history = history_init();
  PREFIXD_CHECK(state_->editor != nullptr && state_->history != nullptr);
  HistEvent event;
  history(state_->history, &event, H_SETSIZE, kHistoryLines);
  EditLine* const editor = state_->editor;
  el_set(editor, EL_CLIENTDATA, state_.get());
  el_set(editor, EL_PROMPT, &State::Prompt);
  el_set(editor, EL_HIST, history, state_->history);
  el_set(editor, EL_EDITOR, "emacs");
  el_set(editor, EL_SIGNAL, 1);  // Terminal modes are restored when a signal ends or stops us.
  el_set(editor, EL_ADDFN, "prefixctl-interrupt", "Leave the line", &State::Interrupt);
  el_set(editor, EL_BIND, "^C", "prefixctl-interrupt", nullptr);
  el_set(editor, EL_BIND, "^R", "em-inc-search-prev", nullptr);
  el_set(editor, EL_SETTY, "-d", "-isig", nullptr);
}

LineEditor::~LineEditor() {
  el_end(state_->editor);
  history_end(state_->history);
}

LineEditor::Result LineEditor::Read(const std::string& prompt, std::string* line) {
  state_->prompt = prompt;
  state_->interrupted = false;
  // Without this the prompt shows while Ctrl-C is still a signal.
  el_set(state_->editor, EL_PREP_TERM, 1);
  int bytes = 0;
  const char* const text = el_gets(state_->editor, &bytes);
  if (state_->interrupted) {
    el_reset(state_->editor);
    std::fputs("\n", stdout);
    return Result::kInterrupted;
  }
  if (text == nullptr || bytes <= 0) {
    std::fputs("\n", stdout);
    return Result::kEnd;
  }
  line->assign(text, static_cast<size_t>(bytes));
  if (!line->empty() && line->back() == '\n') line->pop_back();
  return Result::kLine;
}

void LineEditor::Remember(const std::string& line) {
  HistEvent event;
  history(state_->history, &event, H_ENTER, line.c_str());
}

}  // namespace prefixd::ctl
