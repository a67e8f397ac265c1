#include "tests/simulation/isolate.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <new>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tests/simulation/play.h"
#include "tests/simulation/workload.h"

namespace prefixd::simulation {
namespace {

// One T that parent and children see.
template <typename T>
class Shared {
 public:
  Shared() {
    void* const memory =
        mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    PREFIXD_CHECK(memory != MAP_FAILED);
    object_ = new (memory) T();
  }
  ~Shared() { munmap(object_, sizeof(T)); }
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }

 private:
  T* object_;
};

// A child and what it writes to stderr.
class Child {
 public:
  // Runs `body` in a new process, which then exits.
  explicit Child(const std::function<void(int stderr_fd)>& body)
      : stderr_(memfd_create("stderr", MFD_CLOEXEC)) {
    PREFIXD_CHECK(stderr_ >= 0);
    pid_ = fork();
    PREFIXD_CHECK(pid_ >= 0);
    if (pid_ != 0) return;
    dup2(stderr_, STDERR_FILENO);
    body(stderr_);
    _exit(0);
  }
  ~Child() { close(stderr_); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Waits for the end. Whatever killed the child is added to `report`.
  void Wait(Report* report) {
    int status = 0;
    while (waitpid(pid_, &status, 0) != pid_) {
    }
    if (!WIFSIGNALED(status) && WEXITSTATUS(status) == 0) return;
    const std::string words = LastWords();
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
      report->Fail("time", "the run does not come to an end");
    } else if (WIFSIGNALED(status)) {
      report->Fail("crash", words.empty() ? absl::StrCat("signal ", WTERMSIG(status)) : words);
    } else {
      report->Fail("crash", absl::StrCat("exit code ", WEXITSTATUS(status), ": ", words));
    }
  }

 private:
  // The last thing that a failed check or a sanitizer said.
  std::string LastWords() const {
    std::string text(4096, '\0');
    const off_t size = lseek(stderr_, 0, SEEK_END);
    const off_t from = std::max<off_t>(0, size - static_cast<off_t>(text.size()));
    const ssize_t count = pread(stderr_, text.data(), text.size(), from);
    text.resize(count > 0 ? static_cast<size_t>(count) : 0);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    const size_t sanitizer = text.find("ERROR: ");
    if (sanitizer != std::string::npos) return text.substr(sanitizer, 600);
    return text.substr(text.rfind('\n') + 1);
  }

  const int stderr_;
  pid_t pid_ = -1;
};

// What one worker does at the moment, and has done so far.
struct WorkerState {
  uint64_t seed = 0;
  Report report;
  uint64_t seeds = 0, events = 0, steps = 0;
  std::array<uint64_t, kNumMarks> marks{};
};

struct Work {
  std::atomic<uint64_t> next_seed{0};
  std::atomic<bool> stop{false};
};

void PlaySeed(const SeedRange& range, WorkerState* state) {
  const Scenario scenario = DrawScenario(state->seed);
  Play(scenario, range.max_events, &state->report);
  if (state->report.failed() || state->seed % range.repeat_every != 0) return;
  Report again;
  Play(scenario, range.max_events, &again);
  if (again.trace() != state->report.trace() || again.event() != state->report.event()) {
    state->report.Fail("determinism",
                       absl::StrCat("two runs of the seed differ: ", state->report.event(), " and ",
                                    again.event(), " events"));
  }
}

void WorkThroughSeeds(const SeedRange& range, int stderr_fd, Work* work, WorkerState* state) {
  while (!work->stop) {
    const uint64_t seed = work->next_seed++;
    if (seed >= range.first + range.count) return;
    // What the core logs about faults is of no use, and would pile up.
    PREFIXD_CHECK(ftruncate(stderr_fd, 0) == 0);
    lseek(stderr_fd, 0, SEEK_SET);
    alarm(static_cast<unsigned>(range.seconds_per_seed));
    state->seed = seed;
    state->report = Report();
    PlaySeed(range, state);
    alarm(0);
    ++state->seeds;
    state->events += state->report.event();
    state->steps += state->report.steps();
    for (size_t i = 0; i < kNumMarks; ++i) state->marks[i] += state->report.marks()[i];
    if (state->report.failed()) return;
  }
}

}  // namespace

SeedResults RunSeeds(const SeedRange& range) {
  Shared<Work> work;
  work->next_seed = range.first;
  std::vector<std::unique_ptr<Shared<WorkerState>>> states;
  std::vector<std::unique_ptr<Child>> workers;
  for (int i = 0; i < range.jobs; ++i) {
    states.push_back(std::make_unique<Shared<WorkerState>>());
    workers.push_back(std::make_unique<Child>([&, i](int stderr_fd) {
      WorkerState* const state = &**states[i];
      WorkThroughSeeds(range, stderr_fd, &*work, state);
      if (state->report.failed()) work->stop = true;
    }));
  }
  SeedResults results;
  for (int i = 0; i < range.jobs; ++i) {
    WorkerState& state = **states[i];
    workers[i]->Wait(&state.report);
    if (state.report.failed()) {
      work->stop = true;
      if (!results.failure || state.seed < results.failure->seed) {
        results.failure = {state.seed, state.report};
      }
    }
    results.seeds += state.seeds;
    results.events += state.events;
    results.steps += state.steps;
    for (size_t m = 0; m < kNumMarks; ++m) results.marks[m] += state.marks[m];
  }
  return results;
}

Report RunIsolated(int seconds, const std::function<void(Report*)>& body) {
  Shared<Report> report;
  Child child([&](int) {
    alarm(static_cast<unsigned>(seconds));
    body(&*report);
  });
  child.Wait(&*report);
  return *report;
}

ExhaustiveResult SearchIsolated(int index, int depth) {
  Shared<ExhaustiveResult> result;
  Child child([&](int) { SearchSmallWorld(index, depth, &*result); });
  child.Wait(&result->report);
  return *result;
}

Report RunIsolated(const Scenario& scenario, int64_t max_events, int seconds) {
  return RunIsolated(seconds, [&](Report* report) { Play(scenario, max_events, report); });
}

}  // namespace prefixd::simulation
