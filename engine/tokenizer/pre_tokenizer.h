// The pre-tokenizer chain of tokenizer.json: Sequence, ByteLevel, Split by a known regex or a
// string, Digits, Metaspace. Every stage splits the pieces of the one before. Immutable after
// Create; safe from any thread.
#ifndef PREFIXD_ENGINE_TOKENIZER_PRE_TOKENIZER_H_
#define PREFIXD_ENGINE_TOKENIZER_PRE_TOKENIZER_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tokenizer/json_fields.h"
#include "engine/tokenizer/word_pattern.h"

namespace prefixd {

class PreTokenizer {
 public:
  // One word.
  PreTokenizer() = default;

  // Reads the `pre_tokenizer` member; null is one word. Errors: UNIMPLEMENTED naming the type or
  // the regex.
  static absl::StatusOr<PreTokenizer> Create(const JsonField& field);

  // The words of a piece; none is empty. `begins_text`: the piece starts the whole text.
  // Requires: `piece` is valid UTF-8.
  std::vector<std::string> Split(absl::string_view piece, bool begins_text) const;

 private:
  enum class Kind { kByteLevel, kSplit, kDigits, kMetaspace };
  enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
  enum class Prepend { kAlways, kFirst, kNever };
  struct Step {
    Kind kind = Kind::kByteLevel;
    bool add_prefix_space = false;       // ByteLevel.
    std::optional<WordPattern> pattern;  // ByteLevel, Split.
    std::string delimiter;               // Split by a string; Metaspace: the replacement.
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;
    bool individual_digits = false;
    Prepend prepend = Prepend::kAlways;
    bool split = true;  // Metaspace.
  };
  // A stretch of the piece; `is_match`: a delimiter.
  struct Stretch {
    size_t begin = 0;
    size_t end = 0;
    bool is_match = false;
  };

  absl::Status AddSteps(const JsonField& field);
  static absl::StatusOr<Step> ReadByteLevel(const JsonField& field);
  static absl::StatusOr<Step> ReadSplit(const JsonField& field);
  static absl::StatusOr<Step> ReadMetaspace(const JsonField& field);

  static std::vector<std::string> Run(const Step& step, std::string piece, bool begins_text);
  static std::vector<Stretch> Words(WordPattern pattern, absl::string_view piece);
  static std::vector<Stretch> Delimiters(absl::string_view delimiter, absl::string_view piece);
  static std::vector<Stretch> Digits(absl::string_view piece);
  static std::vector<std::string> Cut(absl::string_view piece, std::vector<Stretch> stretches,
                                      Behavior behavior);

  std::vector<Step> steps_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TOKENIZER_PRE_TOKENIZER_H_
