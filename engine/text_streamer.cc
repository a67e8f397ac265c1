#include "engine/text_streamer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace prefixd {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";  // U+FFFD.

struct Decoded {
  size_t size = 0;  // Bytes of the character, or of the maximal invalid subpart.
  bool valid = false;
  bool complete = true;  // False: more bytes could make a character.
};

// The character at the start of `bytes` (not empty); well-formed sequences as in Unicode, table
// 3-7.
Decoded DecodeOne(absl::string_view bytes) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  const uint8_t first = at(0);
  if (first < 0x80) return {.size = 1, .valid = true};
  size_t length = 0;
  uint8_t low = 0x80, high = 0xBF;  // Range of the second byte.
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  } else {
    return {.size = 1};
  }
  for (size_t i = 1; i < length; ++i) {
    if (i == bytes.size()) return {.size = i, .complete = false};
    if (at(i) < low || at(i) > high) return {.size = i};
    low = 0x80;
    high = 0xBF;
  }
  return {.size = length, .valid = true};
}

}  // namespace

TextStreamer::TextStreamer(const Tokenizer* tokenizer, Options options)
    : tokenizer_(tokenizer), options_(std::move(options)) {}

std::string TextStreamer::Push(int32_t token_id) {
  if (!matched_stop_.empty() || tokenizer_->IsSpecial(token_id)) return "";
  pending_bytes_ += tokenizer_->TokenBytes(token_id);
  return Release(DecodeComplete(/*at_end=*/false), /*at_end=*/false);
}

std::string TextStreamer::Finish() {
  if (!matched_stop_.empty()) return "";
  return Release(DecodeComplete(/*at_end=*/true), /*at_end=*/true);
}

// Takes the complete characters from the front of pending_bytes_.
std::string TextStreamer::DecodeComplete(bool at_end) {
  std::string text;
  absl::string_view rest(pending_bytes_);
  while (!rest.empty()) {
    const Decoded one = DecodeOne(rest);
    if (!one.complete && !at_end) break;
    if (one.valid) {
      text.append(rest.data(), one.size);
    } else {
      text += kReplacement;
    }
    rest.remove_prefix(one.size);
  }
  pending_bytes_.erase(0, pending_bytes_.size() - rest.size());
  if (at_text_start_ && !text.empty()) {
    at_text_start_ = false;
    if (tokenizer_->strips_leading_space() && text[0] == ' ') text.erase(0, 1);
  }
  return text;
}

// Returns what can no longer become part of a stop string.
std::string TextStreamer::Release(std::string text, bool at_end) {
  held_text_ += text;
  size_t found = std::string::npos;
  for (const std::string& stop : options_.stop) {
    const size_t at = held_text_.find(stop);
    if (at < found) {
      found = at;
      matched_stop_ = stop;
    }
  }
  size_t size = held_text_.size();
  if (found != std::string::npos) {
    size = found + (options_.include_stop ? matched_stop_.size() : 0);
  } else if (!at_end) {
    size_t held = 0;  // The longest end of the text that begins a stop string.
    for (const std::string& stop : options_.stop) {
      for (size_t n = std::min(stop.size() - 1, held_text_.size()); n > held; --n) {
        if (absl::EndsWith(held_text_, absl::string_view(stop).substr(0, n))) held = n;
      }
    }
    size -= held;
  }
  std::string released = held_text_.substr(0, size);
  held_text_.erase(0, size);
  if (!matched_stop_.empty()) held_text_.clear();
  return released;
}

}  // namespace prefixd
