// A kill leaves what the kernel was given, so only the calls themselves show that a set would also
// outlive a loss of power: files are synced before they get their name, directories after. And what
// happens where the disk refuses.
#include <errno.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/classify/class_sets.h"
#include "tests/classify_store/random_sets.h"

namespace {

namespace fs = std::filesystem;

// What was synced: "PATH", or "PATH: NAMES" of a directory with the names in it at that time.
std::vector<std::string>* synced = nullptr;
std::string failing;  // Paths that end with it cannot be synced.

std::string PathOf(int fd) { return fs::read_symlink(absl::StrCat("/proc/self/fd/", fd)).string(); }

}  // namespace

// Takes the place of the C library's.
extern "C" int fsync(int fd) {
  const std::string path = PathOf(fd);
  if (!failing.empty() && absl::EndsWith(path, failing)) {
    errno = EIO;
    return -1;
  }
  if (synced != nullptr) {
    std::vector<std::string> names;
    if (fs::is_directory(path)) {
      for (const auto& entry : fs::directory_iterator(path)) {
        names.push_back(entry.path().filename().string());
      }
    }
    std::sort(names.begin(), names.end());
    std::string line = path + (names.empty() ? "" : ":");
    for (const std::string& name : names) line += " " + name;
    synced->push_back(line);
  }
  return static_cast<int>(syscall(SYS_fsync, fd));
}

namespace prefixd {
namespace {

using testing::SmallSet;
using testing::StateDirectory;

class ClassSetSync : public ::testing::Test {
 protected:
  ~ClassSetSync() override {
    synced = nullptr;
    failing.clear();
  }
  std::vector<std::string> Synced(const std::function<void()>& work) {
    std::vector<std::string> lines;
    synced = &lines;
    work();
    synced = nullptr;
    return lines;
  }
  const StateDirectory directory_;
  const std::string temporary_ = absl::StrCat(".set.tmp.", ::getpid());
};

TEST_F(ClassSetSync, OfASetAndItsFolder) {
  auto store = *ClassSetStore::Open(directory_.options());
  const auto save = [&](const char* id) {
    return [&, id] { EXPECT_TRUE(store->Save(SmallSet("t", id)).ok()); };
  };
  const std::string sets = directory_.path() + "/class_sets", folder = sets + "/74";
  EXPECT_EQ(Synced(save("a")),
            (std::vector<std::string>{sets + ": 74 lock", sets + ": 74 lock",
                                      folder + "/a" + temporary_, folder + ": a.set"}));
  EXPECT_EQ(Synced(save("b")),
            (std::vector<std::string>{folder + "/b" + temporary_, folder + ": a.set b.set"}));
  EXPECT_EQ(Synced([&] { EXPECT_TRUE(store->Remove("t", "a").ok()); }),
            (std::vector<std::string>{folder + ": b.set"}));
  // A folder that was there may not be on disk: who made it may have been killed.
  store.reset();
  store = *ClassSetStore::Open(directory_.options());
  EXPECT_EQ(Synced(save("b"))[0], sets + ": 74 lock");
}

TEST_F(ClassSetSync, OfTheDirectoryItself) {
  EXPECT_EQ(Synced([&] { EXPECT_TRUE(ClassSetStore::Open(directory_.options()).ok()); }),
            (std::vector<std::string>{directory_.path() + ": class_sets",
                                      directory_.path() + ": class_sets"}));
}

TEST_F(ClassSetSync, AFileThatCannotBeSyncedHasNoName) {
  const auto store = *ClassSetStore::Open(directory_.options());
  failing = temporary_;
  EXPECT_FALSE(store->Save(SmallSet("t", "a")).ok());
  failing.clear();
  EXPECT_TRUE(fs::is_empty(directory_.File("74")));
}

TEST_F(ClassSetSync, ASetThatCouldNotBeWrittenIsNotThere) {
  auto sets = *ClassSets::Create(directory_.options(), *ClassSetStore::Open(directory_.options()));
  for (const std::string& what : {std::string("/74"), temporary_}) {
    failing = what;
    ASSERT_TRUE(sets->Reserve("t", "a").ok());
    const absl::Status status = sets->Commit(SmallSet("t", "a")).status();
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    // The path is the operator's business.
    EXPECT_FALSE(absl::StrContains(status.ToString(), directory_.path())) << status;
    failing.clear();
    EXPECT_FALSE(sets->Find("t", "classSets/a").ok());
    EXPECT_TRUE(fs::is_empty(directory_.File("74")));
  }
  // The name is free, and the next one is there.
  ASSERT_TRUE(sets->Reserve("t", "a").ok());
  EXPECT_TRUE(sets->Commit(SmallSet("t", "a")).ok());
}

TEST_F(ClassSetSync, ASetThatCouldNotBeRemovedStays) {
  auto sets = *ClassSets::Create(directory_.options(), *ClassSetStore::Open(directory_.options()));
  ASSERT_TRUE(sets->Reserve("t", "a").ok());
  ASSERT_TRUE(sets->Commit(SmallSet("t", "a")).ok());
  failing = "/74";
  EXPECT_TRUE(absl::IsUnavailable(sets->Delete("t", "classSets/a")));
  failing.clear();
  EXPECT_TRUE(sets->Find("t", "classSets/a").ok());
  EXPECT_TRUE(sets->Delete("t", "classSets/a").ok());
  EXPECT_FALSE(sets->Find("t", "classSets/a").ok());
}

}  // namespace
}  // namespace prefixd
