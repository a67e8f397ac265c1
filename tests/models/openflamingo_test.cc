// OpenFlamingo against its original modules (tests/golden/make/openflamingo.py), and what a gated
// block may and may not change.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/models/model_testing.h"

namespace prefixd::testing {
namespace {

constexpr int32_t kImage = 58;
constexpr int kVocab = 61;

// As the script of the goldens makes them.
std::vector<float> PixelsOfImage(int image) {
  std::vector<float> pixels = TinyPixels(28);
  std::rotate(pixels.begin(), pixels.begin() + 101 * image, pixels.end());
  return pixels;
}

std::string DirectoryOf(const std::string& name) {
  return absl::StrCat(GoldenDirectory(), "/", name);
}

// A model and the features of three images.
struct Flamingo {
  Flamingo(const std::string& directory, const std::string& backend, int num_threads = 2)
      : loaded(directory, backend, num_threads) {
    for (int i = 0; i < 3; ++i) {
      features.push_back(loaded.Encode(PixelsOfImage(i)));
      media.push_back(features.back().view);
    }
  }

  // The logits of all rows; the i-th placeholder is image `images[i]`.
  std::vector<float> Run(const std::vector<int32_t>& ids, const std::vector<int>& images) {
    TestSequence sequence = NewSequence(ids, images);
    return loaded.Run(&sequence);
  }

  TestSequence NewSequence(const std::vector<int32_t>& ids, const std::vector<int>& images) {
    std::vector<Tensor> chosen;
    for (const int image : images) chosen.push_back(media[image]);
    return loaded.NewMediaSequence(ids, chosen);
  }

