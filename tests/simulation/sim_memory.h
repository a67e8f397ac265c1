// The KV memory of the simulation: what each slot of each page holds, and pages that nobody may
// read.
#ifndef PREFIXD_TESTS_SIMULATION_SIM_MEMORY_H_
#define PREFIXD_TESTS_SIMULATION_SIM_MEMORY_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "engine/backend/backend.h"
#include "tests/engine/fake_backend.h"
#include "tests/simulation/chain.h"
#include "tests/simulation/report.h"

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
        poisoned_(static_cast<size_t>(shape.num_pages), true) {}

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

 private:
  std::vector<Slot> slots_;
  std::vector<bool> poisoned_;
};

// Armed by actions, each used up by the next step that it concerns.
struct Faults {
  bool forward_fails = false, copy_fails = false;
  int64_t nan_row = -1;  // Modulo the number of logits rows; -1: none.
  int64_t image_failures = 0;
  int64_t slow_us = 0;
};

class SimBackend final : public testing::FakeBackend {
 public:
  SimBackend(Faults* faults, Report* report) : faults_(faults), report_(report) {}
  absl::Status CopyPages(absl::Span<const PageCopy> copies, KvPool* pool) override;
  // Copies of this step.
  int64_t num_copies() const { return copies_; }
  // Forgets the last step.
  void BeginStep() {
    copies_ = 0;
    failed_ = false;
  }
  // Whether a copy failed in this step.
  bool failed() const { return failed_; }

 private:
  Faults* const faults_;
  Report* const report_;
  int64_t copies_ = 0;
  bool failed_ = false;
};

}  // namespace prefixd::simulation

#endif  // PREFIXD_TESTS_SIMULATION_SIM_MEMORY_H_
