#include "server/convert.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "server/convert_input.h"
#include "server/convert_params.h"

namespace prefixd {
namespace {

// Numbers in generation_service.proto and params.proto that are reserved.
constexpr int kRequestReservedFirst = 12, kRequestReservedLast = 17;
constexpr int kPromptLogprobsField = 4;

bool HasOnly(absl::string_view text, absl::string_view punctuation) {
  for (const char c : text) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) &&
        punctuation.find(c) == absl::string_view::npos) {
      return false;
    }
  }
  return true;
}

// Whether `name` could name a model: no path, no odd characters.
bool IsModelName(absl::string_view name) {
  if (name.empty() || name.size() > kMaxIdBytes || !HasOnly(name, "._/-")) return false;
  for (const absl::string_view component : absl::StrSplit(name, '/')) {
    if (component.empty() || component == "." || component == "..") return false;
  }
  return true;
}

// Converts whichever form of input is set.
template <typename Message>
Input ConvertInput(Message* message, InputConverter* converter, Violations* violations) {
  switch (message->input_case()) {
    case Message::kChat:
      return converter->Chat(message->mutable_chat());
    case Message::kPrompt:
      return converter->Prompt(message->mutable_prompt());
    case Message::kTokens:
      return converter->Tokens(message->mutable_tokens());
    default:
      violations->Add(reason::kInputInvalid, "input", "one of chat, prompt and tokens is required");
      return Input();
  }
}

}  // namespace

bool IsRequestId(absl::string_view id) {
  return !id.empty() && id.size() <= kMaxIdBytes && HasOnly(id, "._:/-");
}

absl::Status CheckModelName(absl::string_view field, const std::string& name,
                            const EngineModelInfo& model, Violations* violations) {
  if (name.empty() || name == model.name) return absl::OkStatus();
  if (!IsModelName(name)) {
    violations->Add(
        reason::kParameterOutOfRange, std::string(field),
        "a model name has 1..128 characters of [A-Za-z0-9._/-] and no component . or ..");
    return absl::OkStatus();
  }
  return MakeError(absl::StatusCode::kNotFound, reason::kModelNotFound,
                   absl::StrCat("model ", name, " is not served here"), {{"model", name}});
}

absl::StatusOr<Request> ConvertGenerateRequest(v1::GenerateRequest message,
                                               const EngineModelInfo& model,
                                               const RequestLimits& limits) {
  Violations violations;
  InputConverter converter(model, limits, &violations);
  converter.RefuseReserved(message, "", kRequestReservedFirst, kRequestReservedLast);
  converter.RefuseReserved(message.output(), "output", kPromptLogprobsField, kPromptLogprobsField);
  if (!message.request_id().empty() && !IsRequestId(message.request_id())) {
    violations.Add(reason::kParameterOutOfRange, "request_id",
                   "a request id has 1..128 characters of [A-Za-z0-9._:/-]");
  }
  PREFIXD_RETURN_IF_ERROR(CheckModelName("model", message.model(), model, &violations));

  Request request;
  request.input = ConvertInput(&message, &converter, &violations);
  request.sampling = ConvertSampling(message.sampling(), model, &violations);
  request.stopping = ConvertStopping(message.stopping(), model, &violations);
  request.output = ConvertOutput(message.output(), &violations);
  violations.CheckRange("priority", message.priority(), -kMaxPriority, kMaxPriority);
  request.priority = message.priority();
  violations.CheckCount("cache_salt", "bytes", message.cache_salt().size(), kMaxIdBytes);

  PREFIXD_RETURN_IF_ERROR(converter.Finish());
  PREFIXD_RETURN_IF_ERROR(violations.ToStatus());
  return request;
}

absl::StatusOr<Input> ConvertCountTokensRequest(v1::CountTokensRequest message,
                                                const EngineModelInfo& model,
                                                const RequestLimits& limits) {
  Violations violations;
  InputConverter converter(model, limits, &violations);
  PREFIXD_RETURN_IF_ERROR(CheckModelName("model", message.model(), model, &violations));
  Input input = ConvertInput(&message, &converter, &violations);
  PREFIXD_RETURN_IF_ERROR(converter.Finish());
  PREFIXD_RETURN_IF_ERROR(violations.ToStatus());
  return input;
}

}  // namespace prefixd
