// The validity rules of the format, one by one, and the limits of the reader.
#include "engine/weights/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/weights/files.h"

namespace prefixd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct BadHeader {
  const char* name;
  std::string header;
  uint64_t data_bytes;
  const char* message;
};

std::string Tensor(const std::string& shape, const std::string& offsets) {
  return absl::StrCat(R"({"t":{"dtype":"F32","shape":)", shape, R"(,"data_offsets":)", offsets,
                      "}}");
}

std::string ManyTensors(int count) {
  std::string header = "{";
  for (int i = 0; i < count; ++i) {
    absl::StrAppend(&header, i == 0 ? "" : ",", "\"", i,
                    R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})");
  }
  return header + "}";
}

std::vector<BadHeader> BadHeaders() {
  const std::string two =
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[%]},"b":{"dtype":"F32","shape":[1],"data_offsets":[%]}})";
  const auto offsets = [&two](const std::string& a, const std::string& b) {
    std::string text = two;
    text.replace(text.find('%'), 1, a);
    text.replace(text.find('%'), 1, b);
    return text;
  };
  return {
      {"empty", "", 0, "does not begin with '{'"},
      {"array", "[]", 0, "does not begin with '{'"},
      {"leading space", " {}", 0, "does not begin with '{'"},
      {"invalid UTF-8", "{\"\xFF\":1}", 0, "not valid JSON"},
      {"too deep", absl::StrCat("{\"a\":", std::string(100000, '['), "}"), 0, "nested deeper"},
      {"trailing garbage", "{}x", 0, "not valid JSON"},
      {"duplicate tensor",
       R"({"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
       0, "duplicate key \"t\""},
      {"duplicate field", R"({"t":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
       0, "duplicate key \"dtype\""},
      {"begin after end", Tensor("[1]", "[4,0]"), 4, "data_offsets [4, 0]"},
      {"negative offset", Tensor("[1]", "[-1,4]"), 4, "data_offsets holds -1"},
      {"float offset", Tensor("[1]", "[0.0,4]"), 4, "data_offsets holds 0.0"},
      {"string offset", Tensor("[1]", "[\"0\",4]"), 4, "data_offsets holds \"0\""},
      {"offset of 2^64", Tensor("[1]", "[0,18446744073709551616]"), 4, "data_offsets holds"},
      {"one offset", Tensor("[1]", "[4]"), 4, "not an array of two"},
      {"three offsets", Tensor("[1]", "[0,2,4]"), 4, "not an array of two"},
      {"past the end", Tensor("[2]", "[0,8]"), 4, "do not fit the file's 4 data bytes"},
      {"hole", offsets("0,4", "8,12"), 12, "begins at data byte 8"},
      {"hole at the start", Tensor("[1]", "[4,8]"), 8, "begins at data byte 4"},
      {"overlap", offsets("0,4", "2,6"), 6, "begins at data byte 2"},
      {"same range", offsets("0,4", "0,4"), 4, "begins at data byte 0"},
      {"extra bytes", Tensor("[1]", "[0,4]"), 8, "end at data byte 4, the file has 8"},
      {"bytes without tensors", "{}", 4, "end at data byte 0, the file has 4"},
      {"product wraps to zero", Tensor("[4294967296,4294967296]", "[0,0]"), 0, "is too large"},
      {"product wraps before a zero", Tensor("[4294967296,4294967296,0]", "[0,0]"), 0,
       "is too large"},
      {"size differs", Tensor("[3]", "[0,8]"), 8, "needs 12"},
      {"negative dimension", Tensor("[-1]", "[0,4]"), 4, "shape holds -1"},
      {"float dimension", Tensor("[1.0]", "[0,4]"), 4, "shape holds 1.0"},
      {"dimension of 2^63", Tensor("[9223372036854775808]", "[0,4]"), 4, "shape holds"},
      {"nine dimensions", Tensor("[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "9 dimensions"},
      {"unknown dtype", R"({"t":{"dtype":"F128","shape":[],"data_offsets":[0,16]}})", 16,
       "unknown dtype \"F128\""},
      {"half a byte", R"({"t":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}})", 1,
       "not a whole number of bytes"},
      {"dtype is no string", R"({"t":{"dtype":7,"shape":[],"data_offsets":[0,4]}})", 4,
       "dtype is not a string"},
      {"no dtype", R"({"t":{"shape":[],"data_offsets":[0,4]}})", 4, "dtype is missing"},
      {"no shape", R"({"t":{"dtype":"F32","data_offsets":[0,4]}})", 4, "shape is missing"},
      {"no offsets", R"({"t":{"dtype":"F32","shape":[]}})", 4, "data_offsets is missing"},
      {"unknown field", R"({"t":{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":1}})", 4,
       "keys beyond"},
      {"entry is no object", R"({"t":7})", 0, "not an object"},
      {"empty name", R"({"":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", 0,
       "the name is empty"},
      {"name with a zero byte", R"({"a\u0000b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})",
       0, "zero byte"},
      {"long name",
       absl::StrCat("{\"", std::string(1 << 20, 'n'),
                    R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})"),
       0, "1048576 bytes, the limit is 512"},
      {"metadata is a list", R"({"__metadata__":[]})", 0, "__metadata__ is not an object"},
      {"metadata holds a number", R"({"__metadata__":{"format":1}})", 0, "is not a string"},
      {"too many tensors", ManyTensors(100002), 0, "the limit is 100000"},
  };
}

