// Class sets on disk: what was saved is there, what is broken or foreign is not, one process at a
// time.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "tests/classify_store/random_sets.h"

namespace prefixd {
namespace {

namespace fs = std::filesystem;
using testing::Equal;
using testing::RandomSet;
using testing::SmallSet;
using testing::StateDirectory;

std::unique_ptr<ClassSetStore> OpenStore(const ClassificationOptions& options) {
  auto store = ClassSetStore::Open(options);
  EXPECT_TRUE(store.ok()) << store.status();
  return store.ok() ? *std::move(store) : nullptr;
}

std::vector<StoredClassSet> LoadAll(const ClassificationOptions& options) {
  auto sets = OpenStore(options)->Load();
  EXPECT_TRUE(sets.ok()) << sets.status();
  return sets.ok() ? *std::move(sets) : std::vector<StoredClassSet>();
}

void Write(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << bytes;
  ASSERT_TRUE(file.good()) << path;
}

TEST(ClassSetStore, SetsOfAllTenantsComeBackInOrder) {
  const StateDirectory directory;
  std::vector<StoredClassSet> sets;  // In order of tenant and id.
  for (const char* tenant : {"", "a", "team/..\xff", "z"}) {
    for (const char* id : {"a", "a-b", "b", "ba"}) {
      sets.push_back(RandomSet(tenant, id, sets.size()));
    }
  }
  {
    const auto store = OpenStore(directory.options());
    for (auto set = sets.rbegin(); set != sets.rend(); ++set) {
      const auto bytes = store->Save(*set);
      ASSERT_TRUE(bytes.ok()) << bytes.status();
      EXPECT_EQ(*bytes, ClassSetFileBytes(*set));
    }
  }
  EXPECT_EQ(fs::file_size(directory.File("-/a.set")), ClassSetFileBytes(sets[0]));
  EXPECT_EQ(fs::file_size(directory.File("61/a.set")), ClassSetFileBytes(sets[4]));
  EXPECT_TRUE(fs::exists(directory.File("7465616d2f2e2eff/ba.set")));
  const std::vector<StoredClassSet> loaded = LoadAll(directory.options());
  ASSERT_EQ(loaded.size(), sets.size());
  for (size_t i = 0; i < sets.size(); ++i) EXPECT_TRUE(Equal(loaded[i], sets[i])) << i;
}

TEST(ClassSetStore, ANewDirectoryIsMadeAndNobodyElseMayLookInside) {
  const StateDirectory directory;
  ClassificationOptions options = directory.options();
  options.state_dir += "/not/there";
  ASSERT_TRUE(OpenStore(options)->Save(SmallSet("t", "a")).ok());
  for (const char* folder : {"/not", "/not/there/class_sets", "/not/there/class_sets/74"}) {
    struct stat info;
    ASSERT_EQ(::stat((directory.path() + folder).c_str(), &info), 0) << folder;
    EXPECT_EQ(info.st_mode & 0777, 0700u) << folder;
  }
  EXPECT_EQ(LoadAll(options).size(), 1u);
}

TEST(ClassSetStore, ASavedSetReplacesTheOneBefore) {
  const StateDirectory directory;
  const StoredClassSet after = RandomSet("t", "a", 2);
  {
    const auto store = OpenStore(directory.options());
    ASSERT_TRUE(store->Save(RandomSet("t", "a", 1)).ok());
    ASSERT_TRUE(store->Save(after).ok());
  }
  const auto loaded = LoadAll(directory.options());
  ASSERT_EQ(loaded.size(), 1u);
  EXPECT_TRUE(Equal(loaded[0], after));
}

TEST(ClassSetStore, ARemovedSetIsGone) {
  const StateDirectory directory;
  {
    const auto store = OpenStore(directory.options());
    ASSERT_TRUE(store->Save(SmallSet("t", "a")).ok());
    ASSERT_TRUE(store->Save(SmallSet("t", "b")).ok());
    ASSERT_TRUE(store->Save(SmallSet("u", "a")).ok());
    EXPECT_TRUE(store->Remove("t", "a").ok());
    EXPECT_TRUE(store->Remove("t", "a").ok());
    EXPECT_TRUE(store->Remove("nobody", "a").ok());
    EXPECT_TRUE(store->Remove(std::string(200, 't'), "a").ok());
  }
  const auto loaded = LoadAll(directory.options());
  ASSERT_EQ(loaded.size(), 2u);
  EXPECT_TRUE(Equal(loaded[0], SmallSet("t", "b")));
  EXPECT_TRUE(Equal(loaded[1], SmallSet("u", "a")));
}

TEST(ClassSetStore, WhatCouldNotBeReadIsNotWritten) {
  const StateDirectory directory;
  const auto store = OpenStore(directory.options());
  StoredClassSet set = SmallSet("t", "a");
  set.spec.names.pop_back();
  EXPECT_TRUE(absl::IsInvalidArgument(store->Save(set).status()));
  set = SmallSet("t", "../a");
  EXPECT_TRUE(absl::IsInvalidArgument(store->Save(set).status()));
  set = SmallSet("t", "a");
  set.spec.demonstrations = {{.image = ImagePart{.sha256 = std::string(32, 'd')}, .label = "x"}};
  EXPECT_TRUE(absl::IsInvalidArgument(store->Save(set).status()));
  EXPECT_FALSE(fs::exists(directory.File("74")));
}

TEST(ClassSetStore, OneAtATimeHoldsADirectory) {
  const StateDirectory directory;
  auto first = OpenStore(directory.options());
  const absl::Status second = ClassSetStore::Open(directory.options()).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(second)) << second;
  EXPECT_TRUE(absl::StrContains(second.message(), directory.File("lock"))) << second;
  first.reset();
  EXPECT_TRUE(ClassSetStore::Open(directory.options()).ok());
}

TEST(ClassSetStore, WhatIsBrokenIsLeftAndTheRestIsThere) {
  const StateDirectory directory;
  {
    const auto store = OpenStore(directory.options());
    for (const char* id : {"cut", "empty", "good", "moved"}) {
      ASSERT_TRUE(store->Save(SmallSet("t", id)).ok());
    }
    ASSERT_TRUE(store->Save(SmallSet("u", "good")).ok());
  }
  const std::string good = *ReadFile(directory.File("74/good.set"), 1 << 20);
  Write(directory.File("74/cut.set"), good.substr(0, good.size() - 1));
  Write(directory.File("74/empty.set"), "");
  fs::rename(directory.File("74/moved.set"), directory.File("74/other.set"));  // Another id.
  fs::copy(directory.File("75/good.set"), directory.File("74/foreign.set"));
  fs::create_directory(directory.File("75/folder.set"));
  fs::create_directory(directory.File("notes"));
  fs::copy(directory.File("75/good.set"), directory.File("notes/good.set"));  // Another tenant.
  fs::create_directory(directory.File("55"));
  fs::copy(directory.File("75/good.set"), directory.File("55/good.set"));  // Another tenant.
  Write(directory.File("74/README"), "not a set");
  ASSERT_EQ(::mkfifo(directory.File("74/pipe.set").c_str(), 0600), 0);

  ::testing::internal::CaptureStderr();
  const auto loaded = LoadAll(directory.options());
  const std::string log = ::testing::internal::GetCapturedStderr();
  ASSERT_EQ(loaded.size(), 2u);
  EXPECT_TRUE(Equal(loaded[0], SmallSet("t", "good")));
  EXPECT_TRUE(Equal(loaded[1], SmallSet("u", "good")));
  for (const char* bad : {"74/cut.set", "74/empty.set", "74/other.set", "74/foreign.set",
                          "75/folder.set", "notes/good.set", "55/good.set", "74/pipe.set"}) {
    EXPECT_TRUE(absl::StrContains(log, absl::StrCat("refused path=", directory.File(bad))))
        << bad << "\n"
        << log;
    EXPECT_TRUE(fs::exists(directory.File(bad))) << bad;
  }
  EXPECT_FALSE(absl::StrContains(log, "README")) << log;
  EXPECT_TRUE(absl::StrContains(log, "reason=digest at byte")) << log;
}

TEST(ClassSetStore, ALinkToAFolderIsNotFollowed) {
  const StateDirectory directory, other;
  ASSERT_TRUE(OpenStore(other.options())->Save(SmallSet("t", "a")).ok());
  ASSERT_TRUE(OpenStore(directory.options())->Load().ok());
  fs::create_directory_symlink(other.File("74"), directory.File("74"));
  EXPECT_TRUE(LoadAll(directory.options()).empty());
}

TEST(ClassSetStore, RemainsOfUnfinishedWritesAreRemoved) {
  const StateDirectory directory;
  ASSERT_TRUE(OpenStore(directory.options())->Save(SmallSet("t", "a")).ok());
  Write(directory.File("74/a.set.tmp.123"), "half");
  Write(directory.File("74/b.set.tmp.4"), SerializeClassSet(SmallSet("t", "b")));
  Write(directory.File("74/notes.tmp.x"), "somebody's");
  EXPECT_EQ(LoadAll(directory.options()).size(), 1u);
  EXPECT_FALSE(fs::exists(directory.File("74/a.set.tmp.123")));
  EXPECT_FALSE(fs::exists(directory.File("74/b.set.tmp.4")));
  EXPECT_TRUE(fs::exists(directory.File("74/notes.tmp.x")));
}

TEST(ClassSetStore, AFileBeyondTheLimitsIsNotRead) {
  const StateDirectory directory;
  StoredClassSet set = SmallSet("t", "a");
  set.spec.names.resize(100, "name");
  ASSERT_TRUE(OpenStore(directory.options())->Save(set).ok());
  ClassificationOptions fewer = directory.options();
  fewer.max_names = 99;
  EXPECT_TRUE(LoadAll(fewer).empty());
  EXPECT_EQ(LoadAll(directory.options()).size(), 1u);

  // Sparse: its size alone must be enough to refuse it.
  Write(directory.File("74/huge.set"), "PFXCLASS");
  ASSERT_EQ(::truncate(directory.File("74/huge.set").c_str(), int64_t{1} << 40), 0);
  EXPECT_EQ(LoadAll(directory.options()).size(), 1u);
}

TEST(ClassSetStore, NoSetHasALargerFileThanIsRead) {
  ClassificationOptions options;
  options.max_names = 50;
  options.max_demonstrations = 6;
  options.max_set_bytes = 4000;
  StoredClassSet set = SmallSet(std::string(127, 't'), std::string(63, 'a'));
  set.embedding_model = std::string(256, 'm');
  set.spec.names.assign(50, "x");
  const ImagePart image = {.bytes = "p", .sha256 = std::string(32, 'd')};
  set.spec.demonstrations.assign(6, {.image = image, .label = "x"});
  set.spec.prompt.question.assign(4000 - 50 - 12 - 1, 'q');
  set.embeddings.assign(6, std::vector<float>(16384, 1.0f));
  EXPECT_LE(ClassSetFileBytes(set), MaxClassSetFileBytes(options));
  EXPECT_TRUE(ParseClassSet(SerializeClassSet(set), options).ok());
}

TEST(ClassSetStore, ADirectoryThatIsAFileIsNamed) {
  const StateDirectory directory;
  Write(directory.path() + "/class_sets", "");
  const absl::Status status = ClassSetStore::Open(directory.options()).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), directory.path() + "/class_sets")) << status;
}

}  // namespace
}  // namespace prefixd
