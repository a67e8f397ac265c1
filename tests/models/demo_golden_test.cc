// models/demo against transformers (tests/golden/make/models.py): logits in float32, stages in
// float64, because the float32 reference itself is 1.02e-4 off at the projector.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/models/clip_tower.h"
#include "engine/models/llava_config.h"
#include "tests/models/model_testing.h"

namespace prefixd::testing {
namespace {

constexpr size_t kPictureValues = 3 * 96 * 96;
constexpr size_t kVocab = 576;

Golden DemoGolden() { return Golden(absl::StrCat(GoldenDirectory(), "/demo.safetensors")); }

absl::Span<const float> PictureOf(const std::vector<float>& pixels, int picture) {
  return absl::MakeConstSpan(pixels).subspan(picture * kPictureValues, kPictureValues);
}

class Demo : public ::testing::TestWithParam<std::string> {};

TEST_P(Demo, GivesTheLogitsOfTheReferenceOnTwentyPrompts) {
  const Golden golden = DemoGolden();
  const std::vector<float> pixels = golden.Floats("pixels");
  const std::vector<float> last_logits = golden.Floats("last_logits");
  ASSERT_EQ(last_logits.size(), 20 * kVocab);
  LoadedModel loaded(DemoDirectory(), GetParam());
  for (int i = 0; i < 20; ++i) {
    SCOPED_TRACE(absl::StrCat("prompt ", i));
    const std::string prompt = absl::StrCat("prompt_", i);
    const int picture = golden.Ints(prompt + ".picture")[0];
    OwnedTensor features;
    if (picture >= 0) features = loaded.Encode(PictureOf(pixels, picture));
    TestSequence sequence =
        loaded.NewSequence(golden.Ints(prompt + ".ids"), picture >= 0 ? &features.view : nullptr);
    const std::vector<float> logits = loaded.Run(&sequence);
    ASSERT_GE(logits.size(), kVocab);
    const auto last = absl::MakeConstSpan(logits).subspan(logits.size() - kVocab);
    const auto expected = absl::MakeConstSpan(last_logits).subspan(i * kVocab, kVocab);
    EXPECT_LE(LargestGap(last, expected), LogitTolerance(GetParam()));
    if (golden.Has(prompt + ".logits")) {
      EXPECT_LE(LargestGap(logits, golden.Floats(prompt + ".logits")), LogitTolerance(GetParam()));
    }
  }
}

TEST_P(Demo, GivesTheActivationsOfTheReferenceAtEveryStage) {
  const Golden golden = DemoGolden();
  const std::vector<float> pixels = golden.Floats("pixels");
  const auto config = ConfigReader::Open(DemoDirectory() + "/config.json");
  ASSERT_TRUE(config.ok()) << config.status();
  const LlavaConfig llava = ReadLlavaConfig(*config);
  ASSERT_TRUE(config->status().ok()) << config->status();
  const auto checkpoint = Checkpoint::Open(DemoDirectory());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  auto names = WeightNames::Create(*checkpoint, [](absl::string_view n) { return std::string(n); });
  ASSERT_TRUE(names.ok()) << names.status();
  const auto tensors = FindClipTensors(llava.vision, 4, "vision_tower.vision_model.", &*names);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  const std::unique_ptr<Backend> backend = MakeBackend(GetParam());
  const LoadProgress progress;
  WeightReader reader(*checkpoint, backend.get(), progress, names->used_bytes());
  const auto tower = LoadClipTower(llava.vision, *tensors, &reader);
  ASSERT_TRUE(tower.ok()) << tower.status();
  const auto image = backend->NewTensor(3, 96 * 96);
  const auto hidden = backend->NewTensor(145, 128);
  ASSERT_TRUE(image.ok() && hidden.ok());
  LoadedModel loaded(DemoDirectory(), GetParam());

  for (int picture = 0; picture < 2; ++picture) {
    const std::string name = absl::StrCat("picture_", picture);
    std::vector<float> state(145 * 128), features(144 * 192);
    ASSERT_TRUE(backend->Upload(PictureOf(pixels, picture), image->view).ok());
    ASSERT_TRUE(ClipEmbed(llava.vision, tower->embeddings, image->view, tower->scratch,
                          backend.get(), hidden->view)
                    .ok());
    ASSERT_TRUE(backend->Download(hidden->view, absl::MakeSpan(state)).ok());
    EXPECT_LE(LargestGap(state, golden.Floats(name + ".hidden_0")), LogitTolerance(GetParam()));

    for (const ClipLayer& layer : tower->layers) {
      ASSERT_TRUE(
          ClipLayerForward(llava.vision, layer, tower->scratch, backend.get(), hidden->view).ok());
    }
    ASSERT_TRUE(backend->Download(hidden->view, absl::MakeSpan(state)).ok());
    EXPECT_LE(
        LargestGap(absl::MakeConstSpan(state).subspan(128), golden.Floats(name + ".selected")),
        LogitTolerance(GetParam()));

    const OwnedTensor encoded = loaded.Encode(PictureOf(pixels, picture));
    ASSERT_TRUE(loaded.backend().Download(encoded.view, absl::MakeSpan(features)).ok());
    EXPECT_LE(LargestGap(features, golden.Floats(name + ".features")), LogitTolerance(GetParam()));
  }
}

INSTANTIATE_TEST_SUITE_P(All, Demo, ::testing::ValuesIn(BackendNames()));

}  // namespace
}  // namespace prefixd::testing
