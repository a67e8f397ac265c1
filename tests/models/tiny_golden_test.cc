// Tiny random checkpoints against transformers (tests/golden/make/models.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/models/model_testing.h"

namespace prefixd::testing {
namespace {

class TinyModel : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {};

TEST_P(TinyModel, GivesTheLogitsOfTheReference) {
  const auto& [name, backend] = GetParam();
  const std::string directory = absl::StrCat(GoldenDirectory(), "/", name);
  const Golden golden(absl::StrCat(directory, "/expected.safetensors"));
  LoadedModel loaded(directory, backend);
  std::vector<OwnedTensor> images;
  std::vector<Tensor> features;
  if (loaded.spec().image.has_value()) {
    std::vector<float> pixels = TinyPixels(loaded.spec().image->image_size);
    const int count = golden.Has("num_images") ? golden.Ints("num_images")[0] : 1;
    for (int i = 0; i < count; ++i) {
      images.push_back(loaded.Encode(pixels));
      features.push_back(images.back().view);
      // What the script of the goldens gives to the next picture.
      std::rotate(pixels.begin(), pixels.begin() + 101, pixels.end());
    }
  }
  TestSequence sequence = loaded.NewImageSequence(golden.Ints("ids"), features);
  const std::vector<float> logits = loaded.Run(&sequence);
  EXPECT_LE(LargestGap(logits, golden.Floats("logits")), LogitTolerance(backend));
}

INSTANTIATE_TEST_SUITE_P(
    All, TinyModel,
    ::testing::Combine(::testing::Values("llava-defaults", "llava-new-spelling-sharded",
                                         "llava-list-full", "llava-bf16", "llava-original-mlp",
                                         "llava-original-linear", "llava-original-mlp3",
                                         "llama-bias", "llama-llama3-tied", "llama-linear-f16",
                                         "gpt2-defaults", "gpt2-inverse-layers", "gpt2-unscaled",
                                         "gpt_neox-defaults", "gpt_neox-sequential",
                                         "gpt_neox-new-keys", "mpt-twelve-heads", "mpt-clip",
                                         "mosaic_gpt-qk-norm", "mosaic_gpt-all"),
                       ::testing::ValuesIn(BackendNames())),
    [](const auto& info) {
      std::string name = absl::StrCat(std::get<0>(info.param), "_", std::get<1>(info.param));
      for (char& c : name) c = c == '-' ? '_' : c;
      return name;
    });

}  // namespace
}  // namespace prefixd::testing
