// Turns the tokens of one choice into text deltas that never tear a character, and watches for stop
// strings. Deltas concatenate to Tokenizer::Decode of all tokens (special tokens skipped), cut at
// the stop string. One exception bounds the wait: Decode turns every byte of an invalid run of
// byte-fallback tokens into U+FFFD, so a run is held until it ends; of a run of more than
// kMaxHeldRun tokens the complete characters are given out as they come, whatever follows.
// One per choice; engine thread only.
#ifndef PREFIXD_ENGINE_TEXT_STREAMER_H_
#define PREFIXD_ENGINE_TEXT_STREAMER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/tokenizer/tokenizer.h"

namespace prefixd {

class TextStreamer {
 public:
  static constexpr size_t kMaxHeldRun = 16;

  struct Options {
    // Non-empty strings. The match that is complete first wins, the longest of those that are
    // complete at once: what follows in the text, and how it is cut into tokens, does not matter.
    std::vector<std::string> stop;
    bool include_stop = false;  // Keep the matched stop string in the text.
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
  // Each returns text that is certain apart from stop strings.
  std::string AddByteToken(int32_t token_id, absl::string_view byte);
  std::string AddText(int32_t token_id, absl::string_view bytes);
  std::string EndRun();

  // Returns what can no longer become part of a stop string; notes a match.
  std::string Release(absl::string_view text, bool at_end);
  size_t HeldBytes() const;

  const Tokenizer* const tokenizer_;
  const Options options_;
  std::string pending_bytes_;     // Byte-level tokenizers: not yet a complete character.
  std::vector<int32_t> run_ids_;  // Byte-fallback tokenizers: the byte tokens not yet given out,
  std::string run_bytes_;         // and their bytes.
  bool run_is_long_ = false;      // Its front was given out.
  bool at_text_start_ = true;     // The next token is the first: its leading space may be stripped.
  std::string held_text_;         // Could still become a stop string.
  std::string matched_stop_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_TEXT_STREAMER_H_
