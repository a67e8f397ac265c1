// Mistakes planted in the draw that its tests must find.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cuda_emulation/draw_testing.h"
#include "tests/cuda_emulation/emulator/grid.h"
#include "tests/cuda_emulation/emulator/reports.h"

namespace prefixd::cuda {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;

DrawCase CaseOf(std::vector<float> logits, const DrawParams& params) {
  DrawCase c;
  c.logits = std::move(logits);
  c.params.params = params;
  return c;
}

// What is wrong with the draws while `bug` is planted; nothing may be without it.
std::string FoundWith(KernelBug bug, const std::vector<DrawCase>& cases, int64_t padding = 0) {
  EXPECT_EQ(Differences(cases, DrawOnDevice(cases, Element::kF32, padding)), "");
  EXPECT_THAT(emu::TakeReports(), IsEmpty());
  const PlantedBug planted(bug);
  std::string found = Differences(cases, DrawOnDevice(cases, Element::kF32, padding));
  for (const std::string& report : emu::TakeReports()) found += report + "\n";
  return found;
}

TEST(PlantedDrawBug, AScanWithoutBarrierIsFound) {
  std::vector<DrawCase> cases;
  for (uint32_t step = 0; step < 8; ++step) {
    cases.push_back(CaseOf(std::vector<float>(1100, 1.0f), {.temperature = 1, .step = step}));
  }
  std::vector<emu::Config> orders = {{.order = emu::Order::kAscending}};
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    orders.push_back({.order = emu::Order::kRandom, .seed = seed});
  }
  // In descending order the first warp happens to come last: only the race detector sees it.
  for (const emu::Config& order : orders) {
    emu::SetConfig(order);
    EXPECT_THAT(FoundWith(KernelBug::kDrawScanWithoutBarrier, cases), Not(IsEmpty())) << order.seed;
  }
}

TEST(PlantedDrawBug, ATailThatIsNotMaskedIsFound) {
  const std::vector<DrawCase> cases = {CaseOf({1, 2, 3}, {}),
                                       CaseOf({1, 2, 3}, {.temperature = 1})};
  EXPECT_THAT(FoundWith(KernelBug::kDrawTailNotMasked, cases, 40), Not(IsEmpty()));
}

TEST(PlantedDrawBug, TopKWithoutItsTiesIsFound) {
  std::vector<DrawCase> cases;
  for (uint32_t step = 0; step < 50; ++step) {
    cases.push_back(CaseOf({1, 2, 3, 2, 0}, {.temperature = 1, .top_k = 2, .step = step}));
  }
  EXPECT_THAT(FoundWith(KernelBug::kDrawTopKDropsTies, cases), Not(IsEmpty()));
}

TEST(PlantedDrawBug, AChoiceThatDoesNotCountIsFound) {
  std::vector<DrawCase> cases;
  for (uint32_t choice = 0; choice < 4; ++choice) {
    cases.push_back(CaseOf(std::vector<float>(100, 1.0f), {.temperature = 1, .choice = choice}));
  }
  EXPECT_THAT(FoundWith(KernelBug::kDrawChoiceForgotten, cases), Not(IsEmpty()));
}

TEST(PlantedDrawBug, MassesOf32BitsAreFound) {
  std::vector<DrawCase> cases;
  for (uint32_t step = 0; step < 50; ++step) {
    cases.push_back(CaseOf({1, 0, 0.3f, -0.5f}, {.temperature = 1, .step = step}));
  }
  EXPECT_THAT(FoundWith(KernelBug::kDrawMass32Bits, cases), Not(IsEmpty()));
}

TEST(PlantedDrawBug, ASuppressedTokenIsFound) {
  DrawCase c = CaseOf({1, 9, 2}, {});
  c.suppressed = {1};
  EXPECT_THAT(FoundWith(KernelBug::kDrawSuppressed, {c}), Not(IsEmpty()));
}

}  // namespace
}  // namespace prefixd::cuda
