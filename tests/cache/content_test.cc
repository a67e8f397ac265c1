#include "cache/content.h"

#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/cache/prefix_fixture.h"

namespace prefixd {
namespace {

using testing::MediaId;
using testing::Text;

constexpr RootSpec kSpec = {.tenant = "tenant",
                            .salt = "salt",
                            .model_digest = "model",
                            .preprocessing_version = "v1",
                            .kv_dtype = "f32"};

// The bytes under the hash, written down independently (struct.pack and hashlib of Python).
TEST(ContentKeys, AreWhatTheFormatSays) {
  const ContentKey root = RootKey(kSpec);
  EXPECT_EQ(ToHex(root), "850260b87be4b2dc41e3ca52e318aaa58ef2dae365c03845a4dd0b554d291b79");
  Text text;
  text.Count(0, 14);
  ContentKey image;
  image.fill(7);
  text.media.push_back({14, 5, image});  // Two rows in the first column, three in the second.
  text.ids.resize(19, -1);
  text.Count(0, 13);
  const std::vector<ContentKey> keys = ColumnKeys(root, text.view());
  ASSERT_EQ(keys.size(), 2u);
  EXPECT_EQ(ToHex(keys[0]), "c1d3b6d8206095d2db74f58e4a79be449a3991001e251885d03de2df61edc387");
  EXPECT_EQ(ToHex(keys[1]), "65385ee176dd79b38cb3cc450d6217269cc15da1b69c9f3153854d722f3390c0");
}

TEST(ContentKeys, OfAllColumnsAreThoseOfEachOne) {
  Text text;
  text.Count(5, 10).Image(1, 30).Count(2, 3).Image(2, 1).Image(3, 1).Count(9, 10);
  const ContentKey root = RootKey(kSpec);
  const std::vector<ContentKey> keys = ColumnKeys(root, text.view());
  ASSERT_EQ(keys.size(), 3u) << "55 tokens: the last seven have no key";
  ContentKey parent = root;
  for (int32_t column = 0; column < 3; ++column) {
    parent = ColumnKey(parent, text.view(), column);
    EXPECT_EQ(parent, keys[column]);
  }
}

TEST(ContentKeys, OfLessThanAColumnAreNone) {
  EXPECT_TRUE(ColumnKeys(RootKey(kSpec), Text().view()).empty());
  EXPECT_TRUE(ColumnKeys(RootKey(kSpec), Text().Count(0, 15).view()).empty());
}

TEST(RootKey, DependsOnEveryFieldAndWhereItEnds) {
  std::set<ContentKey> keys = {RootKey(kSpec)};
  RootSpec spec = kSpec;
  const auto insert = [&] { return keys.insert(RootKey(spec)).second; };
  spec.tenant = "tenant2";
  EXPECT_TRUE(insert());
  spec = kSpec, spec.salt = "";
  EXPECT_TRUE(insert());
  spec = kSpec, spec.model_digest = "model2";
  EXPECT_TRUE(insert());
  spec = kSpec, spec.preprocessing_version = "v2";
  EXPECT_TRUE(insert());
  spec = kSpec, spec.kv_dtype = "bf16";
  EXPECT_TRUE(insert());
  spec = kSpec, spec.tenant = "tenants", spec.salt = "alt";
  EXPECT_TRUE(insert()) << "the same bytes, cut elsewhere";
}

TEST(ColumnKey, DependsOnEveryTokenAndEveryTraitOfTheImage) {
  const ContentKey parent = RootKey(kSpec);
  std::set<ContentKey> keys;
  const auto insert = [&](const Text& text, int32_t column = 0) {
    return keys.insert(ColumnKey(parent, text.view(), column)).second;
  };
  Text text;
  text.Count(0, 4).Image(1, 8).Count(4, 4);
  EXPECT_TRUE(insert(text));
  EXPECT_FALSE(insert(text));
  for (int i = 0; i < kSlotsPerPage; ++i) {
    Text other = text;
    ++other.ids[i];
    EXPECT_TRUE(insert(other)) << i;
  }
  Text other = text;
  other.media[0].media_id = MediaId(2);
  EXPECT_TRUE(insert(other)) << "another image";
  other = text, other.media[0].num_rows = 7;
  EXPECT_TRUE(insert(other)) << "fewer rows";
  other = text, other.media[0].row_begin = 3;
  EXPECT_TRUE(insert(other)) << "one token earlier";
  other = text, other.media.clear();
  EXPECT_TRUE(insert(other)) << "no image";
  other = text, other.media = {{4, 4, MediaId(1)}, {8, 4, MediaId(1)}};
  EXPECT_TRUE(insert(other)) << "the upper half of the image twice";
  other = Text().Count(0, 3).Image(1, 40);
  EXPECT_TRUE(insert(other, 1));
  other = Text().Count(0, 4).Image(1, 40);
  EXPECT_TRUE(insert(other, 1)) << "the column begins with another row of the image";
  EXPECT_TRUE(keys.insert(ColumnKey(MediaId(1), text.view(), 0)).second) << "another parent";
}

TEST(ColumnKey, DoesNotSeeAnImageOfNoRows) {
  Text text;
  text.Count(0, 16);
  const ContentKey key = ColumnKey(ContentKey{}, text.view(), 0);
  text.media.push_back({4, 0, MediaId(1)});
  EXPECT_EQ(ColumnKey(ContentKey{}, text.view(), 0), key);
}

}  // namespace
}  // namespace prefixd
