// A real backend that is watched: what it was asked to move, to add up and to rotate, and failures
// on demand.
#ifndef PREFIXD_TESTS_ENGINE_SPY_BACKEND_H_
#define PREFIXD_TESTS_ENGINE_SPY_BACKEND_H_

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "tests/backend/forwarding_backend.h"

namespace prefixd::testing {

class SpyBackend final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;

  // Attention sums that were read back.
  struct Scores {
    int64_t num_layers = 0, slots = 0;
    std::vector<float> values;  // [num_layers][slots].
  };
  std::vector<Scores> scores;
  std::vector<std::vector<int32_t>> gathered;   // The sources of every gather.
  std::vector<std::vector<int32_t>> positions;  // Of the rows, call by call.
  // The op fails this many calls from now: 1, the next one; 0: never.
  int fail_gather = 0, fail_new_scores = 0, fail_scores = 0;

  absl::StatusOr<OwnedTensor> NewScores(int64_t layers, int64_t slots) override {
    if (Fails(&fail_new_scores)) return absl::ResourceExhaustedError("injected");
    auto made = real().NewScores(layers, slots);
    if (made.ok()) score_buffers_.emplace_back(made->buffer.data(), made->buffer.size_bytes());
    return made;
  }
  absl::Status Download(const Tensor& x, absl::Span<float> y) override {
    const bool of_scores = IsOfScores(x);
    if (of_scores && Fails(&fail_scores)) return absl::InternalError("injected");
    const absl::Status status = real().Download(x, y);
    if (of_scores && status.ok()) scores.push_back({x.rows, x.cols, {y.begin(), y.end()}});
    return status;
  }
  absl::Status RotaryAngles(absl::Span<const int32_t> rows, absl::Span<const float> frequencies,
                            const Tensor& y) override {
    positions.emplace_back(rows.begin(), rows.end());
    return real().RotaryAngles(rows, frequencies, y);
  }
  absl::Status GatherSlots(absl::Span<const SlotGather> gathers, KvPool* pool) override {
    if (Fails(&fail_gather)) return absl::InternalError("injected");
    for (const SlotGather& gather : gathers) {
      gathered.emplace_back(gather.sources.begin(), gather.sources.end());
    }
    return real().GatherSlots(gathers, pool);
  }

 private:
  static bool Fails(int* countdown) { return *countdown > 0 && --*countdown == 0; }
  bool IsOfScores(const Tensor& x) const {
    return std::any_of(score_buffers_.begin(), score_buffers_.end(), [&x](const auto& buffer) {
      return x.data >= buffer.first && x.data < buffer.first + buffer.second;
    });
  }

  std::vector<std::pair<const std::byte*, size_t>> score_buffers_;
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_ENGINE_SPY_BACKEND_H_
