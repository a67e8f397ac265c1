// How far a long run is, for people: a bar that redraws itself on a terminal, else a line now and
// then. Not thread-safe.
#ifndef PREFIXD_TOOLS_PROGRESS_H_
#define PREFIXD_TOOLS_PROGRESS_H_

#include <cstddef>
#include <functional>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace prefixd {

class Progress {
 public:
  static constexpr absl::Duration kRedraw = absl::Milliseconds(100);  // On a terminal.
  static constexpr absl::Duration kLine = absl::Seconds(10);          // Elsewhere.

  using Write = std::function<void(absl::string_view text)>;

  // `what` stands in front. `clock` must outlive this object.
  Progress(std::string what, bool terminal, const Clock* clock, Write write);
  // Ends the bar's line.
  ~Progress();

  // What is done when it is first called counts as done before. The time that is left is guessed
  // from the rate since then.
  void Update(size_t done, size_t total);

 private:
  std::string Text(size_t done, size_t total, absl::Time now) const;

  const std::string what_;
  const bool terminal_;
  const Clock& clock_;
  const Write write_;
  std::optional<absl::Time> begin_;
  size_t done_before_ = 0;
  absl::Time next_ = absl::InfinitePast();
  bool line_open_ = false;
};

// On stderr of this process.
Progress StderrProgress(std::string what, const Clock* clock);

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_PROGRESS_H_
