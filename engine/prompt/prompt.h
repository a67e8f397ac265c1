// A prepared prompt: what the engine thread computes on. Made by a prep thread, immutable
// afterwards.
#ifndef PREFIXD_ENGINE_PROMPT_PROMPT_H_
#define PREFIXD_ENGINE_PROMPT_PROMPT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cache/content.h"

namespace prefixd {

struct PromptImage {
  int32_t row_begin = 0;  // Its rows in Prompt::token_ids: [row_begin, row_begin + num_rows).
  int32_t num_rows = 0;
  ContentKey media_id{};
  // [3][image_size][image_size], normalised; kept to the request's end. Null: not decoded.
  std::shared_ptr<const std::vector<float>> pixels;
  bool decode_hit = false;  // The pixels were cached.

  int32_t row_end() const { return row_begin + num_rows; }
};

struct Prompt {
  std::vector<int32_t> token_ids;   // Placeholders expanded: one id per row.
  std::vector<PromptImage> images;  // Ascending, disjoint row ranges.

  // For the prefix cache. No root: nothing is shared.
  std::optional<ContentKey> root_key;
  std::vector<MediaRun> media;          // The rows of `images`.
  int32_t keyed_rows = 0;               // Rows that keys may cover: all, once images are known.
  std::vector<ContentKey> column_keys;  // Of all full columns of those.

  TokenView tokens() const { return {.ids = token_ids, .media = media}; }
  int32_t num_image_tokens() const {
    int32_t total = 0;
    for (const PromptImage& image : images) total += image.num_rows;
    return total;
  }
};

// Makes the rows before the first image without pixels shareable in the namespace of `root_key`.
inline void ShareUnder(const ContentKey& root_key, Prompt* prompt) {
  size_t known_ids = prompt->token_ids.size();
  prompt->media.clear();
  for (const PromptImage& image : prompt->images) {
    if (image.pixels == nullptr) {
      known_ids = static_cast<size_t>(image.row_begin);
      break;
    }
    prompt->media.push_back({image.row_begin, image.num_rows, image.media_id});
  }
  prompt->root_key = root_key;
  prompt->keyed_rows = static_cast<int32_t>(known_ids);
  prompt->column_keys = ColumnKeys(
      root_key,
      {.ids = absl::MakeSpan(prompt->token_ids).subspan(0, known_ids), .media = prompt->media});
}

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_PROMPT_PROMPT_H_
