#include "engine/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace prefixd {
namespace {

// A file that holds one number; nullopt for "max" or a file that is not there.
std::optional<uint64_t> ReadNumber(const std::string& path) {
  std::ifstream file(path);
  std::string text;
  uint64_t value = 0;
  if (!(file >> text) || !absl::SimpleAtoi(text, &value)) return std::nullopt;
  return value;
}

std::optional<uint64_t> MemAvailable(const std::string& root) {
  std::ifstream file(root + "/proc/meminfo");
  std::string key;
  uint64_t kib = 0;
  std::string unit;
  while (file >> key >> kib) {
    if (key == "MemAvailable:") return kib * 1024;
    std::getline(file, unit);
  }
  return std::nullopt;
}

// What a cgroup with these two files leaves.
std::optional<uint64_t> CgroupLeft(const std::string& limit_file, const std::string& usage_file) {
  const std::optional<uint64_t> limit = ReadNumber(limit_file);
  const std::optional<uint64_t> usage = ReadNumber(usage_file);
  if (!limit || !usage) return std::nullopt;
  return *limit > *usage ? *limit - *usage : 0;
}

// The cgroup path after `prefix` in /proc/self/cgroup ("0::" for v2, "N:memory:" for v1).
std::optional<std::string> CgroupPath(const std::string& root, absl::string_view marker) {
  std::ifstream file(root + "/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    const size_t at = line.find(marker.data(), 0, marker.size());
    if (at != std::string::npos && (marker != "0::" || at == 0)) {
      return line.substr(at + marker.size());
    }
  }
  return std::nullopt;
}

// The least that the cgroup `path` and its ancestors leave.
uint64_t LeastLeft(const std::string& base, std::string path, absl::string_view limit,
                   absl::string_view usage) {
  uint64_t least = std::numeric_limits<uint64_t>::max();
  if (path == "/") path.clear();
  while (true) {
    const std::string folder = base + path;
    if (const auto left =
            CgroupLeft(absl::StrCat(folder, "/", limit), absl::StrCat(folder, "/", usage))) {
      least = std::min(least, *left);
    }
    if (path.empty()) return least;
    path.resize(path.rfind('/'));
  }
}

}  // namespace

uint64_t AvailableMemoryBytes(const std::string& root) {
  uint64_t least = std::numeric_limits<uint64_t>::max();
  if (const auto available = MemAvailable(root)) least = *available;
  if (const auto path = CgroupPath(root, "0::")) {
    least =
        std::min(least, LeastLeft(root + "/sys/fs/cgroup", *path, "memory.max", "memory.current"));
  }
  if (const auto path = CgroupPath(root, ":memory:")) {
    least = std::min(least, LeastLeft(root + "/sys/fs/cgroup/memory", *path,
                                      "memory.limit_in_bytes", "memory.usage_in_bytes"));
  }
  return least == std::numeric_limits<uint64_t>::max() ? 0 : least;
}

}  // namespace prefixd
