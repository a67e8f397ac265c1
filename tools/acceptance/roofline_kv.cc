// What writes and moves KV.
#include <memory>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/backend/cuda/kernels/kv_ops.h"
#include "engine/backend/cuda/kernels/row_ops.h"
#include "tools/acceptance/roofline.h"

namespace prefixd::acceptance {

absl::Status Roofline::KvKernels(int64_t rows, const std::string& step) {
  const DecoderShape& layer = options_.model.layer;
  const double elements = static_cast<double>(rows * layer.qkv_size());
  PREFIXD_RETURN_IF_ERROR(Measure(
      {.kernel = "write_kv",
       .shape = absl::StrCat("[", rows, ", ", layer.qkv_size(), "]"),
       .bytes = 4 * elements + 4.0 * static_cast<double>(rows * layer.head_dim),
       .step = step,
       .calls = static_cast<double>(options_.model.num_layers)},
      [&]() -> absl::StatusOr<Launch> {
        struct Held {
          Sequences sequences;
          DeviceBuffer angles;
        };
        auto held = std::make_shared<Held>();
        PREFIXD_ASSIGN_OR_RETURN(held->sequences, NewSequences(static_cast<int>(rows), 16, 1));
        PREFIXD_ASSIGN_OR_RETURN(
            held->angles,
            DeviceBuffer::Of(std::vector<float>(static_cast<size_t>(rows * layer.head_dim), 0.6f)));
        return [held, heads = layer.num_heads, rows,
                width = int64_t{layer.head_dim}](cudaStream_t stream) {
          const cuda::DeviceMatrix angles = {held->angles.data(), cuda::Element::kF32, rows, width,
                                             width};
          const Sequences& s = held->sequences;
          return CheckCuda(cuda::LaunchWriteKv(s.q.view, &angles, heads, s.slots.data<int64_t>(),
                                               nullptr, s.pages, stream),
                           "launch");
        };
      }));
  return Measure(
      {.kernel = "rotary_angles",
       .shape = absl::StrCat("[", rows, ", ", layer.head_dim, "]"),
       .bytes = 4.0 * static_cast<double>(rows * layer.head_dim),
       .step = step,
       .calls = 1},
      [&]() -> absl::StatusOr<Launch> {
        struct Held {
          DeviceBuffer positions, frequencies, angles;
        };
        auto held = std::make_shared<Held>();
        std::vector<int32_t> positions(static_cast<size_t>(rows));
        std::iota(positions.begin(), positions.end(), 600);
        PREFIXD_ASSIGN_OR_RETURN(held->positions, DeviceBuffer::Of(positions));
        PREFIXD_ASSIGN_OR_RETURN(
            held->frequencies,
            DeviceBuffer::Of(std::vector<float>(static_cast<size_t>(layer.head_dim / 2), 0.01f)));
        PREFIXD_ASSIGN_OR_RETURN(
            held->angles, DeviceBuffer::Create(static_cast<size_t>(4 * rows * layer.head_dim)));
        return [held, rows, width = int64_t{layer.head_dim}](cudaStream_t stream) {
          const cuda::DeviceMatrix y = {held->angles.data(), cuda::Element::kF32, rows, width,
                                        width};
          return CheckCuda(cuda::LaunchRotaryAngles(held->positions.data<int32_t>(),
                                                    held->frequencies.data<float>(), y, stream),
                           "launch");
        };
      });
}

absl::Status Roofline::Gather() {
  const DecoderShape& layer = options_.model.layer;
  const int count = options_.batch, slots = options_.decode_slots, kept = slots / 2;
  struct Held {
    Sequences s;
    DeviceBuffer sources, destinations, pairs;
  };
  const auto make = [&]() -> absl::StatusOr<std::shared_ptr<Held>> {
    auto held = std::make_shared<Held>();
    // The second half of the pool takes every other slot of the first.
    PREFIXD_ASSIGN_OR_RETURN(held->s, NewSequences(2 * count, slots, 1));
    std::vector<int64_t> from, to;
    const int64_t half = held->s.pages.num_pages / 2;
    for (int64_t i = 0; i < int64_t{count} * kept; ++i) {
      from.push_back(2 * i);
      to.push_back(half * cuda::kSlots + i);
    }
    std::vector<int32_t> pairs;
    for (int64_t page = 0; page < half; ++page) {
      pairs.push_back(static_cast<int32_t>(page));
      pairs.push_back(static_cast<int32_t>(half + page));
    }
    PREFIXD_ASSIGN_OR_RETURN(held->sources, DeviceBuffer::Of(from));
    PREFIXD_ASSIGN_OR_RETURN(held->destinations, DeviceBuffer::Of(to));
    PREFIXD_ASSIGN_OR_RETURN(held->pairs, DeviceBuffer::Of(pairs));
    return held;
  };
  const double slot_bytes = 4.0 * static_cast<double>(layer.kv_size());
  PREFIXD_RETURN_IF_ERROR(
      Measure({.kernel = "gather_slots",
               .shape = absl::StrCat(count * kept, " slots"),
               .kind = KernelKind::kGather,
               .bytes = 2 * slot_bytes * count * kept},
              [&]() -> absl::StatusOr<Launch> {
                PREFIXD_ASSIGN_OR_RETURN(std::shared_ptr<Held> held, make());
                return [held, moved = int64_t{count} * kept](cudaStream_t stream) {
                  return CheckCuda(cuda::LaunchGatherSlots(held->sources.data<int64_t>(), nullptr,
                                                           held->destinations.data<int64_t>(),
                                                           moved, held->s.pages, stream),
                                   "launch");
                };
              }));
  const int64_t pages = int64_t{count} * ((slots + cuda::kSlots - 1) / cuda::kSlots);
  return Measure({.kernel = "copy_pages",
                  .shape = absl::StrCat(pages, " pages"),
                  .kind = KernelKind::kGather,
                  .bytes = 2 * slot_bytes * cuda::kSlots * static_cast<double>(pages)},
                 [&]() -> absl::StatusOr<Launch> {
                   PREFIXD_ASSIGN_OR_RETURN(std::shared_ptr<Held> held, make());
                   return [held, pages](cudaStream_t stream) {
                     return CheckCuda(cuda::LaunchCopyPages(held->pairs.data<int32_t>(), pages,
                                                            held->s.pages, stream),
                                      "launch");
                   };
                 });
}

}  // namespace prefixd::acceptance
