#include "tests/classify_store/class_set_history.h"

#include <random>

#include "absl/strings/str_cat.h"
#include "tests/classify_store/random_sets.h"

namespace prefixd::testing {

HistoryStep StepAt(uint64_t seed, uint64_t step) {
  std::mt19937_64 random(seed * 1'000'003 + step);
  static const char* const kTenants[] = {"", "a", "team-b"};
  HistoryStep result;
  result.tenant = kTenants[random() % 3];
  result.id = absl::StrCat("set-", random() % 8);
  result.remove = random() % 10 < 3;
  result.version = random() >> 8;
  return result;
}

StoredClassSet SetOfVersion(const std::string& tenant, const std::string& id, uint64_t version) {
  return RandomSet(tenant, id, version, version % 4 == 0 ? 50000 : 500);
}

void ApplyStep(const HistoryStep& step, HistoryState* state) {
  if (step.remove) {
    state->erase({step.tenant, step.id});
  } else {
    (*state)[{step.tenant, step.id}] = step.version;
  }
}

}  // namespace prefixd::testing
