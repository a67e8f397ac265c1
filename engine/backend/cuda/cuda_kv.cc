// GatherSlots and CopyPages of the CUDA backend.
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/backend/check_gather.h"
#include "engine/backend/cuda/cuda_backend_impl.h"
#include "engine/backend/cuda/kernels/kv_ops.h"

namespace prefixd::cuda {
namespace {

int64_t SlotIn(absl::Span<const int32_t> pages, int64_t slot) {
  return int64_t{pages[slot / kPageSlots]} * kPageSlots + slot % kPageSlots;
}

}  // namespace

absl::Status CudaBackend::GatherSlots(absl::Span<const SlotGather> gathers, KvPool* pool) {
  const KvPages pages = static_cast<CudaKvPool*>(pool)->pages();
  for (const SlotGather& gather : gathers) CheckGather(gather, pool->shape());
  PREFIXD_RETURN_IF_ERROR(Enter());
  PREFIXD_RETURN_IF_ERROR(MoveSlots(gathers, /*means=*/false, pages));
  return MoveSlots(gathers, /*means=*/true, pages);
}

// The gathers with means, or those without.
absl::Status CudaBackend::MoveSlots(absl::Span<const SlotGather> gathers, bool means,
                                    const KvPages& pages) {
  std::vector<int64_t> sources, destinations;
  std::vector<int32_t> first_source = {0};
  for (const SlotGather& gather : gathers) {
    if (gather.first_source.empty() == means) continue;
    const int64_t count = NumDestinations(gather);
    for (int64_t d = 0; d < count; ++d) {
      destinations.push_back(SlotIn(gather.destination_pages, d));
      const int32_t begin = means ? gather.first_source[d] : static_cast<int32_t>(d);
      const int32_t end = means ? gather.first_source[d + 1] : begin + 1;
      for (int32_t i = begin; i < end; ++i) {
        sources.push_back(SlotIn(gather.source_pages, gather.sources[i]));
      }
      first_source.push_back(static_cast<int32_t>(sources.size()));
    }
  }
  if (destinations.empty()) return absl::OkStatus();
  HostPack pack;
  const size_t from = pack.Add(sources);
  const size_t to = pack.Add(destinations);
  const size_t first = pack.Add(first_source);
  PREFIXD_ASSIGN_OR_RETURN(const std::byte* const base, Send(pack));
  PREFIXD_ASSIGN_OR_RETURN(const cudaStream_t stream, memory_->Use({pages.data, pages.positions}));
  return Check(
      LaunchGatherSlots(ArrayAt<int64_t>(base, from),
                        means ? ArrayAt<int32_t>(base, first) : nullptr, ArrayAt<int64_t>(base, to),
                        static_cast<int64_t>(destinations.size()), pages, stream),
      "GatherSlots");
}

absl::Status CudaBackend::CopyPages(absl::Span<const PageCopy> copies, KvPool* pool) {
  const KvPages pages = static_cast<CudaKvPool*>(pool)->pages();
  std::vector<int32_t> pairs;
  for (const PageCopy& copy : copies) {
    PREFIXD_CHECK(copy.source >= 0 && copy.source < pages.num_pages);
    PREFIXD_CHECK(copy.destination >= 0 && copy.destination < pages.num_pages);
    pairs.push_back(copy.source);
    pairs.push_back(copy.destination);
  }
  PREFIXD_RETURN_IF_ERROR(Enter());
  if (copies.empty()) return absl::OkStatus();
  HostPack pack;
  const size_t offset = pack.Add(pairs);
  PREFIXD_ASSIGN_OR_RETURN(const std::byte* const base, Send(pack));
  PREFIXD_ASSIGN_OR_RETURN(const cudaStream_t stream, memory_->Use({pages.data, pages.positions}));
  return Check(LaunchCopyPages(ArrayAt<int32_t>(base, offset), static_cast<int64_t>(copies.size()),
                               pages, stream),
               "CopyPages");
}

}  // namespace prefixd::cuda
