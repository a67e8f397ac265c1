// The part of `top` about retention. Pure functions.
#ifndef PREFIXD_CLIENT_PREFIXCTL_TOP_RETENTION_H_
#define PREFIXD_CLIENT_PREFIXCTL_TOP_RETENTION_H_

#include <string>
#include <vector>

#include "client/prefixctl/top_view.h"
#include "prefixd/v1/admin_service.pb.h"

namespace prefixd::ctl {

// The columns of a curve over all layers: the mean share of the layers that fall into each. As many
// as there are layers, at most `width`. Requires: width >= 1.
std::vector<double> CurveColumns(const std::vector<double>& layers, int width);

// Adds what budgets kept, the curve of it over the layers, and the guard. Nothing as long as
// neither a budget nor the guard did anything.
void AddRetention(const v1::RetentionStats& stats, const TopStyle& style,
                  std::vector<std::string>* lines);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_TOP_RETENTION_H_
