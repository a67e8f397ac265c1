// Token sequences with images, and an index over a pool, for the tests of the prefix index.
#ifndef PREFIXD_TESTS_CACHE_PREFIX_FIXTURE_H_
#define PREFIXD_TESTS_CACHE_PREFIX_FIXTURE_H_

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "cache/content.h"
#include "cache/page_pool.h"
#include "cache/prefix_index.h"

namespace prefixd::testing {

constexpr int32_t kPlaceholder = -7;

// An image id whose first byte is `n`.
inline ContentKey MediaId(uint8_t n) {
  ContentKey id{};
  id[0] = n;
  return id;
}

inline ContentKey TestRoot(absl::string_view tenant, absl::string_view salt = "") {
  return RootKey({.tenant = tenant,
                  .salt = salt,
                  .model_digest = "model",
                  .preprocessing_version = "v1",
                  .kv_dtype = "f32"});
}

struct Text {
  std::vector<int32_t> ids;
  std::vector<MediaRun> media;

  TokenView view() const { return {ids, media}; }
  int32_t size() const { return static_cast<int32_t>(ids.size()); }
  int32_t num_columns() const { return size() / kSlotsPerPage; }

  // Appends `count` tokens first, first + 1, ...
  Text& Count(int32_t first, int32_t count) {
    for (int32_t i = 0; i < count; ++i) ids.push_back(first + i);
    return *this;
  }
  Text& Image(uint8_t media_id, int32_t num_rows) {
    media.push_back({size(), num_rows, MediaId(media_id)});
    ids.resize(ids.size() + num_rows, kPlaceholder);
    return *this;
  }
};

// What a position holds, as one number: the naive notion of content that tests compare.
inline std::vector<int64_t> Symbols(const Text& text) {
  std::vector<int64_t> symbols;
  for (const int32_t id : text.ids) symbols.push_back(static_cast<uint32_t>(id));
  for (const MediaRun& run : text.media) {
    for (int32_t row = 0; row < run.num_rows; ++row) {
      const int64_t image = (int64_t{run.media_id[0]} + 1) << 20 | row;
      symbols[run.row_begin + row] |= image << 32;
    }
  }
  return symbols;
}

inline int32_t CommonLength(const std::vector<int64_t>& a, const std::vector<int64_t>& b) {
  const size_t limit = std::min(a.size(), b.size());
  size_t same = 0;
  while (same < limit && a[same] == b[same]) ++same;
  return static_cast<int32_t>(same);
}

// Publishes the columns of `text` under `root`; returns the pin of the last one.
inline PrefixIndex::Pin PublishAll(PrefixIndex* index, PagePool* pool, int num_layers,
                                   const ContentKey& root, int32_t tenant, const Text& text,
                                   uint32_t cost = 1) {
  const std::vector<ContentKey> keys = ColumnKeys(root, text.view());
  PrefixIndex::Pin pin = index->Root(root, tenant);
  for (const ContentKey& key : keys) {
    std::vector<PageRef> pages;
    for (int layer = 0; layer < num_layers; ++layer) pages.push_back(*pool->Allocate());
    pin = index->Publish(pin, key, text.view(), std::move(pages), cost);
  }
  return pin;
}

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_CACHE_PREFIX_FIXTURE_H_
