// Each check looks at one thing, says what it found and, where that is wrong, how to mend it.
#include <netdb.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "client/prefixctl/commands.h"
#include "client/prefixctl/exit_code.h"
#include "client/prefixctl/explain.h"

namespace prefixd::ctl {
namespace {

constexpr size_t kMaxJsonBytes = size_t{64} << 20;
constexpr rlim_t kWantedFiles = 1024;
// The schema revisions that this client understands end here; newer ones only add fields.
constexpr int kLeastRevision = 1;

enum class Verdict { kOk, kWarn, kFail };

struct Finding {
  Verdict verdict = Verdict::kOk;
  std::string what;
  std::string found;
  std::string fix;
};

const char* VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kWarn:
      return "warn";
    case Verdict::kFail:
      break;
  }
  return "fail";
}

// Whether anything listens at HOST:PORT.
bool SomethingListens(const std::string& server) {
  const size_t colon = server.rfind(':');
  std::string host = server.substr(0, colon);
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* addresses = nullptr;
  if (getaddrinfo(host.c_str(), server.substr(colon + 1).c_str(), &hints, &addresses) != 0) {
    return false;
  }
  bool listens = false;
  for (const addrinfo* at = addresses; at != nullptr && !listens; at = at->ai_next) {
    const int fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
    if (fd < 0) continue;
    listens = connect(fd, at->ai_addr, at->ai_addrlen) == 0;
    close(fd);
  }
  freeaddrinfo(addresses);
  return listens;
}

Finding CheckUnreachable(const Session& session, const absl::Status& status) {
  const std::string& server = AdminServer(session.options);
  if (absl::StartsWith(server, "unix:") || !SomethingListens(server)) {
    return {Verdict::kFail, "server", absl::StrCat("nothing listens on ", server),
            absl::StrCat("the port is free: prefixd --model DIR --listen ", server)};
  }
  return {Verdict::kFail, "server",
          absl::StrCat("something listens on ", server,
                       ", but it does not answer as prefixd: ", status.message()),
          "stop the other program, or give prefixd another port with --listen and name it with "
          "--server"};
}

void CheckServer(Session* session, std::vector<Finding>* findings) {
  const auto info = session->client->GetServerInfo();
  if (TellsNothing(info.status())) {
    findings->push_back({Verdict::kWarn, "server",
                         absl::StrCat("prefixd at ", AdminServer(session->options),
                                      " does not tell its state here"),
                         Explain(info.status(), "").next_step});
    return;
  }
  if (!info.ok()) {
    findings->push_back(CheckUnreachable(*session, info.status()));
    return;
  }
  findings->push_back(
      {Verdict::kOk, "server",
       absl::StrCat("prefixd ", info->version(), " at ", AdminServer(session->options)), ""});
  if (info->schema_revision() < kLeastRevision) {
    findings->push_back({Verdict::kFail, "protocol",
                         absl::StrCat("schema revision ", info->schema_revision()),
                         "update the server"});
  }
  switch (info->state()) {
    case v1::SERVER_STATE_SERVING:
      findings->push_back({Verdict::kOk, "state", "serving", ""});
      break;
    case v1::SERVER_STATE_LOADING:
      findings->push_back({Verdict::kWarn, "state", absl::StrCat("loading: ", LoadProgress(*info)),
                           "prefixctl wait"});
      break;
    default:
      findings->push_back({Verdict::kFail, "state", v1::ServerState_Name(info->state()),
                           "the server's log says why; start it again"});
  }
  const absl::Time start = absl::FromUnixSeconds(info->start_time().seconds());
  if (start > absl::Now() + absl::Minutes(1)) {
    findings->push_back({Verdict::kWarn, "clock", "the server started in this machine's future",
                         "set the clocks of both machines (NTP)"});
  }
}

void CheckMachine(const Session& session, std::vector<Finding>* findings) {
  if (absl::Now() < absl::FromCivil(absl::CivilYear(2024), absl::UTCTimeZone())) {
    findings->push_back({Verdict::kFail, "clock", absl::FormatTime(absl::Now()),
                         "set the clock (NTP); certificates look invalid with this one"});
  }
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < kWantedFiles) {
    findings->push_back({Verdict::kWarn, "open files",
                         absl::StrCat("limit ", files.rlim_cur, ", ", kWantedFiles, " wanted"),
                         absl::StrCat("ulimit -n ", kWantedFiles, " before starting prefixd")});
  } else {
    findings->push_back({Verdict::kOk, "open files", absl::StrCat("limit ", files.rlim_cur), ""});
  }
  if (!session.terminal.utf8) {
    findings->push_back(
        {Verdict::kWarn, "locale", "not UTF-8; answers may look garbled", "export LC_ALL=C.UTF-8"});
  }
}

