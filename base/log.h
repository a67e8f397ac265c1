// Logging: one line per event, `key=value`, request id first. Never prompts, images or generated
// text above trace. Thread-safe. See docs/style.md, section 12.
#ifndef PREFIXD_BASE_LOG_H_
#define PREFIXD_BASE_LOG_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace prefixd {

enum class LogLevel { kTrace, kDebug, kInfo, kWarn, kError };
enum class LogFormat { kText, kJson };

// Sets the level and form of the process's log on stderr. The default is info, text.
void ConfigureLog(LogLevel level, LogFormat format);

bool LogEnabled(LogLevel level);

// Writes one line. Newlines in `line` are replaced; a line is cut at 1 KiB.
void Log(LogLevel level, absl::string_view line);

}  // namespace prefixd

// The arguments are absl::StrCat arguments and are only evaluated if the level is on.
#define PREFIXD_LOG(level, ...)                                                \
  do {                                                                         \
    if (::prefixd::LogEnabled(::prefixd::LogLevel::level)) {                   \
      ::prefixd::Log(::prefixd::LogLevel::level, ::absl::StrCat(__VA_ARGS__)); \
    }                                                                          \
  } while (false)

#endif  // PREFIXD_BASE_LOG_H_
