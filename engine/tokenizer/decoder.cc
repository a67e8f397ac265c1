#include "engine/tokenizer/decoder.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"
#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/unicode.h"

namespace prefixd {
namespace {

constexpr char kMetaspaceMark[] = "\xE2\x96\x81";  // U+2581.

std::optional<uint8_t> ParseByteToken(absl::string_view token) {
  if (token.size() != 6 || !absl::StartsWith(token, "<0x") || token[5] != '>') return std::nullopt;
  uint8_t byte = 0;
  for (const char c : token.substr(3, 2)) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return std::nullopt;
    const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
    byte = static_cast<uint8_t>(byte << 4 | digit);
  }
  return byte;
}

// A run of byte tokens is one string if it is valid as a whole, else one U+FFFD a byte.
std::vector<std::string> JoinByteTokens(std::vector<std::string> tokens) {
  std::vector<std::string> joined;
  std::string run;
  const auto flush = [&] {
    if (run.empty()) return;
    if (IsValidUtf8(run)) {
      joined.push_back(run);
    } else {
      joined.insert(joined.end(), run.size(), kReplacementCharacter);
    }
    run.clear();
  };
  for (std::string& token : tokens) {
    if (const std::optional<uint8_t> byte = ParseByteToken(token)) {
      run.push_back(static_cast<char>(*byte));
    } else {
      flush();
      joined.push_back(std::move(token));
    }
  }
  flush();
  return joined;
}

std::string BytesOfAll(const std::vector<std::string>& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) bytes += FromByteLevel(token);
  return bytes;
}

}  // namespace

absl::StatusOr<Decoder> Decoder::Create(const JsonField& field) {
  if (field.is_null()) return field.Unsupported("a tokenizer without decoder");
  Decoder decoder;
  PREFIXD_RETURN_IF_ERROR(decoder.AddSteps(field));
  PREFIXD_RETURN_IF_ERROR(decoder.CheckChain(field));
  return decoder;
}

absl::Status Decoder::AddSteps(const JsonField& field) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string type, field["type"].String());
  if (type == "Sequence") {
    const JsonField list = field["decoders"];
    PREFIXD_ASSIGN_OR_RETURN(const size_t count, list.ArraySize());
    for (size_t i = 0; i < count; ++i) PREFIXD_RETURN_IF_ERROR(AddSteps(list.At(i)));
    return absl::OkStatus();
  }
  Step step;
  if (type == "ByteLevel") {
    step.kind = Kind::kByteLevel;
  } else if (type == "Replace") {
    step.kind = Kind::kReplace;
    PREFIXD_ASSIGN_OR_RETURN(step.pattern, ReadStringPattern(field["pattern"]));
    PREFIXD_ASSIGN_OR_RETURN(step.content, field["content"].String());
  } else if (type == "ByteFallback") {
    step.kind = Kind::kByteFallback;
  } else if (type == "Strip") {
    PREFIXD_RETURN_IF_ERROR(CheckStrip(field));
    step.kind = Kind::kStripLeft;
  } else if (type == "Metaspace") {
    step.kind = Kind::kMetaspace;
    PREFIXD_ASSIGN_OR_RETURN(step.pattern, field["replacement"].StringOr(kMetaspaceMark));
    if (step.pattern != kMetaspaceMark) return field["replacement"].Unsupported(step.pattern);
    PREFIXD_ASSIGN_OR_RETURN(const bool prefix, field["add_prefix_space"].BoolOr(true));
    PREFIXD_ASSIGN_OR_RETURN(const std::string scheme,
                             field["prepend_scheme"].StringOr(prefix ? "always" : "never"));
    step.drops_leading_mark = scheme != "never";
  } else if (type != "Fuse") {
    return field["type"].Unsupported(absl::StrCat("decoder `", type, "`"));
  }
  if (steps_.size() == 64) return field.Invalid("more than 64 decoders");
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::Status Decoder::CheckStrip(const JsonField& field) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string content, field["content"].String());
  if (content != " ") return field["content"].Unsupported("other than a space");
  if (field["start"].value() != 1) return field["start"].Unsupported("other than 1");
  if (field["stop"].value() != 0) return field["stop"].Unsupported("other than 0");
  return absl::OkStatus();
}

absl::Status Decoder::CheckChain(const JsonField& field) {
  bool fused = false;
  for (size_t i = 0; i < steps_.size(); ++i) {
    switch (steps_[i].kind) {
      case Kind::kByteLevel:
        if (steps_.size() > 1) return field.Unsupported("ByteLevel beside other decoders");
        byte_level_ = true;
        break;
      case Kind::kByteFallback:
        if (fused) return field.Unsupported("ByteFallback after Fuse");
        byte_fallback_ = true;
        break;
      case Kind::kFuse:
        fused = true;
        break;
      case Kind::kStripLeft:
        if (!fused) return field.Unsupported("Strip before Fuse");
        if (i + 1 < steps_.size()) return field.Unsupported("a decoder after Strip");
        strips_leading_space_ = true;
        break;
      case Kind::kReplace:
        if (fused || byte_fallback_) return field.Unsupported("Replace after ByteFallback or Fuse");
        break;
      case Kind::kMetaspace:
        if (i > 0) return field.Unsupported("Metaspace after another decoder");
        strips_leading_space_ = steps_[i].drops_leading_mark;
        break;
    }
  }
  return absl::OkStatus();
}

std::string Decoder::Decode(std::vector<std::string> tokens) const {
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Kind::kByteLevel:
        tokens = {DecodeUtf8Lossily(BytesOfAll(tokens))};
        break;
      case Kind::kReplace:
        for (std::string& token : tokens) {
          token = absl::StrReplaceAll(token, {{step.pattern, step.content}});
        }
        break;
      case Kind::kByteFallback:
        tokens = JoinByteTokens(std::move(tokens));
        break;
      case Kind::kFuse:
        tokens = {absl::StrJoin(tokens, "")};
        break;
      case Kind::kStripLeft:
        for (std::string& token : tokens) {
          if (absl::StartsWith(token, " ")) token.erase(0, 1);
        }
        break;
      case Kind::kMetaspace:
        for (size_t i = 0; i < tokens.size(); ++i) {
          const bool drop = i == 0 && step.drops_leading_mark;
          tokens[i] = absl::StrReplaceAll(tokens[i], {{step.pattern, drop ? "" : " "}});
        }
        break;
    }
  }
  return absl::StrJoin(tokens, "");
}

std::string Decoder::TokenBytes(const std::string& token) const {
  if (byte_level_) return FromByteLevel(token);
  if (const std::optional<uint8_t> byte = FallbackByte(token)) {
    return std::string(1, static_cast<char>(*byte));
  }
  std::string text = token;
  for (const Step& step : steps_) {
    if (step.kind == Kind::kReplace) {
      text = absl::StrReplaceAll(text, {{step.pattern, step.content}});
    } else if (step.kind == Kind::kMetaspace) {
      text = absl::StrReplaceAll(text, {{step.pattern, " "}});
    }
  }
  return text;
}

std::optional<uint8_t> Decoder::FallbackByte(absl::string_view token) const {
  return byte_fallback_ ? ParseByteToken(token) : std::nullopt;
}

}  // namespace prefixd
