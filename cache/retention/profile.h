// An offline profile: forget ratios per layer at several budgets, as files in the published form:
// DIR/prefixkv_NAME_R.json, a list with one forget ratio in [0, 0.999] a layer, R = 0.1 .. 0.9 the
// forget ratio of all layers together (`prefixkv_llava-v1.5-7b_0.8.json`). Immutable; any thread.
#ifndef PREFIXD_CACHE_RETENTION_PROFILE_H_
#define PREFIXD_CACHE_RETENTION_PROFILE_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prefixd {

class RetentionProfile {
 public:
  // Larger files are refused unread.
  static constexpr size_t kMaxFileBytes = 1 << 20;
  // How far the mean of a file may be from the ratio in its name.
  static constexpr double kMeanTolerance = 0.02;

  // Parses one file's text. `name` stands in errors. Errors: INVALID_ARGUMENT with the entry, its
  // value and the range; the number of entries and of layers; the mean and the ratio.
  static absl::StatusOr<std::vector<double>> ParseFile(absl::string_view name,
                                                       absl::string_view text, int num_layers,
                                                       double forget_ratio);

  // Reads all files of the profile `name` ([A-Za-z0-9._-]{1,64}, not "." or "..") in `directory`.
  // Errors: NOT_FOUND if there is none; those of ParseFile, naming the file.
  static absl::StatusOr<RetentionProfile> Load(const std::string& directory, absl::string_view name,
                                               int num_layers);

  // The names of the profiles whose files lie in `directory`, sorted.
  static absl::StatusOr<std::vector<std::string>> List(const std::string& directory);

  // Requires: not empty; each ratio in (0, 1), each list of num_layers entries.
  RetentionProfile(std::string name, int num_layers,
                   std::map<double, std::vector<double>> ratios_by_forget_ratio);

  const std::string& name() const { return name_; }
  int num_layers() const { return num_layers_; }

  // Forget ratios at `forget_ratio` in [0, 1): linear between the nearest files, with all zeros at
  // 0. Errors: OUT_OF_RANGE beyond the highest file, naming both numbers.
  absl::StatusOr<std::vector<double>> At(double forget_ratio) const;

 private:
  std::string name_;
  int num_layers_;
  std::map<double, std::vector<double>> ratios_;
};

}  // namespace prefixd

#endif  // PREFIXD_CACHE_RETENTION_PROFILE_H_
