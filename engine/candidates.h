// Names and texts as tokens to be scored. Pure; safe from any thread.
#ifndef PREFIXD_ENGINE_CANDIDATES_H_
#define PREFIXD_ENGINE_CANDIDATES_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/classification.h"
#include "engine/classify/token_trie.h"
#include "engine/tokenizer/tokenizer.h"

namespace prefixd {

struct Candidates {
  std::shared_ptr<const TokenTrie> trie;
  std::vector<int32_t> num_tokens;  // By candidate, the end token left out.
  std::vector<int32_t> num_bytes;   // Of the names, without prefix.
};

struct CandidateOptions {
  std::string prefix;                // In front of every name.
  std::optional<int32_t> end_token;  // Scored behind every name.
  TokenTrie::Merge merge = TokenTrie::Merge::kPrefixes;
  int64_t max_tokens = 65536;  // Of all together.
};

// Each name is tokenised on its own, as plain text, without special tokens. Errors:
// INVALID_ARGUMENT naming `field`[i] or both numbers: a name that becomes no token, too many
// tokens.
absl::StatusOr<Candidates> CandidatesOfNames(absl::string_view field,
                                             absl::Span<const std::string> names,
                                             const CandidateOptions& options,
                                             const Tokenizer& tokenizer);

// Of texts and token ids. Errors: as above; ids outside the vocabulary; empty lists.
absl::StatusOr<Candidates> CandidatesOfContinuations(const ScoreRequest& request,
                                                     const CandidateOptions& options,
                                                     const Tokenizer& tokenizer,
                                                     int32_t vocab_size);

// Names what CandidatesOfNames depends on.
std::string CandidatesDigest(absl::Span<const std::string> names, const CandidateOptions& options);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_CANDIDATES_H_
