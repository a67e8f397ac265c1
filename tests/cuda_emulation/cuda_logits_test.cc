// Logits of the demo model with given tokens on the emulated CUDA backend, against transformers and
// the CPU.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/models/model_testing.h"

namespace prefixd::testing {
namespace {

constexpr size_t kPictureValues = 3 * 96 * 96;
constexpr size_t kVocab = 576;
constexpr int kPrompts = 6;

Golden DemoGolden() { return Golden(absl::StrCat(GoldenDirectory(), "/demo.safetensors")); }

// Logits of all rows of a prompt of the golden, in one step: [rows][kVocab].
std::vector<float> LogitsOf(const Golden& golden, int prompt, LoadedModel* loaded) {
  const std::vector<float> pixels = golden.Floats("pixels");
  const std::string name = absl::StrCat("prompt_", prompt);
  const int picture = golden.Ints(name + ".picture")[0];
  OwnedTensor features;
  if (picture >= 0) {
    features = loaded->Encode(
        absl::MakeConstSpan(pixels).subspan(picture * kPictureValues, kPictureValues));
  }
  TestSequence sequence =
      loaded->NewSequence(golden.Ints(name + ".ids"), picture >= 0 ? &features.view : nullptr);
  return loaded->Run(&sequence);
}

double StandardDeviation(absl::Span<const float> values) {
  double sum = 0, squares = 0;
  for (const float value : values) sum += value;
  const double mean = sum / static_cast<double>(values.size());
  for (const float value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(values.size()));
}

struct Agreement {
  int clear = 0;   // Rows whose best token is ahead by more than 0.1.
  int agreed = 0;  // Of them, those with the same best token.
};

void CompareBest(absl::Span<const float> expected, absl::Span<const float> actual,
                 Agreement* agreement) {
  for (size_t row = 0; row < expected.size() / kVocab; ++row) {
    const auto e = expected.subspan(row * kVocab, kVocab), a = actual.subspan(row * kVocab, kVocab);
    std::vector<float> sorted(e.begin(), e.end());
    std::partial_sort(sorted.begin(), sorted.begin() + 2, sorted.end(), std::greater<>());
    if (sorted[0] - sorted[1] <= 0.1f) continue;
    ++agreement->clear;
    agreement->agreed += std::max_element(e.begin(), e.end()) - e.begin() ==
                         std::max_element(a.begin(), a.end()) - a.begin();
  }
}

TEST(CudaLogits, OfTheF32InstanceAreThoseOfTheReferenceImplementation) {
  const Golden golden = DemoGolden();
  const std::vector<float> last_logits = golden.Floats("last_logits");
  LoadedModel device(DemoDirectory(), EmulatedBackend(DType::kF32));
  for (int prompt = 0; prompt < kPrompts; ++prompt) {
    const std::vector<float> logits = LogitsOf(golden, prompt, &device);
    EXPECT_LE(LargestGap(absl::MakeConstSpan(logits).last(kVocab),
                         absl::MakeConstSpan(last_logits).subspan(prompt * kVocab, kVocab)),
              1e-3)
        << "prompt " << prompt;
  }
}

// Relative to the spread of the logits: 2 % in bf16, 0.5 % in f16. The fast mode has kernels of its
// own.
TEST(CudaLogits, Of16BitTypesStayWithinTheirLimits) {
  const Golden golden = DemoGolden();
  LoadedModel cpu(DemoDirectory(), "portable");
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    for (const bool deterministic : {true, false}) {
      const double limit = dtype == DType::kBF16 ? 0.02 : 0.005;
      LoadedModel device(DemoDirectory(), EmulatedBackend(dtype, deterministic));
      Agreement agreement;
      double worst = 0;
      for (int prompt = 0; prompt < kPrompts; ++prompt) {
        const std::vector<float> expected = LogitsOf(golden, prompt, &cpu);
        const std::vector<float> actual = LogitsOf(golden, prompt, &device);
        worst = std::max(worst, LargestGap(actual, expected) / StandardDeviation(expected));
        CompareBest(expected, actual, &agreement);
      }
      std::printf("%s%s: largest gap %.2f %% of the spread, %d of %d clear best tokens agree\n",
                  std::string(DTypeName(dtype)).c_str(), deterministic ? ", deterministic" : "",
                  100 * worst, agreement.agreed, agreement.clear);
      EXPECT_LE(worst, limit) << DTypeName(dtype);
      EXPECT_GT(agreement.clear, 100);
      EXPECT_GE(agreement.agreed, 0.99 * agreement.clear);
    }
  }
}

}  // namespace
}  // namespace prefixd::testing
