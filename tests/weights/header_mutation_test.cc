// Seeded mutations of a valid header: every outcome is either a refusal or a set of tensors that
// tiles the data exactly.
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/weights/safetensors.h"

namespace prefixd {
namespace {

constexpr uint64_t kDataBytes = 28;
constexpr char kHeader[] =
    R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
    R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[16,24]},)"
    R"("c":{"dtype":"F32","shape":[],"data_offsets":[24,28]}}  )";

std::string Mutate(std::mt19937_64* random) {
  std::string text = kHeader;
  const int edits = 1 + static_cast<int>((*random)() % 3);
  for (int i = 0; i < edits && !text.empty(); ++i) {
    const size_t at = (*random)() % text.size();
    switch ((*random)() % 5) {
      case 0:
        text[at] = static_cast<char>((*random)());
        break;
      case 1:
        text.erase(at, 1 + (*random)() % 4);
        break;
      case 2:
        text.insert(at, text.substr((*random)() % text.size(), (*random)() % 16));
        break;
      case 3:
        text.insert(at, 1, "0123456789[]{},:\"-."[(*random)() % 19]);
        break;
      default:
        text.resize(at);
    }
  }
  return text;
}

TEST(SafetensorsHeader, NeverAcceptsAMutationThatDoesNotTileTheData) {
  ASSERT_TRUE(ParseSafetensorsHeader(kHeader, kDataBytes).ok());
  std::mt19937_64 random(20261125);
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    const std::string text = Mutate(&random);
    const auto tensors = ParseSafetensorsHeader(text, kDataBytes);
    if (!tensors.ok()) continue;
    ++accepted;
    uint64_t end = 0;
    for (const TensorInfo& tensor : *tensors) {
      ASSERT_EQ(tensor.begin, end) << text;
      end += tensor.size_bytes;
    }
    ASSERT_EQ(end, kDataBytes) << text;
  }
  // Renamed tensors and moved spaces are harmless; most mutations are not.
  EXPECT_GT(accepted, 0);
  EXPECT_LT(accepted, 10000);
}

}  // namespace
}  // namespace prefixd
