// A process that saves, replaces and removes class sets is killed at random times. Every step that
// was acknowledged must be there afterwards, the one that was under way happened or did not, and
// nothing is torn. PREFIXD_KILLS sets how often; the long form has 1,000.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "tests/classify_store/class_set_history.h"
#include "tests/classify_store/random_sets.h"

namespace prefixd {
namespace {

namespace fs = std::filesystem;
using testing::ApplyStep;
using testing::Equal;
using testing::HistoryState;
using testing::SetOfVersion;
using testing::StateDirectory;
using testing::StepAt;

// The writer, and the end of the pipe to which it writes.
class Writer {
 public:
  Writer(const std::string& directory, uint64_t seed) {
    int ends[2];
    PREFIXD_CHECK(::pipe2(ends, O_CLOEXEC) == 0);
    const std::string seed_text = std::to_string(seed);
    pid_ = ::fork();
    PREFIXD_CHECK(pid_ >= 0);
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::dup2(ends[1], STDOUT_FILENO);
      ::execl(PREFIXD_CLASS_SET_WRITER, "class_set_writer", directory.c_str(), seed_text.c_str(),
              static_cast<char*>(nullptr));
      ::_exit(127);
    }
    ::close(ends[1]);
    pipe_ = ends[0];
  }
  ~Writer() { ::close(pipe_); }

  // Waits until it has acknowledged something. Returns false if it ended before.
  bool AwaitFirst() { return ReadSome(); }

  // Kills it and returns how many steps it had acknowledged, -1 if it ended by itself.
  int64_t Kill() {
    ::kill(pid_, SIGKILL);
    int status = 0;
    PREFIXD_CHECK(::waitpid(pid_, &status, 0) == pid_);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) return -1;
    while (ReadSome()) {
    }
    const std::vector<std::string> lines = absl::StrSplit(text_, '\n');
    for (size_t i = 0; i + 1 < lines.size(); ++i) {
      uint64_t step = 0;
      if (!absl::SimpleAtoi(lines[i], &step) || step != i) return -1;
    }
    return lines.back().empty() ? static_cast<int64_t>(lines.size()) - 1 : -1;
  }

 private:
  bool ReadSome() {
    char bytes[65536];
    const ssize_t n = ::read(pipe_, bytes, sizeof(bytes));
    if (n > 0) text_.append(bytes, static_cast<size_t>(n));
    return n > 0 || (n < 0 && errno == EINTR);
  }

  pid_t pid_ = -1;
  int pipe_ = -1;
  std::string text_;
};

// Files of all tenants whose names have `part` in them.
int CountFiles(const StateDirectory& directory, absl::string_view part) {
  if (!fs::exists(directory.File(""))) return 0;
  int count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(directory.File(""))) {
    if (entry.is_regular_file() && absl::StrContains(entry.path().filename().string(), part)) {
      ++count;
    }
  }
  return count;
}

bool Holds(const std::vector<StoredClassSet>& sets, const HistoryState& state) {
  if (sets.size() != state.size()) return false;
  auto expected = state.begin();
  for (const StoredClassSet& set : sets) {  // Both in order of tenant and id.
    const auto& [key, version] = *expected++;
    if (!Equal(set, SetOfVersion(key.first, key.second, version))) return false;
  }
  return true;
}

TEST(ClassSetKill, WhatWasAcknowledgedIsThereAndNothingIsTorn) {
  const char* const wanted = std::getenv("PREFIXD_KILLS");
  const int kills = wanted == nullptr ? 50 : std::atoi(wanted);
  const StateDirectory directory;
  std::mt19937_64 random(20261126);
  HistoryState state;
  int64_t acknowledged = 0;
  int unfinished = 0, under_way = 0;
  for (int round = 0; round < kills; ++round) {
    const uint64_t seed = static_cast<uint64_t>(round) + 1;
    Writer writer(directory.path(), seed);
    // One in four is killed while it starts and reads what is there.
    if (round % 4 != 0) {
      ASSERT_TRUE(writer.AwaitFirst()) << round;
    }
    ::usleep(static_cast<useconds_t>(random() % (round % 8 == 1 ? 150'000 : 20'000)));
    const int64_t steps = writer.Kill();
    ASSERT_GE(steps, 0) << round;
    acknowledged += steps;
    unfinished += CountFiles(directory, ".tmp.");

    for (int64_t i = 0; i < steps; ++i) ApplyStep(StepAt(seed, static_cast<uint64_t>(i)), &state);
    HistoryState next = state;
    ApplyStep(StepAt(seed, static_cast<uint64_t>(steps)), &next);
    auto store = ClassSetStore::Open(directory.options());
    ASSERT_TRUE(store.ok()) << store.status();
    const auto sets = (*store)->Load();
    ASSERT_TRUE(sets.ok()) << sets.status();
    EXPECT_EQ(CountFiles(directory, ".tmp."), 0) << round;
    ASSERT_EQ(CountFiles(directory, ".set"), static_cast<int>(sets->size())) << round << ": torn";
    const bool before = Holds(*sets, state);
    ASSERT_TRUE(before || Holds(*sets, next)) << "round " << round << ", " << steps << " steps";
    if (!before) {
      ++under_way;
      state = next;
    }
  }
  std::printf("%d kills, %ld steps acknowledged, %d unfinished files, %d steps not acknowledged\n",
              kills, static_cast<long>(acknowledged), unfinished, under_way);
  EXPECT_GE(acknowledged, kills / 2);
  if (kills >= 50) {
    EXPECT_GT(unfinished + under_way, 0) << "no kill hit a write";
  }
}

}  // namespace
}  // namespace prefixd
