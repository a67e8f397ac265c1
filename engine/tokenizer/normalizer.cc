#include "engine/tokenizer/normalizer.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "engine/tokenizer/unicode.h"

namespace prefixd {
namespace {

void Append(TracedText* to, absl::string_view text, int32_t owner) {
  to->text.append(text.data(), text.size());
  to->owner.resize(to->text.size(), owner);
}

void AppendSlice(TracedText* to, const TracedText& from, size_t begin, size_t end) {
  to->text.append(from.text, begin, end - begin);
  to->owner.insert(to->owner.end(), from.owner.begin() + static_cast<ptrdiff_t>(begin),
                   from.owner.begin() + static_cast<ptrdiff_t>(end));
}

TracedText Prepended(const TracedText& text, const std::string& content) {
  if (text.text.empty()) return text;
  TracedText result;
  Append(&result, content, text.owner[0]);
  AppendSlice(&result, text, 0, text.text.size());
  return result;
}

TracedText Replaced(const TracedText& text, const std::string& pattern,
                    const std::string& content) {
  TracedText result;
  size_t begin = 0;
  while (true) {
    const size_t found = text.text.find(pattern, begin);
    if (found == std::string::npos) break;
    AppendSlice(&result, text, begin, found);
    begin = found + pattern.size();
    Append(&result, content, text.OwnerOf(found, begin));
  }
  AppendSlice(&result, text, begin, text.text.size());
  return result;
}

// No spaces at the ends, single ones between.
TracedText Collapsed(const TracedText& text) {
  TracedText result;
  for (size_t i = 0; i < text.text.size(); ++i) {
    const bool first = result.text.empty() || result.text.back() == ' ';
    if (text.text[i] != ' ' || !first) AppendSlice(&result, text, i, i + 1);
  }
  if (!result.text.empty() && result.text.back() == ' ') {
    result = result.Slice(0, result.text.size() - 1);
  }
  return result;
}

TracedText StrippedRight(const TracedText& text, absl::string_view mark) {
  absl::string_view rest = text.text;
  while (absl::ConsumeSuffix(&rest, mark)) {
  }
  return text.Slice(0, rest.size());
}

// Composes stretch by stretch; nothing composes across the front of an ASCII character.
TracedText Composed(const TracedText& text) {
  TracedText result;
  for (size_t begin = 0; begin < text.text.size();) {
    size_t end = begin + 1;
    while (end < text.text.size() && static_cast<uint8_t>(text.text[end]) >= 0x80) ++end;
    if (end == begin + 1 && static_cast<uint8_t>(text.text[begin]) < 0x80) {
      AppendSlice(&result, text, begin, end);
    } else {
      const absl::string_view stretch(text.text.data() + begin, end - begin);
      Append(&result, ComposeNfc(stretch), text.OwnerOf(begin, end));
    }
    begin = end;
  }
  return result;
}

}  // namespace

absl::StatusOr<std::string> ReadStringPattern(const JsonField& pattern) {
  if (pattern["String"].is_null()) return pattern.Unsupported("a pattern other than String");
  PREFIXD_ASSIGN_OR_RETURN(std::string text, pattern["String"].String());
  if (text.empty()) return pattern["String"].Invalid("the pattern is empty");
  return text;
}

absl::StatusOr<Normalizer> Normalizer::Create(const JsonField& field) {
  Normalizer normalizer;
  if (!field.is_null()) PREFIXD_RETURN_IF_ERROR(normalizer.AddSteps(field));
  return normalizer;
}

Normalizer Normalizer::ForSpaces(const Spaces& spaces) {
  const std::string mark(spaces.escape ? "\xE2\x96\x81" : " ");
  Normalizer normalizer;
  std::vector<Step>& steps = normalizer.steps_;
  if (spaces.remove_extra) steps.push_back({Kind::kCollapseSpaces, "", ""});
  if (spaces.add_dummy_prefix) steps.push_back({Kind::kPrepend, "", mark});
  if (spaces.escape) steps.push_back({Kind::kReplace, " ", mark});
  // Last: a mark that the text itself ends in goes, too.
  if (spaces.remove_extra) steps.push_back({Kind::kStripRight, mark, ""});
  return normalizer;
}

absl::Status Normalizer::AddSteps(const JsonField& field) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string type, field["type"].String());
  if (type == "Sequence") {
    const JsonField list = field["normalizers"];
    PREFIXD_ASSIGN_OR_RETURN(const size_t count, list.ArraySize());
    for (size_t i = 0; i < count; ++i) PREFIXD_RETURN_IF_ERROR(AddSteps(list.At(i)));
    return absl::OkStatus();
  }
  Step step;
  if (type == "Prepend") {
    step.kind = Kind::kPrepend;
    PREFIXD_ASSIGN_OR_RETURN(step.content, field["prepend"].String());
  } else if (type == "Replace") {
    step.kind = Kind::kReplace;
    PREFIXD_ASSIGN_OR_RETURN(step.pattern, ReadStringPattern(field["pattern"]));
    PREFIXD_ASSIGN_OR_RETURN(step.content, field["content"].String());
  } else if (type != "NFC") {
    return field["type"].Unsupported(absl::StrCat("normalizer `", type, "`"));
  }
  // A text grows at most by the content for every byte of it.
  if (step.content.size() > 16) return field.Unsupported("content of more than 16 bytes");
  if (steps_.size() == 64) return field.Invalid("more than 64 normalizers");
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

TracedText Normalizer::Apply(TracedText text) const {
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Kind::kPrepend:
        text = Prepended(text, step.content);
        break;
      case Kind::kReplace:
        text = Replaced(text, step.pattern, step.content);
        break;
      case Kind::kNfc:
        text = Composed(text);
        break;
      case Kind::kCollapseSpaces:
        text = Collapsed(text);
        break;
      case Kind::kStripRight:
        text = StrippedRight(text, step.pattern);
        break;
    }
  }
  return text;
}

}  // namespace prefixd
