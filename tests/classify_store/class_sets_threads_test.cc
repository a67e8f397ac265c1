// The registry under threads that create, use and delete at random.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <random>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "engine/classify/class_sets.h"
#include "tests/classify_store/random_sets.h"

namespace prefixd {
namespace {

using testing::Equal;
using testing::RandomSet;
using testing::StateDirectory;

constexpr int kThreads = 8, kTenants = 3, kIds = 4, kMaxSets = 3;

std::string TenantOf(int t) { return t == 0 ? "" : absl::StrCat("t", t); }
std::string IdOf(int i) { return absl::StrCat("s", i); }

// The version is the time of creation, so that a set can be checked against what it should be.
StoredClassSet SetOf(const std::string& tenant, const std::string& id, uint64_t version) {
  StoredClassSet set = RandomSet(tenant, id, version, 200);
  set.created = absl::FromUnixNanos(static_cast<int64_t>(version));
  return set;
}

struct Tally {
  // Created less deleted, of each name.
  std::array<std::array<std::atomic<int>, kIds>, kTenants> alive = {};
  std::atomic<uint64_t> versions{1}, uses{0}, refused{0}, full{0};
};

void CheckEntry(const ClassSetEntry& entry, const std::string& tenant, const std::string& id) {
  const auto version = static_cast<uint64_t>(absl::ToUnixNanos(entry.stored.created));
  ASSERT_TRUE(Equal(entry.stored, SetOf(tenant, id, version)));
  ASSERT_EQ(entry.stored_bytes, ClassSetFileBytes(entry.stored));
  ASSERT_GT(entry.serial, 0u);
}

void Work(ClassSets* sets, Tally* tally, int seed, int rounds) {
  std::mt19937_64 random(static_cast<uint64_t>(seed));
  std::vector<std::shared_ptr<const ClassSetEntry>> kept;
  for (int round = 0; round < rounds; ++round) {
    const int t = static_cast<int>(random() % kTenants), i = static_cast<int>(random() % kIds);
    const std::string tenant = TenantOf(t), id = IdOf(i), name = absl::StrCat("classSets/", id);
    switch (random() % 6) {
      case 0:
      case 1: {
        const absl::Status held = sets->Reserve(tenant, id);
        if (!held.ok()) {
          ASSERT_TRUE(absl::IsAlreadyExists(held) || absl::IsResourceExhausted(held)) << held;
          ++(absl::IsAlreadyExists(held) ? tally->refused : tally->full);
          break;
        }
        if (random() % 8 == 0) {
          sets->Abandon(tenant, id);
          break;
        }
        // Before it is visible: somebody else may delete it at once.
        ASSERT_GE(++tally->alive[t][i], -kThreads);
        const auto entry = sets->Commit(SetOf(tenant, id, tally->versions++));
        ASSERT_TRUE(entry.ok()) << entry.status();
        break;
      }
      case 2: {
        const absl::Status deleted = sets->Delete(tenant, name);
        ASSERT_TRUE(deleted.ok() || absl::IsNotFound(deleted)) << deleted;
        if (deleted.ok()) --tally->alive[t][i];
        break;
      }
      case 3:
        ASSERT_LE(sets->List(tenant).size(), static_cast<size_t>(kMaxSets));
        ASSERT_LE(sets->size(), kTenants * kMaxSets);
        break;
      default: {
        const auto entry = sets->Use(tenant, name);
        if (!entry.ok()) {
          ASSERT_TRUE(absl::IsNotFound(entry.status())) << entry.status();
          break;
        }
        ++tally->uses;
        ASSERT_NO_FATAL_FAILURE(CheckEntry(**entry, tenant, id));
        kept.push_back(*entry);
      }
    }
  }
  // Whatever became of them meanwhile.
  for (const auto& entry : kept) {
    ASSERT_NO_FATAL_FAILURE(CheckEntry(*entry, entry->stored.spec.tenant, entry->stored.spec.id));
  }
}

void RunThreads(ClassSets* sets, Tally* tally, int rounds) {
  std::vector<std::thread> threads;
  for (int seed = 0; seed < kThreads; ++seed) threads.emplace_back(Work, sets, tally, seed, rounds);
  for (std::thread& thread : threads) thread.join();
  std::set<uint64_t> serials;
  for (int t = 0; t < kTenants; ++t) {
    int alive = 0;
    for (int i = 0; i < kIds; ++i) {
      const auto entry = sets->Find(TenantOf(t), absl::StrCat("classSets/", IdOf(i)));
      EXPECT_EQ(tally->alive[t][i], entry.ok() ? 1 : 0) << t << "/" << i;
      alive += entry.ok() ? 1 : 0;
      if (entry.ok()) {
        EXPECT_TRUE(serials.insert((*entry)->serial).second);
      }
    }
    EXPECT_LE(alive, kMaxSets);
  }
  EXPECT_GT(tally->uses, 0u);
  EXPECT_GT(tally->refused, 0u);
  EXPECT_GT(tally->full, 0u);
}

TEST(ClassSetsThreads, InMemory) {
  ClassificationOptions options;
  options.max_sets = kMaxSets;
  const auto sets = *ClassSets::Create(options, nullptr);
  Tally tally;
  RunThreads(sets.get(), &tally, 1000);
}

TEST(ClassSetsThreads, OnDisk) {
  const StateDirectory directory;
  ClassificationOptions options = directory.options();
  options.max_sets = kMaxSets;
  Tally tally;
  std::vector<StoredClassSet> last;
  {
    const auto sets = *ClassSets::Create(options, *ClassSetStore::Open(options));
    RunThreads(sets.get(), &tally, 100);
    for (int t = 0; t < kTenants; ++t) {
      for (const auto& entry : sets->List(TenantOf(t))) last.push_back(entry->stored);
    }
  }
  const auto loaded = (*ClassSetStore::Open(options))->Load();
  ASSERT_TRUE(loaded.ok());
  ASSERT_EQ(loaded->size(), last.size());
  for (size_t i = 0; i < last.size(); ++i) EXPECT_TRUE(Equal((*loaded)[i], last[i])) << i;
}

}  // namespace
}  // namespace prefixd
