#include "server/option_parts.h"

namespace prefixd {

void AddClassificationOptions(std::vector<OptionSpec>* table) {
  const std::vector<OptionSpec> options = {
      {.name = "state-dir",
       .group = "Classification",
       .field = PREFIXD_FIELD(engine.classification.state_dir),
       .help = "Directory where class sets outlive the process; one daemon each. Empty: they are "
               "in memory only."},
      {.name = "max-class-names",
       .group = "Classification",
       .field = PREFIXD_FIELD(engine.classification.max_names),
       .min = 2,
       .max = 100'000,
       .help = "Names of a class set or a request."},
      {.name = "max-class-sets",
       .group = "Classification",
       .field = PREFIXD_FIELD(engine.classification.max_sets),
       .min = 0,
       .max = 100'000,
       .help = "Class sets of a tenant."},
      {.name = "scoring-workspace",
       .group = "Classification",
       .field = PREFIXD_FIELD(engine.classification.scoring_workspace),
       .min = 1 << 20,
       .max = int64_t{1} << 40,
       .help = "Memory for one pass over names beside keys and values; more names than fit take "
               "several passes."},
  };
  table->insert(table->end(), options.begin(), options.end());
}

}  // namespace prefixd
