#include "engine/tokenizer/sentence_pieces.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/tokenizer/limits.h"
#include "engine/tokenizer/unicode.h"

namespace prefixd {
namespace {

// Bytes that are looked at to find the splits of all pieces: the sum of the squares of their sizes.
// Real vocabularies stay below 2^26.
constexpr uint64_t kMaxSplitWork = uint64_t{1} << 28;

absl::Status InvalidPieces(absl::string_view where, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
}

// Whether text can become this piece by joining.
bool IsJoinable(PieceType type) { return type == PieceType::kNormal || type == PieceType::kUnused; }

absl::Status CheckPieces(const SentencePieces& pieces, const std::string& where) {
  PREFIXD_CHECK(pieces.texts.size() == pieces.scores.size());
  PREFIXD_CHECK(pieces.texts.size() == pieces.types.size());
  int64_t num_unknown = 0;
  uint64_t work = 0;
  for (size_t id = 0; id < pieces.texts.size(); ++id) {
    if (!std::isfinite(pieces.scores[id])) {
      return InvalidPieces(where, absl::StrCat("the score of piece ", id, " is not finite"));
    }
    if (pieces.types[id] == PieceType::kUnknown) ++num_unknown;
    if (IsJoinable(pieces.types[id])) work += pieces.texts[id].size() * pieces.texts[id].size();
  }
  if (num_unknown != 1)
    return InvalidPieces(where, absl::StrCat(num_unknown, " unknown pieces, not 1"));
  if (work > kMaxSplitWork) return InvalidPieces(where, "the pieces are too long to be split");
  return absl::OkStatus();
}

absl::Status CheckBytes(const SentencePieces& pieces, const BpeParts& model,
                        const std::string& where) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string text = absl::StrFormat("<0x%02X>", byte);
    const auto found = model.vocab.find(text);
    const bool known = found != model.vocab.end() &&
                       pieces.types[static_cast<size_t>(found->second)] == PieceType::kByte;
    if (pieces.byte_fallback && !known) {
      return InvalidPieces(where, absl::StrCat("byte fallback without a byte piece ", text));
    }
  }
  return absl::OkStatus();
}

// The pieces that can be joined in the order of their ranks: 0 is the highest score.
std::vector<int32_t> RanksOf(const SentencePieces& pieces) {
  std::vector<float> scores = pieces.scores;
  std::sort(scores.begin(), scores.end(), std::greater<>());
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
  std::vector<int32_t> ranks;
  ranks.reserve(pieces.scores.size());
  for (const float score : pieces.scores) {
    const auto at = std::lower_bound(scores.begin(), scores.end(), score, std::greater<>());
    ranks.push_back(static_cast<int32_t>(at - scores.begin()));
  }
  return ranks;
}

// Every split of every piece into two pieces is a merge; pieces of one score share a rank.
absl::Status AddMerges(const SentencePieces& pieces, const std::string& where, BpeParts* model) {
  const std::vector<int32_t> ranks = RanksOf(pieces);
  const auto joinable_id = [&](absl::string_view text) {
    const auto found = model->vocab.find(text);
    if (found == model->vocab.end()) return -1;
    return IsJoinable(pieces.types[static_cast<size_t>(found->second)]) ? found->second : -1;
  };
  for (size_t id = 0; id < pieces.texts.size(); ++id) {
    if (!IsJoinable(pieces.types[id])) continue;
    const absl::string_view text = pieces.texts[id];
    for (size_t cut = CharacterAt(text, 0).num_bytes; cut < text.size();
         cut += CharacterAt(text, cut).num_bytes) {
      const int32_t left = joinable_id(text.substr(0, cut));
      const int32_t right = left < 0 ? -1 : joinable_id(text.substr(cut));
      if (right < 0) continue;
      if (model->merges.size() == kMaxMerges) {
        return InvalidPieces(where, absl::StrCat("more than ", kMaxMerges, " splits of pieces"));
      }
      model->merges.push_back(
          {.left = left, .right = right, .result = static_cast<int32_t>(id), .rank = ranks[id]});
    }
  }
  return absl::OkStatus();
}

void SortByType(SentencePieces pieces, TokenizerParts* parts) {
  for (size_t i = 0; i < pieces.texts.size(); ++i) {
    const int32_t id = static_cast<int32_t>(i);
    switch (pieces.types[i]) {
      case PieceType::kNormal:
      case PieceType::kByte:
        break;
      case PieceType::kUnused:
        parts->model.unused.insert(id);
        break;
      case PieceType::kUnknown:
        parts->model.unk_id = id;
        parts->added_tokens.push_back({.id = id, .content = pieces.texts[i], .special = true});
        break;
      case PieceType::kControl:
        parts->added_tokens.push_back({.id = id, .content = pieces.texts[i], .special = true});
        break;
      case PieceType::kUserDefined:
        parts->added_tokens.push_back(
            {.id = id, .content = pieces.texts[i], .normalized = true, .verbatim = true});
        break;
    }
  }
}

nlohmann::json DecoderJson(const SentencePieces& pieces) {
  using nlohmann::json;
  json steps = json::array();
  steps.push_back(
      {{"type", "Replace"}, {"pattern", {{"String", "\xE2\x96\x81"}}}, {"content", " "}});
  if (pieces.byte_fallback) steps.push_back({{"type", "ByteFallback"}});
  steps.push_back({{"type", "Fuse"}});
  if (pieces.spaces.add_dummy_prefix || pieces.spaces.remove_extra) {
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  return {{"type", "Sequence"}, {"decoders", steps}};
}

}  // namespace

std::optional<PieceType> PieceTypeOf(int64_t number) {
  if (number < static_cast<int64_t>(PieceType::kNormal) ||
      number > static_cast<int64_t>(PieceType::kByte)) {
    return std::nullopt;
  }
  return static_cast<PieceType>(number);
}

absl::StatusOr<TokenizerParts> PartsOfPieces(SentencePieces pieces, const std::string& where) {
  TokenizerParts parts;
  parts.where = where;
  PREFIXD_RETURN_IF_ERROR(AddTokens(pieces.texts, where, &parts.model));
  PREFIXD_RETURN_IF_ERROR(CheckPieces(pieces, where));
  PREFIXD_RETURN_IF_ERROR(CheckBytes(pieces, parts.model, where));
  PREFIXD_RETURN_IF_ERROR(AddMerges(pieces, where, &parts.model));
  parts.model.fuse_unk = true;
  parts.model.byte_fallback = pieces.byte_fallback;
  const nlohmann::json decoder = DecoderJson(pieces);
  PREFIXD_ASSIGN_OR_RETURN(parts.decoder, Decoder::Create(JsonField(&decoder, where)));
  Normalizer::Spaces spaces = pieces.spaces;
  if (pieces.prefix_first_text_only && spaces.add_dummy_prefix) {
    // As the conversion of such models to tokenizer.json does it: none before a space, either.
    const nlohmann::json metaspace = {
        {"type", "Metaspace"}, {"prepend_scheme", "first"}, {"split", false}};
    PREFIXD_ASSIGN_OR_RETURN(parts.pre_tokenizer,
                             PreTokenizer::Create(JsonField(&metaspace, where)));
    spaces.add_dummy_prefix = false;
  }
  parts.normalizer = Normalizer::ForSpaces(spaces);
  SortByType(std::move(pieces), &parts);
  return parts;
}

}  // namespace prefixd
