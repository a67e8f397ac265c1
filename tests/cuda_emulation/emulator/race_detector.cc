#include "tests/cuda_emulation/emulator/race_detector.h"

#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/cuda_emulation/emulator/code_place.h"
#include "tests/cuda_emulation/emulator/device_memory.h"
#include "tests/cuda_emulation/emulator/grid.h"
#include "tests/cuda_emulation/emulator/shadow.h"
#include "tests/cuda_emulation/emulator/shared_memory.h"

namespace prefixd::emu {

bool race_detector_on = false;

namespace {

Shadow shadow;
uint32_t block_number = 0, interval = 0, first_block_of_launch = 1;
std::vector<uint3> blocks_of_launch;
DeviceRange last_range;

struct Buffer {
  bool shared = false;
  const char* name = "";
  uintptr_t begin = 0;
  size_t bytes = 0;
};

// Whether an access of the set may be unordered with one by the current thread now.
bool Conflicts(const AccessSet& set, bool shared) {
  if (set.block < first_block_of_launch) return false;
  if (set.block != block_number) return !shared;  // Blocks share no shared memory.
  if (set.several_blocks && !shared) return true;
  if (set.interval != interval) return false;
  const Thread& me = *current_thread;
  if (set.several_warps || set.thread / 32u != me.rank / 32) return true;
  for (uint32_t left = set.lanes & ~(uint32_t{1} << (me.rank % 32)); left != 0; left &= left - 1) {
    if (me.clocks[std::countr_zero(left)] <= set.clock) return true;
  }
  return false;
}

void Replace(AccessSet* set, uint32_t code) {
  const Thread& me = *current_thread;
  *set = AccessSet();
  set->block = block_number;
  set->interval = interval;
  set->lanes = uint32_t{1} << (me.rank % 32);
  set->clock = me.clocks[me.rank % 32];
  set->code = code;
  set->thread = static_cast<uint16_t>(me.rank);
}

void Add(AccessSet* set, uint32_t code) {
  const AccessSet before = *set;
  const Thread& me = *current_thread;
  const bool same_launch = before.block >= first_block_of_launch;
  const bool same_interval = before.interval == interval && before.block == block_number;
  Replace(set, code);
  set->several_blocks = same_launch && (before.several_blocks || before.block != block_number);
  if (!same_interval) return;
  const bool same_warp = before.thread / 32u == me.rank / 32;
  set->several_warps = before.several_warps || !same_warp;
  set->other = same_warp ? before.other : before.thread;
  if (same_warp && before.clock == set->clock) set->lanes |= before.lanes;
}

std::string BlockText(const AccessSet& set) {
  if (set.block == block_number) {
    return set.several_blocks ? "a thread of another block" : "";
  }
  const uint3 block = blocks_of_launch[set.block - first_block_of_launch];
  return absl::StrCat("thread ", set.thread, " of block (", block.x, ",", block.y, ",", block.z,
                      ")");
}

std::string WhoText(const AccessSet& set) {
  const std::string elsewhere = BlockText(set);
  if (!elsewhere.empty()) return elsewhere;
  const uint32_t rank = current_thread->rank;
  if (set.several_warps && set.thread / 32u == rank / 32) {
    return absl::StrCat("thread ", set.other);
  }
  uint32_t thread = set.thread;
  if (thread == rank) {  // One of the other lanes, then.
    const uint32_t others = set.lanes & ~(uint32_t{1} << (rank % 32));
    thread = rank / 32 * 32 + static_cast<uint32_t>(std::countr_zero(others));
  }
  return absl::StrCat("thread ", thread);
}

void Report(const AccessSet& set, const char* earlier, const char* now, uint32_t code,
            const Buffer& buffer, uintptr_t address) {
  Fault([&] {
    return absl::StrCat("race: ", now, " byte ", address - buffer.begin, " of ", buffer.name,
                        " of ", buffer.bytes, " bytes (", CodePlaceText(code), "), which ",
                        WhoText(set), " ", earlier, " (", CodePlaceText(set.code),
                        "); nothing orders the two");
  });
}

void Touch(ShadowCell* cell, Access access, uint32_t code, const Buffer& buffer,
           uintptr_t address) {
  const char* wrote = cell->write.atomic ? "changed atomically" : "wrote";
  switch (access) {
    case Access::kRead:
      if (Conflicts(cell->write, buffer.shared)) {
        Report(cell->write, wrote, "reads", code, buffer, address);
      }
      Add(&cell->read, code);
      return;
    case Access::kWrite:
      if (Conflicts(cell->write, buffer.shared)) {
        Report(cell->write, wrote, "writes", code, buffer, address);
      }
      if (Conflicts(cell->read, buffer.shared)) {
        Report(cell->read, "read", "writes", code, buffer, address);
      }
      Replace(&cell->write, code);
      return;
    case Access::kAtomic:
      if (!cell->write.atomic && Conflicts(cell->write, buffer.shared)) {
        Report(cell->write, wrote, "changes atomically", code, buffer, address);
      }
      if (Conflicts(cell->read, buffer.shared)) {
        Report(cell->read, "read", "changes atomically", code, buffer, address);
      }
      if (cell->write.atomic) {
        Add(&cell->write, code);
      } else {
        Replace(&cell->write, code);
      }
      cell->write.atomic = true;
      return;
  }
}

// False: memory that nobody watches.
bool FindBuffer(const void* p, size_t bytes, const void* code, Buffer* buffer) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(p);
  const auto beside = [&](const char* name, size_t size) {
    Fault([&] {
      return absl::StrCat("an access beside ", name, " of ", size, " bytes (",
                          CodePlaceText(CodeOffset(code)), ")");
    });
  };
  switch (PlaceInSharedMemory(p)) {
    case SharedPlace::kDynamic:
      *buffer = {true, "dynamic shared memory", reinterpret_cast<uintptr_t>(SharedMemoryBegin()),
                 SharedMemoryBytes()};
      if (address + bytes > buffer->begin + buffer->bytes) beside(buffer->name, buffer->bytes);
      return true;
    case SharedPlace::kStatic:
      *buffer = {true, "static shared memory", reinterpret_cast<uintptr_t>(StaticSharedBegin()),
                 StaticSharedBytes()};
      return true;
    case SharedPlace::kGuard:
      beside("dynamic shared memory", SharedMemoryBytes());
      return false;
    case SharedPlace::kElsewhere:
      break;
  }
  if (address - last_range.begin >= last_range.bytes) {
    switch (PlaceInDeviceMemory(p, &last_range)) {
      case DevicePlace::kElsewhere:
        last_range = {};
        return false;
      case DevicePlace::kGuard:
        beside("a device buffer", last_range.bytes);
        return false;
      case DevicePlace::kInside:
        break;
    }
  }
  *buffer = {false, "a device buffer", last_range.begin, last_range.bytes};
  if (address + bytes > buffer->begin + buffer->bytes) beside(buffer->name, buffer->bytes);
  return true;
}

}  // namespace

