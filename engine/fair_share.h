// Shares work between tenants in proportion to their weights while they compete: a virtual counter
// of rows computed for each, and the lowest goes first. A tenant that comes back from having
// nothing to wait for starts level with the others, so nobody saves up. Engine thread only. Source:
// Sheng et al., "Fairness in serving large language models", OSDI 2024.
#ifndef PREFIXD_ENGINE_FAIR_SHARE_H_
#define PREFIXD_ENGINE_FAIR_SHARE_H_

#include <cstdint>
#include <utility>
#include <vector>

namespace prefixd {

class FairShare {
 public:
  // By tenant; each > 0, at least one.
  explicit FairShare(std::vector<double> weights)
      : weights_(std::move(weights)),
        counters_(weights_.size()),
        active_(weights_.size()),
        waiting_(weights_.size()) {}

  int num_tenants() const { return static_cast<int>(weights_.size()); }

  // `rows` were computed for the tenant.
  void Charge(int32_t tenant, int64_t rows) {
    counters_[tenant] += static_cast<double>(rows) / weights_[tenant];
  }

  // Begins a step. Tells, by tenant, which have work, and which have prompts that are not computed:
  // of these, whoever was not left waiting by the last step is lifted to the level of those that
  // were.
  void BeginStep(const std::vector<bool>& active, const std::vector<bool>& asking);

  // Ends a step, charges included. Tells, by tenant, who asked for more than the step plans.
  void EndStep(const std::vector<bool>& left_waiting);

  // Whether `a` goes before `b`: it had less for its weight. Ties: the lower index.
  bool Before(int32_t a, int32_t b) const {
    return counters_[a] != counters_[b] ? counters_[a] < counters_[b] : a < b;
  }

  // The tenant's part of `total` among those that are active.
  double ShareOf(int32_t tenant, double total) const;

 private:
  const std::vector<double> weights_;
  std::vector<double> counters_;
  std::vector<bool> active_, waiting_;
  double last_level_ = 0;  // The highest counter of those that asked.
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_FAIR_SHARE_H_
