#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "server/convert_classification.h"

namespace prefixd {
namespace {

using Continuation = std::variant<std::string, std::vector<int32_t>>;

Continuation ConvertIds(const v1::TokenIds& ids, const std::string& path,
                        const EngineModelInfo& model, Violations* violations) {
  if (ids.ids().empty()) {
    violations->Add(reason::kInputInvalid, path, "at least one token id is required");
  }
  for (int i = 0; i < ids.ids_size(); ++i) {
    const int32_t id = ids.ids(i);
    if (id >= 0 && id < model.vocab_size) continue;
    violations->CheckRange(absl::StrCat(path, "[", i, "]"), id, 0, model.vocab_size - 1);
  }
  return std::vector<int32_t>(ids.ids().begin(), ids.ids().end());
}

Continuation ConvertContinuation(v1::Continuation* message, const std::string& path,
                                 const EngineModelInfo& model, Violations* violations) {
  switch (message->continuation_case()) {
    case v1::Continuation::kText:
      if (message->text().empty()) {
        violations->Add(reason::kInputInvalid, absl::StrCat(path, ".text"), "the text is empty");
      }
      violations->CheckCount(absl::StrCat(path, ".text"), "bytes", message->text().size(),
                             kMaxContinuationBytes);
      return std::move(*message->mutable_text());
    case v1::Continuation::kTokens:
      return ConvertIds(message->tokens(), absl::StrCat(path, ".tokens.ids"), model, violations);
    case v1::Continuation::CONTINUATION_NOT_SET:
      break;
  }
  violations->Add(reason::kInputInvalid, path, "neither text nor tokens is set");
  return Continuation();
}

std::vector<Continuation> ConvertContinuations(v1::ScoreRequest* message,
                                               const EngineModelInfo& model,
                                               const ClassificationOptions& limits,
                                               Violations* violations) {
  constexpr char kField[] = "continuations";
  std::vector<Continuation> out;
  const int count = message->continuations_size();
  if (count == 0 && !message->echo()) {
    violations->Add(reason::kInputInvalid, kField,
                    "there is nothing to score: no continuation and no echo");
  }
  violations->CheckCount(kField, "continuations", static_cast<uint64_t>(count),
                         static_cast<uint64_t>(limits.max_names));
  uint64_t num_ids = 0;
  for (const v1::Continuation& continuation : message->continuations()) {
    num_ids += static_cast<uint64_t>(continuation.tokens().ids_size());
  }
  violations->CheckCount(kField, "token ids", num_ids,
                         static_cast<uint64_t>(limits.max_name_tokens));
  if (count > limits.max_names) return out;
  for (int i = 0; i < count; ++i) {
    out.push_back(ConvertContinuation(message->mutable_continuations(i),
                                      absl::StrCat(kField, "[", i, "]"), model, violations));
  }
  return out;
}

}  // namespace

ScoringMode ConvertMode(v1::ScoringMode value, Violations* violations) {
  switch (value) {
    case v1::SCORING_MODE_UNSPECIFIED:
    case v1::SCORING_MODE_PACKED:
      return ScoringMode::kPacked;
    case v1::SCORING_MODE_TOKEN_BY_TOKEN:
      return ScoringMode::kTokenByToken;
    case v1::SCORING_MODE_UNCACHED:
      return ScoringMode::kUncached;
    default:
      violations->Add(reason::kParameterOutOfRange, "mode",
                      absl::StrCat(static_cast<int>(value), " is not a value"));
      return ScoringMode::kPacked;
  }
}

absl::StatusOr<ScoreRequest> ConvertScoreRequest(v1::ScoreRequest message,
                                                 const EngineModelInfo& model,
                                                 const RequestLimits& limits) {
  Violations violations;
  InputConverter converter(model, limits, &violations);
  PREFIXD_RETURN_IF_ERROR(CheckModelName("model", message.model(), model, &violations));
  ScoreRequest request;
  ConvertScoringFields(&message, &request, &violations);
  request.input = converter.Convert(&message);
  if (!message.prefix().empty()) CheckPrefixName("prefix", message.prefix(), &violations);
  request.prefix = std::move(*message.mutable_prefix());
  request.echo = message.echo();
  request.continuations = ConvertContinuations(&message, model, limits.classification, &violations);
  PREFIXD_RETURN_IF_ERROR(converter.Finish());
  PREFIXD_RETURN_IF_ERROR(violations.ToStatus());
  return request;
}

}  // namespace prefixd
