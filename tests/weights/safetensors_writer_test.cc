#include "engine/weights/safetensors_writer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/file.h"
#include "engine/weights/safetensors.h"
#include "tests/weights/files.h"

namespace prefixd::testing {
namespace {

void FillWithIndex(size_t index, uint64_t, absl::Span<uint8_t> out) {
  for (uint8_t& byte : out) byte = static_cast<uint8_t>(index);
}

TEST(SafetensorsWriter, WritesWiderTypesFirstThenByName) {
  const TemporaryDirectory directory;
  const std::vector<TensorToWrite> tensors = {
      {.name = "b", .dtype = DType::kBF16, .shape = {3}},
      {.name = "z", .dtype = DType::kF32, .shape = {1}},
      {.name = "a", .dtype = DType::kF16, .shape = {1, 2}},
  };
  ASSERT_TRUE(WriteSafetensors(directory.File("f"), tensors, FillWithIndex).ok());
  const auto bytes = ReadFile(directory.File("f"), 1 << 20);
  ASSERT_TRUE(bytes.ok());
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"z":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
      R"("a":{"dtype":"F16","shape":[1,2],"data_offsets":[4,8]},)"
      R"("b":{"dtype":"BF16","shape":[3],"data_offsets":[8,14]}})";
  const size_t padded = (header.size() + 7) / 8 * 8;
  EXPECT_EQ(bytes->substr(0, 8), LittleEndian(padded));
  EXPECT_EQ(bytes->substr(8, padded), header + std::string(padded - header.size(), ' '));
  EXPECT_EQ(bytes->substr(8 + padded), std::string("\1\1\1\1\2\2\2\2\0\0\0\0\0\0", 14));
}

TEST(SafetensorsWriter, FillsLargeTensorsInPieces) {
  const TemporaryDirectory directory;
  const std::vector<TensorToWrite> tensors = {
      {.name = "t", .dtype = DType::kF32, .shape = {600'000}}};
  std::vector<uint64_t> firsts;
  ASSERT_TRUE(WriteSafetensors(
                  directory.File("f"), tensors,
                  [&](size_t, uint64_t first, absl::Span<uint8_t>) { firsts.push_back(first); })
                  .ok());
  EXPECT_EQ(firsts, (std::vector<uint64_t>{0, 262'144, 524'288}));
  const auto file = File::Open(directory.File("f"));
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(ReadSafetensorsHeader(*file).ok());
}

TEST(SafetensorsWriter, LeavesNothingBehindWhenItCannotWrite) {
  const TemporaryDirectory directory;
  const absl::Status status = WriteSafetensors(directory.File("missing/f"), {}, FillWithIndex);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

}  // namespace
}  // namespace prefixd::testing
