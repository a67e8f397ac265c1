#include "engine/fair_share.h"

#include <algorithm>
#include <optional>

namespace prefixd {

void FairShare::SetActive(const std::vector<bool>& active) {
  std::optional<double> least;  // Of those that were and are active.
  for (size_t t = 0; t < counters_.size(); ++t) {
    if (active[t] && active_[t] && (!least || counters_[t] < *least)) least = counters_[t];
  }
  for (size_t t = 0; t < counters_.size(); ++t) {
    if (active[t] && !active_[t] && least) counters_[t] = std::max(counters_[t], *least);
  }
  active_ = active;
}

double FairShare::ShareOf(int32_t tenant, double total) const {
  double sum = 0;
  for (size_t t = 0; t < weights_.size(); ++t) {
    if (active_[t] || static_cast<int32_t>(t) == tenant) sum += weights_[t];
  }
  return total * weights_[tenant] / sum;
}

}  // namespace prefixd
