#include "engine/prompt/template/lexer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/template/characters.h"
#include "engine/prompt/template/string_literal.h"
#include "engine/tokenizer/unicode.h"

namespace prefixd::jinja {
namespace {

using TokenKind = Token::Kind;

constexpr absl::string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                            "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                            ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

// CR LF and CR become LF; one newline at the end goes.
std::string NormalizeNewlines(absl::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out.push_back(source[i]);
      continue;
    }
    out.push_back('\n');
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(absl::string_view source) : source_(source) {}

  absl::StatusOr<std::vector<Token>> Run();

 private:
  bool AtEnd() const { return position_ == source_.size(); }
  absl::string_view Rest() const { return source_.substr(position_); }
  void Advance(size_t bytes);
  void SkipSpace();
  void Add(TokenKind kind, absl::string_view text) {
    tokens_.push_back({kind, std::string(text), line_});
  }

  absl::Status LexRoot();
  // Adds the text up to the tag that begins at `begin` and steps over the tag's first characters.
  void LexData(size_t begin);
  absl::Status SkipComment();
  absl::StatusOr<bool> LexRaw();
  absl::Status LexTag(bool block);
  bool LexTagEnd(bool block);
  absl::Status LexToken();
  absl::Status LexNumber();
  absl::Status LexString();
  absl::Status LexOperator();
  absl::Status Malformed(absl::string_view problem) const {
    return SyntaxError(absl::StatusCode::kInvalidArgument, line_, problem);
  }

  const absl::string_view source_;
  size_t position_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // What was consumed last ended a line.
  std::vector<char> open_;     // Brackets that wait for these.
  std::vector<Token> tokens_;
};

void Lexer::Advance(size_t bytes) {
  const absl::string_view passed = source_.substr(position_, bytes);
  line_ += static_cast<int>(std::count(passed.begin(), passed.end(), '\n'));
  if (!passed.empty()) line_starting_ = passed.back() == '\n';
  position_ += bytes;
}

void Lexer::SkipSpace() { Advance(Strip(Rest(), nullptr, /*left=*/true, /*right=*/false).begin); }

absl::StatusOr<std::vector<Token>> Lexer::Run() {
  while (!AtEnd()) PREFIXD_RETURN_IF_ERROR(LexRoot());
  Add(TokenKind::kEnd, "");
  return std::move(tokens_);
}

absl::Status Lexer::LexRoot() {
  size_t begin = position_;
  for (;; ++begin) {
    begin = source_.find('{', begin);
    if (begin == absl::string_view::npos || begin + 1 >= source_.size()) {
      Add(TokenKind::kData, Rest());
      Advance(source_.size() - position_);
      return absl::OkStatus();
    }
    if (absl::string_view("%{#").find(source_[begin + 1]) != absl::string_view::npos) break;
  }
  const char kind = source_[begin + 1];
  LexData(begin);
  if (kind == '#') return SkipComment();
  if (kind == '%') {
    PREFIXD_ASSIGN_OR_RETURN(const bool raw, LexRaw());
    if (raw) return absl::OkStatus();
  }
  Add(kind == '%' ? TokenKind::kBlockBegin : TokenKind::kPrintBegin, "");
  return LexTag(kind == '%');
}

void Lexer::LexData(size_t begin) {
  absl::string_view data = source_.substr(position_, begin - position_);
  const char sign = begin + 2 < source_.size() ? source_[begin + 2] : '\0';
  if (sign == '-') {
    data = data.substr(0, Strip(data, nullptr, /*left=*/false, /*right=*/true).end);
  } else if (sign != '+' && source_[begin + 1] != '{') {
    const size_t newline = data.rfind('\n');
    const size_t line = newline == absl::string_view::npos ? 0 : newline + 1;
    const bool whole_line = line > 0 || line_starting_;
    const absl::string_view indent = data.substr(line);
    if (whole_line && Strip(indent, nullptr, true, false).begin == indent.size()) {
      data = data.substr(0, line);
    }
  }
  if (!data.empty()) Add(TokenKind::kData, data);
  Advance(begin + (sign == '-' || sign == '+' ? 3 : 2) - position_);
}

absl::Status Lexer::SkipComment() {
  const size_t end = source_.find("#}", position_);
  if (end == absl::string_view::npos) return Malformed("a comment without end");
  const char sign = end > position_ ? source_[end - 1] : '\0';
  Advance(end + 2 - position_);
  if (sign == '-') {
    SkipSpace();
  } else if (sign != '+' && absl::StartsWith(Rest(), "\n")) {
    Advance(1);
  }
  return absl::OkStatus();
}

// {% raw %} ... {% endraw %}: what is between is text.
absl::StatusOr<bool> Lexer::LexRaw() {
  const auto space = [&](size_t from) {
    return from + Strip(source_.substr(from), nullptr, true, false).begin;
  };
  const auto word = [&](size_t from, absl::string_view expected) {
    return absl::StartsWith(source_.substr(from), expected);
  };
  size_t at = space(position_);
  if (!word(at, "raw")) return false;
  at = space(at + 3);
  if (word(at, "-%}")) {
    at = space(at + 3);
  } else if (word(at, "%}")) {
    at += 2;
  } else {
    return false;
  }
  Advance(at - position_);
  for (size_t begin = source_.find("{%", position_); begin != absl::string_view::npos;
       begin = source_.find("{%", begin + 2)) {
    size_t end = begin + 2;
    if (end < source_.size() && (source_[end] == '-' || source_[end] == '+')) ++end;
    end = space(end);
    if (!word(end, "endraw")) continue;
    end = space(end + 6);
    const bool keep = word(end, "+%}");
    const bool strip = word(end, "-%}");
    if (!keep && !strip && !word(end, "%}")) continue;
    LexData(begin);
    end += keep || strip ? 3 : 2;
    if (strip) end = space(end);
    if (!keep && !strip && word(end, "\n")) ++end;
    Advance(end - position_);
    return true;
  }
  return Malformed("{% raw %} without end");
}

absl::Status Lexer::LexTag(bool block) {
  open_.clear();
  while (true) {
    if (open_.empty() && LexTagEnd(block)) return absl::OkStatus();
    SkipSpace();
    if (AtEnd()) return Malformed(block ? "{% without %}" : "{{ without }}");
    if (open_.empty() && LexTagEnd(block)) return absl::OkStatus();
    PREFIXD_RETURN_IF_ERROR(LexToken());
  }
}

bool Lexer::LexTagEnd(bool block) {
  const absl::string_view end = block ? "%}" : "}}";
  const char sign = AtEnd() ? '\0' : source_[position_];
  const bool strip = sign == '-' && absl::StartsWith(Rest().substr(1), end);
  const bool keep = block && sign == '+' && absl::StartsWith(Rest().substr(1), end);
  if (!strip && !keep && !absl::StartsWith(Rest(), end)) return false;
  Add(block ? TokenKind::kBlockEnd : TokenKind::kPrintEnd, "");
  Advance(strip || keep ? 3 : 2);
  if (strip) {
    SkipSpace();
  } else if (block && !keep && absl::StartsWith(Rest(), "\n")) {
    Advance(1);
  }
  return true;
}

absl::Status Lexer::LexToken() {
  const char c = source_[position_];
  if (absl::ascii_isdigit(static_cast<unsigned char>(c))) return LexNumber();
  if (c == '\'' || c == '"') return LexString();
  size_t end = position_;
  while (end < source_.size()) {
    const Character character = CharacterAt(source_, end);
    if (!IsWord(character.code_point)) break;
    end += character.num_bytes;
  }
  if (end == position_) return LexOperator();
  Add(TokenKind::kName, source_.substr(position_, end - position_));
  Advance(end - position_);
  return absl::OkStatus();
}

absl::Status Lexer::LexNumber() {
  const auto digit = [&](size_t i) {
    return i < source_.size() && absl::ascii_isdigit(static_cast<unsigned char>(source_[i]));
  };
  const auto digits = [&](size_t i) {
    while (digit(i) || (i < source_.size() && source_[i] == '_' && digit(i + 1))) ++i;
    return i;
  };
  if (source_[position_] == '0' && position_ + 1 < source_.size() &&
      absl::string_view("xXoObB").find(source_[position_ + 1]) != absl::string_view::npos) {
    return SyntaxError(absl::StatusCode::kUnimplemented, line_, "a number that is not decimal");
  }
  size_t end = digits(position_);
  const size_t whole_end = end;
  // A number after a dot is an index (x.0.1), never a fraction.
  const bool index = position_ > 0 && source_[position_ - 1] == '.';
  if (!index && end < source_.size() && source_[end] == '.' && digit(end + 1)) {
    end = digits(end + 1);
  }
  if (!index && end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
    size_t exponent = end + 1;
    if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-')) {
      ++exponent;
    }
    if (digit(exponent)) end = digits(exponent);
  }
  std::string text(source_.substr(position_, end - position_));
  text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
  if (end == whole_end && text.size() > 1 && text[0] == '0' &&
      text.find_first_not_of('0') != std::string::npos) {
    return Malformed("a number that begins with 0");
  }
  Add(end == whole_end ? TokenKind::kInteger : TokenKind::kFloat, text);
  Advance(end - position_);
  return absl::OkStatus();
}

