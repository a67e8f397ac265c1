// Metrics of the process, under the names that all Prometheus clients use.
#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "server/metrics.h"

namespace prefixd {
namespace {

struct ProcessStat {
  bool known = false;
  double cpu_seconds = 0;
  double virtual_bytes = 0;
  double resident_bytes = 0;
  double threads = 0;
};

// See proc(5). Fields are counted from 1; the second is the name, which may hold anything.
ProcessStat ReadStat() {
  ProcessStat stat;
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen("/proc/self/stat", "r"), &fclose);
  if (file == nullptr) return stat;
  char buffer[1024];
  const size_t n = std::fread(buffer, 1, sizeof(buffer), file.get());
  const absl::string_view text(buffer, n);
  const size_t name_end = text.rfind(')');
  if (name_end == absl::string_view::npos) return stat;
  const std::vector<absl::string_view> fields =
      absl::StrSplit(text.substr(name_end + 1), ' ', absl::SkipEmpty());
  constexpr size_t kFirst = 3;  // The field after the name.
  const auto field = [&](size_t number) {
    double value = 0;
    (void)(number - kFirst < fields.size() && absl::SimpleAtod(fields[number - kFirst], &value));
    return value;
  };
  const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  stat.known = true;
  stat.cpu_seconds = (field(14) + field(15)) / ticks;
  stat.threads = field(20);
  stat.virtual_bytes = field(23);
  stat.resident_bytes = field(24) * static_cast<double>(sysconf(_SC_PAGESIZE));
  return stat;
}

// The number of open files; -1 if it cannot be told.
int CountOpenFiles() {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir("/proc/self/fd"), &closedir);
  if (folder == nullptr) return -1;
  int entries = 0;
  while (readdir(folder.get()) != nullptr) ++entries;
  return entries - 3;  // ".", ".." and the folder itself.
}

}  // namespace

void AddProcessMetrics(absl::Time start, MetricList* list) {
  if (const ProcessStat stat = ReadStat(); stat.known) {
    list->Counter("process_cpu_seconds_total", "CPU time of the process, user and system.",
                  stat.cpu_seconds);
    list->Gauge("process_resident_memory_bytes", "Resident memory.", stat.resident_bytes);
    list->Gauge("process_virtual_memory_bytes", "Virtual memory.", stat.virtual_bytes);
    list->Gauge("process_threads", "Threads.", stat.threads);
  }
  if (const int open = CountOpenFiles(); open >= 0) {
    list->Gauge("process_open_fds", "Open file descriptors.", open);
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    list->Gauge("process_max_fds", "Limit on open file descriptors.", limit.rlim_cur);
  }
  list->Gauge("process_start_time_seconds", "Start of the process in seconds since the epoch.",
              absl::ToDoubleSeconds(start - absl::UnixEpoch()));
}

}  // namespace prefixd
