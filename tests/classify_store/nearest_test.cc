#include "engine/classify/nearest.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <utility>

namespace prefixd {
namespace {

using Indices = std::vector<int32_t>;

std::vector<std::vector<float>> RandomVectors(size_t count, size_t dim, std::mt19937_64* random) {
  std::vector<std::vector<float>> vectors(count, std::vector<float>(dim));
  std::normal_distribution<float> normal;
  for (std::vector<float>& vector : vectors) {
    for (float& x : vector) x = normal(*random);
  }
  return vectors;
}

// In long double, by picking the best of the rest again and again.
Indices SlowMostSimilar(const std::vector<std::vector<float>>& vectors,
                        const std::vector<float>& query, size_t k) {
  std::vector<long double> cosines;
  for (const std::vector<float>& vector : vectors) {
    long double dot = 0, squares = 0;
    for (size_t i = 0; i < vector.size(); ++i) {
      dot += static_cast<long double>(vector[i]) * query[i];
      squares += static_cast<long double>(vector[i]) * vector[i];
    }
    cosines.push_back(dot / std::sqrt(squares));
  }
  Indices best;
  while (best.size() < k) {
    size_t winner = 0;
    for (size_t i = 1; i < cosines.size(); ++i) {
      if (cosines[i] > cosines[winner]) winner = i;
    }
    best.insert(best.begin(), static_cast<int32_t>(winner));
    cosines[winner] = -HUGE_VALL;
  }
  return best;
}

TEST(Nearest, EqualsASlowSearch) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 200; ++round) {
    const size_t count = 1 + random() % 60, dim = 1 + random() % 40;
    const auto vectors = RandomVectors(count, dim, &random);
    const NearestDemonstrations nearest(vectors);
    EXPECT_EQ(nearest.size(), static_cast<int32_t>(count));
    const std::vector<float> query = RandomVectors(1, dim, &random)[0];
    const size_t k = random() % (count + 1);
    // In one dimension all cosines are 1 or -1, up to rounding.
    if (dim == 1) continue;
    EXPECT_EQ(nearest.MostSimilar(query, static_cast<int32_t>(k)),
              SlowMostSimilar(vectors, query, k))
        << round;
  }
}

TEST(Nearest, TheMostSimilarIsLast) {
  const NearestDemonstrations nearest(
      std::vector<std::vector<float>>{{0, 1}, {1, 0}, {-1, 0}, {0.6f, 0.8f}});
  const std::vector<float> query = {1, 0};
  EXPECT_EQ(nearest.MostSimilar(query, 4), (Indices{2, 0, 3, 1}));
  EXPECT_EQ(nearest.MostSimilar(query, 2), (Indices{3, 1}));
  EXPECT_EQ(nearest.MostSimilar(query, 1), (Indices{1}));
  EXPECT_EQ(nearest.MostSimilar(query, 0), Indices{});
  EXPECT_EQ(nearest.MostSimilar(query, 99), (Indices{2, 0, 3, 1}));
}

TEST(Nearest, OfEqualOnesTheLowerIndexIsTheMoreSimilar) {
  const NearestDemonstrations nearest(
      std::vector<std::vector<float>>{{0, 1}, {3, 4}, {0, 1}, {3, 4}, {3, 4}});
  const std::vector<float> query = {1, 0};
  EXPECT_EQ(nearest.MostSimilar(query, 2), (Indices{3, 1}));
  EXPECT_EQ(nearest.MostSimilar(query, 5), (Indices{2, 0, 4, 3, 1}));
}

TEST(Nearest, LengthsDoNotMatter) {
  const NearestDemonstrations nearest(std::vector<std::vector<float>>{{100, 100}, {1e-3f, 0}});
  EXPECT_EQ(nearest.MostSimilar(std::vector<float>{5, 0}, 2), (Indices{0, 1}));
}

TEST(Nearest, ZerosAreLikeNothing) {
  const NearestDemonstrations nearest(std::vector<std::vector<float>>{{-1, 0}, {0, 0}, {1, 0}});
  EXPECT_EQ(nearest.MostSimilar(std::vector<float>{1, 0}, 3), (Indices{0, 1, 2}));
  EXPECT_EQ(nearest.MostSimilar(std::vector<float>{0, 0}, 3), (Indices{2, 1, 0}));
}

TEST(Nearest, OfNoneIsNone) {
  EXPECT_EQ(NearestDemonstrations().MostSimilar({}, 3), Indices{});
  EXPECT_EQ(NearestDemonstrations(absl::Span<const std::vector<float>>()).size(), 0);
}

}  // namespace
}  // namespace prefixd
