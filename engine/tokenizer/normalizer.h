// The normalizer chain of tokenizer.json: Sequence, Prepend, Replace of a string, NFC. Immutable
// after Create; safe from any thread.
#ifndef PREFIXD_ENGINE_TOKENIZER_NORMALIZER_H_
#define PREFIXD_ENGINE_TOKENIZER_NORMALIZER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/tokenizer/json_fields.h"
#include "engine/tokenizer/traced_text.h"

namespace prefixd {

class Normalizer {
 public:
  // An identity.
  Normalizer() = default;

  // Reads the `normalizer` member; null is the identity. Errors: UNIMPLEMENTED naming the type.
  static absl::StatusOr<Normalizer> Create(const JsonField& field);

  // What SentencePiece does apart from its character map.
  struct Spaces {
    bool add_dummy_prefix = true;  // One space before a text that is not empty.
    bool remove_extra = false;     // None at the ends, single ones between.
    bool escape = true;            // U+2581 for each.
  };
  static Normalizer ForSpaces(const Spaces& spaces);

  TracedText Apply(TracedText text) const;

 private:
  enum class Kind { kPrepend, kReplace, kNfc, kCollapseSpaces, kStripRight };
  struct Step {
    Kind kind = Kind::kNfc;
    std::string pattern;  // Replace, StripRight.
    std::string content;  // Prepend, Replace.
  };

  absl::Status AddSteps(const JsonField& field);

  std::vector<Step> steps_;
};

// Reads {"String": text}; a Regex is refused. Errors: INVALID_ARGUMENT if empty, UNIMPLEMENTED.
absl::StatusOr<std::string> ReadStringPattern(const JsonField& pattern);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_NORMALIZER_H_
