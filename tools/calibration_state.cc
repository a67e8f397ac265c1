#include "tools/calibration_state.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstring>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

using nlohmann::json;

constexpr char kVersionKey[] = "calibration";
constexpr int kVersion = 1;
constexpr int32_t kMaxTokens = 1 << 30;

json HeaderJson(const CalibrationHeader& header) {
  json object = {{kVersionKey, kVersion}};
  for (const auto& [name, value] : header) object[name] = value;
  return object;
}

std::string CellLine(const CalibrationCell& cell) {
  // By hand, for the order of the keys.
  return absl::StrCat("{\"sample\": ", cell.key.sample, ", \"tenths\": ", cell.key.tenths,
                      ", \"from\": ", cell.selected_from, ", \"kept\": ", json(cell.kept).dump(),
                      "}");
}

// An integer in [low, high].
bool Read(const json& object, const char* key, int64_t low, int64_t high, int64_t* value) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_unsigned()) return false;
  const uint64_t number = found->get<uint64_t>();
  if (number > static_cast<uint64_t>(high)) return false;
  *value = static_cast<int64_t>(number);
  return *value >= low;
}

absl::StatusOr<CalibrationCell> ParseCell(absl::string_view line, const CalibrationLimits& limits) {
  PREFIXD_ASSIGN_OR_RETURN(const json object, ParseJson(line));
  if (!object.is_object() || object.size() != 4) return absl::InvalidArgumentError("is no cell");
  const auto last_sample = static_cast<int64_t>(limits.num_samples) - 1;
  int64_t sample = 0, tenths = 0, from = 0;
  if (!Read(object, "sample", 0, last_sample, &sample)) {
    return absl::InvalidArgumentError(absl::StrCat("sample is not in [0, ", last_sample, "]"));
  }
  if (!Read(object, "tenths", 1, 9, &tenths)) {
    return absl::InvalidArgumentError("tenths is not in [1, 9]");
  }
  if (!Read(object, "from", 1, kMaxTokens, &from)) {
    return absl::InvalidArgumentError(absl::StrCat("from is not in [1, ", kMaxTokens, "]"));
  }
  const auto kept = object.find("kept");
  if (kept == object.end() || !kept->is_array() ||
      kept->size() != static_cast<size_t>(limits.num_layers)) {
    return absl::InvalidArgumentError(
        absl::StrCat("kept is no list of ", limits.num_layers, " numbers"));
  }
  CalibrationCell cell{
      .key = {.sample = static_cast<size_t>(sample), .tenths = static_cast<int>(tenths)},
      .selected_from = static_cast<int32_t>(from)};
  for (const json& count : *kept) {
    if (!count.is_number_unsigned() || count.get<uint64_t>() < 1 ||
        count.get<uint64_t>() > static_cast<uint64_t>(from)) {
      return absl::InvalidArgumentError(absl::StrCat("a number of kept is not in [1, ", from, "]"));
    }
    cell.kept.push_back(count.get<int32_t>());
  }
  return cell;
}

}  // namespace

CalibrationState::CalibrationState(CalibrationState&& other) noexcept { *this = std::move(other); }

CalibrationState& CalibrationState::operator=(CalibrationState&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(cells_, other.cells_);
  return *this;
}

CalibrationState::~CalibrationState() {
  if (fd_ >= 0) ::close(fd_);
}

absl::Status CalibrationState::Error(absl::string_view problem) const {
  return absl::InvalidArgumentError(absl::StrCat(path_, ": ", problem));
}

absl::StatusOr<CalibrationState> CalibrationState::Open(const std::string& path,
                                                        const CalibrationHeader& header,
                                                        const CalibrationLimits& limits,
                                                        bool restart) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": cannot open: ", std::strerror(errno)));
  }
  CalibrationState state(path, fd);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": another calibration has it open: ", std::strerror(errno)));
  }
  if (restart && ::ftruncate(fd, 0) != 0) {
    return state.Error(absl::StrCat("cannot truncate: ", std::strerror(errno)));
  }
  PREFIXD_RETURN_IF_ERROR(state.Load(header, limits));
  return state;
}

absl::Status CalibrationState::Load(const CalibrationHeader& header,
                                    const CalibrationLimits& limits) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path_, kMaxFileBytes));
  const size_t whole = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
  if (whole < text.size() && ::ftruncate(fd_, static_cast<off_t>(whole)) != 0) {
    return Error(absl::StrCat("cannot truncate: ", std::strerror(errno)));
  }
  if (whole == 0) return Append(HeaderJson(header).dump());

  const std::vector<absl::string_view> lines =
      absl::StrSplit(absl::string_view(text).substr(0, whole - 1), '\n');
  const absl::StatusOr<json> found = ParseJson(lines[0]);
  if (!found.ok() || !found->is_object() || !found->contains(kVersionKey)) {
    return Error("line 1: is no header of a calibration");
  }
  const json expected = HeaderJson(header);
  for (const json* side : {&expected, &*found}) {
    for (const auto& [name, value] : side->items()) {
      const std::string was = found->value(name, json()).dump();
      const std::string is = expected.value(name, json()).dump();
      if (was == is) continue;
      return absl::FailedPreconditionError(absl::StrCat(path_, ": was begun with ", name, " ", was,
                                                        ", this run has ", is,
                                                        "; --restart begins anew"));
    }
  }
  for (size_t i = 1; i < lines.size(); ++i) {
    absl::StatusOr<CalibrationCell> cell = ParseCell(lines[i], limits);
    if (!cell.ok()) {
      return Error(
          absl::StrCat("line ", i + 1, ": ", cell.status().message(), "; --restart begins anew"));
    }
    if (Find(cell->key) != nullptr) {
      return Error(absl::StrCat("line ", i + 1, ": sample ", cell->key.sample, ", tenths ",
                                cell->key.tenths, " is there twice; --restart begins anew"));
    }
    const CalibrationKey key = cell->key;
    cells_.emplace(key, *std::move(cell));
  }
  return absl::OkStatus();
}

const CalibrationCell* CalibrationState::Find(const CalibrationKey& key) const {
  const auto found = cells_.find(key);
  return found == cells_.end() ? nullptr : &found->second;
}

absl::Status CalibrationState::Add(CalibrationCell cell) {
  PREFIXD_RETURN_IF_ERROR(Append(CellLine(cell)));
  const CalibrationKey key = cell.key;
  cells_.insert_or_assign(key, std::move(cell));
  return absl::OkStatus();
}

absl::Status CalibrationState::Append(absl::string_view line) {
  const std::string bytes = absl::StrCat(line, "\n");
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(fd_, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Error(absl::StrCat("cannot write: ", std::strerror(errno)));
    done += static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

absl::Status CalibrationState::Remove() {
  if (::unlink(path_.c_str()) != 0) {
    return Error(absl::StrCat("cannot delete: ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

}  // namespace prefixd