void OnGridStart() {
  first_block_of_launch = block_number + 1;
  blocks_of_launch.clear();
  last_range = {};
}

void OnBlockStart() {
  ++block_number;
  ++interval;
  blocks_of_launch.push_back(block_index);
}

void OnBlockBarrier() { ++interval; }

void OnWarpBarrier(const std::unique_ptr<Thread>* warp, uint32_t mask) {
  uint32_t joined[32] = {};
  for (uint32_t left = mask; left != 0; left &= left - 1) {
    const int lane = std::countr_zero(left);
    uint32_t(&clocks)[32] = warp[lane]->clocks;
    ++clocks[lane];
    for (int i = 0; i < 32; ++i) joined[i] = std::max(joined[i], clocks[i]);
  }
  for (uint32_t left = mask; left != 0; left &= left - 1) {
    std::copy(joined, joined + 32, warp[std::countr_zero(left)]->clocks);
  }
}

void ClearRaceDetector() { shadow.Clear(); }

void NoteAccessSlow(const void* p, size_t bytes, Access access, const void* code) {
  if (current_thread == nullptr) return;  // The host.
  const uintptr_t address = reinterpret_cast<uintptr_t>(p);
  if (current_thread->fiber.HasOnStack(address)) return;
  Buffer buffer;
  if (!FindBuffer(p, bytes, code, &buffer)) return;
  const uint32_t offset = CodeOffset(code);
  shadow.ForCells(address, bytes, [&](ShadowCell* cell, uintptr_t cell_address) {
    Touch(cell, access, offset, buffer, cell_address);
  });
}

}  // namespace prefixd::emu
