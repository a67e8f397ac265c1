// Tiny random Llamas in GGUF files, one for every element type and mixtures, against transformers
// on the dequantised values (tests/golden/make/gguf_models.py).
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/models/model_testing.h"

namespace prefixd::testing {
namespace {

std::string GgufGolden(const std::string& name) {
  return absl::StrCat(GoldenDirectory(), "/../gguf/", name);
}

class GgufModel : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {};

TEST_P(GgufModel, GivesTheLogitsOfTheReference) {
  const auto& [name, backend] = GetParam();
  const Golden golden(GgufGolden(name + ".safetensors"));
  LoadedModel loaded(GgufGolden(name + ".gguf"), backend);
  TestSequence sequence = loaded.NewSequence(golden.Ints("ids"));
  const std::vector<float> logits = loaded.Run(&sequence);
  EXPECT_LE(LargestGap(logits, golden.Floats("logits")), LogitTolerance(backend));
}

TEST_P(GgufModel, GivesTheSameBitsRowByRow) {
  const auto& [name, backend] = GetParam();
  const Golden golden(GgufGolden(name + ".safetensors"));
  LoadedModel loaded(GgufGolden(name + ".gguf"), backend);
  TestSequence whole = loaded.NewSequence(golden.Ints("ids"));
  TestSequence pieces = loaded.NewSequence(golden.Ints("ids"));
  const std::vector<float> expected = loaded.Run(&whole);
  std::vector<float> logits = loaded.Step({&pieces}, {7});
  while (pieces.computed < static_cast<int32_t>(pieces.ids.size())) {
    const std::vector<float> row = loaded.Step({&pieces}, {1});
    logits.insert(logits.end(), row.begin(), row.end());
  }
  EXPECT_EQ(logits, expected);
}

INSTANTIATE_TEST_SUITE_P(
    All, GgufModel,
    ::testing::Combine(::testing::Values("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0",
                                         "q5_1", "q4_k", "q5_k", "q6_k", "mixed", "mixed_plain"),
                       ::testing::ValuesIn(BackendNames())),
    [](const auto& info) {
      return absl::StrCat(std::get<0>(info.param), "_", std::get<1>(info.param));
    });

TEST(GgufModelFiles, OpensADirectoryThatHoldsOneFile) {
  const TemporaryDirectory directory;
  std::filesystem::copy_file(GgufGolden("f32.gguf"), directory.path() + "/model.gguf");
  const auto files = OpenModelFiles(directory.path());
  ASSERT_TRUE(files.ok()) << files.status();
  const ModelSpec& spec = (*files)->spec();
  EXPECT_EQ(spec.family, "llama");
  EXPECT_EQ(spec.weights_dtype, "f32");
  EXPECT_EQ(spec.num_layers, 2);
  EXPECT_EQ(spec.num_kv_heads, 2);
  EXPECT_EQ(spec.context_length, 128);
  EXPECT_EQ(spec.vocab_size, 300);
  // The key's, then the control tokens that end a text wherever they are.
  EXPECT_EQ(spec.generation.eos_token_ids, (std::vector<int32_t>{2, 0}));
}

TEST(GgufModelFiles, RefusesADirectoryWithTwoFiles) {
  const TemporaryDirectory directory;
  std::filesystem::copy_file(GgufGolden("f32.gguf"), directory.path() + "/a.gguf");
  std::filesystem::copy_file(GgufGolden("f16.gguf"), directory.path() + "/b.gguf");
  const absl::Status status = OpenModelFiles(directory.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("\"a.gguf\" and \"b.gguf\""), absl::string_view::npos) << status;
}

}  // namespace
}  // namespace prefixd::testing