absl::Status Lexer::LexString() {
  const char quote = source_[position_];
  size_t end = position_ + 1;
  while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
  if (end >= source_.size()) return Malformed("a string without end");
  absl::StatusOr<std::string> value =
      UnescapeString(source_.substr(position_ + 1, end - position_ - 1));
  if (!value.ok()) return SyntaxError(value.status().code(), line_, value.status().message());
  Add(TokenKind::kString, *value);
  Advance(end + 1 - position_);
  return absl::OkStatus();
}

absl::Status Lexer::LexOperator() {
  for (const absl::string_view op : kOperators) {
    if (!absl::StartsWith(Rest(), op)) continue;
    const char c = op[0];
    if (c == '(' || c == '[' || c == '{') {
      open_.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    } else if (c == ')' || c == ']' || c == '}') {
      if (open_.empty() || open_.back() != c)
        return Malformed(absl::StrCat("unexpected '", op, "'"));
      open_.pop_back();
    }
    Add(TokenKind::kOperator, op);
    Advance(op.size());
    return absl::OkStatus();
  }
  const Character c = CharacterAt(source_, position_);
  return Malformed(absl::StrCat("unexpected '", source_.substr(position_, c.num_bytes), "'"));
}

}  // namespace

absl::Status SyntaxError(absl::StatusCode code, int line, absl::string_view problem) {
  return absl::Status(code, absl::StrCat("line ", line, ": ", problem));
}

absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source) {
  const std::string normalized = NormalizeNewlines(source);
  return Lexer(normalized).Run();
}

}  // namespace prefixd::jinja
