// Replaces the heap of a test program by one that counts, thread by thread. It defines operator new
// and delete: for one source file of a program only.
#ifndef PREFIXD_TESTS_COUNTED_HEAP_H_
#define PREFIXD_TESTS_COUNTED_HEAP_H_

#include <malloc.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

// Bytes that live now, and the most since the test set it.
static thread_local int64_t live_bytes = 0, peak_bytes = 0;

// Not inlined, or else the compiler sees memory of one kind given back as another.
[[gnu::noinline]] void* operator new(size_t size) {
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) std::abort();
  live_bytes += static_cast<int64_t>(malloc_usable_size(memory));
  peak_bytes = std::max(peak_bytes, live_bytes);
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  live_bytes -= static_cast<int64_t>(malloc_usable_size(memory));
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { operator delete(memory); }

#endif  // PREFIXD_TESTS_COUNTED_HEAP_H_
