#include "client/prefixctl/ask.h"

#include <cstdio>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "client/prefixctl/json_events.h"
#include "client/prefixctl/retention_text.h"
#include "client/prefixctl/terminal_text.h"

namespace prefixd::ctl {
namespace {

// `"blue" -0.0131   "green" -4.52 "red" -7.1`; bytes that are not printable are escaped.
std::string LogprobRow(const v1::TokenLogprobs& token) {
  const auto cell = [](const v1::Logprob& logprob) {
    std::string text;
    for (const char c : logprob.token()) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte < 0x20 || byte == 0x7F || c == '"' || c == '\\') {
        absl::StrAppendFormat(&text, "\\x%02x", byte);
      } else {
        text += c;
      }
    }
    return absl::StrFormat("\"%s\" %.4f", text, logprob.logprob());
  };
  std::string row = cell(token.sampled());
  for (const v1::Logprob& top : token.top()) absl::StrAppend(&row, "\t", cell(top));
  return row;
}

// Shows the events of one answer on stdout.
class Display {
 public:
  explicit Display(const Session& session)
      : json_(session.options.json),
        hides_text_(session.options.detect),
        tty_(session.terminal.stdout_tty),
        text_(session.options.no_wrap ? 0 : session.terminal.width) {}

  void Show(const v1::GenerateResponse& event, const Answer& answer) {
    if (json_) {
      const std::string line = EventLine(event, answer);
      if (!line.empty()) PrintLine(line);
    } else if (!hides_text_ && event.has_delta() && event.delta().index() == 0) {
      ShowText(event.delta().text());
    }
  }

  // Ends the line of the answer, if it has one.
  void EndText(const Answer& answer) {
    if (json_ || hides_text_ || answer.text.empty()) return;
    if (tty_) Print(text_.Finish());
    if (answer.text.back() != '\n') Print("\n");
  }

 private:
  void ShowText(const std::string& text) { Print(tty_ ? text_.Add(text) : text); }

  const bool json_;
  const bool hides_text_;
  const bool tty_;
  TerminalText text_;
};

}  // namespace

absl::Status Ask(Session* session, const v1::GenerateRequest& request, Answer* answer) {
  *answer = Answer();
  const absl::Duration timeout = session->options.timeout.value_or(absl::InfiniteDuration());
  PREFIXD_ASSIGN_OR_RETURN(auto started, session->client->Generate(request, timeout));
  // Shared with the thread that may still be cancelling when the answer is complete.
  const std::shared_ptr<GenerateStream> stream = std::move(started);
  const Interrupts::Scope scope(session->interrupts, [stream] { stream->Cancel(); });
  Display display(*session);
  for (v1::GenerateResponse event; stream->Read(&event);) {
    answer->Add(event);
    display.Show(event, *answer);
  }
  const absl::Status status = stream->Finish();
  display.EndText(*answer);
  if (!status.ok()) return status;
  if (!answer->complete) return absl::DataLossError("the stream ended without its last event");
  if (!session->options.json) {
    for (const v1::TokenLogprobs& token : answer->logprobs) PrintLine(LogprobRow(token));
  }
  if (session->options.verbose) {
    session->messages.Note(Summary(*answer));
    const std::string cache = CacheSummary(*answer);
    if (!cache.empty()) session->messages.Note(cache);
    const std::string kept = RetentionSummary(answer->finished.receipt().retention());
    if (!kept.empty()) session->messages.Note(kept);
  }
  return absl::OkStatus();
}

}  // namespace prefixd::ctl
