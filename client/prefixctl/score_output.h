// Shows scored texts. Pure functions.
#ifndef PREFIXD_CLIENT_PREFIXCTL_SCORE_OUTPUT_H_
#define PREFIXD_CLIENT_PREFIXCTL_SCORE_OUTPUT_H_

#include <string>
#include <vector>

#include "client/prefixctl/ranking_output.h"
#include "prefixd/v1/classification_service.pb.h"

namespace prefixd::ctl {

// For each continuation (in order, with these texts) its sum, mean and tokens, and below it the
// tokens with their log-probabilities; then those of the prompt, if they are there. Tokens without
// one are marked by "-"; several of the same id (an image's) are one.
std::string ScoreTable(const std::vector<std::string>& texts, const v1::ScoreResponse& response,
                       const Layout& layout);

// {"event":"scores",...}. A contract with scripts: docs/client.md.
std::string ScoreLine(const std::vector<std::string>& texts, const v1::ScoreResponse& response);

// "context 594 tokens, 592 cached; 12 rows computed, 3 saved; 38.2 ms".
std::string ScoreSummary(const v1::ScoreResponse& response);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_SCORE_OUTPUT_H_
