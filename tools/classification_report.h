// An evaluation of rankings as files for people and programs. Pure texts; docs/evaluation.md
// explains the numbers.
#ifndef PREFIXD_TOOLS_CLASSIFICATION_REPORT_H_
#define PREFIXD_TOOLS_CLASSIFICATION_REPORT_H_

#include <string>
#include <vector>

#include "tools/classification_evaluation.h"
#include "tools/classification_results.h"

namespace prefixd {

struct ClassificationReport {
  std::string command;  // That makes it again.
  ClassificationSettings settings;
  std::vector<std::string> names;
  ClassificationSummary summary;
};

// An object; every class that has samples is in it, the worst first.
std::string ClassificationJson(const ClassificationReport& report);

// Tables; of the classes the worst twenty.
std::string ClassificationMarkdown(const ClassificationReport& report);

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_CLASSIFICATION_REPORT_H_