// Bytes of memory that programs can have without swapping; 0 if the system does not say.
uint64_t AvailableMemory() {
  const auto text = ReadFile("/proc/meminfo", 1 << 16);
  if (!text.ok()) return 0;
  for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (!absl::StartsWith(line, "MemAvailable:")) continue;
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    uint64_t kib = 0;
    return words.size() > 1 && absl::SimpleAtoi(words[1], &kib) ? kib * 1024 : 0;
  }
  return 0;
}

Finding CheckJson(const std::string& directory, const char* name, bool needed) {
  const std::string path = absl::StrCat(directory, "/", name);
  if (!FileExists(path)) {
    return {needed ? Verdict::kFail : Verdict::kOk, name, "not there",
            needed ? "download the model again, with all its files" : ""};
  }
  if (access(path.c_str(), R_OK) != 0) {
    return {Verdict::kFail, name, "not readable", absl::StrCat("chmod a+r ", path)};
  }
  const auto json = ReadJsonFile(path, kMaxJsonBytes);
  if (!json.ok()) {
    return {Verdict::kFail, name, std::string(json.status().message()),
            "download the file again; it may be a pointer or cut off"};
  }
  return {Verdict::kOk, name, "there", ""};
}

Finding CheckWeights(const std::string& directory) {
  uint64_t bytes = 0;
  int files = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    if (entry.path().extension() != ".safetensors") continue;
    if (access(entry.path().c_str(), R_OK) != 0) {
      return {Verdict::kFail, "weights", absl::StrCat(entry.path().string(), " is not readable"),
              absl::StrCat("chmod a+r ", entry.path().string())};
    }
    const uintmax_t size = entry.file_size(error);
    if (!error) bytes += size;
    ++files;
  }
  if (files == 0) {
    return {Verdict::kFail, "weights", "no *.safetensors files",
            "download the model again; other formats are not read"};
  }
  const std::string found = absl::StrFormat("%d %s, %.1f MB", files, files == 1 ? "file" : "files",
                                            static_cast<double>(bytes) / 1e6);
  const uint64_t available = AvailableMemory();
  if (available > 0 && bytes > available) {
    return {Verdict::kWarn, "weights",
            absl::StrFormat("%s, but only %.1f MB of memory are available", found,
                            static_cast<double>(available) / 1e6),
            "free memory, or take a smaller model"};
  }
  return {Verdict::kOk, "weights", found, ""};
}

void CheckModel(const std::string& directory, std::vector<Finding>* findings) {
  std::error_code error;
  if (!std::filesystem::is_directory(directory, error)) {
    findings->push_back({Verdict::kFail, "model", absl::StrCat(directory, " is not a directory"),
                         "give the folder that holds config.json"});
    return;
  }
  findings->push_back(CheckJson(directory, "config.json", true));
  findings->push_back(CheckJson(directory, "tokenizer.json", true));
  findings->push_back(CheckJson(directory, "tokenizer_config.json", false));
  findings->push_back(CheckJson(directory, "generation_config.json", false));
  findings->push_back(CheckJson(directory, "preprocessor_config.json", false));
  findings->push_back(CheckWeights(directory));
}

void Show(const Session& session, const Finding& finding) {
  if (session.options.json) {
    PrintLine(nlohmann::ordered_json{{"check", finding.what},
                                     {"verdict", VerdictName(finding.verdict)},
                                     {"found", finding.found},
                                     {"fix", finding.fix}}
                  .dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    return;
  }
  PrintLine(
      absl::StrFormat("[%-4s] %s: %s", VerdictName(finding.verdict), finding.what, finding.found));
  if (!finding.fix.empty()) PrintLine(absl::StrCat("       fix: ", finding.fix));
}

}  // namespace

int RunDoctor(Session* session) {
  std::vector<Finding> findings;
  CheckServer(session, &findings);
  CheckMachine(*session, &findings);
  if (!session->options.model_directory.empty()) {
    CheckModel(session->options.model_directory, &findings);
  }
  int exit_code = kExitOk;
  for (const Finding& finding : findings) {
    Show(*session, finding);
    if (finding.verdict == Verdict::kFail) exit_code = kExitFailed;
  }
  return exit_code;
}

}  // namespace prefixd::ctl
