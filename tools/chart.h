// An evaluation as a picture: perplexity (log scale) and ROUGE-L over the budget, a line a policy.
// Static SVG without script, style sheet or anything fetched; its greys and colours can be read on
// white and on black, and every policy has a dash and a marker of its own besides its colour.
#ifndef PREFIXD_TOOLS_CHART_H_
#define PREFIXD_TOOLS_CHART_H_

#include <string>
#include <vector>

#include "tools/evaluation.h"

namespace prefixd {

// The whole file. Points that are not finite are left out.
std::string ChartSvg(const Evaluation& evaluation);

// Values for the ticks of an axis from `low` to `high`, ascending, within them: 1, 2, 5 of each
// decade (or the decades alone) where a log scale spans much, else round steps. Requires:
// 0 < low < high, both finite.
std::vector<double> LogTicks(double low, double high);

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_CHART_H_
