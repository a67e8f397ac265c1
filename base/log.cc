#include "base/log.h"

#include <memory>
#include <string>

#include "spdlog/sinks/stdout_color_sinks.h"
#include "spdlog/spdlog.h"

namespace prefixd {
namespace {

constexpr size_t kMaxLineBytes = 1024;

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace:
      return spdlog::level::trace;
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

constexpr char kTextPattern[] = "%Y-%m-%dT%H:%M:%S.%eZ %l %v";
constexpr char kJsonPattern[] = R"({"ts":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","msg":"%v"})";

struct LogState {
  LogState() {
    logger = spdlog::stderr_color_mt("prefixd");
    logger->set_pattern(kTextPattern, spdlog::pattern_time_type::utc);
    logger->flush_on(spdlog::level::warn);
  }
  std::shared_ptr<spdlog::logger> logger;
  bool json = false;
};

LogState& State() {
  static LogState* const state = new LogState();  // Never destroyed: threads may log at exit.
  return *state;
}

// Keeps a line one line, and valid inside a JSON string if asked for.
std::string Clean(absl::string_view line, bool json) {
  std::string out;
  out.reserve(line.size());
  for (const char c : line.substr(0, kMaxLineBytes)) {
    if (static_cast<unsigned char>(c) < 0x20) {
      out += ' ';
    } else if (json && (c == '"' || c == '\\')) {
      out += '\\';
      out += c;
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

void ConfigureLog(LogLevel level, LogFormat format) {
  LogState& state = State();
  state.json = format == LogFormat::kJson;
  state.logger->set_level(ToSpdlog(level));
  state.logger->set_pattern(state.json ? kJsonPattern : kTextPattern,
                            spdlog::pattern_time_type::utc);
}

bool LogEnabled(LogLevel level) { return State().logger->should_log(ToSpdlog(level)); }

void Log(LogLevel level, absl::string_view line) {
  LogState& state = State();
  state.logger->log(ToSpdlog(level), "{}", Clean(line, state.json));
}

}  // namespace prefixd
