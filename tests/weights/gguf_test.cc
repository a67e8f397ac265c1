#include "engine/weights/gguf.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/weights/files.h"
#include "tests/weights/gguf_files.h"

namespace prefixd {
namespace {

using testing::GgufFileSpec;
using testing::GgufPair;
using testing::GgufString;
using testing::GgufTensorEntry;
using testing::Raw;

absl::StatusOr<GgufHeader> Parse(const GgufFileSpec& spec) {
  const std::string bytes = spec.Bytes();
  return ParseGgufHeader(bytes, bytes.size(), "f.gguf");
}

TEST(Gguf, ReadsEveryTypeOfValue) {
  GgufFileSpec spec;
  spec.pairs = {
      GgufPair("u8", 0, Raw<uint8_t>(200)),
      GgufPair("i8", 1, Raw<int8_t>(-3)),
      GgufPair("u16", 2, Raw<uint16_t>(60000)),
      GgufPair("i16", 3, Raw<int16_t>(-300)),
      GgufPair("u32", 4, Raw<uint32_t>(4000000000u)),
      GgufPair("i32", 5, Raw<int32_t>(-70000)),
      GgufPair("f32", 6, Raw<float>(0.1f)),
      GgufPair("bool", 7, Raw<uint8_t>(1)),
      GgufPair("string", 8, GgufString("text")),
      GgufPair("ints", 9, Raw<uint32_t>(1) + Raw<uint64_t>(2) + Raw<int8_t>(-1) + Raw<int8_t>(7)),
      GgufPair("floats", 9, Raw<uint32_t>(6) + Raw<uint64_t>(1) + Raw<float>(2.5f)),
      GgufPair("strings", 9,
               Raw<uint32_t>(8) + Raw<uint64_t>(2) + GgufString("") + GgufString("xyz")),
      GgufPair("u64", 10, Raw<uint64_t>(uint64_t{1} << 40)),
      GgufPair("i64", 11, Raw<int64_t>(-5)),
      GgufPair("f64", 12, Raw<double>(0.1)),
  };
  const auto header = Parse(spec);
  ASSERT_TRUE(header.ok()) << header.status();
  const GgufMetadata& metadata = header->metadata;
  const std::vector<std::pair<const char*, int64_t>> integers = {{"u8", 200},
                                                                 {"i8", -3},
                                                                 {"u16", 60000},
                                                                 {"i16", -300},
                                                                 {"u32", 4000000000},
                                                                 {"i32", -70000},
                                                                 {"u64", int64_t{1} << 40},
                                                                 {"i64", -5}};
  for (const auto& [key, expected] : integers) {
    int64_t value = 0;
    EXPECT_TRUE(metadata.Int(key, &value).ok());
    EXPECT_EQ(value, expected) << key;
  }
  double number = 0;
  EXPECT_TRUE(metadata.Float("f32", &number).ok());
  EXPECT_EQ(number, double{0.1f});
  EXPECT_TRUE(metadata.Float("f64", &number).ok());
  EXPECT_EQ(number, 0.1);
  bool flag = false;
  EXPECT_TRUE(metadata.Bool("bool", &flag).ok());
  EXPECT_TRUE(flag);
  std::string text;
  EXPECT_TRUE(metadata.String("string", &text).ok());
  EXPECT_EQ(text, "text");
  std::vector<int32_t> ints;
  EXPECT_TRUE(metadata.Ints("ints", &ints).ok());
  EXPECT_EQ(ints, (std::vector<int32_t>{-1, 7}));
  std::vector<float> floats;
  EXPECT_TRUE(metadata.Floats("floats", &floats).ok());
  EXPECT_EQ(floats, std::vector<float>{2.5f});
  std::vector<std::string> strings;
  EXPECT_TRUE(metadata.Strings("strings", &strings).ok());
  EXPECT_EQ(strings, (std::vector<std::string>{"", "xyz"}));
}

TEST(Gguf, LeavesTheDefaultOfAnAbsentKey) {
  const auto header = Parse({});
  ASSERT_TRUE(header.ok());
  int64_t value = 7;
  EXPECT_TRUE(header->metadata.Int("absent", &value).ok());
  EXPECT_EQ(value, 7);
}

TEST(Gguf, NamesKeyAndTypesOfAValueOfAnotherType) {
  GgufFileSpec spec;
  spec.pairs = {GgufPair("count", 8, GgufString("4")),
                GgufPair("nan", 6, Raw<uint32_t>(0x7fc00000)),
                GgufPair("big", 10, Raw<uint64_t>(uint64_t{1} << 63)),
                GgufPair("list", 9, Raw<uint32_t>(4) + Raw<uint64_t>(1) + Raw<uint32_t>(1))};
  const auto header = Parse(spec);
  ASSERT_TRUE(header.ok());
  int64_t value = 0;
  double number = 0;
  EXPECT_EQ(header->metadata.Int("count", &value).message(),
            "f.gguf: count: the value is of type string, expected an integer");
  EXPECT_EQ(header->metadata.Int("list", &value).message(),
            "f.gguf: list: the value is of type array of u32, expected an integer");
  EXPECT_EQ(header->metadata.Int("big", &value).message(),
            "f.gguf: big: 9223372036854775808 is not below 2^63");
  EXPECT_EQ(header->metadata.Float("nan", &number).message(), "f.gguf: nan: nan is not finite");
}

TEST(Gguf, PlacesTensorsBehindTheAlignedHeader) {
  GgufFileSpec spec;
  spec.alignment = 64;
  spec.pairs = {GgufPair("general.alignment", 4, Raw<uint32_t>(64))};
  spec.tensors = {{.name = "m", .ne = {32, 3}, .type = 8},  // Q8_0: 102 bytes.
                  {.name = "v", .ne = {2, 3, 4}, .type = 1, .offset = 128}};
  spec.data_bytes = 128 + 48;
  const auto header = Parse(spec);
  ASSERT_TRUE(header.ok()) << header.status();
  const uint64_t data_begin = spec.Bytes().size() - spec.data_bytes;
  EXPECT_LT(header->size_bytes, data_begin);
  ASSERT_EQ(header->tensors.size(), 2u);
  EXPECT_EQ(header->tensors[0].dtype, "Q8_0");
  EXPECT_EQ(header->tensors[0].shape, (std::vector<int64_t>{3, 32}));
  EXPECT_EQ(header->tensors[0].begin, data_begin);
  EXPECT_EQ(header->tensors[0].size_bytes, 102u);
  EXPECT_EQ(header->tensors[1].dtype, "F16");
  EXPECT_EQ(header->tensors[1].shape, (std::vector<int64_t>{4, 3, 2}));
  EXPECT_EQ(header->tensors[1].begin, data_begin + 128);
}

TEST(Gguf, ReadsAHeaderThatIsLongerThanTheFirstRead) {
  GgufFileSpec spec;
  spec.pairs = {GgufPair("long", 8, GgufString(std::string(3 << 20, 'x')))};
  spec.tensors = {{.name = "t", .ne = {32}}};
  const testing::TemporaryDirectory directory;
  directory.Write("long.gguf", spec.Bytes());
  const auto file = File::Open(directory.File("long.gguf"));
  ASSERT_TRUE(file.ok());
  const auto header = ReadGgufHeader(*file);
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->tensors[0].name, "t");
  // Part of a header is no error of the file.
  const std::string bytes = spec.Bytes();
  EXPECT_EQ(ParseGgufHeader(bytes.substr(0, 1000), bytes.size(), "f").status().code(),
            absl::StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace prefixd
