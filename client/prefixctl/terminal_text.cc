#include "client/prefixctl/terminal_text.h"

#include <utf8proc.h>

#include "absl/strings/str_cat.h"

namespace prefixd::ctl {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";

// Bytes of the character that starts with `lead`; 1 for a byte that starts none.
size_t CharacterBytes(unsigned char lead) {
  if (lead >= 0xF0 && lead <= 0xF4) return 4;
  if (lead >= 0xE0 && lead <= 0xEF) return 3;
  if (lead >= 0xC2 && lead <= 0xDF) return 2;
  return 1;
}

}  // namespace

std::string TerminalText::Add(absl::string_view text) {
  std::string out;
  partial_.append(text.data(), text.size());
  size_t at = 0;
  while (at < partial_.size()) {
    const size_t bytes = CharacterBytes(static_cast<unsigned char>(partial_[at]));
    if (at + bytes > partial_.size()) break;
    utf8proc_int32_t code = -1;
    const auto* const begin = reinterpret_cast<const utf8proc_uint8_t*>(partial_.data() + at);
    const bool valid = utf8proc_iterate(begin, static_cast<utf8proc_ssize_t>(bytes), &code) > 0;
    if (!valid) {
      AddCharacter(kReplacement, 1, &out);
      ++at;
      continue;
    }
    const bool control = code < 0x20 || (code >= 0x7F && code < 0xA0);
    if (!control || code == '\n' || code == '\t') {
      AddCharacter(absl::string_view(partial_).substr(at, bytes), utf8proc_charwidth(code), &out);
    }
    at += bytes;
  }
  partial_.erase(0, at);
  return out;
}

std::string TerminalText::Finish() {
  std::string out;
  if (!partial_.empty()) AddCharacter(kReplacement, 1, &out);
  partial_.clear();
  EndWord(&out);
  absl::StrAppend(&out, spaces_);
  spaces_.clear();
  return out;
}

void TerminalText::AddCharacter(absl::string_view bytes, int columns, std::string* out) {
  if (width_ == 0) {
    absl::StrAppend(out, bytes);
  } else if (bytes == "\n") {
    EndWord(out);
    spaces_.clear();
    absl::StrAppend(out, "\n");
    column_ = 0;
  } else if (bytes == " " || bytes == "\t") {
    EndWord(out);
    absl::StrAppend(&spaces_, bytes);
  } else {
    // Wide characters (Chinese, Japanese, Korean) may part anywhere.
    if (columns > 1 || word_columns_ + columns > width_) EndWord(out);
    absl::StrAppend(&word_, bytes);
    word_columns_ += columns;
    if (columns > 1) EndWord(out);
  }
}

void TerminalText::EndWord(std::string* out) {
  if (word_.empty()) return;
  const int spaces = static_cast<int>(spaces_.size());
  if (column_ > 0 && column_ + spaces + word_columns_ > width_) {
    absl::StrAppend(out, "\n", word_);
    column_ = word_columns_;
  } else {
    absl::StrAppend(out, spaces_, word_);
    column_ += spaces + word_columns_;
  }
  spaces_.clear();
  word_.clear();
  word_columns_ = 0;
}

}  // namespace prefixd::ctl
