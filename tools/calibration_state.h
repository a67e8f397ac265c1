// What a calibration has measured so far, in a file of JSON lines that survives an interruption:
// a header that says what is measured, then one line a cell, appended when it is done.
//
//   {"calibration": 1, "model_digest": "..", ..}
//   {"sample": 0, "tenths": 1, "from": 163, "kept": [150, 147]}
//
// Not thread-safe. The file is locked while it is open.
#ifndef PREFIXD_TOOLS_CALIBRATION_STATE_H_
#define PREFIXD_TOOLS_CALIBRATION_STATE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prefixd {

struct CalibrationKey {
  size_t sample = 0;
  int tenths = 0;  // The forget ratio, 1 to 9.

  bool operator<(const CalibrationKey& other) const {
    return std::pair(sample, tenths) < std::pair(other.sample, other.tenths);
  }
};

struct CalibrationCell {
  CalibrationKey key;
  int32_t selected_from = 0;  // Tokens, >= 1.
  std::vector<int32_t> kept;  // By layer, of those, each >= 1.
};

// What the cells depend on, as names and values. Two runs whose headers differ share no state.
using CalibrationHeader = std::vector<std::pair<std::string, std::string>>;

struct CalibrationLimits {
  size_t num_samples = 0;
  int num_layers = 0;
};

class CalibrationState {
 public:
  static constexpr size_t kMaxFileBytes = size_t{1} << 30;

  // Opens the file, or begins a new one where there is none, it has no whole line, or `restart` is
  // set. A last line that was not written to its end is dropped. Errors: FAILED_PRECONDITION if
  // another process has it open, or naming the first value of the header that differs, both ways;
  // INVALID_ARGUMENT naming the line that is wrong.
  static absl::StatusOr<CalibrationState> Open(const std::string& path,
                                               const CalibrationHeader& header,
                                               const CalibrationLimits& limits, bool restart);

  CalibrationState(CalibrationState&& other) noexcept;
  CalibrationState& operator=(CalibrationState&& other) noexcept;
  ~CalibrationState();

  // Null if it was not measured yet.
  const CalibrationCell* Find(const CalibrationKey& key) const;
  size_t num_cells() const { return cells_.size(); }

  // Writes the cell to the file. Errors: of writing.
  absl::Status Add(CalibrationCell cell);

  // Deletes the file: the calibration is done.
  absl::Status Remove();

 private:
  CalibrationState(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  absl::Status Load(const CalibrationHeader& header, const CalibrationLimits& limits);
  absl::Status Append(absl::string_view line);
  absl::Status Error(absl::string_view problem) const;

  std::string path_;
  int fd_ = -1;
  std::map<CalibrationKey, CalibrationCell> cells_;
};

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_CALIBRATION_STATE_H_
