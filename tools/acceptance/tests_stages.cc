// Stages kernels, sanitize and profile: programs that are run.
#include <algorithm>
#include <cstdint>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/json.h"
#include "tools/acceptance/process.h"
#include "tools/acceptance/stages.h"

namespace prefixd::acceptance {
namespace {

constexpr const char* kTests[] = {"split_attention", "tile_attention", "vision_attention",
                                  "column_sums",     "row_ops",        "kv_ops",
                                  "draw_tokens",     "gemm",           "conformance"};

std::string TestProgram(const StageSettings& settings, const std::string& name) {
  return absl::StrCat(settings.binaries, "/tests/cuda_card_", name, "_test");
}

std::string LastLine(const std::string& path) {
  const std::string text = ReadFile(path, 16 << 20).value_or("");
  std::string last;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipWhitespace())) {
    last = std::string(line);
  }
  return last;
}

// The tests of a program by what became of them, from gtest's JSON.
struct Counts {
  int tests = 0, failures = 0, skipped = 0;
};
Counts ReadCounts(const std::string& path) {
  Counts counts;
  const absl::StatusOr<nlohmann::json> value = ReadJsonFile(path, 64 << 20);
  if (!value.ok()) return counts;
  counts.tests = value->value("tests", 0);
  counts.failures = value->value("failures", 0);
  for (const nlohmann::json& suite : value->value("testsuites", nlohmann::json::array())) {
    for (const nlohmann::json& test : suite.value("testsuite", nlohmann::json::array())) {
      counts.skipped += test.value("result", "") == "SKIPPED";
    }
  }
  return counts;
}

// The first tests of a program, for tools under which all of them would take too long.
std::string FirstTests(const std::string& program, int count) {
  std::string suite, filter;
  for (const absl::string_view line :
       absl::StrSplit(OutputOf({program, "--gtest_list_tests"}), '\n')) {
    const absl::string_view name =
        absl::StripTrailingAsciiWhitespace(line.substr(0, line.find(" #")));
    if (name.empty() || absl::StrContains(name, "main()")) continue;
    if (name[0] != ' ') {
      suite = std::string(name);
    } else if (!absl::StrContains(suite, "Bug") && count-- > 0) {
      absl::StrAppend(&filter, filter.empty() ? "" : ":", suite, name.substr(2));
    }
  }
  return filter;
}

}  // namespace

StageReport RunKernels(const StageSettings& settings) {
  StageReport report;
  Table table = {
      "Tests against references in double precision; bars: float32 1e-5, bf16 5e-3, "
      "column sums 1e-5",
      {"program", "tests", "failed", "skipped (bugs are planted in the emulation only)", "seconds",
       ""},
      {}};
  for (const std::string name : kTests) {
    const std::string program = TestProgram(settings, name);
    if (!FileExists(program)) {
      report.Fail(absl::StrCat(program, " is not built"));
      continue;
    }
    const std::string json = absl::StrCat(settings.out, "/", name, "_tests.json");
    const std::string log = absl::StrCat(settings.out, "/", name, "_tests.log");
    std::error_code none;
    std::filesystem::remove(json, none);
    std::vector<std::string> argv = {program, absl::StrCat("--gtest_output=json:", json)};
    if (settings.quick && name == "conformance") argv.push_back("--gtest_filter=*bf16*");
    const absl::StatusOr<ProcessResult> run = RunProcess(argv, log, 240);
    report.FailUnless(run.status());
    if (!run.ok()) continue;
    const Counts counts = ReadCounts(json);
    std::string note;
    if (!run->ok()) {
      note = absl::StrCat(run->Describe(), ": ", LastLine(log));
      report.Fail(absl::StrCat(name, " ", note));
    } else if (counts.tests == 0 || counts.tests == counts.skipped) {
      report.Fail(absl::StrCat(name, " ran no test"));
    }
    table.rows.push_back({name, absl::StrCat(counts.tests), absl::StrCat(counts.failures),
                          absl::StrCat(counts.skipped), absl::StrFormat("%.1f", run->seconds),
                          note});
  }
  report.tables.push_back(std::move(table));
  return report;
}

StageReport RunSanitize(const StageSettings& settings) {
  StageReport report;
  const std::string sanitizer = FindProgram("compute-sanitizer");
  if (sanitizer.empty()) {
    report.outcome = Outcome::kSkipped;
    report.reason = "compute-sanitizer is not installed";
    return report;
  }
  Table table = {"First tests of each program under compute-sanitizer",
                 {"tool", "program", "outcome", "seconds"},
                 {}};
  for (const std::string tool : {"memcheck", "racecheck", "synccheck", "initcheck"}) {
    for (const std::string name : kTests) {
      if (name == "conformance") continue;
      const std::string program = TestProgram(settings, name);
      if (!FileExists(program)) {
        report.Fail(absl::StrCat(program, " is not built"));
        continue;
      }
      const std::string log = absl::StrCat(settings.out, "/", tool, "_", name, ".log");
      const absl::StatusOr<ProcessResult> run =
          RunProcess({sanitizer, "--tool", tool, "--error-exitcode", "9", program,
                      absl::StrCat("--gtest_filter=", FirstTests(program, settings.quick ? 1 : 2))},
                     log, 17);
      report.FailUnless(run.status());
      if (!run.ok()) continue;
      // Too slow is no finding.
      const bool slow = run->timed_out;
      if (!run->ok() && !slow) {
        report.Fail(absl::StrCat(tool, " of ", name, " ", run->Describe(), "; see ", log));
      }
      table.rows.push_back({tool, name,
                            run->ok() ? "clean"
                            : slow    ? "not finished"
                                      : "FINDINGS",
                            absl::StrFormat("%.1f", run->seconds)});
    }
  }
  report.tables.push_back(std::move(table));
  return report;
}

StageReport RunProfile(const StageSettings& settings) {
  StageReport report;
  const std::string ncu = FindProgram("ncu");
  if (ncu.empty()) {
    report.outcome = Outcome::kSkipped;
    report.reason = "ncu is not installed";
    return report;
  }
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  const std::string out = absl::StrCat(settings.out, "/profile.csv");
  const std::string log = absl::StrCat(settings.out, "/profile_ncu.log");
  // Eager runs come first, two to eight of each kernel.
  const absl::StatusOr<ProcessResult> run = RunProcess({ncu,
                                                        "--section",
                                                        "SpeedOfLight",
                                                        "--section",
                                                        "WarpStateStats",
                                                        "--section",
                                                        "MemoryWorkloadAnalysis",
                                                        "--launch-count",
                                                        "300",
                                                        "--csv",
                                                        "--log-file",
                                                        out,
                                                        self,
                                                        "--run-stage",
                                                        "roofline",
                                                        "--quick",
                                                        "--out",
                                                        absl::StrCat(settings.out, "/profiled"),
                                                        "--source",
                                                        settings.source,
                                                        "--binaries",
                                                        settings.binaries},
                                                       log, 540);
  report.FailUnless(run.status());
  if (!run.ok()) return report;
  if (absl::StrContains(ReadFile(out, 64 << 20).value_or(""), "ERR_NVGPUCTRPERM")) {
    report.outcome = Outcome::kSkipped;
    report.reason = "this user may not read the card's counters (ERR_NVGPUCTRPERM)";
    return report;
  }
  if (!run->ok()) report.Fail(absl::StrCat("ncu ", run->Describe(), "; see ", log));
  report.facts.emplace_back("bandwidth, stalls and bank conflicts of each kernel", out);
  return report;
}

}  // namespace prefixd::acceptance
