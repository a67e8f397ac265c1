// What the writer that gets killed does, step by step: a function of the seed alone, so that the
// test knows what must be there from how far the writer came.
#ifndef PREFIXD_TESTS_CLASSIFY_STORE_CLASS_SET_HISTORY_H_
#define PREFIXD_TESTS_CLASSIFY_STORE_CLASS_SET_HISTORY_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "engine/classify/class_set_store.h"

namespace prefixd::testing {

struct HistoryStep {
  std::string tenant, id;
  bool remove = false;   // Else save, which often replaces.
  uint64_t version = 0;  // Of what is saved.
};

HistoryStep StepAt(uint64_t seed, uint64_t step);

// What a version of a set is: files of 300 bytes to about 400,000.
StoredClassSet SetOfVersion(const std::string& tenant, const std::string& id, uint64_t version);

// Tenant and id to version.
using HistoryState = std::map<std::pair<std::string, std::string>, uint64_t>;
void ApplyStep(const HistoryStep& step, HistoryState* state);

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_CLASSIFY_STORE_CLASS_SET_HISTORY_H_
