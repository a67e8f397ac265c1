// An offline profile from samples: what PrefixKV's online counts keep of each prompt in every
// layer, averaged over the samples, at the nine forget ratios of the published files.
#ifndef PREFIXD_TOOLS_CALIBRATION_H_
#define PREFIXD_TOOLS_CALIBRATION_H_

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "tools/calibration_state.h"
#include "tools/measurer.h"

namespace prefixd {

// The forget ratios, in tenths.
inline constexpr std::array<int, 9> kCalibrationTenths = {1, 2, 3, 4, 5, 6, 7, 8, 9};

// The highest forget ratio that a profile may hold; longer prompts would allow more.
inline constexpr double kMaxProfileRatio = 0.999;

// By forget ratio (as kCalibrationTenths), by layer: the average over samples of
// 1 - kept / selected_from, at most kMaxProfileRatio. Equal states give equal bits. Requires: all
// cells of samples 0 .. num_samples - 1 are there.
std::vector<std::vector<double>> AverageProfile(const CalibrationState& state, size_t num_samples,
                                                int num_layers);

// Measures the cells that `state` lacks and adds them to it. `progress` gets the cells done and in
// all. Errors: of `measurer` and `state`; INTERNAL if another number of layers was kept than the
// model has.
absl::Status Calibrate(size_t num_samples, int num_layers, Measurer* measurer,
                       CalibrationState* state,
                       absl::FunctionRef<void(size_t done, size_t total)> progress);

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_CALIBRATION_H_
