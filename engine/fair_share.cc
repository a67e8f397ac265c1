#include "engine/fair_share.h"

#include <algorithm>
#include <optional>

namespace prefixd {

void FairShare::BeginStep(const std::vector<bool>& active, const std::vector<bool>& asking) {
  std::optional<double> level;  // The least of those that were left waiting and still ask.
  for (size_t t = 0; t < counters_.size(); ++t) {
    if (asking[t] && waiting_[t] && (!level || counters_[t] < *level)) level = counters_[t];
  }
  for (size_t t = 0; t < counters_.size(); ++t) {
    if (asking[t] && !waiting_[t]) {
      counters_[t] = std::max(counters_[t], level.value_or(last_level_));
    }
  }
  active_ = active;
  waiting_ = asking;
}

void FairShare::EndStep(const std::vector<bool>& left_waiting) {
  for (size_t t = 0; t < counters_.size(); ++t) {
    if (waiting_[t]) last_level_ = std::max(last_level_, counters_[t]);
  }
  waiting_ = left_waiting;
}

double FairShare::ShareOf(int32_t tenant, double total) const {
  double sum = 0;
  for (size_t t = 0; t < weights_.size(); ++t) {
    if (active_[t] || static_cast<int32_t>(t) == tenant) sum += weights_[t];
  }
  return total * weights_[tenant] / sum;
}

}  // namespace prefixd
