#include "cache/retention/profile.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/check.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

constexpr double kMaxRatio = 0.999;
constexpr double kSameRatio = 1e-9;  // Two ratios this near mean the same file.
constexpr size_t kMaxNameBytes = 64;
constexpr int kMaxDirectoryEntries = 100000;
constexpr size_t kMaxShownBytes = 32;  // Of a bad entry, in errors.

// The name of a profile's file in its parts.
struct ProfileFile {
  std::string name;
  double forget_ratio = 0;
  std::string path;
};

bool IsProfileName(absl::string_view name) {
  if (name.empty() || name.size() > kMaxNameBytes || name == "." || name == "..") return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  });
}

// The ratio of a file name as Python writes it: "0.8", "0.25"; "0.80" and "1.0" are none.
std::optional<double> RatioOf(absl::string_view text) {
  constexpr size_t kMaxBytes = 6;  // Four decimals.
  if (text.size() < 3 || text.size() > kMaxBytes || text.substr(0, 2) != "0.") return std::nullopt;
  const absl::string_view decimals = text.substr(2);
  if (!std::all_of(decimals.begin(), decimals.end(),
                   [](char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }) ||
      (decimals.size() > 1 && decimals.back() == '0')) {
    return std::nullopt;
  }
  double ratio = 0;
  if (!absl::SimpleAtod(text, &ratio)) return std::nullopt;
  return ratio;
}

// PREFIX_NAME_R.json in its parts; nullopt for every other file.
std::optional<ProfileFile> PartsOf(absl::string_view file_name) {
  if (!absl::ConsumePrefix(&file_name, "prefixkv_") || !absl::ConsumeSuffix(&file_name, ".json")) {
    return std::nullopt;
  }
  const size_t separator = file_name.rfind('_');
  if (separator == absl::string_view::npos) return std::nullopt;
  const absl::string_view name = file_name.substr(0, separator);
  const std::optional<double> ratio = RatioOf(file_name.substr(separator + 1));
  if (!IsProfileName(name) || !ratio) return std::nullopt;
  return ProfileFile{.name = std::string(name), .forget_ratio = *ratio};
}

absl::StatusOr<std::vector<ProfileFile>> FilesIn(const std::string& directory) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::directory_iterator entry(directory, error);
  if (error) {
    return absl::NotFoundError(
        absl::StrCat(directory, ": not a readable directory of profiles: ", error.message()));
  }
  std::vector<ProfileFile> files;
  for (int count = 0; entry != fs::directory_iterator(); ++count) {
    if (count >= kMaxDirectoryEntries) {
      return absl::InvalidArgumentError(
          absl::StrCat(directory, ": more than ", kMaxDirectoryEntries, " files"));
    }
    std::optional<ProfileFile> file = PartsOf(entry->path().filename().string());
    if (file) {
      file->path = entry->path().string();
      files.push_back(*std::move(file));
    }
    entry.increment(error);
    if (error) {
      return absl::InternalError(
          absl::StrCat(directory, ": reading the directory failed: ", error.message()));
    }
  }
  return files;
}

std::string Shown(const nlohmann::json& value) {
  std::string text =
      value.dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace);
  if (text.size() > kMaxShownBytes) text = absl::StrCat(text.substr(0, kMaxShownBytes), "...");
  return text;
}

absl::Status WrongLength(absl::string_view name, size_t entries, int num_layers) {
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": ", entries, " entries, but the model has ", num_layers, " layers"));
}

}  // namespace

