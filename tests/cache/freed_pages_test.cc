// What compression frees: physical pages against the tokens that the layers forget.
#include <algorithm>
#include <cstdio>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "cache/kv_cache.h"
#include "tests/cache/kept_sets.h"
#include "tests/cache/prefix_fixture.h"
#include "tests/cache/profile_counts.h"

namespace prefixd {
namespace {

using testing::kForgotten50;
using testing::kForgotten80;
using testing::kProfileLayers;
using testing::kProfilePrompt;
using testing::ProfileCounts;

constexpr int32_t kFullPages = kProfileLayers * kProfilePrompt / kSlotsPerPage;

int32_t KeptPages(int32_t forgotten) {
  return (kProfilePrompt - forgotten + kSlotsPerPage - 1) / kSlotsPerPage;
}

class FreedPagesTest : public ::testing::TestWithParam<ProfileCounts> {
 protected:
  // Compresses a sequence of kProfilePrompt tokens by the profile, layer by layer.
  void Compress(KvCache* cache, KvSequence* sequence) {
    for (int layer = 0; layer < kProfileLayers; ++layer) {
      const int32_t count = kProfilePrompt - GetParam()[layer];
      const std::vector<int32_t> kept = testing::RandomKept(kProfilePrompt, count, &random_);
      const LayerTable old = cache->Compress(layer, kept, sequence);
      EXPECT_EQ(old.length(), kProfilePrompt);
      most_used_ = std::max(most_used_, cache->num_pages() - cache->num_free_pages());
    }
    cache->FinishCompress(sequence);
    cache->CheckInvariants({sequence});
  }
  int32_t Target() const {
    int32_t dropped = 0;
    for (const int32_t forgotten : GetParam()) dropped += forgotten;
    return dropped;
  }

  std::mt19937 random_{7};
  int32_t most_used_ = 0;
};

TEST_P(FreedPagesTest, PagesThatComeFreeAre95PercentOfTheTokensThatAreForgotten) {
  // Exactly the whole prompt and one layer's kept pages: a private prompt needs no more.
  int32_t most_kept = 0;
  for (const int32_t forgotten : GetParam()) most_kept = std::max(most_kept, KeptPages(forgotten));
  KvCache cache(kProfileLayers, kFullPages + most_kept);
  KvSequence sequence(kProfileLayers);
  KvCache::Placement placement;
  ASSERT_TRUE(cache.Append(&sequence, kProfilePrompt, &placement));
  ASSERT_EQ(cache.num_free_pages(), most_kept);
  Compress(&cache, &sequence);

  const int32_t freed_slots = (cache.num_free_pages() - most_kept) * kSlotsPerPage;
  const double share = static_cast<double>(freed_slots) / Target();
  std::printf("target %d slots, freed %d slots in whole pages: %.2f %%\n", Target(), freed_slots,
              100 * share);
  EXPECT_GE(share, 0.95);
  EXPECT_LE(share, 1.0);
  EXPECT_LE(most_used_, kFullPages + most_kept);
}

TEST_P(FreedPagesTest, BesideAPublishedPromptAllKeptPagesAreNeededUntilTheIndexEvictsIt) {
  int32_t kept_pages = 0;
  for (const int32_t forgotten : GetParam()) kept_pages += KeptPages(forgotten);
  KvCache cache(kProfileLayers, kFullPages + kept_pages);
  const testing::Text text = testing::Text().Count(0, kProfilePrompt);
  KvSequence sequence(kProfileLayers);
  cache.Open(testing::TestRoot("a"), &sequence);
  KvCache::Placement placement;
  ASSERT_TRUE(cache.Append(&sequence, kProfilePrompt, &placement));
  cache.Publish(text.view(), {}, &sequence);
  Compress(&cache, &sequence);
  EXPECT_EQ(cache.num_free_pages(), 0);
  EXPECT_EQ(most_used_, kFullPages + kept_pages);

  cache.BeginRound({&sequence});
  EXPECT_EQ(cache.held_pages(0), kept_pages) << "the prompt's columns are cached, not held";
  EXPECT_EQ(cache.available_pages(0), kFullPages);
  cache.EvictAll(-1);
  EXPECT_EQ(cache.num_free_pages(), kFullPages);
  cache.CheckInvariants({&sequence});
}

INSTANTIATE_TEST_SUITE_P(Profile7B, FreedPagesTest, ::testing::Values(kForgotten50, kForgotten80),
                         [](const auto& info) { return info.index == 0 ? "Half" : "FourFifths"; });

}  // namespace
}  // namespace prefixd
