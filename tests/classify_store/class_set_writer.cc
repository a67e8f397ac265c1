// Opens a store and goes through a history (class_set_history.h) until it is killed, writing a line
// to stdout after each step that the store has acknowledged.
//
// Usage: class_set_writer DIRECTORY SEED
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "engine/classify/class_set_store.h"
#include "tests/classify_store/class_set_history.h"

namespace prefixd {
namespace {

constexpr uint64_t kMaxSteps = 100'000;

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "class_set_writer: %s\n", status.ToString().c_str());
  return 1;
}

int Run(const char* directory, uint64_t seed) {
  ClassificationOptions options;
  options.state_dir = directory;
  const auto store = ClassSetStore::Open(options);
  if (!store.ok()) return Fail(store.status());
  if (const auto sets = (*store)->Load(); !sets.ok()) return Fail(sets.status());
  for (uint64_t i = 0; i < kMaxSteps; ++i) {
    const testing::HistoryStep step = testing::StepAt(seed, i);
    const absl::Status status =
        step.remove
            ? (*store)->Remove(step.tenant, step.id)
            : (*store)->Save(testing::SetOfVersion(step.tenant, step.id, step.version)).status();
    if (!status.ok()) return Fail(status);
    const std::string line = absl::StrCat(i, "\n");
    // A pipe takes so little whole or not at all.
    if (::write(STDOUT_FILENO, line.data(), line.size()) < 0) return 1;
  }
  return 0;
}

}  // namespace
}  // namespace prefixd

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  return prefixd::Run(argv[1], std::strtoull(argv[2], nullptr, 10));
}
