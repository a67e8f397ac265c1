// Tiny random checkpoints against transformers (tests/golden/make/models.py).
#include <gtest/gtest.h>

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
  OwnedTensor features;
  if (loaded.spec().image.has_value()) {
    features = loaded.Encode(TinyPixels(loaded.spec().image->image_size));
  }
  TestSequence sequence = loaded.NewSequence(
      golden.Ints("ids"), loaded.spec().image.has_value() ? &features.view : nullptr);
  const std::vector<float> logits = loaded.Run(&sequence);
  EXPECT_LE(LargestGap(logits, golden.Floats("logits")), LogitTolerance(backend));
}

INSTANTIATE_TEST_SUITE_P(
    All, TinyModel,
    ::testing::Combine(::testing::Values("llava-defaults", "llava-new-spelling-sharded",
                                         "llava-list-full", "llava-bf16", "llama-bias",
                                         "llama-llama3-tied", "llama-linear-f16", "gpt2-defaults",
                                         "gpt2-inverse-layers", "gpt2-unscaled",
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
