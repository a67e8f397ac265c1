// The pages that a row of a tree sees behind the whole pages of its context, put together in
// scratch: the slots of the context's last page that are left, then those of the path, as if the
// row's sequence were alone. Safe from any thread.
#ifndef PREFIXD_ENGINE_BACKEND_CPU_ATTENTION_PATH_H_
#define PREFIXD_ENGINE_BACKEND_CPU_ATTENTION_PATH_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "engine/backend/cpu/attention_call.h"
#include "engine/backend/cpu/attention_plan.h"
#include "engine/backend/cpu/kernels.h"

namespace prefixd::cpu {

// Slots [16 index, 16 index + 16) of a row, as far as it sees them.
struct PathPage {
  const AttentionRows& rows;
  int index = 0;
  int of_block = 0;  // Within its block of the softmax.
};

// Each writes what the page has of one kv head (key_bytes, value_bytes of the layout) or of all
// (16 positions). Slots that the row does not see are left as they are, or hold the page's own.
void CopyPathKeys(const AttentionCall& call, const PathPage& page, int kv_head, std::byte* to);
void CopyPathValues(const AttentionCall& call, const PathPage& page, int kv_head, std::byte* to);
void CopyPathPositions(const AttentionCall& call, const PathPage& page, float* to);

// Calls copy(page) for those pages of a strip and block that `rows`, the strip's first, do not see
// as they are: none for rows of no tree, or where several have the strip in common.
template <typename Copy>
void ForEachPathPage(const AttentionRows& rows, const AttentionPlan::Strip& strip, int block,
                     Copy copy) {
  if (rows.path == nullptr) return;
  const int first = std::max(strip.page_begin, rows.context_pages());
  const int begin = std::max(first, block * kBlockPages);
  const int end = std::min(strip.page_end, (block + 1) * kBlockPages);
  for (int page = begin; page < end; ++page) {
    copy(PathPage{rows, page, page - block * kBlockPages});
  }
}

}  // namespace prefixd::cpu

#endif  // PREFIXD_ENGINE_BACKEND_CPU_ATTENTION_PATH_H_
