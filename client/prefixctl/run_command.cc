#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "client/input.h"
#include "client/prefixctl/ask.h"
#include "client/prefixctl/commands.h"
#include "client/prefixctl/detect.h"
#include "client/prefixctl/detect_output.h"
#include "client/prefixctl/exit_code.h"
#include "client/prefixctl/json_events.h"
#include "client/prefixctl/picture_info.h"
#include "client/prefixctl/prefix_options.h"
#include "client/prefixctl/repl.h"
#include "client/prefixctl/retention_options.h"

namespace prefixd::ctl {
namespace {

constexpr size_t kMaxPromptBytes = size_t{1} << 20;

// The argument, or stdin without its last line feed.
absl::StatusOr<std::string> Prompt(const Options& options) {
  if (options.prompt) return *options.prompt;
  PREFIXD_ASSIGN_OR_RETURN(std::string text, ReadStdin(kMaxPromptBytes));
  if (absl::EndsWith(text, "\n")) text.pop_back();
  if (text.empty()) return absl::InvalidArgumentError("the prompt from stdin is empty");
  return text;
}

absl::StatusOr<v1::ChatInput> Input(const Options& options) {
  v1::ChatInput chat;
  if (!options.system.empty()) {
    *chat.add_messages() = TextMessage(v1::ROLE_SYSTEM, options.system);
  }
  PREFIXD_ASSIGN_OR_RETURN(const std::string prompt, Prompt(options));
  std::vector<std::string> images;
  for (const std::string& path : options.images) {
    PREFIXD_ASSIGN_OR_RETURN(std::string bytes, ReadImage(path));
    images.push_back(std::move(bytes));
  }
  *chat.add_messages() = UserMessage(prompt, std::move(images));
  return chat;
}

// As a conversation, or, with --raw, the parts of its last message as they are.
template <typename Request>
void SetInput(const Options& options, v1::ChatInput chat, Request* request) {
  if (!options.raw) {
    *request->mutable_chat() = std::move(chat);
    return;
  }
  v1::ChatMessage* const message = chat.mutable_messages(chat.messages_size() - 1);
  *request->mutable_prompt()->mutable_parts() = std::move(*message->mutable_parts());
}

// Prints the boxes of the answer and writes them over the picture where that is wanted. Requires:
// the picture is the first part of the last message.
absl::Status ShowDetections(const Session& session, const v1::ChatInput& chat,
                            const std::string& answer) {
  const std::string& bytes = chat.messages(chat.messages_size() - 1).parts(0).image().data();
  PREFIXD_ASSIGN_OR_RETURN(const PictureInfo picture, ReadPictureInfo(bytes));
  const Detections detections = ParseDetections(answer);
  PrintLine(DetectionsLine(detections, picture));
  if (session.options.svg.empty()) return absl::OkStatus();
  const std::string svg = DetectionsSvg(detections, picture, bytes);
  return WriteFileAtomically(
      session.options.svg,
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(svg.data()), svg.size()));
}

// Without a prompt it must come from a pipe; says so where there is none.
bool PromptIsMissing(const Session& session) {
  return !session.options.prompt && session.terminal.stdin_tty;
}

int MissingPrompt(const Session& session, absl::string_view command) {
  session.messages.Error("the prompt is missing",
                         absl::StrCat("prefixctl ", command, " \"What is this?\" -i cat.jpg"));
  return kExitUsage;
}

}  // namespace

int RunAsk(Session* session) {
  const Options& options = session->options;
  if (PromptIsMissing(*session)) {
    if (session->terminal.stdout_tty && !options.json && !options.detect) return RunRepl(session);
    return MissingPrompt(*session, "run");
  }
  if (options.raw && (!options.system.empty() || options.detect)) {
    session->messages.Error(
        "--raw sends no conversation: it goes with neither --system nor --detect", "");
    return kExitUsage;
  }
  absl::StatusOr<v1::ChatInput> input = Input(options);
  if (!input.ok()) return Fail(session, input.status());
  v1::GenerateRequest request;
  request.set_model(options.model);
  SetInput(options, *std::move(input), &request);
  if (options.no_kv_cache) request.set_kv_cache(v1::KV_CACHE_MODE_DISABLED);
  Apply(options.generation, request.mutable_sampling(), request.mutable_stopping(),
        request.mutable_output());
  Apply(options.retention, &request);
  ApplyCacheOptions(options, &request);
  Answer answer;
  absl::Status status = Ask(session, request, &answer);
  if (status.ok() && options.detect) status = ShowDetections(*session, request.chat(), answer.text);
  if (status.ok()) return kExitOk;
  const int exit_code = Fail(session, status);
  return absl::IsCancelled(status) ? kExitInterrupted : exit_code;
}

int RunCount(Session* session) {
  if (PromptIsMissing(*session)) return MissingPrompt(*session, "count");
  absl::StatusOr<v1::ChatInput> input = Input(session->options);
  if (!input.ok()) return Fail(session, input.status());
  v1::CountTokensRequest request;
  request.set_model(session->options.model);
  SetInput(session->options, *std::move(input), &request);
  ApplyCacheOptions(session->options, &request);
  const auto count = session->client->CountTokens(request);
  if (!count.ok()) return Fail(session, count.status());
  if (session->options.json) {
    PrintLine(TokenCountLine(*count));
  } else {
    std::string line =
        absl::StrCat(count->prompt_tokens(), " tokens, ", count->image_tokens(), " of them for ",
                     count->num_images(), count->num_images() == 1 ? " image" : " images");
    if (count->cached_prompt_tokens() > 0) {
      absl::StrAppend(&line, "; ", count->cached_prompt_tokens(), " are cached now");
    }
    PrintLine(line);
  }
  return kExitOk;
}

}  // namespace prefixd::ctl
