#include "base/log.h"

#include <memory>
#include <string>

#include "spdlog/pattern_formatter.h"
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
constexpr char kJsonPattern[] = R"({"ts":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","msg":"%*"})";

// %*: the line as it stands inside a JSON string.
class JsonText : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& out) override {
    for (const char c : message.payload) {
      if (c == '"' || c == '\\') out.push_back('\\');
      out.push_back(c);
    }
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<JsonText>();
  }
};

std::unique_ptr<spdlog::formatter> MakeFormatter(LogFormat format) {
  auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
  formatter->add_flag<JsonText>('*');
  formatter->set_pattern(format == LogFormat::kJson ? kJsonPattern : kTextPattern);
  return formatter;
}

// Level and form are the logger's own, and loggers are known by name to the shared spdlog: a module
// with a copy of this file logs as its program does.
std::shared_ptr<spdlog::logger> FindOrMakeLogger() {
  std::shared_ptr<spdlog::logger> logger = spdlog::get("prefixd");
  if (logger != nullptr) return logger;
  logger = spdlog::stderr_color_mt("prefixd");
  logger->set_formatter(MakeFormatter(LogFormat::kText));
  logger->flush_on(spdlog::level::warn);
  return logger;
}

spdlog::logger& Logger() {
  // Never destroyed: threads may log at exit.
  static auto* const logger = new std::shared_ptr<spdlog::logger>(FindOrMakeLogger());
  return **logger;
}

// Keeps a line one line.
std::string Clean(absl::string_view line) {
  std::string out(line.substr(0, kMaxLineBytes));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return out;
}

}  // namespace

void ConfigureLog(LogLevel level, LogFormat format) {
  Logger().set_level(ToSpdlog(level));
  Logger().set_formatter(MakeFormatter(format));
}

bool LogEnabled(LogLevel level) { return Logger().should_log(ToSpdlog(level)); }

void Log(LogLevel level, absl::string_view line) {
  Logger().log(ToSpdlog(level), "{}", Clean(line));
}

}  // namespace prefixd