absl::StatusOr<std::vector<double>> RetentionProfile::ParseFile(absl::string_view name,
                                                                absl::string_view text,
                                                                int num_layers,
                                                                double forget_ratio) {
  if (text.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", text.size(), " bytes, at most ", kMaxFileBytes, " are read"));
  }
  // Before anything is built: a list of L numbers has L - 1 commas.
  const auto commas = static_cast<size_t>(std::count(text.begin(), text.end(), ','));
  if (commas >= 2 * static_cast<size_t>(num_layers) + 64) {
    return WrongLength(name, commas + 1, num_layers);
  }
  absl::StatusOr<nlohmann::json> list = ParseJson(text);
  if (!list.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", list.status().message()));
  }
  if (!list->is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, ": ", list->type_name(), ", expected a list of ", num_layers, " forget ratios"));
  }
  if (list->size() != static_cast<size_t>(num_layers)) {
    return WrongLength(name, list->size(), num_layers);
  }
  const double most = forget_ratio == 0 ? 0 : kMaxRatio;
  std::vector<double> ratios;
  double sum = 0;
  for (const nlohmann::json& entry : *list) {
    const double ratio = entry.is_number() ? entry.get<double>() : -1;
    if (!(ratio >= 0 && ratio <= most)) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": entry ", ratios.size(), " is ",
                                                     Shown(entry), ", expected a number in [0, ",
                                                     most, "]"));
    }
    ratios.push_back(ratio);
    sum += ratio;
  }
  const double mean = sum / num_layers;
  if (!(std::abs(mean - forget_ratio) <= kMeanTolerance)) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": the mean of the entries is ", mean,
                                                   ", more than ", kMeanTolerance,
                                                   " from the ratio ", forget_ratio));
  }
  return ratios;
}

absl::StatusOr<RetentionProfile> RetentionProfile::Load(const std::string& directory,
                                                        absl::string_view name, int num_layers) {
  if (!IsProfileName(name)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the name of a profile is 1 to ", kMaxNameBytes,
                     " letters, digits, '.', '_' or '-', this one has ", name.size(), " bytes"));
  }
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<ProfileFile> files, FilesIn(directory));
  std::map<double, std::vector<double>> by_ratio;
  for (const ProfileFile& file : files) {
    if (file.name != name) continue;
    PREFIXD_ASSIGN_OR_RETURN(const std::string text, ReadFile(file.path, kMaxFileBytes));
    PREFIXD_ASSIGN_OR_RETURN(std::vector<double> ratios,
                             ParseFile(file.path, text, num_layers, file.forget_ratio));
    if (file.forget_ratio > 0) by_ratio.emplace(file.forget_ratio, std::move(ratios));
  }
  if (by_ratio.empty()) {
    return absl::NotFoundError(
        absl::StrCat(directory, ": no file prefixkv_", name, "_0.1.json, ..., _0.9.json"));
  }
  return RetentionProfile(std::string(name), num_layers, std::move(by_ratio));
}

absl::StatusOr<std::vector<std::string>> RetentionProfile::List(const std::string& directory) {
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<ProfileFile> files, FilesIn(directory));
  std::set<std::string> names;
  for (const ProfileFile& file : files) {
    if (file.forget_ratio > 0) names.insert(file.name);
  }
  return std::vector<std::string>(names.begin(), names.end());
}

RetentionProfile::RetentionProfile(std::string name, int num_layers,
                                   std::map<double, std::vector<double>> ratios_by_forget_ratio)
    : name_(std::move(name)), num_layers_(num_layers), ratios_(std::move(ratios_by_forget_ratio)) {
  PREFIXD_CHECK(!ratios_.empty());
  for (const auto& [forget_ratio, ratios] : ratios_) {
    PREFIXD_CHECK(forget_ratio > 0 && forget_ratio < 1);
    PREFIXD_CHECK(ratios.size() == static_cast<size_t>(num_layers_));
  }
}

absl::StatusOr<std::vector<double>> RetentionProfile::At(double forget_ratio) const {
  if (!(forget_ratio >= 0 && forget_ratio < 1)) {
    return absl::OutOfRangeError(absl::StrCat("forget ratio ", forget_ratio, " is not in [0, 1)"));
  }
  const auto upper = ratios_.lower_bound(forget_ratio - kSameRatio);
  if (upper == ratios_.end()) {
    return absl::OutOfRangeError(absl::StrCat("forget ratio ", forget_ratio,
                                              " is beyond the highest of profile ", name_, ", ",
                                              ratios_.rbegin()->first));
  }
  // 1 - budget is seldom the very double of the file's name.
  if (upper->first <= forget_ratio + kSameRatio) return upper->second;
  std::vector<double> low(static_cast<size_t>(num_layers_), 0.0);
  double low_ratio = 0;
  if (upper != ratios_.begin()) {
    low_ratio = std::prev(upper)->first;
    low = std::prev(upper)->second;
  }
  const double share = (forget_ratio - low_ratio) / (upper->first - low_ratio);
  for (size_t layer = 0; layer < low.size(); ++layer) {
    low[layer] += share * (upper->second[layer] - low[layer]);
  }
  return low;
}

}  // namespace prefixd
