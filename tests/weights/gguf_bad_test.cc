// GGUF files that must be refused, with an error that names what is wrong and both values: rows D1
// and D17 to D23 of the catalogue of bad input, truncations, and seeded mutations.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>

#include "base/file.h"
#include "engine/weights/gguf.h"
#include "tests/weights/files.h"
#include "tests/weights/gguf_files.h"

namespace prefixd {
namespace {

using testing::GgufFileSpec;
using testing::GgufPair;
using testing::GgufString;
using ::testing::HasSubstr;
using testing::Raw;
using testing::TemporaryDirectory;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnsupported = absl::StatusCode::kUnimplemented;

struct BadFile {
  const char* name;
  std::string bytes;
  absl::StatusCode code;
  const char* message;
};

std::string With(GgufFileSpec spec) { return spec.Bytes(); }

std::string WithPair(const std::string& pair) {
  GgufFileSpec spec;
  spec.pairs = {pair};
  return spec.Bytes();
}

std::string WithTensor(const testing::GgufTensorEntry& tensor) {
  GgufFileSpec spec;
  spec.tensors = {tensor};
  return spec.Bytes();
}

std::vector<BadFile> PreambleAndPairs() {
  const std::string array_of_arrays = Raw<uint32_t>(9) + Raw<uint64_t>(1);
  return {
      {"empty", "", kInvalid, "magic: 4 bytes at byte 0, the file has 0"},
      {"seven_bytes", "GGUF\x03", kInvalid, "version: 4 bytes at byte 4, the file has 5"},
      {"magic", With({.magic = "GGML"}), kInvalid, "begins with \"GGML\""},
      {"version_0", With({.version = 0}), kUnsupported, "GGUF version 0, expected 2 or 3"},
      {"version_1", With({.version = 1}), kUnsupported, "GGUF version 1, expected 2 or 3"},
      {"version_4", With({.version = 4}), kUnsupported, "GGUF version 4"},
      {"big_endian", With({.version = 0x03000000}), kUnsupported, "big-endian"},
      {"tensors_max", With({.extra_tensors = UINT64_MAX}), kInvalid,
       "18446744073709551615 tensors"},
      {"tensors_2_40", With({.extra_tensors = uint64_t{1} << 40}), kInvalid, "the limit is 16384"},
      {"tensors_many", With({.extra_tensors = 16000}), kInvalid,
       "16000 tensors do not fit the 136 bytes that follow"},
      {"pairs_max", With({.extra_pairs = UINT64_MAX}), kInvalid, "metadata pairs, the limit is"},
      {"pairs_many", With({.extra_pairs = 9999}), kInvalid, "9999 metadata pairs do not fit"},
      {"key_max", WithPair(Raw<uint64_t>(UINT64_MAX) + "key"), kInvalid,
       "metadata key 0: a string of 18446744073709551615 bytes, the limit is 65535"},
      {"key_beyond_file", WithPair(Raw<uint64_t>(60000) + "key"), kInvalid,
       "metadata key 0: 60000 bytes at byte 32"},
      {"key_empty", WithPair(GgufPair("", 0, "x")), kInvalid, "metadata key 0 is empty"},
      {"key_twice", With({.pairs = {GgufPair("k", 0, "x"), GgufPair("k", 0, "x")}}), kInvalid,
       "metadata key \"k\" is twice"},
      {"value_type", WithPair(GgufPair("k", 99, "x")), kInvalid,
       "\"k\": value type 99, expected 0 to 12"},
      {"element_type", WithPair(GgufPair("k", 9, Raw<uint32_t>(13) + Raw<uint64_t>(0))), kInvalid,
       "\"k\": value type 13"},
      {"array_of_arrays", WithPair(GgufPair("k", 9, array_of_arrays)), kInvalid,
       "\"k\": an array of arrays"},
      {"string_2_40", WithPair(GgufPair("k", 8, Raw<uint64_t>(uint64_t{1} << 40))), kInvalid,
       "\"k\": a string of 1099511627776 bytes, the limit is 16777216"},
      {"string_beyond_file", WithPair(GgufPair("k", 8, Raw<uint64_t>(10000))), kInvalid,
       "\"k\": 10000 bytes at byte"},
      {"array_2_40",
       WithPair(GgufPair("k", 9, Raw<uint32_t>(4) + Raw<uint64_t>(uint64_t{1} << 40))), kInvalid,
       "\"k\": an array of 1099511627776 elements, the limit is 16777216"},
      {"array_beyond_file", WithPair(GgufPair("k", 9, Raw<uint32_t>(4) + Raw<uint64_t>(10000))),
       kInvalid, "\"k\": 40000 bytes at byte"},
      {"strings_beyond_file", WithPair(GgufPair("k", 9, Raw<uint32_t>(8) + Raw<uint64_t>(10000))),
       kInvalid, "\"k\": an array of 10000 strings"},
      {"alignment_0", WithPair(GgufPair("general.alignment", 4, Raw<uint32_t>(0))), kInvalid,
       "general.alignment: 0, expected a power of two"},
      {"alignment_13", WithPair(GgufPair("general.alignment", 4, Raw<uint32_t>(13))), kInvalid,
       "general.alignment: 13, expected a power of two"},
      {"alignment_type", WithPair(GgufPair("general.alignment", 10, Raw<uint64_t>(32))), kInvalid,
       "general.alignment: the value is not of type u32"},
  };
}

std::vector<BadFile> Tensors() {
  constexpr uint64_t kHuge = 0x7FFFFFFFFFFFFFC0;
  return {
      {"no_name", WithTensor({.name = ""}), kInvalid, "tensor 0: no name"},
      {"long_name", WithTensor({.name = std::string(64, 'n')}), kInvalid,
       "tensor 0: a string of 64 bytes, the limit is 63"},
      {"twice", With({.tensors = {{.offset = 0}, {.offset = 128}}, .data_bytes = 256}), kInvalid,
       "tensor \"a\": is there twice"},
      {"no_dimension", WithTensor({.ne = {}}), kInvalid, "0 dimensions, expected 1 to 4"},
      {"five_dimensions", WithTensor({.ne = {1, 1, 1, 1, 1}}), kInvalid,
       "tensor \"a\": 5 dimensions, expected 1 to 4"},
      {"zero", WithTensor({.ne = {32, 0}}), kInvalid, "dimension 1 is 0"},
      {"negative", WithTensor({.ne = {uint64_t{1} << 63}}), kInvalid,
       "dimension 0 is 9223372036854775808"},
      {"product", WithTensor({.ne = {uint64_t{1} << 32, uint64_t{1} << 32}}), kInvalid,
       "dimension 1 is 4294967296, expected a product in [1, 2^63)"},
      {"bytes_overflow", WithTensor({.ne = {kHuge}, .type = 28}), kInvalid,
       "9223372036854775744 elements of F64"},
      {"two_huge",
       With({.tensors = {{.name = "a", .ne = {kHuge}, .type = 24},
                         {.name = "b", .ne = {kHuge}, .type = 24, .offset = kHuge}}}),
       kInvalid, "tensor \"a\": shape [9223372036854775744] of I8 needs 9223372036854775744 bytes"},
      {"beyond_file", WithTensor({.ne = {33}}), kInvalid,
       "tensor \"a\": shape [33] of F32 needs 132 bytes at data byte 0, the file has 192 bytes"},
      {"misaligned", WithTensor({.ne = {8}, .offset = 4}), kInvalid, "offset 4, expected 0"},
      {"hole",
       With({.tensors = {{.name = "a", .ne = {8}}, {.name = "b", .ne = {8}, .offset = 64}}}),
       kInvalid, "tensor \"b\": offset 64, expected 32"},
      {"overlap",
       With({.tensors = {{.name = "a", .ne = {16}}, {.name = "b", .ne = {8}, .offset = 32}}}),
       kInvalid, "tensor \"b\": offset 32, expected 64"},
      {"offset_beyond_file", WithTensor({.ne = {8}, .offset = uint64_t{1} << 60}), kInvalid,
       "offset 1152921504606846976, expected 0"},
      {"type_removed", WithTensor({.type = 4}), kInvalid, "unknown element type 4"},
      {"type_future", WithTensor({.type = 1000}), kInvalid, "unknown element type 1000"},
      {"type_by_name", WithTensor({.type = 20}), kUnsupported,
       "tensor \"a\": element type IQ4_NL is not supported"},
      {"no_whole_blocks", WithTensor({.ne = {48, 2}, .type = 2}), kInvalid,
       "a row of 48 elements of Q4_0 is no whole number of blocks of 32"},
      {"k_blocks", WithTensor({.ne = {128, 2}, .type = 12}), kInvalid,
       "a row of 128 elements of Q4_K is no whole number of blocks of 256"},
  };
}

class BadGguf : public ::testing::TestWithParam<BadFile> {};

TEST_P(BadGguf, IsRefusedWithBothValues) {
  const TemporaryDirectory directory;
  directory.Write("bad.gguf", GetParam().bytes);
  const auto file = File::Open(directory.File("bad.gguf"));
  ASSERT_TRUE(file.ok());
  const absl::Status status = ReadGgufHeader(*file).status();
  EXPECT_EQ(status.code(), GetParam().code) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
  EXPECT_THAT(std::string(status.message()), HasSubstr("/bad.gguf: "));
}

std::string NameOf(const ::testing::TestParamInfo<BadFile>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Preamble, BadGguf, ::testing::ValuesIn(PreambleAndPairs()), NameOf);
INSTANTIATE_TEST_SUITE_P(Tensors, BadGguf, ::testing::ValuesIn(Tensors()), NameOf);

std::string GoldenFile() {
  return *ReadFile(PREFIXD_SOURCE_DIR "/tests/golden/gguf/q4_1.gguf", 1 << 20);
}

// A refusal, or tensors that lie one behind the other inside the file.
void ExpectRefusedOrSound(const absl::StatusOr<GgufHeader>& header, uint64_t file_bytes) {
  if (!header.ok()) {
    ASSERT_TRUE(absl::IsInvalidArgument(header.status()) || absl::IsUnimplemented(header.status()))
        << header.status();
    ASSERT_LE(header.status().message().size(), 1024u);
    return;
  }
  uint64_t end = header->size_bytes;
  for (const TensorInfo& tensor : header->tensors) {
    ASSERT_GE(tensor.begin, end) << tensor.name;
    end = tensor.begin + tensor.size_bytes;
    ASSERT_LE(end, file_bytes) << tensor.name;
  }
}

TEST(GgufTruncation, IsRefusedAtEveryByteOfTheHeaderAndEveryKibibyte) {
  const std::string whole = GoldenFile();
  const auto header = ParseGgufHeader(whole, whole.size(), "f");
  ASSERT_TRUE(header.ok()) << header.status();
  size_t size = 0;
  while (size < whole.size()) {
    const auto cut = ParseGgufHeader(whole.substr(0, size), size, "f");
    ASSERT_TRUE(absl::IsInvalidArgument(cut.status())) << size << ": " << cut.status();
    size += size < header->size_bytes ? 1 : 1024;
  }
}

std::string Mutate(const std::string& whole, size_t header_bytes, std::mt19937_64* random) {
  std::string bytes = whole;
  const int edits = 1 + static_cast<int>((*random)() % 3);
  for (int i = 0; i < edits && bytes.size() > 8; ++i) {
    const size_t at = (*random)() % std::min(header_bytes, bytes.size() - 8);
    switch ((*random)() % 6) {
      case 0:
        bytes[at] = static_cast<char>((*random)());
        break;
      case 1:
        bytes.erase(at, 1 + (*random)() % 8);
        break;
      case 2:
        bytes.insert(at, bytes.substr((*random)() % bytes.size(), (*random)() % 16));
        break;
      case 3:  // A length or a count of another magnitude.
        bytes.replace(at, 8, Raw<uint64_t>((*random)() >> ((*random)() % 64)));
        break;
      case 4:
        bytes.replace(at, 4, Raw<uint32_t>(static_cast<uint32_t>((*random)() % 16)));
        break;
      default:
        bytes.resize(at);
    }
  }
  return bytes;
}

// PREFIXD_MUTATIONS sets the number of rounds; the long form has 100,000.
TEST(GgufMutation, NeverCrashesAndNeverAcceptsWhatLiesOutside) {
  const std::string whole = GoldenFile();
  const auto header = ParseGgufHeader(whole, whole.size(), "f");
  ASSERT_TRUE(header.ok());
  const char* const wanted = std::getenv("PREFIXD_MUTATIONS");
  const int rounds = wanted == nullptr ? 5000 : std::atoi(wanted);
  std::mt19937_64 random(20261126);
  int accepted = 0;
  auto slowest = std::chrono::steady_clock::duration::zero();
  for (int round = 0; round < rounds; ++round) {
    const std::string bytes = Mutate(whole, header->size_bytes, &random);
    const auto begin = std::chrono::steady_clock::now();
    const auto parsed = ParseGgufHeader(bytes, bytes.size(), "f");
    slowest = std::max(slowest, std::chrono::steady_clock::now() - begin);
    ExpectRefusedOrSound(parsed, bytes.size());
    if (::testing::Test::HasFatalFailure()) return;
    accepted += parsed.ok();
  }
  EXPECT_LT(slowest, std::chrono::seconds(5));
  EXPECT_GT(accepted, 0);  // Another letter in a token is harmless.
  EXPECT_LT(accepted, rounds);
}

TEST(GgufFile, IsARegularFile) {
  const TemporaryDirectory directory;
  const std::string path = directory.File("d.gguf");
  std::filesystem::create_directory(path);
  EXPECT_FALSE(File::Open(path).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(File::Open("/dev/null").status()));
}

}  // namespace
}  // namespace prefixd
