#include "engine/retention_limits.h"
#include "server/option_parts.h"

namespace prefixd {
namespace {

void AddGuardOptions(std::vector<OptionSpec>* table) {
  const std::vector<OptionSpec> options = {
      {.name = "guard-sample-rate",
       .group = "Quality guard",
       .field = PREFIXD_FIELD(engine.guard_sample_rate),
       .low = 0,
       .high = 1,
       .help = "Share of the requests under a default budget that are computed again with "
               "everything kept; 0: none."},
      {.name = "guard-min-agreement",
       .group = "Quality guard",
       .field = PREFIXD_FIELD(engine.guard_min_agreement),
       .low = 0,
       .high = 1,
       .help = "Share of places in the outputs where the most likely token must be the same with "
               "everything kept; below it the default budget is raised."},
      {.name = "guard-max-drift",
       .group = "Quality guard",
       .field = PREFIXD_FIELD(engine.guard_max_drift),
       .low = 0.001,
       .high = kMaxGuardDrift,
       .help = "Mean difference of log-probabilities, nats a token, beyond which the default "
               "budget is raised."},
      {.name = "guard-budget-step",
       .group = "Quality guard",
       .field = PREFIXD_FIELD(engine.guard_budget_step),
       .low = 0.001,
       .high = 1,
       .help = "By how much it is raised at a time."},
  };
  table->insert(table->end(), options.begin(), options.end());
}

}  // namespace

void AddRetentionOptions(std::vector<OptionSpec>* table) {
  const std::vector<OptionSpec> options = {
      {.name = "retention",
       .group = "Retention",
       .field = PREFIXD_FIELD(engine.retention),
       .choices = {"off", "exact", "shared"},
       .help = "Scope for requests that name none: exact compresses the whole prompt, shared the "
               "prefix that requests have in common."},
      {.name = "retention-budget",
       .group = "Retention",
       .field = PREFIXD_FIELD(engine.retention_budget),
       .low = kMinRetentionBudget,
       .high = 1,
       .help = "Share of the KV that is kept."},
      {.name = "retention-policy",
       .group = "Retention",
       .field = PREFIXD_FIELD(engine.retention_policy),
       .help = "What chooses the tokens that are kept; docs/retention.md lists them."},
      {.name = "retention-profile",
       .group = "Retention",
       .field = PREFIXD_FIELD(engine.retention_profile),
       .help = "Offline profile, a name in retention-profiles; empty: each prompt's own scores."},
      {.name = "retention-profiles",
       .group = "Retention",
       .field = PREFIXD_FIELD(engine.retention_profiles),
       .help = "Directory of offline profiles, prefixkv_NAME_RATIO.json; empty: none."},
      {.name = "retention-start-size",
       .group = "Retention",
       .field = PREFIXD_FIELD(engine.retention_start_size),
       .min = 0,
       .max = kMaxRetentionStartSize,
       .help = "First tokens of a prompt that are always kept."},
      {.name = "retention-protect",
       .group = "Retention",
       .field = PREFIXD_FIELD(engine.retention_protect),
       .min = 1,
       .max = kMaxRetentionProtect,
       .help = "Last tokens of a prompt that are always kept."},
      {.name = "retention-distance",
       .group = "Retention",
       .field = PREFIXD_FIELD(engine.retention_distance),
       .min = -kMaxRetentionDistance,
       .max = kMaxRetentionDistance,
       .help = "Slot where entries are dropped while an answer grows; negative: so many before the "
               "end of what the prompt left."},
  };
  table->insert(table->end(), options.begin(), options.end());
  AddGuardOptions(table);
}

}  // namespace prefixd
