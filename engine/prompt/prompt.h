// A prepared prompt: what the engine thread computes on. Made by a prep thread, immutable
// afterwards.
#ifndef PREFIXD_ENGINE_PROMPT_PROMPT_H_
#define PREFIXD_ENGINE_PROMPT_PROMPT_H_

#include <cstdint>
#include <vector>

namespace prefixd {

struct PromptImage {
  int32_t row_begin = 0;  // Its rows in Prompt::token_ids: [row_begin, row_begin + num_rows).
  int32_t num_rows = 0;
  std::vector<float> pixels;  // [3][image_size][image_size], normalised.
};

struct Prompt {
  std::vector<int32_t> token_ids;   // Placeholders expanded: one id per row.
  std::vector<PromptImage> images;  // Ascending, disjoint row ranges.

  int32_t num_image_tokens() const {
    int32_t total = 0;
    for (const PromptImage& image : images) total += image.num_rows;
    return total;
  }
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_PROMPT_PROMPT_H_
