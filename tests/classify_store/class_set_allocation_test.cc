// What the parser of class sets takes from the heap, whatever a file claims. Counts the live bytes
// of this whole program.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "tests/classify_store/random_sets.h"
#include "tests/counted_heap.h"

namespace prefixd {
namespace {

constexpr size_t kDigestBytes = 32;
// Messages of errors, and a few small blocks.
constexpr int64_t kSlack = 8192;

// Of one parse, beside the file.
int64_t PeakOf(const std::string& file) {
  const int64_t before = live_bytes;
  peak_bytes = live_bytes;
  { const auto set = ParseClassSet(file, {}); }
  return peak_bytes - before;
}

std::string Sealed(std::string content) {
  const Sha256Digest digest = Sha256Of(content);
  content.append(reinterpret_cast<const char*>(digest.data()), digest.size());
  return content;
}

// The least that a name, a demonstration or an embedding takes in a file (8, 17 and 8 bytes) is
// less than its object (32, 144, 24), and than the smallest block of the heap.
int64_t BoundOf(size_t file_bytes) { return 12 * static_cast<int64_t>(file_bytes) + kSlack; }

TEST(ClassSetAllocation, OfMutatedFilesIsBoundedByTheirSize) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 4000; ++round) {
    const std::string file =
        SerializeClassSet(testing::RandomSet("t", "a", static_cast<uint64_t>(round % 50), 300));
    std::string content = file.substr(0, file.size() - kDigestBytes);
    const size_t at = 12 + random() % (content.size() - 20);
    const uint64_t value = random() >> (random() % 64);
    std::memcpy(content.data() + at, &value, sizeof(value));
    if (round % 4 == 0) content.resize(at + 8 + random() % 64);
    ASSERT_LE(PeakOf(Sealed(content)), BoundOf(content.size())) << round;
  }
}

// Every length of a file, also where it is none.
TEST(ClassSetAllocation, OfLengthsBeyondTheFileIsBoundedByItsSize) {
  StoredClassSet set = testing::SmallSet("t", "a");
  set.spec.demonstrations = {{.image = ImagePart{.bytes = "PNG"}, .label = "cat"}};
  set.embeddings = {{1.0f}};
  const std::string file = SerializeClassSet(set);
  const std::string content = file.substr(0, file.size() - kDigestBytes);
  for (size_t at = 12; at + 8 <= content.size(); ++at) {
    for (const uint64_t length : {uint64_t{9999}, uint64_t{1024}, uint64_t{1} << 25, UINT64_MAX}) {
      std::string changed = content;
      std::memcpy(changed.data() + at, &length, sizeof(length));
      ASSERT_LE(PeakOf(Sealed(changed)), BoundOf(content.size())) << at << ": " << length;
    }
  }
}

// Pictures, names and embeddings of a large set are held once.
TEST(ClassSetAllocation, OfALargeSetIsAboutItsSize) {
  StoredClassSet set = testing::SmallSet("t", "a");
  set.spec.names.clear();
  for (int i = 0; i < 10000; ++i)
    set.spec.names.push_back(absl::StrCat("a name of some length ", i));
  for (int i = 0; i < 100; ++i) {
    set.spec.demonstrations.push_back(
        {.image = ImagePart{.bytes = std::string(100000, 'x')}, .label = "cat"});
    set.embeddings.emplace_back(1024, 0.5f);
  }
  const std::string file = SerializeClassSet(set);
  ASSERT_TRUE(ParseClassSet(file, {}).ok());
  EXPECT_LE(PeakOf(file), static_cast<int64_t>(file.size()) + (1 << 20));
}

}  // namespace
}  // namespace prefixd
