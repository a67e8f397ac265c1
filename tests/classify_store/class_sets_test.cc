// The registry of class sets: names are held, seen by their owner alone, and counted.
#include "engine/classify/class_sets.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "tests/classify_store/random_sets.h"

namespace prefixd {
namespace {

using testing::Equal;
using testing::RandomSet;
using testing::SmallSet;
using testing::StateDirectory;

std::string ReasonOf(const absl::Status& status) {
  return GetErrorDetail(status).value_or(ErrorDetail()).reason;
}

std::unique_ptr<ClassSets> InMemory(int32_t max_sets = 1000) {
  ClassificationOptions options;
  options.max_sets = max_sets;
  return *ClassSets::Create(options, nullptr);
}

std::shared_ptr<const ClassSetEntry> Add(ClassSets* sets, const StoredClassSet& set) {
  EXPECT_TRUE(sets->Reserve(set.spec.tenant, set.spec.id).ok());
  auto entry = sets->Commit(set);
  EXPECT_TRUE(entry.ok()) << entry.status();
  return entry.ok() ? *std::move(entry) : nullptr;
}

TEST(ClassSets, ASetIsVisibleOnceItIsCommitted) {
  const auto sets = InMemory();
  ASSERT_TRUE(sets->Reserve("t", "a").ok());
  EXPECT_FALSE(sets->Find("t", "classSets/a").ok());
  EXPECT_FALSE(sets->Delete("t", "classSets/a").ok());
  EXPECT_TRUE(sets->List("t").empty());
  EXPECT_EQ(sets->size(), 0);
  const StoredClassSet set = RandomSet("t", "a", 1);
  const auto entry = sets->Commit(set);
  ASSERT_TRUE(entry.ok());
  EXPECT_EQ((*entry)->name(), "classSets/a");
  EXPECT_TRUE(Equal((*entry)->stored, set));
  EXPECT_EQ((*entry)->stored_bytes, SerializeClassSet(set).size());
  EXPECT_EQ(*sets->Find("t", "classSets/a"), *entry);
  EXPECT_EQ(sets->size(), 1);
}

TEST(ClassSets, ANameIsHeldOnce) {
  const auto sets = InMemory();
  ASSERT_TRUE(sets->Reserve("t", "a").ok());
  const absl::Status held = sets->Reserve("t", "a");
  EXPECT_TRUE(absl::IsAlreadyExists(held));
  EXPECT_EQ(ReasonOf(held), "CLASS_SET_EXISTS");
  EXPECT_EQ(held.message(), "a class set named classSets/a exists");
  EXPECT_TRUE(sets->Reserve("u", "a").ok());  // Another tenant's name is another one.
  sets->Abandon("t", "a");
  ASSERT_TRUE(sets->Reserve("t", "a").ok());
  ASSERT_TRUE(sets->Commit(SmallSet("t", "a")).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(sets->Reserve("t", "a")));
}

TEST(ClassSets, ASetThatIsRefusedFreesItsName) {
  const auto sets = InMemory();
  ASSERT_TRUE(sets->Reserve("t", "a").ok());
  StoredClassSet set = SmallSet("t", "a");
  set.spec.names.clear();
  EXPECT_TRUE(absl::IsInvalidArgument(sets->Commit(set).status()));
  EXPECT_TRUE(sets->Reserve("t", "a").ok());
}

TEST(ClassSets, TenantsHaveAQuota) {
  const auto sets = InMemory(2);
  Add(sets.get(), SmallSet("t", "a"));
  ASSERT_TRUE(sets->Reserve("t", "b").ok());  // Held names count.
  const absl::Status full = sets->Reserve("t", "c");
  EXPECT_TRUE(absl::IsResourceExhausted(full));
  EXPECT_EQ(ReasonOf(full), "TENANT_QUOTA");
  EXPECT_EQ(full.message(), "the tenant holds 2 class sets, the limit is 2; delete one");
  EXPECT_TRUE(absl::IsAlreadyExists(sets->Reserve("t", "a")));
  // Neighbours in the order of tenants.
  EXPECT_TRUE(sets->Reserve("s", "a").ok());
  EXPECT_TRUE(sets->Reserve("u", "a").ok());
  sets->Abandon("t", "b");
  EXPECT_TRUE(sets->Reserve("t", "c").ok());
  ASSERT_TRUE(sets->Delete("t", "classSets/a").ok());
  EXPECT_TRUE(sets->Reserve("t", "d").ok());
}

// Otherwise the words would tell what others have.
TEST(ClassSets, ForeignNamesAreLikeThoseThatNeverWere) {
  const auto sets = InMemory();
  Add(sets.get(), SmallSet("owner", "a"));
  const auto text = [](const absl::Status& status) {
    EXPECT_TRUE(absl::IsNotFound(status));
    EXPECT_EQ(ReasonOf(status), "CLASS_SET_NOT_FOUND");
    return status.ToString();
  };
  const auto nobody = InMemory();
  for (const char* name : {"classSets/a", "a", "", "prefixes/a", "classSets/../owner/a"}) {
    EXPECT_EQ(text(sets->Find("other", name).status()), text(nobody->Find("other", name).status()));
    EXPECT_EQ(text(sets->Use("other", name).status()), text(nobody->Use("other", name).status()));
    EXPECT_EQ(text(sets->Delete("other", name)), text(nobody->Delete("other", name)));
  }
  EXPECT_FALSE(sets->Find("owner", "a").ok());
  EXPECT_TRUE(sets->List("other").empty());
  EXPECT_TRUE(sets->Find("owner", "classSets/a").ok());
}

TEST(ClassSets, UsesAreCounted) {
  const auto sets = InMemory();
  const auto entry = Add(sets.get(), SmallSet("t", "a"));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(sets->Use("t", "classSets/a").ok());
  EXPECT_TRUE(sets->Find("t", "classSets/a").ok());
  sets->List("t");
  EXPECT_EQ(entry->requests, 3u);
}

TEST(ClassSets, AreListedByNameForTheirTenant) {
  const auto sets = InMemory();
  for (const char* id : {"b", "a-1", "c", "a"}) Add(sets.get(), SmallSet("t", id));
  Add(sets.get(), SmallSet("", "x"));
  Add(sets.get(), SmallSet("ta", "x"));
  std::vector<std::string> names;
  for (const auto& entry : sets->List("t")) names.push_back(entry->name());
  EXPECT_EQ(names, (std::vector<std::string>{"classSets/a", "classSets/a-1", "classSets/b",
                                             "classSets/c"}));
  EXPECT_EQ(sets->size(), 6);
}

TEST(ClassSets, ADeletedSetLivesOnForWhoUsesItAndItsNameIsFree) {
  const auto sets = InMemory();
  const auto before = Add(sets.get(), RandomSet("t", "a", 1));
  ASSERT_TRUE(sets->Delete("t", "classSets/a").ok());
  EXPECT_TRUE(absl::IsNotFound(sets->Delete("t", "classSets/a")));
  const auto after = Add(sets.get(), RandomSet("t", "a", 2));
  EXPECT_TRUE(Equal(before->stored, RandomSet("t", "a", 1)));
  EXPECT_NE(before->serial, after->serial);
}

TEST(ClassSets, ComeBackFromDisk) {
  const StateDirectory directory;
  const ClassificationOptions options = directory.options();
  uint64_t bytes = 0;
  {
    const auto sets = *ClassSets::Create(options, *ClassSetStore::Open(options));
    bytes = Add(sets.get(), RandomSet("t", "a", 1))->stored_bytes;
    Add(sets.get(), RandomSet("t", "b", 2));
    Add(sets.get(), RandomSet("u", "a", 3));
    ASSERT_TRUE(sets->Reserve("t", "never").ok());
    ASSERT_TRUE(sets->Delete("t", "classSets/b").ok());
  }
  EXPECT_EQ(std::filesystem::file_size(directory.File("74/a.set")), bytes);
  ClassificationOptions fewer = options;
  fewer.max_sets = 1;  // What is there stays.
  const auto sets = *ClassSets::Create(fewer, *ClassSetStore::Open(options));
  EXPECT_EQ(sets->size(), 2);
  const auto entry = sets->Find("t", "classSets/a");
  ASSERT_TRUE(entry.ok());
  EXPECT_TRUE(Equal((*entry)->stored, RandomSet("t", "a", 1)));
  EXPECT_EQ((*entry)->stored_bytes, bytes);
  EXPECT_EQ((*entry)->requests, 0u);
  EXPECT_NE((*entry)->serial, (*sets->Find("u", "classSets/a"))->serial);
  EXPECT_TRUE(absl::IsResourceExhausted(sets->Reserve("t", "b")));
}

}  // namespace
}  // namespace prefixd
