#include "engine/prompt/chat_template.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "engine/error_reasons.h"
#include "engine/prompt/conversation_templates.h"
#include "engine/prompt/jinja_chat_template.h"
#include "engine/prompt/openflamingo_template.h"
#include "engine/prompt/paligemma_template.h"

namespace prefixd {
namespace {

struct Builtin {
  absl::string_view name;
  std::unique_ptr<const ChatTemplate> (*make)();
};

// One line a template.
constexpr Builtin kBuiltins[] = {
    {"chatml", MakeChatMlTemplate},
    {"demo", MakeDemoTemplate},
    {"llava_hf", MakeLlavaHfTemplate},
    {"llava_llama_2", MakeLlavaLlama2Template},
    {"llava_v0", MakeLlavaV0Template},
    {"llava_v1", MakeLlavaV1Template},
    {"mpt", MakeMptTemplate},
    {"openflamingo", MakeOpenFlamingoTemplate},
    {"paligemma", MakePaliGemmaTemplate},
    {"vicuna_v1", MakeVicunaV1Template},
};

}  // namespace

absl::StatusOr<std::unique_ptr<const ChatTemplate>> ChatTemplate::Find(
    absl::string_view template_text, const ChatTemplateOptions& options) {
  for (const Builtin& builtin : kBuiltins) {
    if (builtin.name == options.forced) return builtin.make();
  }
  if (!options.forced.empty()) {
    const std::string known = absl::StrJoin(
        kBuiltins, ", ",
        [](std::string* out, const Builtin& builtin) { absl::StrAppend(out, builtin.name); });
    return MakeError(
        absl::StatusCode::kFailedPrecondition, reason::kFeatureUnsupported,
        absl::StrCat("there is no chat template \"", options.forced, "\"; known: ", known));
  }
  if (template_text.empty()) {
    return MakeError(absl::StatusCode::kFailedPrecondition, reason::kFeatureUnsupported,
                     "the model has no chat template");
  }
  absl::StatusOr<std::unique_ptr<const JinjaChatTemplate>> chat =
      JinjaChatTemplate::Create(template_text, options);
  if (chat.ok()) return *std::move(chat);
  return MakeError(absl::StatusCode::kFailedPrecondition, reason::kFeatureUnsupported,
                   absl::StrCat("the model's chat template, ", chat.status().message()));
}

}  // namespace prefixd
