// The backend of the simulation: memory, and slots of KV that move. Each move is checked: where it
// goes must be nobody else's, and what arrives must be what the oracle says.
#ifndef PREFIXD_TESTS_SIMULATION_SIM_BACKEND_H_
#define PREFIXD_TESTS_SIMULATION_SIM_BACKEND_H_

#include <cstdint>
#include <vector>

#include "engine/backend/backend.h"
#include "tests/engine/fake_backend.h"
#include "tests/simulation/core_adapter.h"
#include "tests/simulation/report.h"
#include "tests/simulation/sim_memory.h"

namespace prefixd::simulation {

class SimBackend final : public testing::FakeBackend {
 public:
  SimBackend(Faults* faults, Report* report) : faults_(faults), report_(report) {}
  // Before the first step.
  void set_core(const Core* core) { core_ = core; }

  absl::Status CopyPages(absl::Span<const PageCopy> copies, KvPool* pool) override;
  absl::Status GatherSlots(absl::Span<const SlotGather> gathers, KvPool* pool) override;

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
  void Gather(const SlotGather& gather, SimPool* pool);
  void CheckGathered(const SlotGather& gather, SimPool* pool, const Core::Table& table, int layer);

  Faults* const faults_;
  Report* const report_;
  const Core* core_ = nullptr;
  int64_t copies_ = 0;
  bool failed_ = false;
  std::vector<Core::Table> tables_;
  std::vector<int32_t> claims_;
};

}  // namespace prefixd::simulation

#endif  // PREFIXD_TESTS_SIMULATION_SIM_BACKEND_H_
