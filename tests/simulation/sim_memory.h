// The KV memory of the simulation: what each slot of each page holds, and pages that nobody may
// read.
#ifndef PREFIXD_TESTS_SIMULATION_SIM_MEMORY_H_
#define PREFIXD_TESTS_SIMULATION_SIM_MEMORY_H_

#include <cstdint>
#include <vector>

#include "engine/backend/backend.h"
#include "tests/simulation/chain.h"

namespace prefixd::simulation {

struct Slot {
  ChainHash chain = 0;
  int32_t position = -1;
  int32_t layer = -1;

  bool operator==(const Slot&) const = default;
};

class SimPool final : public KvPool {
 public:
  explicit SimPool(const KvPoolShape& shape)
      : KvPool(shape),
        slots_(static_cast<size_t>(shape.num_pages) * kPageSlots),
        poisoned_(static_cast<size_t>(shape.num_pages), true),
        compressed_(static_cast<size_t>(shape.num_pages)) {}

  Slot* page(int32_t id) { return &slots_[static_cast<size_t>(id) * kPageSlots]; }
  // A page is written again after it was free.
  void Revive(int32_t id) { poisoned_[static_cast<size_t>(id)] = false; }
  bool poisoned(int32_t id) const { return poisoned_[static_cast<size_t>(id)]; }
  // Nobody claims the page: whoever reads it from here on reads nonsense.
  void Poison(int32_t id) {
    if (poisoned(id)) return;
    poisoned_[static_cast<size_t>(id)] = true;
    for (int32_t slot = 0; slot < kPageSlots; ++slot) page(id)[slot] = Slot();
  }
  // It holds what was kept of a prompt, or was computed from that.
  bool compressed(int32_t id) const { return compressed_[static_cast<size_t>(id)]; }
  void set_compressed(int32_t id, bool compressed) {
    compressed_[static_cast<size_t>(id)] = compressed;
  }

 private:
  std::vector<Slot> slots_;
  std::vector<bool> poisoned_, compressed_;
};

// Armed by actions, each used up by the next step that it concerns.
struct Faults {
  bool forward_fails = false, copy_fails = false, gather_fails = false;
  int64_t nan_row = -1;  // Modulo the number of logits rows; -1: none.
  int64_t image_failures = 0;
  int64_t slow_us = 0;
};

}  // namespace prefixd::simulation

#endif  // PREFIXD_TESTS_SIMULATION_SIM_MEMORY_H_
