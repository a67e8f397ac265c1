// Memory for tables that are read all over at random: on huge pages where the system gives them,
// since every small page is one more cache miss.
#ifndef PREFIXD_CACHE_HUGE_PAGES_H_
#define PREFIXD_CACHE_HUGE_PAGES_H_

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace prefixd {

inline constexpr size_t kHugePageBytes = size_t{2} << 20;

struct FreeMemory {
  void operator()(void* memory) const { std::free(memory); }
};
using HugeMemory = std::unique_ptr<void, FreeMemory>;

// `bytes` of zeros (> 0), aligned to cache lines at least. Crashes if there is no memory.
HugeMemory AllocateZeros(size_t bytes);

}  // namespace prefixd

#endif  // PREFIXD_CACHE_HUGE_PAGES_H_
