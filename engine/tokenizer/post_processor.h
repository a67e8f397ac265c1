// The ids that are put around an encoded text: TemplateProcessing of tokenizer.json. Immutable
// after Create; safe from any thread.
#ifndef PREFIXD_ENGINE_TOKENIZER_POST_PROCESSOR_H_
#define PREFIXD_ENGINE_TOKENIZER_POST_PROCESSOR_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tokenizer/json_fields.h"

namespace prefixd {

class PostProcessor {
 public:
  using TokenLookup = std::function<std::optional<int32_t>(absl::string_view)>;

  // Adds nothing.
  PostProcessor() = default;

  // Reads the `post_processor` member; null adds nothing. Errors: INVALID_ARGUMENT for a template
  // that names an absent special token, UNIMPLEMENTED naming the type.
  static absl::StatusOr<PostProcessor> Create(const JsonField& field, const TokenLookup& lookup);

  // What tokenizer_config.json's add_bos_token and add_eos_token ask for.
  void SetBos(int32_t id, bool add);
  void SetEos(int32_t id, bool add);

  const std::vector<int32_t>& prefix() const { return prefix_; }
  const std::vector<int32_t>& suffix() const { return suffix_; }

 private:
  absl::Status Add(const JsonField& field, const TokenLookup& lookup);
  absl::Status ReadTemplate(const JsonField& field, const TokenLookup& lookup);

  std::vector<int32_t> prefix_;
  std::vector<int32_t> suffix_;
  bool has_template_ = false;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_POST_PROCESSOR_H_
