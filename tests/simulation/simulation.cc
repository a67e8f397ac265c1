// The program `simulation`: see --help, and docs/testing.md.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/planted_bug.h"
#include "tests/simulation/isolate.h"
#include "tests/simulation/shrink.h"
#include "tests/simulation/workload.h"

namespace prefixd::simulation {
namespace {

constexpr char kUsage[] =
    R"(simulation: plays random scenarios against the scheduler and the KV cache.

  --seeds N        seeds to play (2000)
  --first S        the first of them (1)
  --jobs N         processes at a time (2)
  --events N       events of a seed before it heals (2000)
  --bug NAME       plant a bug; the exit code is 0 if it is found
  --all-bugs       every planted bug in turn, each within --seeds
  --list-bugs      their names
  --replay TRACE   play one scenario: text, or @FILE; a line ends at a newline or ';'
  --print S        the scenario of a seed
  --exhaustive D   every order of operations on small worlds, up to D operations
  --marks          print how often the rare paths were taken; fail if one never was
  --no-shrink      leave a failing scenario as it is

Exit codes: 0 all well, 1 a failure was found (or a planted bug was not), 2 wrong usage.
)";

struct PlantedBugInfo {
  PlantedBug bug;
  absl::string_view name;
  absl::string_view sentence;
};
constexpr PlantedBugInfo kBugs[] = {
#define PREFIXD_PLANTED_BUG_INFO(name, sentence) {PlantedBug::name, #name, sentence},
    PREFIXD_PLANTED_BUG_LIST(PREFIXD_PLANTED_BUG_INFO)
#undef PREFIXD_PLANTED_BUG_INFO
};

struct Options {
  SeedRange range{.count = 2000, .jobs = 2};
  std::optional<std::string> bug, replay;
  std::optional<uint64_t> print, exhaustive;
  bool all_bugs = false, list_bugs = false, marks = false, shrink = true, help = false;
};

absl::StatusOr<Options> ParseArguments(absl::Span<char* const> arguments) {
  Options options;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const absl::string_view name = arguments[i];
    if (name == "--all-bugs") {
      options.all_bugs = true;
    } else if (name == "--list-bugs") {
      options.list_bugs = true;
    } else if (name == "--marks") {
      options.marks = true;
    } else if (name == "--no-shrink") {
      options.shrink = false;
    } else if (name == "--help") {
      options.help = true;
    } else {
      if (i + 1 == arguments.size()) {
        return absl::InvalidArgumentError(absl::StrCat(name, ": unknown, or lacks its value"));
      }
      const absl::string_view value = arguments[++i];
      uint64_t number = 0;
      const bool is_number = absl::SimpleAtoi(value, &number);
      if (name == "--bug") {
        options.bug = std::string(value);
      } else if (name == "--replay") {
        options.replay = std::string(value);
      } else if (!is_number) {
        return absl::InvalidArgumentError(
            absl::StrCat(name, " ", value, ": unknown option, or ", "not a number"));
      } else if (name == "--seeds") {
        options.range.count = number;
      } else if (name == "--first") {
        options.range.first = number;
      } else if (name == "--jobs" && number >= 1 && number <= 256) {
        options.range.jobs = static_cast<int>(number);
      } else if (name == "--events" && number >= 1 && number <= 1'000'000) {
        options.range.max_events = static_cast<int64_t>(number);
      } else if (name == "--exhaustive" && number <= 64) {
        options.exhaustive = number;
      } else if (name == "--print") {
        options.print = number;
      } else {
        return absl::InvalidArgumentError(absl::StrCat(name, " ", value, ": unknown or too large"));
      }
    }
  }
  return options;
}

void PrintReport(const Report& report) {
  absl::PrintF("  rule %s at event %u: %s\n", std::string(report.rule()), report.event(),
               std::string(report.message()));
}

void PrintTrace(const Scenario& scenario) {
  std::cout << "  play it with: simulation --replay 'TRACE', where TRACE is\n\n"
            << Print(scenario) << std::endl;
}

// Shows a failing seed, and the smallest scenario that fails like it.
void ShowFailure(const Options& options, const SeedResults::Failure& failure) {
  absl::PrintF("seed %u fails\n", failure.seed);
  PrintReport(failure.report);
  if (!options.shrink) return;
  Scenario scenario = DrawScenario(failure.seed);
  const auto fails = [&](const Scenario& candidate) {
    return RunIsolated(candidate, options.range.max_events, 5).failed();
  };
  if (!fails(scenario)) {
    absl::PrintF("  alone it does not fail again: it depends on more than its scenario\n");
    return;
  }
  constexpr int kMaxRuns = 3000;
  scenario = Shrink(std::move(scenario), kMaxRuns, fails);
  absl::PrintF("shrunk to %u requests and %u actions, it fails with\n", scenario.requests.size(),
               scenario.actions.size());
  PrintReport(RunIsolated(scenario, options.range.max_events, 5));
  PrintTrace(scenario);
}

