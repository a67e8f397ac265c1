// Random operations on a KvCache with compressed sequences against a naive model; see
// retention_world.h. PREFIXD_RETENTION_OPERATIONS=1000000 asks for that many operations.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include <gtest/gtest.h>

#include "tests/cache/retention_world.h"

namespace prefixd {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int64_t kOperations = 20000;
#else
constexpr int64_t kOperations = 400000;
#endif
constexpr int kStepsOfASeed = 400;

TEST(RetentionProperty, EveryLayerHoldsWhatItsListHolds) {
  const char* wanted = std::getenv("PREFIXD_RETENTION_OPERATIONS");
  const int64_t limit = wanted != nullptr ? std::atoll(wanted) : kOperations;
  int64_t operations = 0;
  std::map<std::string, int64_t> marks;
  for (uint32_t seed = 1; operations < limit; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    testing::RetentionWorld world(seed);
    for (int step = 0; step < kStepsOfASeed; ++step) {
      world.Step();
      if (HasFailure()) FAIL() << "step " << step;
    }
    world.End();
    if (HasFailure()) FAIL() << "at the end";
    operations += world.operations();
    for (const auto& [mark, count] : world.marks()) marks[mark] += count;
  }
  std::printf("%lld operations\n", static_cast<long long>(operations));
  for (const auto& [mark, count] : marks) {
    std::printf("%10lld %s\n", static_cast<long long>(count), mark.c_str());
  }
  for (const char* mark : {"pool full",
                           "tenant full",
                           "evicted for another tenant",
                           "compress",
                           "store snapshot",
                           "snapshot collision",
                           "start from snapshot",
                           "drop oldest",
                           "drop slot",
                           "fork compressed",
                           "append compressed",
                           "copies",
                           "scored hits",
                           "columns without scores",
                           "adopt partial",
                           "preempt",
                           "evict all",
                           "evict snapshot",
                           "evict columns",
                           "publish nothing"}) {
    EXPECT_GT(marks[mark], 20) << "the run should get to: " << mark;
  }
}

}  // namespace
}  // namespace prefixd
