#include "tools/calibration.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

constexpr char kPolicy[] = "prefixkv";

// The cell of a measurement. Where nothing was dropped everything was kept.
absl::StatusOr<CalibrationCell> CellOf(CalibrationKey key, int num_layers, Measured measured) {
  if (measured.kept_tokens.empty()) {
    measured.selected_from = measured.prompt_tokens;
    measured.kept_tokens.assign(static_cast<size_t>(num_layers), measured.prompt_tokens);
  }
  if (measured.kept_tokens.size() != static_cast<size_t>(num_layers)) {
    return absl::InternalError(absl::StrCat("tokens were kept in ", measured.kept_tokens.size(),
                                            " layers, the model has ", num_layers));
  }
  return CalibrationCell{
      .key = key, .selected_from = measured.selected_from, .kept = std::move(measured.kept_tokens)};
}

}  // namespace

std::vector<std::vector<double>> AverageProfile(const CalibrationState& state, size_t num_samples,
                                                int num_layers) {
  std::vector<std::vector<double>> profile;
  for (const int tenths : kCalibrationTenths) {
    std::vector<double> sums(static_cast<size_t>(num_layers), 0.0);
    for (size_t sample = 0; sample < num_samples; ++sample) {
      const CalibrationCell* const cell = state.Find({.sample = sample, .tenths = tenths});
      PREFIXD_CHECK(cell != nullptr);
      const double from = cell->selected_from;
      for (size_t layer = 0; layer < sums.size(); ++layer) {
        sums[layer] += (from - cell->kept[layer]) / from;
      }
    }
    for (double& sum : sums) {
      sum = std::min(sum / static_cast<double>(num_samples), kMaxProfileRatio);
    }
    profile.push_back(std::move(sums));
  }
  return profile;
}

absl::Status Calibrate(size_t num_samples, int num_layers, Measurer* measurer,
                       CalibrationState* state, absl::FunctionRef<void(size_t, size_t)> progress) {
  std::array<RetentionSetting, kCalibrationTenths.size()> settings;
  std::vector<MeasureTask> tasks;
  std::vector<CalibrationKey> keys;  // As `tasks`.
  for (size_t sample = 0; sample < num_samples; ++sample) {
    for (size_t i = 0; i < settings.size(); ++i) {
      const int tenths = kCalibrationTenths[i];
      settings[i] = {.policy = kPolicy, .budget = (10 - tenths) / 10.0};
      const CalibrationKey key{.sample = sample, .tenths = tenths};
      if (state->Find(key) != nullptr) continue;
      tasks.push_back({.sample = sample, .kind = MeasureKind::kPrompt, .setting = &settings[i]});
      keys.push_back(key);
    }
  }
  const size_t total = num_samples * settings.size();
  size_t num_done = total - tasks.size();
  progress(num_done, total);
  return measurer->Run(tasks, [&](size_t index, Measured measured) -> absl::Status {
    PREFIXD_ASSIGN_OR_RETURN(CalibrationCell cell,
                             CellOf(keys[index], num_layers, std::move(measured)));
    PREFIXD_RETURN_IF_ERROR(state->Add(std::move(cell)));
    progress(++num_done, total);
    return absl::OkStatus();
  });
}

}  // namespace prefixd
