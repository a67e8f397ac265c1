// PaliGemma against transformers (tests/golden/make/paligemma.py): features and logits, what a
// prompt's rows see, and the bits of a row beside others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/models/llama.h"
#include "tests/models/model_testing.h"

namespace prefixd::testing {
namespace {

std::vector<float> Rows(const std::vector<float>& logits, int32_t vocab, int32_t begin,
                        int32_t count) {
  const auto first = logits.begin() + int64_t{begin} * vocab;
  return {first, first + int64_t{count} * vocab};
}

// A tiny checkpoint, loaded, with its picture and its ids: a prompt and a suffix.
struct Tiny {
  Tiny(const std::string& name, const std::string& backend, int num_threads = 2)
      : directory(absl::StrCat(GoldenDirectory(), "/", name)),
        golden(absl::StrCat(directory, "/expected.safetensors")),
        loaded(directory, backend, num_threads),
        features(loaded.Encode(TinyPixels(loaded.spec().image->image_size))),
        ids(golden.Ints("ids")),
        prompt_rows(golden.Ints("prompt_rows")[0]),
        suffix_rows(static_cast<int32_t>(ids.size()) - prompt_rows) {}

  TestSequence NewSequence(std::vector<int32_t> of_ids) {
    TestSequence sequence = loaded.NewSequence(of_ids, &features.view);
    sequence.visible_prefix = prompt_rows;
    return sequence;
  }

  int32_t vocab() const { return loaded.spec().vocab_size; }

