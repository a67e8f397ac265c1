#include "tests/cuda_emulation/emulator/testing.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "shim/runtime_api.h"
#include "tests/cuda_emulation/emulator/grid.h"
#include "tests/cuda_emulation/emulator/race_detector.h"
#include "tests/cuda_emulation/emulator/reports.h"

namespace prefixd::emu {
namespace {

void ExpectNoReports() {
  for (const std::string& report : TakeReports()) ADD_FAILURE() << report;
}

class Listener : public ::testing::EmptyTestEventListener {
  void OnTestStart(const ::testing::TestInfo&) override {
    SetConfig(Config());
    static_cast<void>(cudaGetLastError());  // What the test before did not take.
  }
  void OnTestEnd(const ::testing::TestInfo&) override {
    ExpectNoReports();
    ClearRaceDetector();
  }
};

[[maybe_unused]] const bool appended = [] {
  ::testing::UnitTest::GetInstance()->listeners().Append(new Listener);
  return true;
}();

bool RunInOrder(const Config& config, const std::string& name, const std::function<void()>& body) {
  SCOPED_TRACE(absl::StrCat("order of threads: ", name));
  SetConfig(config);
  body();
  ExpectNoReports();
  return !::testing::Test::HasFailure();
}

}  // namespace

void ForAllOrders(int num_seeds, const std::function<void()>& body) {
  const Config before = config();
  bool passed = RunInOrder({Order::kAscending, 1}, "ascending", body) &&
                RunInOrder({Order::kDescending, 1}, "descending", body);
  for (int seed = 1; seed <= num_seeds && passed; ++seed) {
    passed = RunInOrder({Order::kRandom, static_cast<uint64_t>(seed)},
                        absl::StrCat("random, seed ", seed), body);
  }
  SetConfig(before);
}

}  // namespace prefixd::emu
