// What the tests of retention share: recorded prompts of tests/golden/retention, random prompts, a
// layer that decodes.
#ifndef PREFIXD_TESTS_RETENTION_RETENTION_TESTING_H_
#define PREFIXD_TESTS_RETENTION_RETENTION_TESTING_H_

#include <cstdint>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/types/span.h"
#include "cache/retention/policy.h"

namespace prefixd {

inline constexpr const char* kRecordedPrompts[] = {"demo-0", "demo-1", "demo-2", "demo-3", "demo-4",
                                                   "demo-5", "tiny-4", "tiny-8", "tiny-12"};

nlohmann::json ReadRetentionGolden(const std::string& file);

// A prompt and the scores that it owns.
struct OwnedPrompt {
  int num_layers = 0;
  int32_t num_tokens = 0;
  std::vector<float> scores;
  uint64_t seed = 0;

  PromptScores view() const { return {num_layers, num_tokens, scores, seed}; }
};

// {"layers", "tokens", "scores"} of a golden.
OwnedPrompt PromptOf(const nlohmann::json& golden);

// The positions of a hexadecimal mask.
std::vector<int32_t> PositionsOf(const nlohmann::json& mask, int32_t num_tokens);

// Recipe of the policy of this name, which must exist.
RetentionRecipe RecipeOf(const std::string& policy, double budget, int32_t start_size = 1,
                         int32_t protect = 1);

// How attention is spread in a random prompt.
enum class Spread { kEven, kPeaked, kFewValues, kZero, kMixed };
OwnedPrompt RandomPrompt(std::mt19937_64* random, int num_layers, int32_t num_tokens,
                         Spread spread);

// A layer under kOldest as engines hold it: pinned slots, and from the first droppable slot on a
// queue whose oldest entry is overwritten.
class DecodingLayer {
 public:
  DecodingLayer(absl::Span<const int32_t> kept, int32_t first_droppable);

  // Adds the token at position `seen - 1` and returns the one that goes, or -1.
  int32_t Step(int32_t seen, double forget_ratio);

  int32_t length() const { return static_cast<int32_t>(pinned_.size() + queue_.size()); }
  int32_t most_slots() const { return most_slots_; }  // Ever held, the new token included.
  std::vector<int32_t> tokens() const;

 private:
  void Add(int32_t token);

  size_t first_droppable_;
  std::vector<int32_t> pinned_;
  std::deque<int32_t> queue_;
  int32_t most_slots_ = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_TESTS_RETENTION_RETENTION_TESTING_H_