  LoadedModel loaded;
  std::vector<OwnedTensor> features;
  std::vector<Tensor> media;
};

std::vector<int> FirstImages(const std::vector<int32_t>& ids) {
  std::vector<int> images;
  for (const int32_t id : ids) {
    if (id == kImage) images.push_back(static_cast<int>(images.size()));
  }
  return images;
}

std::string TestName(const std::string& name) { return absl::StrReplaceAll(name, {{"-", "_"}}); }

class OpenFlamingo : public ::testing::TestWithParam<std::tuple<std::string, std::string>> {};

TEST_P(OpenFlamingo, GivesTheLogitsOfTheReference) {
  const auto& [name, backend] = GetParam();
  const Golden golden(absl::StrCat(DirectoryOf(name), "/expected.safetensors"));
  Flamingo flamingo(DirectoryOf(name), backend);
  for (int i = 0; i < 3; ++i) {
    const Tensor& features = flamingo.media[i];
    std::vector<float> host(features.rows * features.cols);
    ASSERT_TRUE(flamingo.loaded.backend().Download(features, absl::MakeSpan(host)).ok());
    EXPECT_LE(LargestGap(host, golden.Floats(absl::StrCat("image_", i, ".features"))),
              LogitTolerance(backend));
  }
  for (int p = 0; golden.Has(absl::StrCat("prompt_", p, ".ids")); ++p) {
    SCOPED_TRACE(p);
    const std::vector<int32_t> ids = golden.Ints(absl::StrCat("prompt_", p, ".ids"));
    EXPECT_LE(LargestGap(flamingo.Run(ids, FirstImages(ids)),
                         golden.Floats(absl::StrCat("prompt_", p, ".logits"))),
              LogitTolerance(backend));
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, OpenFlamingo,
    ::testing::Combine(::testing::Values("openflamingo-mpt", "openflamingo-mosaic",
                                         "openflamingo-neox", "openflamingo-llama"),
                       ::testing::ValuesIn(BackendNames())),
    [](const auto& info) {
      return TestName(absl::StrCat(std::get<0>(info.param), "_", std::get<1>(info.param)));
    });

// --- Properties

// Sets every tensor whose name ends in `suffix` (with the quotation mark) to zero.
void Zero(const TemporaryDirectory& directory, const std::string& suffix) {
  std::string bytes = directory.Read("model.safetensors");
  uint64_t header_size = 0;
  std::memcpy(&header_size, bytes.data(), sizeof(header_size));
  const std::string header = bytes.substr(8, header_size);
  int count = 0;
  for (size_t at = header.find(suffix); at != std::string::npos; at = header.find(suffix, at + 1)) {
    const size_t offsets = header.find("\"data_offsets\":[", at) + 16;
    const size_t begin = std::stoull(header.substr(offsets));
    const size_t end = std::stoull(header.substr(header.find(',', offsets) + 1));
    std::memset(bytes.data() + 8 + header_size + begin, 0, end - begin);
    ++count;
  }
  ASSERT_GT(count, 0);
  directory.Write("model.safetensors", bytes);
}

const std::vector<int32_t> kIds = {7, kImage, 30, 31, 12, kImage, 9, 14, 22, kImage, 3};

// The language model of a case in a directory of its own.
void WriteTextModel(const std::string& from, const TemporaryDirectory& to) {
  const TemporaryDirectory whole(from);
  std::string config = whole.Read("config.json");
  const size_t begin = config.find("{", config.find("\"text_config\""));
  config = config.substr(begin, config.rfind('}') - begin);
  to.Write("config.json", config);
  // Names are shortened in place; the header is padded with spaces to its old length.
  std::string bytes = whole.Read("model.safetensors");
  uint64_t header_size = 0;
  std::memcpy(&header_size, bytes.data(), sizeof(header_size));
  std::string header =
      absl::StrReplaceAll(bytes.substr(8, header_size), {{"\"lang_encoder.", "\""}});
  header.resize(header_size, ' ');
  to.Write("model.safetensors", bytes.substr(0, 8) + header + bytes.substr(8 + header_size));
}

class OpenFlamingoProperty : public ::testing::TestWithParam<std::string> {};

TEST_P(OpenFlamingoProperty, GatesOfZeroMakeItTheLanguageModelAlone) {
  for (const char* name : {"openflamingo-mpt", "openflamingo-neox", "openflamingo-llama"}) {
    SCOPED_TRACE(name);
    const TemporaryDirectory gated(DirectoryOf(name)), text;
    Zero(gated, "attn_gate\"");
    Zero(gated, "ff_gate\"");
    WriteTextModel(DirectoryOf(name), text);
    Flamingo flamingo(gated.path(), GetParam());
    LoadedModel alone(text.path(), GetParam());
    TestSequence sequence = alone.NewSequence(kIds);
    EXPECT_EQ(flamingo.Run(kIds, {0, 1, 2}), alone.Run(&sequence));
  }
}

TEST_P(OpenFlamingoProperty, OnlyTheRowsFromAnImageOnSeeIt) {
  Flamingo flamingo(DirectoryOf("openflamingo-mosaic"), GetParam());
  const std::vector<float> before = flamingo.Run(kIds, {0, 1, 2});
  const std::vector<float> after = flamingo.Run(kIds, {0, 0, 2});
  const auto row = [](const std::vector<float>& logits, int i) {
    return std::vector<float>(logits.begin() + i * kVocab, logits.begin() + (i + 1) * kVocab);
  };
  for (int i = 0; i < static_cast<int>(kIds.size()); ++i) {
    SCOPED_TRACE(i);
    // The second image is at row 5. Rows behind the third see the second through K and V.
    if (i < 5) {
      EXPECT_EQ(row(before, i), row(after, i));
    } else {
      EXPECT_GT(LargestGap(row(before, i), row(after, i)), 1e-5f);
    }
  }
}

// An image behind the last row changes nothing, whether the feed-forward branch runs or not.
TEST_P(OpenFlamingoProperty, TextAloneNeedsNoImage) {
  Flamingo flamingo(DirectoryOf("openflamingo-mpt"), GetParam());
  const std::vector<int32_t> text = {7, 30, 31, 12};
  std::vector<int32_t> with_image = text;
  with_image.push_back(kImage);
  std::vector<float> longer = flamingo.Run(with_image, {0});
  longer.resize(text.size() * kVocab);
  EXPECT_EQ(flamingo.Run(text, {}), longer);
}

TEST_P(OpenFlamingoProperty, BitsStayWhenThePromptIsCutOrHasCompany) {
  for (const char* name : {"openflamingo-mosaic", "openflamingo-neox"}) {
    SCOPED_TRACE(name);
    Flamingo one(DirectoryOf(name), GetParam(), 1);
    const std::vector<float> whole = one.Run(kIds, {0, 1, 2});
    const std::vector<float> text = one.Run({4, 5, 6, 7, 8}, {});
    Flamingo flamingo(DirectoryOf(name), GetParam());
    const int32_t count = static_cast<int32_t>(kIds.size());
    for (const int32_t chunk : {1, 4, 6}) {
      SCOPED_TRACE(chunk);
      TestSequence sequence = flamingo.NewSequence(kIds, {0, 1, 2});
      std::vector<float> logits;
      while (sequence.computed < count) {
        const std::vector<float> part =
            flamingo.loaded.Step({&sequence}, {std::min(chunk, count - sequence.computed)});
        logits.insert(logits.end(), part.begin(), part.end());
      }
      EXPECT_EQ(logits, whole);
    }
    TestSequence with_images = flamingo.NewSequence(kIds, {0, 1, 2});
    TestSequence without = flamingo.NewSequence({4, 5, 6, 7, 8}, {});
    std::vector<float> first = flamingo.loaded.Step({&without, &with_images}, {3, 7});
    std::vector<float> second = flamingo.loaded.Step({&with_images, &without}, {4, 2});
    const auto rows = [](const std::vector<float>& logits, int begin, int end) {
      return std::vector<float>(logits.begin() + begin * kVocab, logits.begin() + end * kVocab);
    };
    EXPECT_EQ(rows(first, 0, 3), rows(text, 0, 3));
    EXPECT_EQ(rows(first, 3, 10), rows(whole, 0, 7));
    EXPECT_EQ(rows(second, 0, 4), rows(whole, 7, 11));
    EXPECT_EQ(rows(second, 4, 6), rows(text, 3, 5));
  }
}

INSTANTIATE_TEST_SUITE_P(All, OpenFlamingoProperty, ::testing::ValuesIn(BackendNames()));

// A configuration that does not fit the weights is refused before any is read.
TEST(OpenFlamingoFiles, NameTheTensorThatDoesNotFit) {
  const struct {
    const char *from, *to, *tensor;
  } kCases[] = {
      {"\"depth\": 2", "\"depth\": 3", "perceiver.layers.2.0.norm_media.weight"},
      {"\"num_latents\": 3", "\"num_latents\": 4", "perceiver.latents"},
      {"n_layers\": 3", "n_layers\": 4", "gated_cross_attn_layers.3.attn.to_kv.weight"},
      {"\"mlp_ratio\": 2", "\"mlp_ratio\": 4", "blocks.0.mlp.mlp_up"},
      {"every_n_layers\": 2", "every_n_layers\": 1", "gated_cross_attn_layers.0.attn.to_kv.weight"},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.to);
    const TemporaryDirectory directory(DirectoryOf("openflamingo-mosaic"));
    const std::string config = directory.Read("config.json");
    const std::string changed = absl::StrReplaceAll(config, {{c.from, c.to}});
    ASSERT_NE(changed, config);
    directory.Write("config.json", changed);
    const absl::Status status = OpenModelFiles(directory.path()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(c.tensor));
  }
}

TEST(OpenFlamingoSpec, SaysHowImagesEnter) {
  LoadedModel loaded(DirectoryOf("openflamingo-mosaic"), "ref");
  const ModelSpec& spec = loaded.spec();
  EXPECT_EQ(spec.family, "openflamingo");
  EXPECT_EQ(spec.chat_template, "openflamingo");
  ASSERT_TRUE(spec.image.has_value());
  EXPECT_TRUE(spec.image->cross_attended);
  EXPECT_EQ(spec.image->tokens_per_image, 1);
  EXPECT_EQ(spec.image->token_id, kImage);
  EXPECT_EQ(spec.image->image_size, 28);
  EXPECT_TRUE(spec.keeps_positions);
  EXPECT_EQ(spec.num_layers, 3);
  EXPECT_THAT(spec.generation.eos_token_ids, ::testing::UnorderedElementsAre(0, 57));
  // One block of three layers, K and V of two heads of eight values for each of three latents.
  const OwnedTensor features = loaded.Encode(PixelsOfImage(0));
  EXPECT_EQ(features.view.rows, 3);
  EXPECT_EQ(features.view.cols, 32);
}

}  // namespace
}  // namespace prefixd::testing