// Returns whether no mark stayed at zero.
bool ShowMarks(const SeedResults& results) {
  bool all = true;
  for (size_t i = 0; i < kNumMarks; ++i) {
    const std::string sentence(MarkSentence(static_cast<Mark>(i)));
    absl::PrintF("%10u  %s%s\n", results.marks[i], sentence,
                 results.marks[i] == 0 ? "  NEVER" : "");
    all = all && results.marks[i] > 0;
  }
  return all;
}

int PlaySeeds(const Options& options) {
  const auto begin = std::chrono::steady_clock::now();
  const SeedResults results = RunSeeds(options.range);
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
  absl::PrintF("%u seeds, %u events, %u steps in %.1f s\n", results.seeds, results.events,
               results.steps, elapsed.count());
  if (results.failure) {
    ShowFailure(options, *results.failure);
    return 1;
  }
  if (options.marks && !ShowMarks(results)) return 1;
  return 0;
}

// Returns whether the bug was found.
bool HuntBug(const Options& options, const PlantedBugInfo& bug) {
  planted_bug = bug.bug;
  const SeedResults results = RunSeeds(options.range);
  planted_bug = PlantedBug::kNone;
  absl::PrintF("%-28s ", std::string(bug.name));
  if (!results.failure) {
    absl::PrintF("NOT FOUND in %u seeds\n", results.seeds);
    return false;
  }
  absl::PrintF("seed %u: %s: %s\n", results.failure->seed,
               std::string(results.failure->report.rule()),
               std::string(results.failure->report.message()));
  if (options.bug && options.shrink) {
    planted_bug = bug.bug;
    ShowFailure(options, *results.failure);
  }
  return true;
}

// Returns whether all went well.
bool SearchSmallWorlds(const Options& options) {
  for (int index = 0; index < NumSmallWorlds(); ++index) {
    const auto begin = std::chrono::steady_clock::now();
    const ExhaustiveResult result = SearchIsolated(index, static_cast<int>(*options.exhaustive));
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    absl::PrintF("small world %d: %u states, %u transitions in %.1f s\n", index, result.states,
                 result.transitions, elapsed.count());
    if (!result.report.failed()) continue;
    absl::PrintF("  %s\n", std::string(result.report.context()));
    PrintReport(result.report);
    return false;
  }
  return true;
}

int Replay(const Options& options) {
  std::string text = *options.replay;
  if (absl::StartsWith(text, "@")) {
    absl::StatusOr<std::string> file = ReadFile(text.substr(1), 1 << 24);
    if (!file.ok()) {
      std::cerr << file.status() << std::endl;
      return 2;
    }
    text = *std::move(file);
  }
  const absl::StatusOr<Scenario> scenario = Parse(text);
  if (!scenario.ok()) {
    std::cerr << scenario.status() << std::endl;
    return 2;
  }
  const Report report = RunIsolated(*scenario, options.range.max_events, 30);
  absl::PrintF("%u events, %u steps, trace %016x\n", report.event(), report.steps(),
               report.trace());
  if (!report.failed()) return 0;
  PrintReport(report);
  return 1;
}

int Main(absl::Span<char* const> arguments) {
  const absl::StatusOr<Options> options = ParseArguments(arguments);
  if (!options.ok()) {
    std::cerr << options.status().message() << "\n" << kUsage;
    return 2;
  }
  if (options->help) {
    std::cout << kUsage;
    return 0;
  }
  if (options->list_bugs) {
    for (const PlantedBugInfo& bug : kBugs) {
      absl::PrintF("%-28s %s\n", std::string(bug.name), std::string(bug.sentence));
    }
    return 0;
  }
  if (options->print) {
    std::cout << Print(DrawScenario(*options->print));
    return 0;
  }
  if (options->exhaustive) return SearchSmallWorlds(*options) ? 0 : 1;
  if (options->all_bugs) {
    bool all = true;
    for (const PlantedBugInfo& bug : kBugs) all &= HuntBug(*options, bug);
    return all ? 0 : 1;
  }
  if (options->bug) {
    for (const PlantedBugInfo& bug : kBugs) {
      if (bug.name != *options->bug) continue;
      if (!options->replay) return HuntBug(*options, bug) ? 0 : 1;
      planted_bug = bug.bug;
      return Replay(*options);
    }
    std::cerr << "no bug is called " << *options->bug << "; see --list-bugs\n";
    return 2;
  }
  return options->replay ? Replay(*options) : PlaySeeds(*options);
}

}  // namespace
}  // namespace prefixd::simulation

int main(int argc, char** argv) {
  return prefixd::simulation::Main({argv + 1, static_cast<size_t>(argc - 1)});
}
