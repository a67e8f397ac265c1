// The bytes of a class set's file: what is written comes back, and hostile bytes are refused.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "engine/classify/check_class_set.h"
#include "tests/classify_store/random_sets.h"

namespace prefixd {
namespace {

using testing::Equal;
using testing::RandomSet;
using testing::SmallSet;

constexpr size_t kDigestBytes = 32;

// With the digest that belongs to the rest.
std::string Sealed(std::string content) {
  const Sha256Digest digest = Sha256Of(content);
  content.append(reinterpret_cast<const char*>(digest.data()), digest.size());
  return content;
}

std::string ContentOf(const std::string& file) {
  return file.substr(0, file.size() - kDigestBytes);
}

// The same file, with `value` at `offset`.
template <typename T>
std::string With(const std::string& file, size_t offset, T value) {
  std::string content = ContentOf(file);
  std::memcpy(content.data() + offset, &value, sizeof(T));
  return Sealed(content);
}

TEST(ClassSetFormat, RandomSetsComeBack) {
  for (uint64_t seed = 0; seed < 500; ++seed) {
    const StoredClassSet set =
        RandomSet(seed % 3 == 0 ? "" : "team-a", absl::StrCat("s", seed), seed);
    const std::string bytes = SerializeClassSet(set);
    EXPECT_EQ(bytes.size(), ClassSetFileBytes(set));
    const auto parsed = ParseClassSet(bytes, {});
    ASSERT_TRUE(parsed.ok()) << seed << ": " << parsed.status();
    ASSERT_TRUE(Equal(*parsed, set)) << seed;
  }
}

TEST(ClassSetFormat, TimesBeforeAndFarBeyondNowComeBack) {
  for (const int64_t ns : {INT64_MIN, int64_t{-1}, int64_t{0}, INT64_MAX}) {
    StoredClassSet set = SmallSet("", "a");
    set.created = absl::FromUnixNanos(ns);
    const auto parsed = ParseClassSet(SerializeClassSet(set), {});
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(parsed->created, set.created) << ns;
  }
}

// Written by hand from the description of the format: a change of it needs another version.
TEST(ClassSetFormat, BytesAreThoseOfTheDescription) {
  const auto number = [](uint64_t value, int bytes) {
    std::string out;
    for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
    return out;
  };
  const auto text = [&number](const std::string& bytes) { return number(bytes.size(), 8) + bytes; };
  StoredClassSet set = SmallSet("t", "id-1");
  set.created = absl::FromUnixNanos(12345);
  set.spec.label_prefix = " ";
  set.spec.prompt = {.system = "S", .question = "Q {text}", .plain = true, .separator = ";"};
  set.spec.null_text = "N";
  set.spec.demonstrations = {{.image = ImagePart{.bytes = "PNG"}, .text = "d", .label = "cat"}};
  set.spec.num_shots = 1;
  set.embedding_model = "M";
  set.embeddings = {{1.0f, -2.0f}};
  const std::string content = "PFXCLASS" + number(1, 4) + text("t") + text("id-1") +
                              number(12345, 8) + text(" ") + text("S") + text("Q {text}") +
                              number(1, 1) + text(";") + text("N") + number(2, 8) + text("cat") +
                              text("dog") + number(1, 8) + number(1, 1) + text("PNG") + text("") +
                              text("d") + text("cat") + number(1, 4) + text("M") + number(1, 8) +
                              number(2, 8) + number(0x3f800000, 4) + number(0xc0000000, 4);
  EXPECT_EQ(SerializeClassSet(set), Sealed(content));
}

TEST(ClassSetFormat, EveryTruncationIsRefused) {
  const std::string bytes = SerializeClassSet(RandomSet("t", "a", 5, 100));
  for (size_t size = 0; size < bytes.size(); ++size) {
    const auto cut = ParseClassSet(bytes.substr(0, size), {});
    ASSERT_TRUE(absl::IsInvalidArgument(cut.status())) << size << ": " << cut.status();
  }
  // The same where the digest is right.
  const std::string content = ContentOf(bytes);
  for (size_t size = 12; size < content.size(); ++size) {  // The version, and what follows it.
    const auto cut = ParseClassSet(Sealed(content.substr(0, size)), {});
    ASSERT_TRUE(absl::IsInvalidArgument(cut.status())) << size << ": " << cut.status();
  }
  EXPECT_TRUE(absl::IsInvalidArgument(ParseClassSet(Sealed(content + "x"), {}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ParseClassSet(bytes + "x", {}).status()));
}

TEST(ClassSetFormat, EveryFlippedByteIsRefused) {
  const std::string bytes = SerializeClassSet(RandomSet("t", "a", 6, 100));
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string changed = bytes;
    changed[i] = static_cast<char>(changed[i] ^ 0x10);
    const absl::Status status = ParseClassSet(changed, {}).status();
    const bool in_version = i >= 8 && i < 12;
    ASSERT_EQ(status.code(),
              in_version ? absl::StatusCode::kUnimplemented : absl::StatusCode::kInvalidArgument)
        << i << ": " << status;
  }
}

TEST(ClassSetFormat, AnotherVersionIsNamed) {
  const std::string bytes = SerializeClassSet(SmallSet("", "a"));
  const absl::Status status = ParseClassSet(With<uint32_t>(bytes, 8, 2), {}).status();
  EXPECT_TRUE(absl::IsUnimplemented(status));
  EXPECT_TRUE(absl::StrContains(status.message(), "2, this program reads 1")) << status;
}

TEST(ClassSetFormat, LengthsAreHeldAgainstTheLimitAndTheRest) {
  const std::string bytes = SerializeClassSet(SmallSet("", "a"));
  // 12: the tenant's length; 12 + 8 + 8 + 1 + 8 + 8 + 8 + 8 + 1 + 8 + 1 + 8: the number of names.
  const size_t kNames = 79;
  uint64_t names = 0;
  std::memcpy(&names, bytes.data() + kNames, 8);
  ASSERT_EQ(names, 2u);
  for (const uint64_t length : {uint64_t{128}, uint64_t{1} << 40, UINT64_MAX}) {
    const absl::Status status = ParseClassSet(With(bytes, 12, length), {}).status();
    EXPECT_TRUE(absl::StrContains(
        status.message(), absl::StrCat("tenant at byte 20: length ", length, ", the limit is 127")))
        << status;
  }
  EXPECT_TRUE(
      absl::StrContains(ParseClassSet(With(bytes, kNames, uint64_t{10001}), {}).status().message(),
                        "names at byte 87: length 10001, the limit is 10000"));
  EXPECT_TRUE(
      absl::StrContains(ParseClassSet(With(bytes, kNames, uint64_t{10000}), {}).status().message(),
                        "length 10000, but "));
}

// What no request could have asked for is refused in a file too.
TEST(ClassSetFormat, WhatIsInsideIsCheckedLikeARequest) {
  const auto refused = [](const StoredClassSet& set, absl::string_view expected) {
    const absl::Status status = ParseClassSet(SerializeClassSet(set), {}).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << expected;
    EXPECT_TRUE(absl::StrContains(status.message(), expected)) << status;
  };
  StoredClassSet set = SmallSet("", "a");
  set.spec.names[1] = "d\xff";
  refused(set, "names[1]: is not UTF-8");
  set = SmallSet("", "../a");
  refused(set, "class_set_id");
  set = SmallSet("", "a");
  set.spec.num_shots = -1;
  refused(set, "num_shots: -1 is outside the range [0, 0]");
  set.spec.num_shots = 0;
  set.spec.demonstrations = {{.text = "x", .label = "cat"}, {.text = "y", .label = "dog"}};
  set.embeddings = {{1.0f}};
  refused(set, "embeddings: 1 embeddings is outside the range [2, 2]");
  set.embeddings = {{1.0f}, {1.0f, 2.0f}};
  refused(set, "embeddings[1]: 2 values is outside the range [1, 1]");
  set.embeddings = {{}, {}};
  refused(set, "embeddings[0]: 0 values is outside the range [1, 16384]");
  set.embeddings = {{1.0f}, {std::numeric_limits<float>::quiet_NaN()}};
  refused(set, "embeddings[1]: a value is not finite");
  set.embeddings.clear();
  set.spec.demonstrations[1].image = ImagePart{.sha256 = std::string(32, 'x')};
  refused(set, "demonstrations[1].image: has no bytes");
}

std::string Mutate(const std::string& content, std::mt19937_64* random) {
  std::string bytes = content;
  const int edits = 1 + static_cast<int>((*random)() % 3);
  for (int i = 0; i < edits && bytes.size() > 20; ++i) {
    const size_t at = (*random)() % (bytes.size() - 8);
    const uint64_t value = (*random)() >> ((*random)() % 64);
    switch ((*random)() % 6) {
      case 0:
        bytes[at] = static_cast<char>(value);
        break;
      case 1:
        bytes.erase(at, 1 + value % 8);
        break;
      case 2:
        bytes.insert(at, bytes.substr(value % bytes.size(), (*random)() % 16));
        break;
      case 3:  // A length or a count of another magnitude.
        std::memcpy(bytes.data() + at, &value, sizeof(value));
        break;
      case 4: {
        const uint64_t small = value % 16;
        std::memcpy(bytes.data() + at, &small, sizeof(small));
        break;
      }
      default:
        bytes.resize(at);
    }
  }
  return bytes;
}

// Every other file carries the digest that belongs to it, or else nothing but the digest would be
// tested. PREFIXD_MUTATIONS sets the number of rounds; the long form has 100,000.
TEST(ClassSetFormat, MutatedFilesAreRefusedOrSound) {
  const char* const wanted = std::getenv("PREFIXD_MUTATIONS");
  const int rounds = wanted == nullptr ? 2000 : std::atoi(wanted);
  std::vector<std::string> contents;
  for (uint64_t seed = 0; seed < 16; ++seed) {
    contents.push_back(ContentOf(SerializeClassSet(RandomSet("team", "a", seed, 50))));
  }
  std::mt19937_64 random(20261126);
  int accepted = 0;
  for (int round = 0; round < rounds; ++round) {
    const std::string& content = contents[static_cast<size_t>(round / 2) % contents.size()];
    const bool sealed = round % 2 == 0;
    const std::string changed = Mutate(content, &random);
    const std::string bytes =
        sealed ? Sealed(changed) : changed + Sealed(content).substr(content.size());
    const auto parsed = ParseClassSet(bytes, {});
    if (!parsed.ok()) {
      ASSERT_TRUE(
          absl::IsInvalidArgument(parsed.status()) ||
          (absl::IsUnimplemented(parsed.status()) && bytes.compare(8, 4, content, 8, 4) != 0))
          << round << ": " << parsed.status();
      continue;
    }
    ++accepted;
    ASSERT_TRUE(sealed || changed == content) << round;
    // Sound: within the limits, and there is one way only to write it.
    ASSERT_TRUE(CheckStoredClassSet(*parsed, {}).ok()) << round;
    ASSERT_EQ(SerializeClassSet(*parsed), bytes) << round;
  }
  EXPECT_GT(accepted, rounds / 50);  // Another letter in a name is harmless.
  EXPECT_LT(accepted, rounds / 2);
}

}  // namespace
}  // namespace prefixd
