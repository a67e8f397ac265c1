#include "tools/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include <nlohmann/json.hpp>

namespace prefixd::tools {
namespace {

using ::testing::HasSubstr;

const std::string kGolden = PREFIXD_SOURCE_DIR "/tests/golden/";

Inspection Inspected(const std::string& path) {
  const auto inspection = Inspect(kGolden + path);
  EXPECT_TRUE(inspection.ok()) << inspection.status();
  return inspection.ok() ? *inspection : Inspection{};
}

TEST(Inspect, NamesWhatIsServed) {
  const Inspection inspection = Inspected("models/llava-new-spelling-sharded");
  EXPECT_EQ(inspection.family, "llava");
  EXPECT_EQ(inspection.form, "safetensors");
  EXPECT_EQ(inspection.refused, "");
  const std::string text = InspectionText(inspection);
  EXPECT_THAT(text, HasSubstr("safetensors, 3 files"));
  EXPECT_THAT(text, HasSubstr("served   yes"));
  EXPECT_THAT(text, HasSubstr("lm_head.weight"));
  EXPECT_THAT(text, HasSubstr("[64, 16]"));
}

TEST(Inspect, SaysWhyTheRestIsRefused) {
  Inspection inspection = Inspected("torch/llava/model");
  EXPECT_EQ(inspection.family, "llava");
  EXPECT_EQ(inspection.form, "torch");
  EXPECT_THAT(inspection.refused, HasSubstr("prefixctl convert"));
  inspection = Inspected("torch/training.pt");
  EXPECT_EQ(inspection.family, "");
  EXPECT_THAT(inspection.refused, HasSubstr("prefixctl convert"));
  EXPECT_THAT(InspectionText(inspection), HasSubstr("family   unknown"));
  EXPECT_THAT(Inspected("models/demo.safetensors").refused, HasSubstr("config.json"));
  EXPECT_THAT(std::string(Inspect(kGolden + "torch/evil_eval.pt").status().message()),
              HasSubstr("global __builtin__.eval"));
  EXPECT_FALSE(Inspect(kGolden + "no_such_file").ok());
}

TEST(Inspect, ReadsGguf) {
  const Inspection inspection = Inspected("gguf/q4_1.gguf");
  EXPECT_EQ(inspection.form, "gguf");
  EXPECT_EQ(inspection.family, "llama");
  EXPECT_EQ(inspection.refused, "");
  EXPECT_THAT(InspectionText(inspection), HasSubstr("Q4_1"));
}

TEST(Inspect, PrintsJson) {
  const auto json = nlohmann::json::parse(InspectionJson(Inspected("torch/plain.pt")));
  EXPECT_EQ(json["form"], "torch");
  EXPECT_EQ(json["served"], false);
  EXPECT_EQ(json["tensors"].size(), 18u);
  EXPECT_EQ(json["types"]["BF16"], 1);
  const auto& tensors = json["tensors"];
  const auto bf16 = std::find_if(tensors.begin(), tensors.end(),
                                 [](const auto& tensor) { return tensor["name"] == "bf16"; });
  ASSERT_NE(bf16, tensors.end());
  EXPECT_EQ((*bf16)["shape"], nlohmann::json({2, 3}));
  EXPECT_EQ((*bf16)["bytes"], 12);
  uint64_t bytes = 0;
  for (const auto& tensor : tensors) bytes += tensor["bytes"].get<uint64_t>();
  EXPECT_EQ(json["bytes"], bytes);
}

}  // namespace
}  // namespace prefixd::tools
