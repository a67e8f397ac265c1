#include "engine/backend/cuda/cuda_tables.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "engine/backend/cuda/cuda_attention_plan.h"
#include "engine/backend/cuda/cuda_bug.h"

namespace prefixd::cuda {

absl::Status PageTables::Reserve(int64_t layers, int64_t sequences, int64_t pages,
                                 DeviceMemory* memory) {
  if (layers <= layers_ && sequences <= sequences_ && pages <= pages_) return absl::OkStatus();
  layers = std::max(layers, layers_);
  sequences = std::max<int64_t>(sequences_, std::bit_ceil(static_cast<uint64_t>(sequences)));
  pages = std::max<int64_t>(pages_, std::bit_ceil(static_cast<uint64_t>(pages)));
  auto entries = CheckedMul(layers, sequences);
  if (entries.has_value()) entries = CheckedMul(*entries, pages);
  if (!entries.has_value() || *entries > std::numeric_limits<int32_t>::max()) {
    return absl::ResourceExhaustedError(absl::StrCat("page tables of ", layers, " layers, ",
                                                     sequences, " sequences and ", pages,
                                                     " pages do not fit"));
  }
  layers_ = sequences_ = pages_ = 0;
  shadow_.clear();
  buffer_ = Buffer();
  PREFIXD_ASSIGN_OR_RETURN(buffer_, memory->Allocate(*entries * sizeof(int32_t),
                                                     DeviceMemory::Content::kZero, "page tables"));
  shadow_.assign(*entries, -1);
  layers_ = layers;
  sequences_ = sequences;
  pages_ = pages;
  return absl::OkStatus();
}

void PageTables::Update(absl::Span<const absl::Span<const KvSegment>> layers, TableDeltas* deltas) {
  deltas->indices.clear();
  deltas->values.clear();
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    for (size_t s = 0; s < layers[layer].size(); ++s) {
      const KvSegment& segment = layers[layer][s];
      const int64_t num_pages = PagesSeen(segment);
      const int64_t row =
          (static_cast<int64_t>(layer) * sequences_ + static_cast<int64_t>(s)) * pages_;
      PREFIXD_CHECK(num_pages <= pages_);
      int32_t* const known = shadow_.data() + row;
      for (int64_t page = 0; page < num_pages; ++page) {
        if (known[page] == segment.pages[page]) continue;
        known[page] = segment.pages[page];
        deltas->indices.push_back(static_cast<int32_t>(row + page));
        deltas->values.push_back(segment.pages[page]);
      }
    }
  }
  if (PREFIXD_CUDA_BUG(kStaleTableDelta) && !deltas->indices.empty()) {
    deltas->indices.pop_back();
    deltas->values.pop_back();
  }
}

void PageTables::Forget() { std::fill(shadow_.begin(), shadow_.end(), -1); }

}  // namespace prefixd::cuda
