#include "tools/progress.h"

#include <unistd.h>

#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace prefixd {
namespace {

constexpr size_t kBarCells = 30;

// "2h05m", "3m20s", "12s".
std::string Spell(absl::Duration time) {
  const int64_t seconds = absl::ToInt64Seconds(time + absl::Milliseconds(500));
  if (seconds >= 3600) return absl::StrFormat("%dh%02dm", seconds / 3600, seconds / 60 % 60);
  if (seconds >= 60) return absl::StrFormat("%dm%02ds", seconds / 60, seconds % 60);
  return absl::StrCat(seconds, "s");
}

}  // namespace

Progress::Progress(std::string what, bool terminal, const Clock* clock, Write write)
    : what_(std::move(what)), terminal_(terminal), clock_(*clock), write_(std::move(write)) {}

Progress::~Progress() {
  if (line_open_) write_("\n");
}

std::string Progress::Text(size_t done, size_t total, absl::Time now) const {
  const absl::Duration spent = now - *begin_;
  const size_t percent = total == 0 ? 100 : done * 100 / total;
  std::string text = absl::StrCat(what_, " ", percent, " % ", done, "/", total);
  if (done == total) {
    absl::StrAppend(&text, ", took ", Spell(spent));
  } else if (done > done_before_) {
    const double rest =
        static_cast<double>(total - done) / static_cast<double>(done - done_before_);
    absl::StrAppend(&text, ", ", Spell(spent * rest), " left");
  }
  return text;
}

void Progress::Update(size_t done, size_t total) {
  const absl::Time now = clock_.Now();
  if (!begin_) {
    begin_ = now;
    done_before_ = done;
  }
  if (now < next_ && done != total) return;
  next_ = now + (terminal_ ? kRedraw : kLine);
  const std::string text = Text(done, total, now);
  if (!terminal_) return write_(absl::StrCat(text, "\n"));
  const size_t cells = total == 0 ? kBarCells : done * kBarCells / total;
  write_(absl::StrCat("\r[", std::string(cells, '#'), std::string(kBarCells - cells, '-'), "] ",
                      text, "\x1b[K"));
  line_open_ = true;
}

Progress StderrProgress(std::string what, const Clock* clock) {
  return Progress(std::move(what), ::isatty(STDERR_FILENO) == 1, clock, [](absl::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  });
}

}  // namespace prefixd
