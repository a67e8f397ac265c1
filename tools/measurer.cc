#include "tools/measurer.h"

#include "absl/strings/str_cat.h"

namespace prefixd {

std::string SettingName(const RetentionSetting& setting) {
  if (setting.full()) return "the full cache";
  return absl::StrCat(setting.policy, setting.profile.empty() ? "" : "@", setting.profile, " at ",
                      setting.budget * 100, " %");
}

}  // namespace prefixd
