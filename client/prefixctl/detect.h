// Boxes in the answers of PaliGemma (arXiv:2407.07726) to "detect" and "segment". Pure functions.
//
//   answer   = object { " ; " object }
//   object   = 4 * "<locYYYY>" [ 16 * "<segYYY>" ] " " label
//
// The four locations are y_min, x_min, y_max, x_max in 1024ths of the picture's height and width.
#ifndef PREFIXD_CLIENT_PREFIXCTL_DETECT_H_
#define PREFIXD_CLIENT_PREFIXCTL_DETECT_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace prefixd::ctl {

inline constexpr int kLocationBins = 1024;

struct DetectedObject {
  int y_min = 0, x_min = 0, y_max = 0, x_max = 0;  // Bins, [0, kLocationBins).
  int num_segment_tokens = 0;                      // They follow the locations; not decoded.
  std::string label;                               // May be empty: then a problem says so.
};

struct Detections {
  std::vector<DetectedObject> objects;
  // What is wrong, in words, with the number of the object from 1. Objects without a usable box are
  // left out, those with one are kept.
  std::vector<std::string> problems;
};

Detections ParseDetections(absl::string_view answer);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_DETECT_H_
