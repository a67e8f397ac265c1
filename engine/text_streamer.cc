#include "engine/text_streamer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "base/check.h"
#include "engine/tokenizer/unicode.h"

namespace prefixd {
namespace {

// Removes the complete characters from the front of `bytes` and returns them. An invalid subpart is
// one U+FFFD, or one for each of its bytes.
std::string TakeComplete(std::string* bytes, bool one_a_byte) {
  std::string text;
  absl::string_view rest(*bytes);
  while (!rest.empty()) {
    const Utf8Prefix prefix = ScanUtf8(rest);
    if (prefix.kind == Utf8Prefix::Kind::kIncomplete) break;
    if (prefix.kind == Utf8Prefix::Kind::kComplete) {
      text.append(rest.data(), prefix.num_bytes);
    } else {
      for (size_t i = 0; i < (one_a_byte ? prefix.num_bytes : 1); ++i) {
        text += kReplacementCharacter;
      }
    }
    rest.remove_prefix(prefix.num_bytes);
  }
  bytes->erase(0, bytes->size() - rest.size());
  return text;
}

std::string ReplacementCharacters(size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += kReplacementCharacter;
  return text;
}

}  // namespace

TextStreamer::TextStreamer(const Tokenizer* tokenizer, Options options)
    : tokenizer_(tokenizer), options_(std::move(options)) {
  for (const std::string& stop : options_.stop) PREFIXD_CHECK(!stop.empty());
}

std::string TextStreamer::Push(int32_t token_id) {
  if (!matched_stop_.empty() || tokenizer_->IsSpecial(token_id)) return "";
  const std::string bytes = tokenizer_->TokenBytes(token_id);
  if (bytes.empty()) return "";
  if (tokenizer_->IsByteToken(token_id)) {
    return Release(AddByteToken(token_id, bytes), /*at_end=*/false);
  }
  std::string text = EndRun();
  text += AddText(token_id, bytes);
  return Release(text, /*at_end=*/false);
}

std::string TextStreamer::Finish() {
  if (!matched_stop_.empty()) return "";
  std::string text = EndRun();
  if (!pending_bytes_.empty()) text += kReplacementCharacter;  // One maximal subpart.
  pending_bytes_.clear();
  return Release(text, /*at_end=*/true);
}

std::string TextStreamer::AddByteToken(int32_t token_id, absl::string_view byte) {
  run_ids_.push_back(token_id);
  run_bytes_.append(byte.data(), byte.size());
  if (!run_is_long_ && run_ids_.size() <= kMaxHeldRun) return "";
  run_is_long_ = true;
  run_ids_.clear();
  std::string text = TakeComplete(&run_bytes_, /*one_a_byte=*/true);
  if (at_text_start_ && !text.empty()) {
    at_text_start_ = false;
    if (tokenizer_->strips_leading_space() && text[0] == ' ') text.erase(0, 1);
  }
  return text;
}

std::string TextStreamer::EndRun() {
  if (run_bytes_.empty()) {
    run_is_long_ = false;
    return "";
  }
  std::string text;
  if (at_text_start_ && !run_is_long_) {
    text = tokenizer_->Decode(run_ids_, /*skip_special_tokens=*/true);
  } else if (!run_is_long_ && IsValidUtf8(run_bytes_)) {
    text = run_bytes_;
  } else {
    text = ReplacementCharacters(run_bytes_.size());
  }
  at_text_start_ = false;
  run_is_long_ = false;
  run_ids_.clear();
  run_bytes_.clear();
  return text;
}

std::string TextStreamer::AddText(int32_t token_id, absl::string_view bytes) {
  const bool is_first = std::exchange(at_text_start_, false);
  if (is_first && tokenizer_->strips_leading_space()) {
    return tokenizer_->Decode({token_id}, /*skip_special_tokens=*/true);
  }
  pending_bytes_.append(bytes.data(), bytes.size());
  return TakeComplete(&pending_bytes_, /*one_a_byte=*/false);
}

std::string TextStreamer::Release(absl::string_view text, bool at_end) {
  held_text_.append(text.data(), text.size());
  size_t match_end = std::string::npos;
  for (const std::string& stop : options_.stop) {
    const size_t begin = held_text_.find(stop);
    if (begin == std::string::npos) continue;
    const size_t end = begin + stop.size();
    const bool longer = end == match_end && stop.size() > matched_stop_.size();
    if (end > match_end || (end == match_end && !longer)) continue;
    match_end = end;
    matched_stop_ = stop;
  }
  size_t size = held_text_.size();
  if (match_end != std::string::npos) {
    size = match_end - (options_.include_stop ? 0 : matched_stop_.size());
  } else if (!at_end) {
    size -= HeldBytes();
  }
  std::string released = held_text_.substr(0, size);
  held_text_.erase(0, size);
  return released;
}

// The longest end of the text that begins a stop string.
size_t TextStreamer::HeldBytes() const {
  size_t held = 0;
  for (const std::string& stop : options_.stop) {
    for (size_t size = std::min(stop.size() - 1, held_text_.size()); size > held; --size) {
      if (absl::EndsWith(held_text_, absl::string_view(stop).substr(0, size))) held = size;
    }
  }
  return held;
}

}  // namespace prefixd
