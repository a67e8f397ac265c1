// What the parser of GGUF headers takes from the heap, whatever a file claims. Counts the live
// bytes of this whole program.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "engine/weights/gguf.h"
#include "tests/counted_heap.h"
#include "tests/weights/gguf_files.h"

namespace prefixd {
namespace {

using testing::GgufFileSpec;
using testing::GgufPair;
using testing::GgufString;
using testing::GgufTensorEntry;
using testing::Raw;

// The bytes that one parse takes beside the copy of the file that it is given.
int64_t PeakOf(const std::string& file) {
  std::string bytes = file;
  const int64_t before = live_bytes - static_cast<int64_t>(bytes.size());
  peak_bytes = live_bytes;
  { const auto header = ParseGgufHeader(std::move(bytes), file.size(), "f"); }
  return peak_bytes - before;
}

TEST(GgufAllocation, OfMutatedFilesStaysBelowTwiceTheirSize) {
  const std::string whole = *ReadFile(PREFIXD_SOURCE_DIR "/tests/golden/gguf/q4_1.gguf", 1 << 20);
  constexpr int64_t kSlack = 4096;  // Messages, and nodes of files of a few bytes.
  std::mt19937_64 random(7);
  EXPECT_LE(PeakOf(whole), 2 * static_cast<int64_t>(whole.size()));
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = whole;
    const size_t at = random() % 12000;
    bytes.replace(at, 8, Raw<uint64_t>(random() >> (random() % 64)));
    if (round % 4 == 0) bytes.resize(random() % bytes.size());
    EXPECT_LE(PeakOf(bytes), 2 * static_cast<int64_t>(bytes.size()) + kSlack) << round;
  }
}

// The least bytes that a tensor or a key can have in a file are fewer than what it is in memory:
// the limits on their number bound the rest.
TEST(GgufAllocation, OfAFileOfSmallestEntriesIsBounded) {
  constexpr int64_t kSlack = 8 << 20;
  GgufFileSpec tensors;
  for (uint64_t i = 0; i < kMaxGgufTensors; ++i) {
    tensors.tensors.push_back({.name = absl::StrCat(i), .ne = {8}, .offset = 32 * i});
  }
  tensors.data_bytes = 32 * kMaxGgufTensors;
  std::string bytes = tensors.Bytes();
  EXPECT_TRUE(ParseGgufHeader(bytes, bytes.size(), "f").ok());
  EXPECT_LE(PeakOf(bytes), 2 * static_cast<int64_t>(bytes.size()) + kSlack);
  GgufFileSpec pairs;
  for (uint64_t i = 0; i < kMaxGgufPairs; ++i) {
    pairs.pairs.push_back(GgufPair(absl::StrCat(i), 0, "x"));
  }
  bytes = pairs.Bytes();
  EXPECT_TRUE(ParseGgufHeader(bytes, bytes.size(), "f").ok());
  EXPECT_LE(PeakOf(bytes), 2 * static_cast<int64_t>(bytes.size()) + kSlack);
}

TEST(GgufAllocation, ClaimsOfCountsTakeNothing) {
  GgufFileSpec spec;
  spec.pairs = {GgufPair("k", 9, Raw<uint32_t>(8) + Raw<uint64_t>(uint64_t{1} << 23))};
  EXPECT_LE(PeakOf(spec.Bytes()), 4096);
  EXPECT_LE(PeakOf(GgufFileSpec{.extra_tensors = uint64_t{1} << 60}.Bytes()), 4096);
}

}  // namespace
}  // namespace prefixd
