// Turns the tokens of one choice into text deltas that never tear a character, and watches for stop
// strings. Deltas concatenate to Tokenizer::Decode of all tokens (special tokens skipped), cut at
// the stop string. One per choice; engine thread only.
#ifndef PREFIXD_ENGINE_TEXT_STREAMER_H_
#define PREFIXD_ENGINE_TEXT_STREAMER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/tokenizer/tokenizer.h"

namespace prefixd {

class TextStreamer {
 public:
  struct Options {
    std::vector<std::string> stop;  // Non-empty strings; the earliest match in the text wins.
    bool include_stop = false;      // Keep the matched stop string in the text.
  };

  // `tokenizer` must outlive the streamer.
  TextStreamer(const Tokenizer* tokenizer, Options options);

  // Adds one token. Returns the text that is now certain (maybe empty): complete characters that
  // can no longer become part of a stop string. After a stop string matched, returns empty.
  std::string Push(int32_t token_id);

  // Ends the text: what was held back comes out, an incomplete character as U+FFFD.
  std::string Finish();

  // The stop string that matched, or empty.
  const std::string& matched_stop() const { return matched_stop_; }

 private:
  std::string DecodeComplete(bool at_end);
  std::string Release(std::string text, bool at_end);

  const Tokenizer* const tokenizer_;
  const Options options_;
  std::string pending_bytes_;  // Not yet a complete character.
  std::string held_text_;      // Could still become a stop string.
  bool at_text_start_ = true;  // The next text is the first: a leading space may be stripped.
  bool last_was_byte_token_ = false;
  std::string matched_stop_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TEXT_STREAMER_H_
