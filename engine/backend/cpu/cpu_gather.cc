// GatherSlots of the CPU backend: one item per (gather, destination page, kv head).
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/check.h"
#include "engine/backend/check_gather.h"
#include "engine/backend/cpu/cpu_backend_impl.h"
#include "engine/backend/cpu/kv_pool.h"
#include "engine/tensor/half.h"

namespace prefixd::cpu {
namespace {

// One kv head of the pages of a gather.
struct GatherHead {
  const PagedKvPool& pages;
  const SlotGather& gather;
  int kv_head;

  const std::byte* SourceKeys(int32_t slot) const {
    return pages.head(gather.source_pages[slot / kPageSlots], kv_head);
  }
  std::byte* Keys(int32_t page) const {
    return pages.head(gather.destination_pages[page], kv_head);
  }
};

// Slots [16 page, 16 page + count) as they are. K consists of rows of one 32-bit word a slot: a
// component in f32, two in bf16.
void CopySlots(const GatherHead& head, int32_t page, int count) {
  const PageLayout& layout = head.pages.layout();
  std::byte* const to = head.Keys(page);
  const int64_t slot_bytes = layout.value_bytes / kPageSlots;
  const uint32_t* keys[kPageSlots];
  for (int s = 0; s < count; ++s) {
    const int32_t slot = head.gather.sources[page * kPageSlots + s];
    const std::byte* const from = head.SourceKeys(slot);
    keys[s] = reinterpret_cast<const uint32_t*>(from) + slot % kPageSlots;
    std::memcpy(to + layout.key_bytes + s * slot_bytes,
                from + layout.key_bytes + slot % kPageSlots * slot_bytes,
                static_cast<size_t>(slot_bytes));
  }
  auto* row = reinterpret_cast<uint32_t*>(to);
  const int64_t num_words = layout.key_bytes / static_cast<int64_t>(sizeof(uint32_t));
  for (int64_t word = 0; word < num_words; word += kPageSlots, row += kPageSlots) {
    if (count == kPageSlots) {
      for (int s = 0; s < kPageSlots; ++s) row[s] = keys[s][word];
    } else {
      for (int s = 0; s < count; ++s) row[s] = keys[s][word];
    }
  }
}

float Widen(float x) { return x; }
float Widen(uint16_t x) { return BF16ToFloat(x); }
void Narrow(float x, float* y) { *y = x; }
void Narrow(float x, uint16_t* y) { *y = FloatToBF16(x); }

// The mean of `sources` into the destination's slot d. The first term begins the sum, so that the
// mean of one slot is that slot.
template <typename T>
void AverageSlots(const GatherHead& head, absl::Span<const int32_t> sources, int32_t d) {
  constexpr int kChunk = 64;
  const PageLayout& layout = head.pages.layout();
  const float factor = 1.0f / static_cast<float>(sources.size());
  constexpr int64_t kDepth = 4 / sizeof(T);  // Components of K that lie together.
  const auto key = [](int64_t component, int slot) {
    return (component / kDepth * kPageSlots + slot) * kDepth + component % kDepth;
  };
  std::byte* const to = head.Keys(d / kPageSlots);
  auto* const to_keys = reinterpret_cast<T*>(to);
  T* const to_values =
      reinterpret_cast<T*>(to + layout.key_bytes) + int64_t{d % kPageSlots} * layout.value_stride;
  for (int begin = 0; begin < layout.head_dim; begin += kChunk) {
    const int count = std::min(kChunk, layout.head_dim - begin);
    float k[kChunk], v[kChunk];
    for (size_t i = 0; i < sources.size(); ++i) {
      const int slot = sources[i] % kPageSlots;
      const std::byte* const from = head.SourceKeys(sources[i]);
      const auto* const keys = reinterpret_cast<const T*>(from);
      const auto* const values = reinterpret_cast<const T*>(from + layout.key_bytes) +
                                 int64_t{slot} * layout.value_stride + begin;
      for (int j = 0; j < count; ++j) {
        const float x = Widen(keys[key(begin + j, slot)]);
        k[j] = i == 0 ? x : k[j] + x;
      }
      for (int j = 0; j < count; ++j) {
        const float x = Widen(values[j]);
        v[j] = i == 0 ? x : v[j] + x;
      }
    }
    for (int j = 0; j < count; ++j) {
      Narrow(k[j] * factor, &to_keys[key(begin + j, d % kPageSlots)]);
      Narrow(v[j] * factor, &to_values[begin + j]);
    }
  }
}

void AveragePage(const GatherHead& head, int32_t page, int count) {
  for (int32_t d = page * kPageSlots; d < page * kPageSlots + count; ++d) {
    const int32_t first = head.gather.first_source[d];
    const auto sources =
        head.gather.sources.subspan(first, head.gather.first_source[d + 1] - first);
    if (head.pages.layout().type == ElementType::kBF16) {
      AverageSlots<uint16_t>(head, sources, d);
    } else {
      AverageSlots<float>(head, sources, d);
    }
  }
}

// Slots [16 page, 16 page + count): those of their (first) sources.
void MovePositions(const PagedKvPool& pages, const SlotGather& gather, int32_t page, int count) {
  float* const to = pages.positions(gather.destination_pages[page]);
  for (int s = 0; s < count; ++s) {
    const int32_t d = page * kPageSlots + s;
    const int32_t source = gather.sources[gather.first_source.empty() ? d : gather.first_source[d]];
    to[s] = pages.positions(gather.source_pages[source / kPageSlots])[source % kPageSlots];
  }
}

}  // namespace

absl::Status CpuBackend::GatherSlots(absl::Span<const SlotGather> gathers, KvPool* pool) {
  const auto& pages = *static_cast<PagedKvPool*>(pool);
  const int num_kv_heads = pages.shape().num_kv_heads;
  gather_pages_.clear();
  for (const SlotGather& gather : gathers) {
    CheckGather(gather, pages.shape());
    for (int32_t page = 0; page * kPageSlots < NumDestinations(gather); ++page) {
      gather_pages_.push_back({&gather, page});
    }
  }
  ForRows(static_cast<int64_t>(gather_pages_.size()) * num_kv_heads,
          pages.layout().head_bytes() / 4, [&](int64_t item) {
            const auto [gather, page] = gather_pages_[item / num_kv_heads];
            const GatherHead head = {pages, *gather, static_cast<int>(item % num_kv_heads)};
            const int count = std::min(NumDestinations(*gather) - page * kPageSlots, kPageSlots);
            if (head.kv_head == 0 && pages.shape().keeps_positions) {
              MovePositions(pages, *gather, page, count);
            }
            if (gather->first_source.empty()) {
              CopySlots(head, page, count);
            } else {
              AveragePage(head, page, count);
            }
          });
  return absl::OkStatus();
}

}  // namespace prefixd::cpu
