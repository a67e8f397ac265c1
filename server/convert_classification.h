// From the messages of ClassificationService to the engine's values. What needs neither a tokenizer
// nor a stored class set is checked here, all violations at once; field paths are those of the
// proto. Pure functions.
#ifndef PREFIXD_SERVER_CONVERT_CLASSIFICATION_H_
#define PREFIXD_SERVER_CONVERT_CLASSIFICATION_H_

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/classification.h"
#include "engine/engine.h"
#include "prefixd/v1/classification_service.pb.h"
#include "server/convert.h"
#include "server/convert_input.h"
#include "server/request_limits.h"
#include "server/violations.h"

namespace prefixd {

// Take the message apart; `id`, `tenant` and `deadline` are left for the caller.
// Errors: those of ConvertGenerateRequest for the model and the input; INVALID_ARGUMENT,
// PARAMETER_OUT_OF_RANGE or INPUT_INVALID, for the other fields.
absl::StatusOr<ClassifyRequest> ConvertClassifyRequest(v1::ClassifyRequest message,
                                                       const EngineModelInfo& model,
                                                       const RequestLimits& limits);
absl::StatusOr<ScoreRequest> ConvertScoreRequest(v1::ScoreRequest message,
                                                 const EngineModelInfo& model,
                                                 const RequestLimits& limits);

// `tenant` is left for the caller. Errors: the same; NOT_FOUND, IMAGE_NOT_CACHED, for pictures
// without bytes.
absl::StatusOr<ClassSetSpec> ConvertCreateClassSetRequest(v1::CreateClassSetRequest message,
                                                          const EngineModelInfo& model,
                                                          const RequestLimits& limits);

// OK, or INVALID_ARGUMENT for a malformed name.
absl::Status CheckClassSetRequestName(absl::string_view name);

// --- Parts of these

ScoringMode ConvertMode(v1::ScoringMode value, Violations* violations);
// What ClassifyRequest and ScoreRequest say alike.
template <typename Message, typename Out>
void ConvertScoringFields(Message* message, Out* out, Violations* violations) {
  CheckRequestId(message->request_id(), violations);
  out->mode = ConvertMode(message->mode(), violations);
  violations->CheckRange("priority", message->priority(), -kMaxPriority, kMaxPriority);
  out->priority = message->priority();
  out->bypass_prefix_cache = message->bypass_prefix_cache();
  violations->CheckCount("cache_salt", "bytes", message->cache_salt().size(), kMaxIdBytes);
  out->cache_salt = std::move(*message->mutable_cache_salt());
}
// Adds a violation unless there are enough names and all are within the limits.
void CheckClassNames(absl::string_view field,
                     const google::protobuf::RepeatedPtrField<std::string>& names,
                     const ClassificationOptions& limits, Violations* violations);
// The same for one name or label.
void CheckClassName(const std::string& field, const std::string& name,
                    const ClassificationOptions& limits, Violations* violations);

// `message` may be null: all defaults. Counts the texts among those of `converter`.
ClassPrompt ConvertClassPrompt(v1::ClassPrompt* message, const std::string& path,
                               InputConverter* converter, Violations* violations);
// Adds a violation if `text` is not empty and `question` has no place for it.
void CheckTextHasPlace(const std::string& field, const std::string& text,
                       const std::string& question, Violations* violations);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_CONVERT_CLASSIFICATION_H_
