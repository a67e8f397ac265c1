// What the race detector remembers of the memory that kernels touched.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_SHADOW_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_SHADOW_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace prefixd::emu {

// The latest accesses of one kind: those of one block and, within it, of one interval between
// barriers. Blocks and intervals are numbered from 1 over all launches.
struct AccessSet {
  uint32_t block = 0;     // The last one.
  uint32_t interval = 0;  // The last one.
  uint32_t lanes = 0;     // Of the last warp; all at `clock`.
  uint32_t clock = 0;
  uint32_t code = 0;            // Of the last access.
  uint16_t thread = 0;          // The last one's rank.
  uint16_t other = 0;           // With several_warps: a thread of another warp.
  bool several_warps = false;   // In the last interval.
  bool several_blocks = false;  // In the launch of the last block.
  bool atomic = false;
};

struct ShadowCell {
  AccessSet write;  // The last write, or atomics since.
  AccessSet read;
};

// Cells by address, made when first asked for. A cell stands for 4 bytes where everybody accesses
// aligned words, else for 2 or for 1.
class Shadow {
 public:
  // Calls visit(cell, address) for the cells of [address, address + bytes).
  template <typename Visit>
  void ForCells(uintptr_t address, size_t bytes, const Visit& visit) {
    const size_t unit = Unit(address | bytes);
    const uintptr_t end = address + bytes;
    while (address < end) {
      Page* page = FindPage(address / kPageBytes);
      if (page->unit > unit) Split(page, unit);
      const uintptr_t page_end = (address / kPageBytes + 1) * kPageBytes;
      for (; address < end && address < page_end; address += page->unit) {
        visit(&page->cells[address % kPageBytes / page->unit], address);
      }
    }
  }

  void Clear();

 private:
  static constexpr size_t kPageBytes = 1024;
  struct Page {
    uintptr_t number = 0;
    size_t unit = 4;
    std::vector<ShadowCell> cells;
  };

  static size_t Unit(uintptr_t bits) { return bits % 4 == 0 ? 4 : bits % 2 == 0 ? 2 : 1; }

  Page* FindPage(uintptr_t number) {
    Page*& recent = recent_[number % kRecent];
    if (recent == nullptr || recent->number != number) recent = FindOrMakePage(number);
    return recent;
  }
  Page* FindOrMakePage(uintptr_t number);
  static void Split(Page* page, size_t unit);

  static constexpr size_t kRecent = 512;
  Page* recent_[kRecent] = {};
  absl::flat_hash_map<uintptr_t, std::unique_ptr<Page>> pages_;
};

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_SHADOW_H_
