// What an overlay must know of a picture: its type and its upright size. Pure function.
#ifndef PREFIXD_CLIENT_PREFIXCTL_PICTURE_INFO_H_
#define PREFIXD_CLIENT_PREFIXCTL_PICTURE_INFO_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prefixd::ctl {

struct PictureInfo {
  absl::string_view media_type;  // "image/jpeg", "image/png".
  int width = 0;                 // As shown: EXIF may turn a picture by a quarter.
  int height = 0;
};

// Reads the headers of a JPEG or PNG, nothing of its pixels. The server looks at pictures upright
// too. Errors: INVALID_ARGUMENT.
absl::StatusOr<PictureInfo> ReadPictureInfo(absl::string_view bytes);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_PICTURE_INFO_H_
