// What prefixctl says about retention. Pure functions.
#ifndef PREFIXD_CLIENT_PREFIXCTL_RETENTION_TEXT_H_
#define PREFIXD_CLIENT_PREFIXCTL_RETENTION_TEXT_H_

#include <string>
#include <vector>

#include "prefixd/v1/admin_service.pb.h"
#include "prefixd/v1/generation_service.pb.h"
#include "prefixd/v1/params.pb.h"

namespace prefixd::ctl {

// "exact"; "scope_9" for one of a newer server.
std::string ScopeName(v1::RetentionScope scope);

// "retention exact prefixkv 20 %: kept 131 of 640 tokens (min 6, max 449 a layer), mass 93 %", then
// what else happened. Empty if everything was kept.
std::string RetentionSummary(const v1::RetentionReceipt& receipt);

// "off, budget 20 %, prefixkv, start 1, protect 1, distance -25".
std::string DescribeRetention(const v1::RetentionParams& params);

// "93.0 %".
std::string FormatRatio(double ratio);

// What layers kept over all selections.
struct KeptShares {
  std::vector<double> layers;  // Each in [0, 1]; empty before the first selection.
  double least = 0, mean = 0, most = 0;
};
KeptShares KeptSharesOf(const v1::RetentionStats& stats);

// Rows of `cache stats`: a name and what there is to say.
std::vector<std::vector<std::string>> RetentionRows(const v1::RetentionStats& stats);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_RETENTION_TEXT_H_
