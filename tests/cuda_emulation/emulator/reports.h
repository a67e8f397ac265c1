// What the emulator found wrong, kept until a test takes it.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_REPORTS_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_REPORTS_H_

#include <string>
#include <vector>

namespace prefixd::emu {

// Keeps at most 100; the rest are counted in the last one.
void AddReport(std::string report);

// All reports since the last call, oldest first. A test that leaves reports behind fails. A device
// that was lost by what they tell works again.
std::vector<std::string> TakeReports();

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_REPORTS_H_
