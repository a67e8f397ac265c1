#include "tests/cuda_emulation/emulator/reports.h"

#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/cuda_emulation/emulator/emulated_device.h"

namespace prefixd::emu {
namespace {

constexpr size_t kMost = 100;
std::vector<std::string> reports;
size_t num_dropped = 0;

}  // namespace

void AddReport(std::string report) {
  if (reports.size() < kMost) {
    reports.push_back(std::move(report));
  } else {
    ++num_dropped;
  }
}

std::vector<std::string> TakeReports() {
  std::vector<std::string> taken = std::exchange(reports, {});
  if (num_dropped > 0) taken.push_back(absl::StrCat(num_dropped, " more reports"));
  num_dropped = 0;
  ForgiveLaunchFailures();
  return taken;
}

}  // namespace prefixd::emu
