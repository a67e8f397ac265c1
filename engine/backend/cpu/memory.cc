#include "engine/backend/cpu/memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/checked_math.h"

namespace prefixd::cpu {
namespace {

constexpr uint64_t kMapFromBytes = uint64_t{1} << 20;
constexpr uint64_t kHugePageBytes = uint64_t{2} << 20;

void FreeHeap(void*, std::byte* data, size_t) { std::free(data); }
void FreeMapping(void*, std::byte* data, size_t size_bytes) { munmap(data, size_bytes); }

absl::Status Exhausted(absl::string_view what, absl::string_view size) {
  return absl::ResourceExhaustedError(absl::StrCat(what, ": no memory for ", size, " bytes"));
}

}  // namespace

std::optional<uint64_t> SizeProduct(std::initializer_list<uint64_t> factors) {
  std::optional<uint64_t> product = 1;
  for (const uint64_t factor : factors) {
    product = CheckedMul(*product, factor);
    if (!product.has_value()) return std::nullopt;
  }
  return product;
}

absl::StatusOr<Buffer> AllocateZeroed(std::optional<uint64_t> size_bytes, MemoryUse use,
                                      absl::string_view what) {
  if (!size_bytes.has_value()) return Exhausted(what, "more than 2^64");
  const uint64_t size = *size_bytes;
  if (size == 0) return Buffer();
  if (size > uint64_t{1} << 47) return Exhausted(what, absl::StrCat(size));
  if (size < kMapFromBytes) {
    const uint64_t rounded = (size + 63) / 64 * 64;
    void* data = std::aligned_alloc(64, rounded);
    if (data == nullptr) return Exhausted(what, absl::StrCat(size));
    std::memset(data, 0, rounded);
    return Buffer(static_cast<std::byte*>(data), size, FreeHeap, nullptr);
  }
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | (use == MemoryUse::kSparse ? MAP_NORESERVE : 0);
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (data == MAP_FAILED) return Exhausted(what, absl::StrCat(size));
  // Only a hint: memory without huge pages is slower, not wrong.
  if (use == MemoryUse::kDense && size >= kHugePageBytes) madvise(data, size, MADV_HUGEPAGE);
  return Buffer(static_cast<std::byte*>(data), size, FreeMapping, nullptr);
}

}  // namespace prefixd::cpu
