#include "cache/huge_pages.h"

#include <sys/mman.h>

#include <cstring>

#include "base/check.h"

namespace prefixd {

HugeMemory AllocateZeros(size_t bytes) {
  const size_t alignment = bytes >= kHugePageBytes ? kHugePageBytes : 64;
  const size_t size = (bytes + alignment - 1) / alignment * alignment;
  HugeMemory memory(std::aligned_alloc(alignment, size));
  PREFIXD_CHECK(memory != nullptr);
  // A wish; the memory is as good without.
  if (alignment == kHugePageBytes) madvise(memory.get(), size, MADV_HUGEPAGE);
  std::memset(memory.get(), 0, size);
  return memory;
}

}  // namespace prefixd