  const std::string directory;
  const Golden golden;
  LoadedModel loaded;
  const OwnedTensor features;
  const std::vector<int32_t> ids;
  const int32_t prompt_rows;
  const int32_t suffix_rows;
};

class PaliGemma : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {};

TEST_P(PaliGemma, GivesTheFeaturesAndLogitsOfTheReference) {
  const auto& [name, backend] = GetParam();
  Tiny tiny(name, backend);
  std::vector<float> features(
      static_cast<size_t>(tiny.features.view.rows * tiny.features.view.cols));
  ASSERT_TRUE(tiny.loaded.backend().Download(tiny.features.view, absl::MakeSpan(features)).ok());
  EXPECT_LE(LargestGap(features, tiny.golden.Floats("features")), LogitTolerance(backend));

  const std::vector<float> expected = tiny.golden.Floats("logits");
  TestSequence sequence = tiny.NewSequence(tiny.ids);
  const std::vector<float> prompt = tiny.loaded.Step({&sequence}, {tiny.prompt_rows});
  EXPECT_LE(LargestGap(prompt, Rows(expected, tiny.vocab(), 0, tiny.prompt_rows)),
            LogitTolerance(backend));
  // One generated row, then the others in one step.
  std::vector<float> suffix = tiny.loaded.Step({&sequence}, {1});
  const std::vector<float> rest = tiny.loaded.Step({&sequence}, {tiny.suffix_rows - 1});
  suffix.insert(suffix.end(), rest.begin(), rest.end());
  EXPECT_LE(LargestGap(suffix, Rows(expected, tiny.vocab(), tiny.prompt_rows, tiny.suffix_rows)),
            LogitTolerance(backend));
}

INSTANTIATE_TEST_SUITE_P(All, PaliGemma,
                         ::testing::Combine(::testing::Values("paligemma-mqa-sparse",
                                                              "paligemma-gqa-new-spelling",
                                                              "paligemma-bf16", "paligemma-untied"),
                                            ::testing::ValuesIn(BackendNames())),
                         [](const auto& info) {
                           std::string name =
                               absl::StrCat(std::get<0>(info.param), "_", std::get<1>(info.param));
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

class PaliGemmaRows : public ::testing::TestWithParam<std::string> {};

// The first row sees the last one from layer 0 on, so that its K and V depend on it from layer 1
// on. A row that sees nothing but that first row and itself tells whether they differ.
TEST_P(PaliGemmaRows, OfThePromptSeeTheTokensBehindThem) {
  Tiny tiny("paligemma-bf16", GetParam());
  std::vector<int32_t> other_ids = tiny.ids;
  other_ids[tiny.prompt_rows - 1] += 1;
  const auto first_row_from_other = [&](int changed_layer) {
    TestSequence sequence = tiny.NewSequence(tiny.ids), other = tiny.NewSequence(other_ids);
    tiny.loaded.Step({&sequence, &other}, {tiny.prompt_rows, tiny.prompt_rows});
    const size_t per_layer = sequence.pages.size() / 2;
    TestSequence reader = tiny.loaded.NewSequence({tiny.ids[0], 30});
    reader.pages = sequence.pages;
    if (changed_layer >= 0) {
      const auto begin = other.pages.begin() + static_cast<int64_t>(per_layer) * changed_layer;
      std::copy_n(begin, per_layer,
                  reader.pages.begin() + static_cast<int64_t>(per_layer) * changed_layer);
    }
    reader.computed = 1;
    return tiny.loaded.Step({&reader}, {1});
  };
  ASSERT_EQ(tiny.loaded.spec().num_layers, 2);
  const std::vector<float> same = first_row_from_other(-1);
  EXPECT_EQ(first_row_from_other(0), same);
  EXPECT_GT(LargestGap(first_row_from_other(1), same), 1e-3f);
}

TEST_P(PaliGemmaRows, KeepTheirBitsBesideOthers) {
  const std::string name = "paligemma-gqa-new-spelling";
  Tiny lonely(name, GetParam(), 1);
  TestSequence alone = lonely.NewSequence(lonely.ids);
  const std::vector<float> prompt = lonely.loaded.Step({&alone}, {lonely.prompt_rows});
  std::vector<float> suffix;
  for (int32_t i = 0; i < lonely.suffix_rows; ++i) {
    const std::vector<float> row = lonely.loaded.Step({&alone}, {1});
    suffix.insert(suffix.end(), row.begin(), row.end());
  }

  Tiny tiny(name, GetParam());
  std::vector<int32_t> other_ids = tiny.ids;
  other_ids[tiny.prompt_rows - 2] += 1;
  TestSequence a = tiny.NewSequence(tiny.ids), b = tiny.NewSequence(other_ids),
               c = tiny.NewSequence(tiny.ids);
  const int32_t P = tiny.prompt_rows, S = tiny.suffix_rows, V = tiny.vocab();
  const std::vector<float> first = tiny.loaded.Step({&b, &a}, {P, P});
  EXPECT_EQ(Rows(first, V, P, P), prompt);
  EXPECT_NE(Rows(first, V, 0, P), prompt);
  // A suffix row beside a whole prompt and a longer piece of a suffix.
  const std::vector<float> second = tiny.loaded.Step({&c, &a, &b}, {P, 1, 3});
  EXPECT_EQ(Rows(second, V, 0, P), prompt);
  EXPECT_EQ(Rows(second, V, P, 1), Rows(suffix, V, 0, 1));
  const std::vector<float> third = tiny.loaded.Step({&a, &c}, {S - 1, S});
  EXPECT_EQ(Rows(third, V, 0, S - 1), Rows(suffix, V, 1, S - 1));
  EXPECT_EQ(Rows(third, V, S - 1, S), suffix);
}

INSTANTIATE_TEST_SUITE_P(All, PaliGemmaRows, ::testing::ValuesIn(BackendNames()));

TEST(PaliGemmaText, IsScaledByARootInTheTypeOfTheActivations) {
  EXPECT_EQ(EmbeddingScale(2048, DType::kF32), 45.254833984f);
  EXPECT_EQ(EmbeddingScale(2048, DType::kF64), 45.254833984f);
  EXPECT_EQ(EmbeddingScale(2048, DType::kBF16), 45.25f);
  EXPECT_EQ(EmbeddingScale(2048, DType::kF16), 45.25f);
  EXPECT_EQ(EmbeddingScale(3072, DType::kBF16), 55.5f);
  EXPECT_EQ(EmbeddingScale(3072, DType::kF16), 55.4375f);
}

TEST(PaliGemmaFiles, NeedAHeadThatIsNotTied) {
  const TemporaryDirectory directory(absl::StrCat(GoldenDirectory(), "/paligemma-bf16"));
  ASSERT_TRUE(OpenModelFiles(directory.path()).ok());
  directory.Write(
      "config.json",
      absl::StrReplaceAll(directory.Read("config.json"),
                          {{"\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false"}}));
  const absl::Status status = OpenModelFiles(directory.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("lm_head.weight [64, 32]"));
}

TEST(PaliGemmaSpec, SaysWhatTheEngineMustKnow) {
  const auto files = OpenModelFiles(absl::StrCat(GoldenDirectory(), "/paligemma-mqa-sparse"));
  ASSERT_TRUE(files.ok()) << files.status();
  const ModelSpec& spec = (*files)->spec();
  EXPECT_EQ(spec.family, "paligemma");
  EXPECT_EQ(spec.sharing, Sharing::kWholePrefix);
  EXPECT_EQ(spec.chat_template, "paligemma");
  EXPECT_EQ(spec.head_dim, 256);
  EXPECT_EQ(spec.num_kv_heads, 1);
  EXPECT_EQ(spec.context_length, 8192);
  EXPECT_EQ(spec.generation.eos_token_ids, std::vector<int32_t>{1});
  ASSERT_TRUE(spec.image.has_value());
  EXPECT_EQ(spec.image->token_id, 257152);
  EXPECT_EQ(spec.image->tokens_per_image, 196);
}

}  // namespace
}  // namespace prefixd::testing
