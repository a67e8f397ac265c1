#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "client/input.h"
#include "client/prefixctl/ask.h"
#include "client/prefixctl/commands.h"
#include "client/prefixctl/exit_code.h"
#include "client/prefixctl/prefix_options.h"
#include "client/prefixctl/score_output.h"

namespace prefixd::ctl {
namespace {

absl::StatusOr<v1::ScoreRequest> Request(const Options& options) {
  v1::ScoreRequest request;
  request.set_model(options.model);
  std::vector<std::string> images;
  for (const std::string& path : options.images) {
    PREFIXD_ASSIGN_OR_RETURN(std::string bytes, ReadImage(path));
    images.push_back(std::move(bytes));
  }
  v1::ChatMessage message = UserMessage(*options.prompt, std::move(images));
  if (options.raw) {
    *request.mutable_prompt()->mutable_parts() = std::move(*message.mutable_parts());
  } else {
    v1::ChatInput* const chat = request.mutable_chat();
    if (!options.system.empty()) {
      *chat->add_messages() = TextMessage(v1::ROLE_SYSTEM, options.system);
    }
    *chat->add_messages() = std::move(message);
  }
  for (const std::string& text : options.classification.continuations) {
    request.add_continuations()->set_text(text);
  }
  request.set_echo(options.classification.prompt_logprobs);
  request.set_mode(options.classification.mode);
  ApplyCacheOptions(options, &request);
  return request;
}

}  // namespace

int RunScore(Session* session) {
  const Options& options = session->options;
  const absl::StatusOr<v1::ScoreRequest> request = Request(options);
  if (!request.ok()) return Fail(session, request.status());
  const auto response =
      session->client->Score(*request, options.timeout.value_or(absl::InfiniteDuration()));
  if (!response.ok()) return Fail(session, response.status());
  const std::vector<std::string>& texts = options.classification.continuations;
  if (options.json) {
    PrintLine(ScoreLine(texts, *response));
    return kExitOk;
  }
  Print(ScoreTable(texts, *response, LayoutOf(session->terminal)));
  session->messages.Note(ScoreSummary(*response));
  return kExitOk;
}

}  // namespace prefixd::ctl
