#include "tests/cuda_emulation/emulator/grid.h"

#include <algorithm>
#include <bit>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/cuda_emulation/emulator/device_memory.h"
#include "tests/cuda_emulation/emulator/race_detector.h"
#include "tests/cuda_emulation/emulator/ready_set.h"
#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/emulator/shared_memory.h"
#include "tests/cuda_emulation/emulator/waiters.h"

namespace prefixd::emu {

Thread* current_thread = nullptr;
uint3 block_index{};
dim3 block_size, grid_size;

namespace {

Stats current_stats;

// The block that runs.
std::vector<std::unique_ptr<Thread>> threads;
uint32_t num_threads = 0, num_done = 0, num_at_barrier = 0;
ReadySet ready;
uint32_t lanes_at_collective[ReadySet::kMost / 32];

std::string kernel_name;
const std::function<void()>* kernel_body = nullptr;
bool failed = false;

void MakeReady(Thread* thread) {
  thread->state = ThreadState::kReady;
  ready.Insert(thread->rank);
}

void ThreadMain() {
  (*kernel_body)();
  current_thread->state = ThreadState::kDone;
  ++num_done;
  current_thread->fiber.Suspend(/*for_ever=*/true);
}

void ReleaseBarrier() {
  ++current_stats.barriers;
  num_at_barrier = 0;
  const Thread* first = nullptr;
  for (uint32_t i = 0; i < num_threads; ++i) {
    Thread* thread = threads[i].get();
    if (thread->state != ThreadState::kAtBlockBarrier) continue;
    if (first == nullptr) first = thread;
    if (thread->site.line != first->site.line ||
        std::string_view(thread->site.file) != first->site.file) {
      return RecordBlockFault(
          absl::StrCat("different barriers: ", WaitersText(threads, num_threads)));
    }
  }
  for (uint32_t i = 0; i < num_threads; ++i) {
    if (threads[i]->state == ThreadState::kAtBlockBarrier) MakeReady(threads[i].get());
  }
  if (race_detector_on) OnBlockBarrier();
}

void StartBlock(size_t shared_bytes) {
  ++current_stats.blocks;
  num_done = num_at_barrier = 0;
  ready = ReadySet();
  std::fill(std::begin(lanes_at_collective), std::end(lanes_at_collective), 0);
  ResetSharedMemory(shared_bytes);
  for (uint32_t i = 0; i < num_threads; ++i) {
    Thread* thread = threads[i].get();
    thread->rank = i;
    thread->index = {i % block_size.x, i / block_size.x % block_size.y,
                     i / (block_size.x * block_size.y)};
    thread->copies.clear();
    thread->copy_group = 0;
    thread->fiber.Start(&ThreadMain);
    MakeReady(thread);
    if (race_detector_on) std::fill(std::begin(thread->clocks), std::end(thread->clocks), 1);
  }
  if (race_detector_on) OnBlockStart();
}

void RunBlock(size_t shared_bytes) {
  StartBlock(shared_bytes);
  while (num_done < num_threads && !failed) {
    const int next = NextThread(ready, num_threads);
    if (next < 0) {
      if (num_at_barrier > 0 && num_at_barrier + num_done == num_threads) {
        ReleaseBarrier();
      } else {
        RecordBlockFault(absl::StrCat("deadlock: ", WaitersText(threads, num_threads)));
      }
      continue;
    }
    ready.Erase(static_cast<uint32_t>(next));
    current_thread = threads[static_cast<size_t>(next)].get();
    ++current_stats.switches;
    current_thread->fiber.Resume();
    current_thread = nullptr;
  }
  if (!failed && !SharedGuardsHold()) {
    RecordBlockFault(absl::StrCat("bytes were written beside the ", shared_bytes,
                                  " bytes of dynamic shared memory"));
  }
}

}  // namespace

void RecordBlockFault(const std::string& what) {
  failed = true;
  AddReport(absl::StrCat("kernel ", kernel_name, ", block (", block_index.x, ",", block_index.y,
                         ",", block_index.z, "): ", what));
}

Stats& stats() { return current_stats; }

bool RunGrid(const std::string& name, dim3 grid, dim3 block, size_t shared_bytes,
             const std::function<void()>& body) {
  ++current_stats.launches;
  kernel_name = name;
  kernel_body = &body;
  grid_size = grid;
  block_size = block;
  num_threads = block.x * block.y * block.z;
  failed = false;
  while (threads.size() < num_threads) threads.push_back(std::make_unique<Thread>());
  if (race_detector_on) OnGridStart();

  const uint64_t num_blocks = uint64_t{grid.x} * grid.y * grid.z;
  StartSchedule(num_blocks);
  for (uint64_t k = 0; k < num_blocks && !failed; ++k) {
    const uint64_t number = BlockInTurn(k);
    block_index = {static_cast<unsigned>(number % grid.x),
                   static_cast<unsigned>(number / grid.x % grid.y),
                   static_cast<unsigned>(number / (uint64_t{grid.x} * grid.y))};
    RunBlock(shared_bytes);
  }
  kernel_body = nullptr;
  return CheckDeviceGuards(absl::StrCat("kernel ", name)) && !failed;
}

void BlockBarrier(Site site) {
  Thread* thread = current_thread;
  thread->state = ThreadState::kAtBlockBarrier;
  thread->site = site;
  ++num_at_barrier;
  thread->fiber.Suspend(false);
}

void WarpCollective(const char* name, uint32_t mask, void* operands, CollectiveFn operation,
                    Site site, bool orders_memory) {
  Thread* thread = current_thread;
  const uint32_t lane = thread->rank % 32, base = thread->rank - lane;
  if ((mask >> lane & 1) == 0) {
    Fault([&] {
      return absl::StrFormat("%s (%s): lane %d is not in its mask %08x", name, SiteText(site), lane,
                             mask);
    });
  }
  if (num_threads - base < 32 && mask >> (num_threads - base) != 0) {
    Fault([&] {
      return absl::StrFormat("%s (%s): mask %08x names lanes of a warp of %d threads", name,
                             SiteText(site), mask, num_threads - base);
    });
  }
  thread->state = ThreadState::kAtCollective;
  thread->operation = name;
  thread->site = site;
  thread->mask = mask;
  thread->operands = operands;
  thread->collective = operation;
  uint32_t& waiting = lanes_at_collective[base / 32];
  waiting |= uint32_t{1} << lane;

  bool all_wait = (waiting & mask) == mask;
  if (!all_wait) {
    thread->fiber.Suspend(false);
    return;
  }
  void* all_operands[32] = {};
  for (uint32_t left = mask; left != 0 && all_wait; left &= left - 1) {
    const int i = std::countr_zero(left);
    const Thread& other = *threads[base + static_cast<uint32_t>(i)];
    all_wait = other.mask == mask;
    if (all_wait && other.collective != operation) {
      Fault([&] {
        return absl::StrFormat("lanes of mask %08x do different things: %s", mask,
                               WaitersText(threads, num_threads));
      });
    }
    all_operands[i] = other.operands;
  }
  if (!all_wait) {
    thread->fiber.Suspend(false);
    return;
  }
  ++current_stats.collectives;
  operation(all_operands, mask);
  if (race_detector_on && orders_memory) OnWarpBarrier(&threads[base], mask);
  waiting &= ~mask;
  for (uint32_t left = mask; left != 0; left &= left - 1) {
    MakeReady(threads[base + static_cast<uint32_t>(std::countr_zero(left))].get());
  }
  ready.Erase(thread->rank);
  MaybeYield();
}

void MaybeYield() {
  if (!YieldsNow()) return;
  MakeReady(current_thread);
  current_thread->fiber.Suspend(false);
}

}  // namespace prefixd::emu
