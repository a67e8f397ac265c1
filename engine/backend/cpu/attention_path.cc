#include "engine/backend/cpu/attention_path.h"

#include <cstring>

namespace prefixd::cpu {
namespace {

// Slots of the page that the context has.
int ContextSlots(const PathPage& page) {
  return std::clamp(page.rows.context - page.index * kPageRows, 0, kPageRows);
}

// Calls copy(slot of the page, page id, slot of that page) for the slots that the path has.
template <typename Copy>
void ForEachPathSlot(const PathPage& page, Copy copy) {
  const AttentionRows& rows = page.rows;
  const int first = page.index * kPageRows;
  const int end = std::min(rows.last_visible() - first, kPageRows);
  for (int s = ContextSlots(page); s < end; ++s) {
    const int32_t slot = rows.path[first + s - rows.context];
    copy(s, rows.page_ids[slot / kPageRows], slot % kPageRows);
  }
}

}  // namespace

// K consists of rows of one 32-bit word a slot: a component in f32, two in bf16.
void CopyPathKeys(const AttentionCall& call, const PathPage& page, int kv_head, std::byte* to) {
  const int64_t head = call.head_bytes * kv_head;
  const int64_t num_words = call.layout.key_bytes / static_cast<int64_t>(sizeof(uint32_t));
  if (ContextSlots(page) > 0) {
    std::memcpy(to, call.page(page.rows.page_ids[page.index]) + head,
                static_cast<size_t>(call.layout.key_bytes));
  }
  ForEachPathSlot(page, [&](int s, int32_t id, int slot) {
    const auto* const from = reinterpret_cast<const uint32_t*>(call.page(id) + head) + slot;
    auto* const words = reinterpret_cast<uint32_t*>(to) + s;
    for (int64_t word = 0; word < num_words; word += kPageRows) words[word] = from[word];
  });
}

void CopyPathValues(const AttentionCall& call, const PathPage& page, int kv_head, std::byte* to) {
  const int64_t head = call.head_bytes * kv_head + call.layout.key_bytes;
  const int64_t slot_bytes = call.layout.value_bytes / kPageRows;
  if (const int slots = ContextSlots(page); slots > 0) {
    std::memcpy(to, call.page(page.rows.page_ids[page.index]) + head,
                static_cast<size_t>(slots * slot_bytes));
  }
  ForEachPathSlot(page, [&](int s, int32_t id, int slot) {
    std::memcpy(to + s * slot_bytes, call.page(id) + head + slot * slot_bytes,
                static_cast<size_t>(slot_bytes));
  });
}

void CopyPathPositions(const AttentionCall& call, const PathPage& page, float* to) {
  if (ContextSlots(page) > 0) {
    std::copy_n(call.positions(page.rows.page_ids[page.index]), kPageRows, to);
  }
  ForEachPathSlot(page, [&](int s, int32_t id, int slot) { to[s] = call.positions(id)[slot]; });
}

}  // namespace prefixd::cpu
