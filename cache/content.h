// What the positions of a token sequence hold, and the keys that name it. Pure functions over
// values; safe from any thread.
//
// A column is kSlotsPerPage consecutive tokens: one page a layer. Its key is SHA-256 over the key
// of the column before it and its own content, so that a key names the whole sequence up to its
// end. The chain starts at a root key, which names everything else that the KV depends on.
#ifndef PREFIXD_CACHE_CONTENT_H_
#define PREFIXD_CACHE_CONTENT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/sha256.h"

namespace prefixd {

using ContentKey = Sha256Digest;

// Attention that the queries of a token sequence pay to its keys, summed over the queries:
// [num_layers][tokens]. Shared, because a prefix keeps them for all who begin with it.
using ScoreSums = std::shared_ptr<const std::vector<float>>;

// What the rows of a column yielded beside their KV, for whoever scores tokens instead of drawing
// them: the log-prob of each of its tokens behind what is before it, and what its last row hands to
// the output head.
struct ColumnYield {
  std::vector<float> logprobs;  // [kSlotsPerPage]; NaN where there is none. Empty: not known.
  std::vector<float> last_state;
};

// The rows of one image. Equal ids mean equal pixels, dimensions and preprocessing.
struct MediaRun {
  int32_t row_begin = 0;
  int32_t num_rows = 0;
  ContentKey media_id{};

  int32_t row_end() const { return row_begin + num_rows; }
};

// A token sequence: one id a row; rows under a run hold the image instead of what their id says.
struct TokenView {
  absl::Span<const int32_t> ids;
  absl::Span<const MediaRun> media;  // Ascending, disjoint row ranges.
};

// What KV depends on besides the tokens before it.
struct RootSpec {
  absl::string_view tenant;
  absl::string_view salt;  // Narrows the tenant's namespace.
  absl::string_view model_digest;
  absl::string_view preprocessing_version;
  absl::string_view kv_dtype;
};
ContentKey RootKey(const RootSpec& spec);

// The key of the column that holds tokens [column * kSlotsPerPage, (column + 1) * kSlotsPerPage).
// Requires: the column is full.
ContentKey ColumnKey(const ContentKey& parent, TokenView tokens, int32_t column);

// The first `bits` bits of a key, 1..256; the others are 0. Tests cut keys to force collisions.
ContentKey CutKey(const ContentKey& key, int bits);

// The keys of all full columns.
std::vector<ContentKey> ColumnKeys(const ContentKey& root, TokenView tokens);

}  // namespace prefixd

#endif  // PREFIXD_CACHE_CONTENT_H_
