#include "tools/classification_results.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

using nlohmann::json;

constexpr size_t kMaxSettingsBytes = 16 << 20;
constexpr int64_t kMaxCount = int64_t{1} << 53;

// Integers of a line, by key.
struct Count {
  const char* key;
  int64_t ClassificationRecord::*value;
};
constexpr Count kCounts[] = {{"prompt_tokens", &ClassificationRecord::prompt_tokens},
                             {"hit_tokens", &ClassificationRecord::hit_tokens},
                             {"images_encoded", &ClassificationRecord::images_encoded},
                             {"contexts", &ClassificationRecord::contexts},
                             {"context_hits", &ClassificationRecord::context_hits},
                             {"computed_rows", &ClassificationRecord::computed_rows},
                             {"saved_rows", &ClassificationRecord::saved_rows},
                             {"passes", &ClassificationRecord::passes}};
struct Number {
  const char* key;
  double ClassificationRecord::*value;
};
constexpr Number kNumbers[] = {{"label_score", &ClassificationRecord::label_score},
                               {"queue_ms", &ClassificationRecord::queue_ms},
                               {"prefill_ms", &ClassificationRecord::prefill_ms},
                               {"total_ms", &ClassificationRecord::total_ms}};

std::string LineOf(const ClassificationRecord& record) {
  nlohmann::ordered_json line = {{"sample", record.sample}, {"id", record.id},
                                 {"label", record.label},   {"rank", record.rank},
                                 {"top", record.top},       {"top_scores", record.top_scores}};
  if (record.positive.has_value()) line["positive"] = *record.positive;
  for (const Number& number : kNumbers) line[number.key] = record.*number.value;
  for (const Count& count : kCounts) line[count.key] = record.*count.value;
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

absl::StatusOr<int64_t> Integer(const json& object, const char* key, int64_t low, int64_t high) {
  const auto found = object.find(key);
  if (found != object.end() && found->is_number_integer()) {
    const int64_t value = found->get<int64_t>();
    if (value >= low && value <= high) return value;
  }
  return absl::InvalidArgumentError(absl::StrCat(key, " is no integer in [", low, ", ", high, "]"));
}

// -inf is written as null.
absl::StatusOr<double> Real(const json& value, const char* key) {
  if (value.is_null()) return -INFINITY;
  if (value.is_number()) return value.get<double>();
  return absl::InvalidArgumentError(absl::StrCat(key, " is no number"));
}

absl::Status ParseTop(const json& object, int64_t last_name, ClassificationRecord* record) {
  const json top = object.value("top", json()), scores = object.value("top_scores", json());
  if (!top.is_array() || top.empty() || !scores.is_array() || scores.size() != top.size()) {
    return absl::InvalidArgumentError("top and top_scores are no lists of one length");
  }
  for (size_t i = 0; i < top.size(); ++i) {
    PREFIXD_ASSIGN_OR_RETURN(const int64_t index, Integer({{"top", top[i]}}, "top", 0, last_name));
    PREFIXD_ASSIGN_OR_RETURN(const double score, Real(scores[i], "top_scores"));
    record->top.push_back(static_cast<int32_t>(index));
    record->top_scores.push_back(score);
  }
  return absl::OkStatus();
}

absl::StatusOr<ClassificationRecord> ParseRecord(absl::string_view line,
                                                 const std::vector<int32_t>& labels,
                                                 size_t num_names) {
  PREFIXD_ASSIGN_OR_RETURN(const json object, ParseJson(line));
  if (!object.is_object()) return absl::InvalidArgumentError("is no object");
  const int64_t last_name = static_cast<int64_t>(num_names) - 1;
  ClassificationRecord record;
  PREFIXD_ASSIGN_OR_RETURN(const int64_t sample,
                           Integer(object, "sample", 0, static_cast<int64_t>(labels.size()) - 1));
  record.sample = static_cast<size_t>(sample);
  const json id = object.value("id", json());
  if (id.is_string()) record.id = id.get<std::string>();
  const int32_t label = labels[record.sample];
  PREFIXD_RETURN_IF_ERROR(Integer(object, "label", label, label).status());
  record.label = label;
  PREFIXD_ASSIGN_OR_RETURN(const int64_t rank, Integer(object, "rank", 1, last_name + 1));
  record.rank = static_cast<int32_t>(rank);
  PREFIXD_RETURN_IF_ERROR(ParseTop(object, last_name, &record));
  for (const Number& number : kNumbers) {
    if (!object.contains(number.key)) {
      return absl::InvalidArgumentError(absl::StrCat(number.key, " is missing"));
    }
    PREFIXD_ASSIGN_OR_RETURN(record.*number.value, Real(object[number.key], number.key));
  }
  for (const Count& count : kCounts) {
    PREFIXD_ASSIGN_OR_RETURN(record.*count.value, Integer(object, count.key, 0, kMaxCount));
  }
  if (num_names == 2) {
    const json positive = object.value("positive", json());
    if (!positive.is_number()) return absl::InvalidArgumentError("positive is no number");
    record.positive = positive.get<double>();
  }
  return record;
}

std::string SettingsText(const ClassificationSettings& settings) {
  nlohmann::ordered_json object;
  for (const auto& [name, value] : settings) object[name] = value;
  return absl::StrCat(object.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace),
                      "\n");
}

