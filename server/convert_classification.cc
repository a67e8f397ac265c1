#include "server/convert_classification.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"

namespace prefixd {
namespace {

constexpr char kTextPlace[] = "{text}";

Normalization ConvertNormalization(v1::Normalization value, Violations* violations) {
  switch (value) {
    case v1::NORMALIZATION_UNSPECIFIED:
    case v1::NORMALIZATION_MEAN:
      return Normalization::kMean;
    case v1::NORMALIZATION_SUM:
      return Normalization::kSum;
    case v1::NORMALIZATION_CHARS:
      return Normalization::kChars;
    case v1::NORMALIZATION_PMI:
      return Normalization::kPmi;
    default:
      violations->Add(reason::kParameterOutOfRange, "normalization",
                      absl::StrCat(static_cast<int>(value), " is not a value"));
      return Normalization::kMean;
  }
}

ClassQuery ConvertQuery(v1::ClassQuery* message, InputConverter* converter,
                        Violations* violations) {
  ClassQuery query;
  if (!message->has_image() && message->text().empty()) {
    violations->Add(reason::kInputInvalid, "query", "there is neither an image nor a text");
  }
  if (message->has_image()) {
    query.image = converter->Image(message->mutable_image(), "query.image");
  }
  query.text = converter->Text(message->mutable_text());
  return query;
}

std::variant<ClassQuery, Input> ConvertContext(v1::ClassifyRequest* message,
                                               InputConverter* converter, Violations* violations) {
  switch (message->context_case()) {
    case v1::ClassifyRequest::kQuery:
      return ConvertQuery(message->mutable_query(), converter, violations);
    case v1::ClassifyRequest::kChat:
      return Input(converter->Chat(message->mutable_chat()));
    case v1::ClassifyRequest::kPrompt:
      return Input(converter->Prompt(message->mutable_prompt()));
    case v1::ClassifyRequest::kTokens:
      return Input(converter->Tokens(message->mutable_tokens()));
    case v1::ClassifyRequest::CONTEXT_NOT_SET:
      break;
  }
  violations->Add(reason::kInputInvalid, "context",
                  "one of query, chat, prompt and tokens is required");
  return Input();
}

// Names of the request itself, with the prompt of its query.
void ConvertNames(v1::ClassNames* message, const ClassificationOptions& limits,
                  InputConverter* converter, ClassifyRequest* request, Violations* violations) {
  CheckClassNames("names.names", message->names(), limits, violations);
  if (violations->empty()) {
    request->names.assign(std::make_move_iterator(message->mutable_names()->begin()),
                          std::make_move_iterator(message->mutable_names()->end()));
    request->top_k = std::min(request->top_k, static_cast<int32_t>(request->names.size()));
  }
  const auto* query = std::get_if<ClassQuery>(&request->context);
  if (query == nullptr) {
    if (message->has_prompt()) {
      violations->Add(reason::kInputInvalid, "names.prompt", "only a query is put into a prompt");
    }
    return;
  }
  request->prompt = ConvertClassPrompt(message->has_prompt() ? message->mutable_prompt() : nullptr,
                                       "names.prompt", converter, violations);
  CheckTextHasPlace("query.text", query->text, request->prompt->question, violations);
}

void ConvertClasses(v1::ClassifyRequest* message, const ClassificationOptions& limits,
                    InputConverter* converter, ClassifyRequest* request, Violations* violations) {
  switch (message->classes_case()) {
    case v1::ClassifyRequest::kClassSet:
      CheckClassSetName("class_set", message->class_set(), violations);
      request->class_set = std::move(*message->mutable_class_set());
      return;
    case v1::ClassifyRequest::kNames:
      return ConvertNames(message->mutable_names(), limits, converter, request, violations);
    case v1::ClassifyRequest::CLASSES_NOT_SET:
      violations->Add(reason::kInputInvalid, "classes", "one of class_set and names is required");
  }
}

// What comes back, and how it is made.
void ConvertRanking(const v1::ClassifyRequest& message, ClassifyRequest* request,
                    Violations* violations) {
  request->normalization = ConvertNormalization(message.normalization(), violations);
  request->score_end = message.score_end();
  if (message.has_top_k()) {
    violations->CheckRange("top_k", message.top_k(), 1, INT32_MAX);
    request->top_k = message.top_k();
  }
  request->all_scores = message.all_scores();
  request->probabilities = !message.skip_probabilities();
  if (message.has_temperature()) {
    request->temperature = message.temperature();
    if (!(request->temperature > 0 && request->temperature <= kMaxTemperature)) {
      const std::string range = absl::StrCat("(0, ", kMaxTemperature, "]");
      violations->Add(reason::kParameterOutOfRange, "temperature",
                      absl::StrCat(request->temperature, " is outside the range ", range),
                      {{"value", absl::StrCat(request->temperature)}, {"range", range}});
    }
  }
  request->seed = message.seed();
}

void ConvertEnsemble(const v1::ClassifyRequest& message, ClassifyRequest* request,
                     Violations* violations) {
  if (!message.has_ensemble()) return;
  violations->CheckRange("ensemble", message.ensemble(), 1, kMaxEnsemble);
  request->ensemble = message.ensemble();
  if (request->ensemble <= 1) return;
  if (message.has_names()) {
    violations->Add(reason::kInputInvalid, "ensemble",
                    "the names of a request have no demonstrations to put into other orders");
  } else if (!message.has_query()) {
    violations->Add(reason::kInputInvalid, "ensemble",
                    "only a query stands behind the demonstrations of a set");
  }
}

}  // namespace

void CheckClassNames(absl::string_view field,
                     const google::protobuf::RepeatedPtrField<std::string>& names,
                     const ClassificationOptions& limits, Violations* violations) {
  if (names.size() < kMinClassNames) {
    violations->Add(reason::kParameterOutOfRange, std::string(field),
                    absl::StrCat(names.size(), " names, at least ", kMinClassNames, " are needed"),
                    {{"value", absl::StrCat(names.size())}});
  }
  violations->CheckCount(field, "names", static_cast<uint64_t>(names.size()),
                         static_cast<uint64_t>(limits.max_names));
  if (names.size() > limits.max_names) return;
  for (int i = 0; i < names.size(); ++i) {
    CheckClassName(absl::StrCat(field, "[", i, "]"), names[i], limits, violations);
  }
}

void CheckClassName(const std::string& field, const std::string& name,
                    const ClassificationOptions& limits, Violations* violations) {
  if (name.empty()) violations->Add(reason::kInputInvalid, field, "the text is empty");
  if (name.find('\0') != std::string::npos) {
    violations->Add(reason::kInputInvalid, field, "there is a NUL byte in the text");
  }
  violations->CheckCount(field, "bytes", name.size(), static_cast<uint64_t>(limits.max_name_bytes));
}

ClassPrompt ConvertClassPrompt(v1::ClassPrompt* message, const std::string& path,
                               InputConverter* converter, Violations* violations) {
  ClassPrompt prompt{.question = kTextPlace};
  if (message == nullptr) return prompt;
  prompt.plain = message->plain();
  prompt.system = converter->Text(message->mutable_system());
  if (!prompt.system.empty()) {
    if (prompt.plain) {
      violations->Add(reason::kInputInvalid, absl::StrCat(path, ".system"),
                      "a plain prompt has no system message");
    } else {
      converter->RequireChatTemplate();
    }
  }
  if (!message->question().empty()) prompt.question = converter->Text(message->mutable_question());
  if (message->has_separator()) prompt.separator = converter->Text(message->mutable_separator());
  return prompt;
}

void CheckTextHasPlace(const std::string& field, const std::string& text,
                       const std::string& question, Violations* violations) {
  if (text.empty() || absl::StrContains(question, kTextPlace)) return;
  violations->Add(reason::kInputInvalid, field,
                  absl::StrCat("the question has no ", kTextPlace, " to put it"));
}

absl::StatusOr<ClassifyRequest> ConvertClassifyRequest(v1::ClassifyRequest message,
                                                       const EngineModelInfo& model,
                                                       const RequestLimits& limits) {
  Violations violations;
  InputConverter converter(model, limits, &violations);
  PREFIXD_RETURN_IF_ERROR(CheckModelName("model", message.model(), model, &violations));
  ClassifyRequest request;
  ConvertScoringFields(&message, &request, &violations);
  ConvertRanking(message, &request, &violations);
  ConvertEnsemble(message, &request, &violations);
  if (message.has_label_prefix()) {
    violations.CheckCount("label_prefix", "bytes", message.label_prefix().size(),
                          kMaxLabelPrefixBytes);
    request.label_prefix = std::move(*message.mutable_label_prefix());
  }
  request.context = ConvertContext(&message, &converter, &violations);
  ConvertClasses(&message, limits.classification, &converter, &request, &violations);
  PREFIXD_RETURN_IF_ERROR(converter.Finish());
  PREFIXD_RETURN_IF_ERROR(violations.ToStatus());
  return request;
}

}  // namespace prefixd
