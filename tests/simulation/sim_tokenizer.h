// One letter a token; the end of sequence is special.
#ifndef PREFIXD_TESTS_SIMULATION_SIM_TOKENIZER_H_
#define PREFIXD_TESTS_SIMULATION_SIM_TOKENIZER_H_

#include <optional>
#include <string>
#include <vector>

#include "engine/tokenizer/tokenizer.h"
#include "tests/simulation/oracle.h"

namespace prefixd::simulation {

class SimTokenizer final : public Tokenizer {
 public:
  explicit SimTokenizer(int64_t vocab) : vocab_(static_cast<int32_t>(vocab)) {}

  absl::StatusOr<std::vector<int32_t>> Encode(absl::Span<const TextSpan>, bool) const override {
    return absl::UnimplementedError("prompts of the simulation are token ids");
  }
  std::string Decode(absl::Span<const int32_t> ids, bool) const override {
    std::string text;
    for (const int32_t id : ids) text += IsSpecial(id) ? "" : TokenBytes(id);
    return text;
  }
  std::string TokenBytes(int32_t id) const override { return std::string(1, LetterOf(id)); }
  bool IsSpecial(int32_t id) const override { return id == kEos; }
  std::optional<int32_t> TokenToId(absl::string_view) const override { return std::nullopt; }
  int32_t vocab_size() const override { return vocab_; }
  std::optional<int32_t> bos_token_id() const override { return std::nullopt; }
  std::optional<int32_t> eos_token_id() const override { return kEos; }
  const std::string& chat_template() const override { return empty_; }
  bool strips_leading_space() const override { return false; }

 private:
  const int32_t vocab_;
  const std::string empty_;
};

}  // namespace prefixd::simulation

#endif  // PREFIXD_TESTS_SIMULATION_SIM_TOKENIZER_H_
