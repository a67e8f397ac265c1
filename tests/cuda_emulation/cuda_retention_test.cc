// What PrefixKV keeps of a picture and a question on the emulated CUDA backend, beside the CPU.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/engine/retention_fixture.h"

namespace prefixd::testing {
namespace {

double LargestGap(const std::vector<float>& a, const std::vector<float>& b) {
  double gap = 0;
  for (size_t i = 0; i < a.size(); ++i) gap = std::max(gap, std::fabs(double{a[i]} - b[i]));
  return gap;
}

class CudaRetentionTest : public RetentionLoopTest {
 protected:
  struct Selection {
    std::vector<std::vector<int32_t>> kept;  // By layer, ascending.
    SpyBackend::Scores scores;
  };

  // What is kept of a picture and a question.
  Selection Select(std::function<std::unique_ptr<Backend>()> backend, int picture, double budget) {
    make_backend_ = std::move(backend);
    OpenDemo();
    Build();
    Request request = Chat(PictureBytes(absl::StrCat("picture-0", picture, ".png")),
                           "How many rings are there?", Exact("prefixkv", budget));
    request.stopping.max_tokens = 1;
    Run(request);
    Selection selection{.kept = backend_->gathered};
    EXPECT_EQ(selection.kept.size(), static_cast<size_t>(parts_->model_info.num_layers));
    if (!backend_->scores.empty()) selection.scores = backend_->scores.back();
    return selection;
  }
};

// Tokens that one run keeps and the other does not must be such that rounding could have decided:
// their scores lie within 1 % of the least that was kept.
void CompareKept(const std::vector<int32_t>& expected, const std::vector<int32_t>& actual,
                 absl::Span<const float> scores, double margin, int* differences) {
  std::vector<int32_t> different;
  std::set_symmetric_difference(expected.begin(), expected.end(), actual.begin(), actual.end(),
                                std::back_inserter(different));
  float least = INFINITY;
  for (const int32_t slot : expected) {
    if (slot > 0 && slot + 1 < static_cast<int32_t>(scores.size())) {
      least = std::min(least, scores[slot]);
    }
  }
  for (const int32_t slot : different) {
    ++*differences;
    const double away = std::fabs(scores[slot] - least) / least;
    std::printf("  token %d: score %g, the least that is kept has %g (%.2f %%)\n", slot,
                scores[slot], least, 100 * away);
    EXPECT_LE(away, margin);
  }
}

TEST_F(CudaRetentionTest, TheF32InstanceKeepsWhatTheCpuKeeps) {
  for (const double budget : {0.2, 0.6}) {
    const Selection cpu = Select(nullptr, 1, budget);
    const Selection device = Select([] { return EmulatedBackend(DType::kF32); }, 1, budget);
    EXPECT_EQ(device.kept, cpu.kept);
    ASSERT_EQ(device.scores.values.size(), cpu.scores.values.size());
    const float largest = *std::max_element(cpu.scores.values.begin(), cpu.scores.values.end());
    EXPECT_LE(LargestGap(device.scores.values, cpu.scores.values), 1e-5 * largest);
  }
}

TEST_F(CudaRetentionTest, In16BitsOnlyNearTiesAreDecidedOtherwise) {
  int differences = 0, kept = 0;
  for (const int picture : {1, 2, 3}) {
    for (const double budget : {0.2, 0.5}) {
      const Selection cpu = Select(nullptr, picture, budget);
      const Selection device =
          Select([] { return EmulatedBackend(DType::kBF16); }, picture, budget);
      ASSERT_EQ(device.kept.size(), cpu.kept.size());
      const int64_t slots = cpu.scores.slots;
      for (size_t layer = 0; layer < cpu.kept.size(); ++layer) {
        kept += static_cast<int>(cpu.kept[layer].size());
        CompareKept(cpu.kept[layer], device.kept[layer],
                    absl::MakeConstSpan(cpu.scores.values)
                        .subspan(layer * static_cast<size_t>(slots), static_cast<size_t>(slots)),
                    0.01, &differences);
      }
    }
  }
  std::printf("%d of %d kept tokens differ\n", differences, kept);
}

}  // namespace
}  // namespace prefixd::testing
