// What an evaluation of rankings has computed so far, in a directory: settings.json says of what,
// results.jsonl has a line for each sample, appended as it is done. A run that was interrupted goes
// on from there. Not thread-safe. The lines are locked while they are open.
#ifndef PREFIXD_TOOLS_CLASSIFICATION_RESULTS_H_
#define PREFIXD_TOOLS_CLASSIFICATION_RESULTS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prefixd {

struct ClassificationRecord {
  size_t sample = 0;
  std::string id;                  // Of the sample; for readers.
  int32_t label = 0;               // Index among the names, as all of these.
  int32_t rank = 0;                // Of the label, from 1.
  std::vector<int32_t> top;        // At least one, best first.
  std::vector<double> top_scores;  // [top]
  double label_score = 0;
  std::optional<double> positive;  // Of two names: the probability of the positive one.
  double queue_ms = 0, prefill_ms = 0, total_ms = 0;
  // Receipts.
  int64_t prompt_tokens = 0, hit_tokens = 0, images_encoded = 0;
  int64_t contexts = 0, context_hits = 0, computed_rows = 0, saved_rows = 0, passes = 0;
};

// What the records depend on, as names and values.
using ClassificationSettings = std::vector<std::pair<std::string, std::string>>;

class ClassificationResults {
 public:
  static constexpr size_t kMaxFileBytes = size_t{1} << 30;

  // Opens the files in `directory`, or begins anew where there is no whole line or `restart` is
  // set. A last line that was not written to its end is dropped. Errors: FAILED_PRECONDITION if
  // another process has them open, or naming the first setting that differs, both ways;
  // INVALID_ARGUMENT naming the line that is wrong. labels: [samples], to check lines against.
  static absl::StatusOr<ClassificationResults> Open(const std::string& directory,
                                                    const ClassificationSettings& settings,
                                                    const std::vector<int32_t>& labels,
                                                    size_t num_names, bool restart);

  ClassificationResults(ClassificationResults&& other) noexcept;
  ClassificationResults& operator=(ClassificationResults&& other) noexcept;
  ~ClassificationResults();

  // By sample.
  const std::map<size_t, ClassificationRecord>& records() const { return records_; }
  const std::string& path() const { return path_; }  // Of the lines.

  // Writes the record to the file. Errors: of writing.
  absl::Status Add(ClassificationRecord record);

 private:
  ClassificationResults() = default;
  absl::Status Load(absl::string_view text, const std::vector<int32_t>& labels, size_t num_names);

  std::string path_;
  int fd_ = -1;
  std::map<size_t, ClassificationRecord> records_;
};

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_CLASSIFICATION_RESULTS_H_
