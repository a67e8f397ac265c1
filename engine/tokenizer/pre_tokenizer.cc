#include "engine/tokenizer/pre_tokenizer.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/unicode.h"

namespace prefixd {
namespace {

constexpr absl::string_view kMetaspace = "\xE2\x96\x81";  // U+2581.

absl::string_view View(const std::string& text) { return absl::string_view(text); }

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::Create(const JsonField& field) {
  PreTokenizer pre_tokenizer;
  if (!field.is_null()) PREFIXD_RETURN_IF_ERROR(pre_tokenizer.AddSteps(field));
  return pre_tokenizer;
}

absl::Status PreTokenizer::AddSteps(const JsonField& field) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string type, field["type"].String());
  if (type == "Sequence") {
    const JsonField list = field["pretokenizers"];
    PREFIXD_ASSIGN_OR_RETURN(const size_t count, list.ArraySize());
    for (size_t i = 0; i < count; ++i) PREFIXD_RETURN_IF_ERROR(AddSteps(list.At(i)));
    return absl::OkStatus();
  }
  Step step;
  if (type == "ByteLevel") {
    PREFIXD_ASSIGN_OR_RETURN(step, ReadByteLevel(field));
  } else if (type == "Split") {
    PREFIXD_ASSIGN_OR_RETURN(step, ReadSplit(field));
  } else if (type == "Digits") {
    step.kind = Kind::kDigits;
    PREFIXD_ASSIGN_OR_RETURN(step.individual_digits, field["individual_digits"].BoolOr(false));
  } else if (type == "Metaspace") {
    PREFIXD_ASSIGN_OR_RETURN(step, ReadMetaspace(field));
  } else {
    return field["type"].Unsupported(absl::StrCat("pre-tokenizer `", type, "`"));
  }
  if (steps_.size() == 64) return field.Invalid("more than 64 pre-tokenizers");
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::StatusOr<PreTokenizer::Step> PreTokenizer::ReadByteLevel(const JsonField& field) {
  Step step;
  step.kind = Kind::kByteLevel;
  PREFIXD_ASSIGN_OR_RETURN(step.add_prefix_space, field["add_prefix_space"].BoolOr(true));
  PREFIXD_ASSIGN_OR_RETURN(const bool use_regex, field["use_regex"].BoolOr(true));
  if (use_regex) step.pattern = WordPattern::kGpt2;
  return step;
}

absl::StatusOr<PreTokenizer::Step> PreTokenizer::ReadSplit(const JsonField& field) {
  Step step;
  step.kind = Kind::kSplit;
  const JsonField pattern = field["pattern"];
  if (pattern["Regex"].is_null()) {
    PREFIXD_ASSIGN_OR_RETURN(step.delimiter, ReadStringPattern(pattern));
  } else {
    PREFIXD_ASSIGN_OR_RETURN(const std::string regex, pattern["Regex"].String());
    step.pattern = FindWordPattern(regex);
    if (!step.pattern) {
      return pattern["Regex"].Unsupported(absl::StrCat("regex `", regex.substr(0, 200), "`"));
    }
  }
  PREFIXD_ASSIGN_OR_RETURN(step.invert, field["invert"].BoolOr(false));
  PREFIXD_ASSIGN_OR_RETURN(const std::string behavior, field["behavior"].String());
  constexpr std::pair<const char*, Behavior> kBehaviors[] = {
      {"Removed", Behavior::kRemoved},
      {"Isolated", Behavior::kIsolated},
      {"MergedWithPrevious", Behavior::kMergedWithPrevious},
      {"MergedWithNext", Behavior::kMergedWithNext},
      {"Contiguous", Behavior::kContiguous}};
  for (const auto& [name, value] : kBehaviors) {
    if (behavior != name) continue;
    step.behavior = value;
    return step;
  }
  return field["behavior"].Unsupported(absl::StrCat("behavior `", behavior, "`"));
}

absl::StatusOr<PreTokenizer::Step> PreTokenizer::ReadMetaspace(const JsonField& field) {
  Step step;
  step.kind = Kind::kMetaspace;
  PREFIXD_ASSIGN_OR_RETURN(step.delimiter, field["replacement"].StringOr(kMetaspace));
  if (View(step.delimiter) != kMetaspace) {
    return field["replacement"].Unsupported(absl::StrCat("\"", step.delimiter, "\""));
  }
  PREFIXD_ASSIGN_OR_RETURN(step.split, field["split"].BoolOr(true));
  PREFIXD_ASSIGN_OR_RETURN(const bool prefix, field["add_prefix_space"].BoolOr(true));
  PREFIXD_ASSIGN_OR_RETURN(const std::string scheme,
                           field["prepend_scheme"].StringOr(prefix ? "always" : "never"));
  if (scheme == "first") {
    step.prepend = Prepend::kFirst;
  } else if (scheme == "never") {
    step.prepend = Prepend::kNever;
  } else if (scheme != "always") {
    return field["prepend_scheme"].Unsupported(absl::StrCat("`", scheme, "`"));
  }
  return step;
}

std::vector<PreTokenizer::Stretch> PreTokenizer::Words(WordPattern pattern,
                                                       absl::string_view piece) {
  std::vector<Stretch> stretches;
  for (size_t begin = 0; begin < piece.size();) {
    const size_t end = WordEnd(pattern, piece, begin);
    stretches.push_back({begin, end, true});
    begin = end;
  }
  return stretches;
}

std::vector<PreTokenizer::Stretch> PreTokenizer::Delimiters(absl::string_view delimiter,
                                                            absl::string_view piece) {
  std::vector<Stretch> stretches;
  size_t begin = 0;
  while (true) {
    const size_t found = piece.find(delimiter, begin);
    const size_t end = found == absl::string_view::npos ? piece.size() : found;
    if (end > begin) stretches.push_back({begin, end, false});
    if (found == absl::string_view::npos) return stretches;
    begin = found + delimiter.size();
    stretches.push_back({found, begin, true});
  }
}

std::vector<PreTokenizer::Stretch> PreTokenizer::Digits(absl::string_view piece) {
  std::vector<Stretch> stretches;
  for (size_t i = 0; i < piece.size();) {
    const Character character = CharacterAt(piece, i);
    const size_t end = i + character.num_bytes;
    const bool numeric = IsNumber(character.code_point);
    if (!numeric && !stretches.empty() && !stretches.back().is_match) {
      stretches.back().end = end;
    } else {
      stretches.push_back({i, end, numeric});
    }
    i = end;
  }
  return stretches;
}

std::vector<std::string> PreTokenizer::Cut(absl::string_view piece, std::vector<Stretch> stretches,
                                           Behavior behavior) {
  std::vector<Stretch> kept;
  bool previous_was_match = false;
  for (const Stretch& stretch : stretches) {
    bool join = false;
    switch (behavior) {
      case Behavior::kRemoved:
      case Behavior::kIsolated:
        break;
      case Behavior::kContiguous:
        join = !kept.empty() && stretch.is_match == previous_was_match;
        break;
      case Behavior::kMergedWithPrevious:
        join = !kept.empty() && stretch.is_match && !previous_was_match;
        break;
      case Behavior::kMergedWithNext:
        join = !kept.empty() && !stretch.is_match && previous_was_match;
        break;
    }
    previous_was_match = stretch.is_match;
    if (behavior == Behavior::kRemoved && stretch.is_match) continue;
    if (join) {
      kept.back().end = stretch.end;
    } else {
      kept.push_back(stretch);
    }
  }
  std::vector<std::string> words;
  words.reserve(kept.size());
  for (const Stretch& word : kept) {
    words.emplace_back(piece.data() + word.begin, word.end - word.begin);
  }
  return words;
}

std::vector<std::string> PreTokenizer::Run(const Step& step, std::string piece, bool begins_text) {
  switch (step.kind) {
    case Kind::kByteLevel: {
      if (step.add_prefix_space && piece[0] != ' ') piece.insert(0, " ");
      if (!step.pattern || WordEnd(*step.pattern, piece, 0) == piece.size()) {
        return {ToByteLevel(piece)};
      }
      std::vector<std::string> words = Cut(piece, Words(*step.pattern, piece), Behavior::kIsolated);
      for (std::string& word : words) word = ToByteLevel(word);
      return words;
    }
    case Kind::kSplit: {
      std::vector<Stretch> stretches =
          step.pattern ? Words(*step.pattern, piece) : Delimiters(step.delimiter, piece);
      if (step.invert) {
        for (Stretch& stretch : stretches) stretch.is_match = !stretch.is_match;
      }
      return Cut(piece, std::move(stretches), step.behavior);
    }
    case Kind::kDigits:
      return Cut(piece, Digits(piece),
                 step.individual_digits ? Behavior::kIsolated : Behavior::kContiguous);
    case Kind::kMetaspace: {
      piece = absl::StrReplaceAll(piece, {{" ", step.delimiter}});
      const bool prepend =
          step.prepend == Prepend::kAlways || (step.prepend == Prepend::kFirst && begins_text);
      if (prepend && !absl::StartsWith(piece, step.delimiter)) piece.insert(0, step.delimiter);
      if (!step.split) return {std::move(piece)};
      return Cut(piece, Delimiters(step.delimiter, piece), Behavior::kMergedWithNext);
    }
  }
  return {};
}

std::vector<std::string> PreTokenizer::Split(absl::string_view piece, bool begins_text) const {
  std::vector<std::string> words;
  if (!piece.empty()) words.emplace_back(piece);
  for (const Step& step : steps_) {
    std::vector<std::string> next;
    for (size_t i = 0; i < words.size(); ++i) {
      for (std::string& word : Run(step, std::move(words[i]), begins_text && i == 0)) {
        next.push_back(std::move(word));
      }
    }
    words = std::move(next);
  }
  return words;
}

}  // namespace prefixd
