#include "engine/candidates.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "engine/invalid_input.h"

namespace prefixd {
namespace {

// Takes the tokens of candidates one after another.
class Collector {
 public:
  Collector(absl::string_view field, const CandidateOptions& options)
      : field_(field), options_(options) {}

  absl::Status Add(std::vector<int32_t> tokens) {
    const std::string field = absl::StrCat(field_, "[", sequences_.size(), "]");
    if (tokens.empty()) return InvalidInput(field, "becomes no token");
    num_tokens_.push_back(static_cast<int32_t>(tokens.size()));
    if (options_.end_token) tokens.push_back(*options_.end_token);
    total_ += static_cast<int64_t>(tokens.size());
    if (total_ > options_.max_tokens) {
      return MakeError(
          absl::StatusCode::kInvalidArgument, reason::kParameterOutOfRange,
          absl::StrCat(field_, ": ", total_, " tokens up to ", field, ", the limit is ",
                       options_.max_tokens),
          {{"tokens", absl::StrCat(total_)}, {"limit", absl::StrCat(options_.max_tokens)}});
    }
    sequences_.push_back(std::move(tokens));
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<int32_t>> Encode(const std::string& text, const Tokenizer& tokenizer) {
    absl::StatusOr<std::vector<int32_t>> ids =
        tokenizer.Encode({{.text = text, .trusted = false}}, /*add_special_tokens=*/false);
    if (ids.ok()) return ids;
    return InvalidInput(absl::StrCat(field_, "[", sequences_.size(), "]"),
                        std::string(ids.status().message()));
  }

  Candidates Take() && {
    return {.trie = std::make_shared<const TokenTrie>(TokenTrie::Build(sequences_, options_.merge)),
            .num_tokens = std::move(num_tokens_),
            .num_bytes = {}};
  }

 private:
  const std::string field_;
  const CandidateOptions& options_;
  std::vector<std::vector<int32_t>> sequences_;
  std::vector<int32_t> num_tokens_;
  int64_t total_ = 0;
};

}  // namespace

absl::StatusOr<Candidates> CandidatesOfNames(absl::string_view field,
                                             absl::Span<const std::string> names,
                                             const CandidateOptions& options,
                                             const Tokenizer& tokenizer) {
  Collector collector(field, options);
  std::vector<int32_t> num_bytes;
  for (const std::string& name : names) {
    PREFIXD_ASSIGN_OR_RETURN(std::vector<int32_t> tokens,
                             collector.Encode(absl::StrCat(options.prefix, name), tokenizer));
    PREFIXD_RETURN_IF_ERROR(collector.Add(std::move(tokens)));
    num_bytes.push_back(static_cast<int32_t>(name.size()));
  }
  Candidates candidates = std::move(collector).Take();
  candidates.num_bytes = std::move(num_bytes);
  return candidates;
}

absl::StatusOr<Candidates> CandidatesOfContinuations(const ScoreRequest& request,
                                                     const CandidateOptions& options,
                                                     const Tokenizer& tokenizer,
                                                     int32_t vocab_size) {
  Collector collector("continuations", options);
  for (size_t i = 0; i < request.continuations.size(); ++i) {
    const auto& continuation = request.continuations[i];
    std::vector<int32_t> tokens;
    if (const auto* text = std::get_if<std::string>(&continuation)) {
      PREFIXD_ASSIGN_OR_RETURN(tokens, collector.Encode(*text, tokenizer));
    } else {
      tokens = std::get<std::vector<int32_t>>(continuation);
      for (const int32_t id : tokens) {
        if (id >= 0 && id < vocab_size) continue;
        return InvalidInput(absl::StrCat("continuations[", i, "].tokens.ids"),
                            absl::StrCat(id, " is outside the vocabulary of ", vocab_size));
      }
    }
    PREFIXD_RETURN_IF_ERROR(collector.Add(std::move(tokens)));
  }
  return std::move(collector).Take();
}

std::string CandidatesDigest(absl::Span<const std::string> names, const CandidateOptions& options) {
  Sha256 hash;
  const auto text = [&hash](absl::string_view value) {
    hash.Update(uint64_t{value.size()}).Update(value);
  };
  text(options.prefix);
  hash.Update(static_cast<uint64_t>(options.end_token.value_or(-1)));
  hash.Update(static_cast<uint64_t>(options.merge));
  for (const std::string& name : names) text(name);
  return ToHex(hash.Finish());
}

}  // namespace prefixd
