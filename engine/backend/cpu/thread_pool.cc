#include "engine/backend/cpu/thread_pool.h"

#include <chrono>
#include <system_error>

#include "base/check.h"

namespace prefixd {
namespace {

constexpr uint32_t kOpen = 1u << 15;
constexpr uint32_t kInsideMask = kOpen - 1;
constexpr std::chrono::microseconds kSpinTime(50);

constexpr uint32_t EpochOf(uint32_t gate) { return gate >> 16; }

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Spins until `done()` or the spin time is over; returns whether `done()`.
template <typename Condition>
bool SpinUntil(Condition done) {
  const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < 64; ++i) {
      if (done()) return true;
      Pause();
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return done();
}

}  // namespace

ThreadPool::ThreadPool(int num_threads) {
  PREFIXD_CHECK(num_threads >= 1 && num_threads <= 256);
  workers_.reserve(num_threads - 1);
  for (int thread = 1; thread < num_threads; ++thread) {
    try {
      workers_.emplace_back([this, thread] { WorkerMain(thread); });
    } catch (const std::system_error&) {
      return;  // The system gives no more threads; the pool works with those it has.
    }
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);
  gate_.fetch_add(1u << 16, std::memory_order_release);
  gate_.notify_all();
}

void ThreadPool::Run(int64_t num_items, Item item) {
  if (workers_.empty() || num_items <= 1) {
    for (int64_t i = 0; i < num_items; ++i) item(i, 0);
    return;
  }
  item_ = &item;
  num_items_ = num_items;
  next_item_.store(0, std::memory_order_relaxed);
  const uint32_t epoch = EpochOf(gate_.load(std::memory_order_relaxed)) + 1;
  gate_.exchange(epoch << 16 | kOpen, std::memory_order_seq_cst);  // Before the look for sleepers.
  gate_.notify_all();
  RunItems(0);
  WaitUntilWorkersLeft();
}

void ThreadPool::RunItems(int thread) {
  while (true) {
    const int64_t i = next_item_.fetch_add(1, std::memory_order_relaxed);
    if (i >= num_items_) return;
    (*item_)(i, thread);
  }
}

void ThreadPool::WaitUntilWorkersLeft() {
  gate_.fetch_and(~kOpen, std::memory_order_acquire);
  const auto empty = [this] { return (gate_.load(std::memory_order_acquire) & kInsideMask) == 0; };
  if (SpinUntil(empty)) return;
  while (true) {
    const uint32_t gate = gate_.load(std::memory_order_acquire);
    if ((gate & kInsideMask) == 0) return;
    gate_.wait(gate, std::memory_order_acquire);
  }
}

uint32_t ThreadPool::WaitForNewLoop(uint32_t seen_epoch) {
  const auto changed = [this, seen_epoch] {
    return EpochOf(gate_.load(std::memory_order_acquire)) != seen_epoch;
  };
  while (!SpinUntil(changed)) {
    const uint32_t gate = gate_.load(std::memory_order_acquire);
    if (EpochOf(gate) == seen_epoch) gate_.wait(gate, std::memory_order_acquire);
    if (changed()) break;
  }
  return gate_.load(std::memory_order_acquire);
}

void ThreadPool::WorkerMain(int thread) {
  uint32_t seen_epoch = 0;
  while (true) {
    uint32_t gate = WaitForNewLoop(seen_epoch);
    seen_epoch = EpochOf(gate);
    if (stop_.load(std::memory_order_relaxed)) return;
    bool joined = false;
    while (!joined && (gate & kOpen) != 0 && EpochOf(gate) == seen_epoch) {
      joined = gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acq_rel);
    }
    if (!joined) continue;
    RunItems(thread);
    const uint32_t before = gate_.fetch_sub(1, std::memory_order_acq_rel);
    if ((before & kOpen) == 0 && (before & kInsideMask) == 1) gate_.notify_all();
  }
}

}  // namespace prefixd
