// A model whose KV says what it is. A forward pass walks the page tables of every layer as a real
// one would, compares each slot it sees with the oracle at the read, and checks what the scheduler
// may put into a step. Faults and step times come from the scenario.
#ifndef PREFIXD_TESTS_SIMULATION_SIM_MODEL_H_
#define PREFIXD_TESTS_SIMULATION_SIM_MODEL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/models/model.h"
#include "tests/simulation/core_adapter.h"
#include "tests/simulation/report.h"
#include "tests/simulation/scenario.h"
#include "tests/simulation/sim_backend.h"
#include "tests/simulation/sim_memory.h"

namespace prefixd::simulation {

class SimModel final : public Model {
 public:
  struct Parts {
    SimPool* pool = nullptr;
    SimBackend* backend = nullptr;
    ManualClock* clock = nullptr;
    Faults* faults = nullptr;
    Report* report = nullptr;
    std::function<LiveRequest*(int64_t id)> find_request;
    std::function<void(const LiveRequest& request, int64_t rows)> serve;  // Work that was done.
    std::function<void(const LiveRequest& request)> prompt_done;  // Computed for the first time.
  };

  SimModel(const Config& config, std::vector<int64_t> durations, Parts parts);
  // Before the first step.
  void set_core(const Core* core) { core_ = core; }

  const ModelSpec& spec() const override { return spec_; }
  absl::Status Forward(const Batch& batch, const KvView& kv, const Tensor& logits) override;
  absl::Status TokenLogprobs(const Tensor&, absl::Span<const int32_t>, absl::Span<const int32_t>,
                             absl::Span<float>) override {
    return absl::UnimplementedError("the simulation scores nothing");
  }
  absl::StatusOr<std::unique_ptr<ImageEncoding>> StartImage(
      absl::Span<const float> pixels) override;

  // Before a step: forgets who took part in the last one.
  void BeginStep();
  // Whoever had rows or tower steps in this step, some of them twice.
  const std::vector<LiveRequest*>& in_step() const { return in_step_; }

 private:
  class Encoding;

  void PassTime();
  void CheckBatch(const Batch& batch, const KvView& kv);
  void CheckRequest(const LiveRequest& request, int32_t num_rows);
  void ComputeRows(const Batch& batch, const KvView& kv);
  static std::string NameOf(const Core::Table& table);
  static int32_t FirstPosition(const KvSegment& segment, const Core::Table& table);
  uint64_t ViewBefore(const KvView& kv, size_t segment_index) const;
  Slot& SlotAt(const KvSegment& segment, int32_t slot) const;
  void NoteBudget(int32_t first, const Core::Table& table);
  bool CheckKept(const KvSegment& segment, int layer, const Core::Table& table, int32_t visible);
  void AddScores(const KvSegment& segment, int layer, const Core::Table& table);
  void CountRows(int32_t begin, int32_t end, LiveRequest* request);
  void NoteHit(int32_t end, const LiveRequest& request);
  void WriteSegment(const KvSegment& segment, int layer, const Core::Table& table);
  void ReadSegment(const KvSegment& segment, int layer, const Core::Table& table);
  const Core::Table* TableOf(const KvSegment& segment) const;
  static bool YieldsNew(const Core::Table& table, int32_t position);
  void WriteLogits(const Batch& batch, const Tensor& logits);
  absl::Status FailForward();

  const Config config_;
  const std::vector<int64_t> durations_;
  const Parts parts_;
  ModelSpec spec_;
  const Core* core_ = nullptr;
  size_t num_steps_ = 0;
  std::vector<LiveRequest*> in_step_;
  std::vector<LiveRequest*> prompts_done_;  // In the forward pass at hand.

  // Of the forward pass at hand.
  std::vector<Core::Table> tables_;
  std::vector<int32_t> claims_;                     // By page.
  std::vector<const Core::Table*> segment_tables_;  // By segment.
  std::vector<ChainHash> row_chain_;                // By row.
  std::vector<const Core::Table*> row_tables_;      // By row.
  std::vector<float> row_logits_;
  std::vector<bool> seen_positions_;  // Scratch of CheckKept.
};

}  // namespace prefixd::simulation

#endif  // PREFIXD_TESTS_SIMULATION_SIM_MODEL_H_
