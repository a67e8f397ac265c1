// Shows detections: a line of JSON, and the picture with its boxes. Pure functions.
#ifndef PREFIXD_CLIENT_PREFIXCTL_DETECT_OUTPUT_H_
#define PREFIXD_CLIENT_PREFIXCTL_DETECT_OUTPUT_H_

#include <string>

#include "absl/strings/string_view.h"
#include "client/prefixctl/detect.h"
#include "client/prefixctl/picture_info.h"

namespace prefixd::ctl {

// {"event":"detections",...}: boxes in pixels of the upright picture and as shares of it. A
// contract with scripts: docs/client.md.
std::string DetectionsLine(const Detections& detections, const PictureInfo& picture);

// An SVG document of the picture's size with the picture in it (as a data URI) and a box and a
// label for every object. `bytes`: the picture's file.
std::string DetectionsSvg(const Detections& detections, const PictureInfo& picture,
                          absl::string_view bytes);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_DETECT_OUTPUT_H_
