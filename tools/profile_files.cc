#include "tools/profile_files.h"

#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "cache/retention/profile.h"
#include "tools/calibration.h"

namespace prefixd {

std::string ProfileText(absl::Span<const double> ratios) {
  return absl::StrCat("[",
                      absl::StrJoin(ratios, ", ",
                                    [](std::string* out, double ratio) {
                                      absl::StrAppend(out, nlohmann::json(ratio).dump());
                                    }),
                      "]\n");
}

std::string ProfileFileName(absl::string_view name, int tenths) {
  return absl::StrCat("prefixkv_", name, "_0.", tenths, ".json");
}

bool IsProfileName(absl::string_view name) {
  if (name.empty() || name.size() > 64 || name == "." || name == "..") return false;
  for (const char c : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '_' && c != '-') {
      return false;
    }
  }
  return true;
}

absl::Status WriteProfile(const std::string& directory, absl::string_view name,
                          absl::Span<const std::vector<double>> profile) {
  if (!IsProfileName(name)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", name.substr(0, 128), "\" cannot name a profile: 1 to 64 of [A-Za-z0-9._-]"));
  }
  std::vector<std::string> texts;
  for (size_t i = 0; i < profile.size(); ++i) {
    texts.push_back(ProfileText(profile[i]));
    const absl::StatusOr<std::vector<double>> read = RetentionProfile::ParseFile(
        ProfileFileName(name, kCalibrationTenths[i]), texts.back(),
        static_cast<int>(profile[i].size()), kCalibrationTenths[i] / 10.0);
    PREFIXD_RETURN_IF_ERROR(read.status());
    if (*read != profile[i]) return absl::InternalError("a profile was read back differently");
  }
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string path =
        absl::StrCat(directory, "/", ProfileFileName(name, kCalibrationTenths[i]));
    PREFIXD_RETURN_IF_ERROR(WriteFileAtomically(
        path,
        absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(texts[i].data()), texts[i].size())));
  }
  return absl::OkStatus();
}

}  // namespace prefixd