absl::Status CompareSettings(const std::string& path, const ClassificationSettings& settings) {
  if (!FileExists(path)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": is missing beside results; --restart begins anew"));
  }
  PREFIXD_ASSIGN_OR_RETURN(const json found, ReadJsonFile(path, kMaxSettingsBytes));
  PREFIXD_ASSIGN_OR_RETURN(const json expected, ParseJson(SettingsText(settings)));
  if (!found.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is no object; --restart begins anew"));
  }
  for (const json* side : {&expected, &found}) {
    for (const auto& [name, value] : side->items()) {
      const std::string was = found.value(name, json()).dump();
      const std::string is = expected.value(name, json()).dump();
      if (was == is) continue;
      return absl::FailedPreconditionError(absl::StrCat(path, ": was begun with ", name, " ", was,
                                                        ", this run has ", is,
                                                        "; --restart begins anew"));
    }
  }
  return absl::OkStatus();
}

absl::Status Append(int fd, const std::string& path, absl::string_view line) {
  const std::string bytes = absl::StrCat(line, "\n");
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      return absl::InternalError(absl::StrCat(path, ": cannot write: ", std::strerror(errno)));
    }
    done += static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

}  // namespace

ClassificationResults::ClassificationResults(ClassificationResults&& other) noexcept {
  *this = std::move(other);
}

ClassificationResults& ClassificationResults::operator=(ClassificationResults&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(records_, other.records_);
  return *this;
}

ClassificationResults::~ClassificationResults() {
  if (fd_ >= 0) ::close(fd_);
}

absl::StatusOr<ClassificationResults> ClassificationResults::Open(
    const std::string& directory, const ClassificationSettings& settings,
    const std::vector<int32_t>& labels, size_t num_names, bool restart) {
  ClassificationResults results;
  results.path_ = (std::filesystem::path(directory) / "results.jsonl").string();
  const std::string settings_path = (std::filesystem::path(directory) / "settings.json").string();
  const std::string& path = results.path_;
  results.fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (results.fd_ < 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": cannot open: ", std::strerror(errno)));
  }
  if (::flock(results.fd_, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": another evaluation has it open: ", std::strerror(errno)));
  }
  PREFIXD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  const size_t end = text.rfind('\n');
  const size_t whole = restart || end == std::string::npos ? 0 : end + 1;
  if (whole > 0) {
    PREFIXD_RETURN_IF_ERROR(CompareSettings(settings_path, settings));
    PREFIXD_RETURN_IF_ERROR(
        results.Load(absl::string_view(text).substr(0, whole - 1), labels, num_names));
  }
  if (whole < text.size() && ::ftruncate(results.fd_, static_cast<off_t>(whole)) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": cannot truncate: ", std::strerror(errno)));
  }
  if (whole == 0) {
    const std::string bytes = SettingsText(settings);
    PREFIXD_RETURN_IF_ERROR(WriteFileAtomically(
        settings_path,
        absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size())));
  }
  return results;
}

absl::Status ClassificationResults::Load(absl::string_view text, const std::vector<int32_t>& labels,
                                         size_t num_names) {
  size_t number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    absl::StatusOr<ClassificationRecord> record = ParseRecord(line, labels, num_names);
    const bool twice = record.ok() && records_.count(record->sample) > 0;
    if (!record.ok() || twice) {
      return absl::InvalidArgumentError(
          absl::StrCat(path_, ": line ", number, ": ",
                       twice ? absl::StrCat("sample ", record->sample, " is there twice")
                             : std::string(record.status().message()),
                       "; --restart begins anew"));
    }
    const size_t sample = record->sample;
    records_.emplace(sample, *std::move(record));
  }
  return absl::OkStatus();
}

absl::Status ClassificationResults::Add(ClassificationRecord record) {
  PREFIXD_RETURN_IF_ERROR(Append(fd_, path_, LineOf(record)));
  const size_t sample = record.sample;
  records_.insert_or_assign(sample, std::move(record));
  return absl::OkStatus();
}

}  // namespace prefixd
