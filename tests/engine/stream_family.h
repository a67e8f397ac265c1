// A family of requests for a small model with images whose prompts share beginnings, and what one
// stream of events says, byte by byte.
#ifndef PREFIXD_TESTS_ENGINE_STREAM_FAMILY_H_
#define PREFIXD_TESTS_ENGINE_STREAM_FAMILY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/request.h"

namespace prefixd::testing {

// All that one choice of a request was told.
struct ChoiceBytes {
  std::string text;
  std::vector<int32_t> ids;
  std::string logprobs;  // Ids, ranks and the bits of the floats.
  std::string end;       // Why it ended; empty: it did not.

  bool operator==(const ChoiceBytes&) const = default;
  // Whether `whole` begins with what this choice was told.
  bool IsBeginningOf(const ChoiceBytes& whole) const;
};

// Records one stream.
struct ByteSink final : public EventSink {
  void OnEvent(Event event) override;
  bool Writable() const override { return writable; }

  std::vector<ChoiceBytes> choices;  // As many as have been heard of.
  std::optional<FinishedEvent> finished;
  absl::Status status;
  bool ended = false;
  bool writable = true;

 private:
  ChoiceBytes& choice(int32_t index);
};

// Requests [0, size) over a trie of byte tokens (ids 5..260, placeholder 3, end of sequence 2) with
// pictures (if there are any) at some of its nodes: 5..90 tokens, one to three choices, greedy and
// sampled, with penalties, log-probs, stop strings and forced ends. Tenant and id are left empty.
std::vector<Request> MakeStreamFamily(int size, const std::vector<std::string>& pictures,
                                      uint32_t seed);

// What a user says next: `request`'s input, its first choice's `answer`, and new words.
Request FollowUp(const Request& request, const std::vector<int32_t>& answer, uint32_t seed);

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_ENGINE_STREAM_FAMILY_H_