TEST(SafetensorsHeader, RefusesWhatBreaksARule) {
  for (const BadHeader& bad : BadHeaders()) {
    SCOPED_TRACE(bad.name);
    const auto tensors = ParseSafetensorsHeader(bad.header, bad.data_bytes);
    EXPECT_EQ(tensors.status().code(), absl::StatusCode::kInvalidArgument);
    const std::string message(tensors.status().message());
    EXPECT_THAT(message, HasSubstr(bad.message));
    EXPECT_LT(message.size(), 512u);
  }
}

TEST(SafetensorsHeader, TakesTensorsInAnyOrderOfTheText) {
  const auto tensors = ParseSafetensorsHeader(
      R"({"__metadata__":{"format":"pt"},
          "a":{"dtype":"BF16","shape":[2,2],"data_offsets":[4,12]},
          "z":{"dtype":"F32","shape":[],"data_offsets":[0,4]},
          "empty":{"dtype":"I64","shape":[0,3],"data_offsets":[4,4]}}   )",
      12);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->size(), 3u);
  EXPECT_EQ((*tensors)[0].name, "z");
  EXPECT_THAT((*tensors)[0].shape, ElementsAre());
  EXPECT_EQ((*tensors)[1].name, "empty");
  EXPECT_EQ((*tensors)[1].size_bytes, 0u);
  EXPECT_EQ((*tensors)[2].name, "a");
  EXPECT_EQ((*tensors)[2].dtype, "BF16");
  EXPECT_THAT((*tensors)[2].shape, ElementsAre(2, 2));
  EXPECT_EQ((*tensors)[2].begin, 4u);
  EXPECT_EQ((*tensors)[2].size_bytes, 8u);
}

TEST(SafetensorsHeader, TakesNullMetadataAndNoTensors) {
  const auto tensors = ParseSafetensorsHeader(R"({"__metadata__":null})", 0);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_TRUE(tensors->empty());
}

TEST(SafetensorsHeader, CountsBitsOfSmallTypes) {
  const auto tensors = ParseSafetensorsHeader(
      R"({"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]},"b":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[2,5]}})",
      5);
  EXPECT_TRUE(tensors.ok()) << tensors.status();
}

struct BadFile {
  const char* name;
  std::string bytes;
  const char* message;
};

TEST(SafetensorsFile, RefusesAHeaderLengthThatDoesNotFit) {
  const TemporaryDirectory directory;
  const BadFile kBadFiles[] = {
      {"empty", "", "0 bytes, too short"},
      {"seven bytes", std::string(7, 'x'), "7 bytes, too short"},
      {"longer than the file", LittleEndian(3) + "{}", "the header has 3 bytes, the file 10"},
      {"2^64 - 1", LittleEndian(~uint64_t{0}) + "{}", "the limit is 33554432"},
      {"2^63", LittleEndian(uint64_t{1} << 63) + "{}", "the limit is 33554432"},
      {"limit + 1", LittleEndian(33554433) + "{}", "the header has 33554433 bytes"},
      {"limit of a short file", LittleEndian(33554432) + "{}", "bytes, the file 10"},
      {"no header", LittleEndian(0), "does not begin with '{'"},
  };
  for (const BadFile& bad : kBadFiles) {
    SCOPED_TRACE(bad.name);
    directory.Write("model.safetensors", bad.bytes);
    const auto file = File::Open(directory.File("model.safetensors"));
    ASSERT_TRUE(file.ok()) << file.status();
    const auto tensors = ReadSafetensorsHeader(*file);
    EXPECT_EQ(tensors.status().code(), absl::StatusCode::kInvalidArgument);
    const std::string message(tensors.status().message());
    EXPECT_THAT(message, HasSubstr(bad.message));
    EXPECT_THAT(message, HasSubstr("model.safetensors"));
  }
}

TEST(SafetensorsFile, CountsOffsetsFromTheStartOfTheFile) {
  const TemporaryDirectory directory;
  const std::string header = R"({"t":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})";
  directory.Write("f", Safetensors(header, 3));
  const auto file = File::Open(directory.File("f"));
  ASSERT_TRUE(file.ok());
  const auto tensors = ReadSafetensorsHeader(*file);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  EXPECT_EQ((*tensors)[0].begin, 8 + header.size());
}

}  // namespace
}  // namespace prefixd::testing
