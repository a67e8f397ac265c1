#include "client/prefixctl/detect.h"

#include <cstddef>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace prefixd::ctl {
namespace {

constexpr size_t kLocations = 4;
constexpr int kSegments = 16;

// Takes `prefix` DIGITS ">" with `num_digits` digits from the front of `text`, and the spaces
// behind.
std::optional<int> ConsumeToken(absl::string_view prefix, size_t num_digits,
                                absl::string_view* text) {
  absl::string_view rest = *text;
  if (!absl::ConsumePrefix(&rest, prefix) || rest.size() <= num_digits) return std::nullopt;
  int value = 0;
  for (size_t i = 0; i < num_digits; ++i) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(rest[i]))) return std::nullopt;
    value = 10 * value + (rest[i] - '0');
  }
  if (rest[num_digits] != '>') return std::nullopt;
  *text = absl::StripLeadingAsciiWhitespace(rest.substr(num_digits + 1));
  return value;
}

// Reads one object; says in `problem` what is wrong with it.
std::optional<DetectedObject> ParseObject(absl::string_view text, std::string* problem) {
  std::vector<int> bins;
  while (const auto bin = ConsumeToken("<loc", 4, &text)) bins.push_back(*bin);
  if (bins.size() != kLocations) {
    *problem = absl::StrCat(bins.size(), " location tokens, expected ", kLocations);
    return std::nullopt;
  }
  for (const int bin : bins) {
    if (bin < kLocationBins) continue;
    *problem = absl::StrCat("location ", bin, ", the largest is ", kLocationBins - 1);
    return std::nullopt;
  }
  DetectedObject object{.y_min = bins[0], .x_min = bins[1], .y_max = bins[2], .x_max = bins[3]};
  if (object.y_max < object.y_min || object.x_max < object.x_min) {
    *problem = "its far corner lies before its near one";
    return std::nullopt;
  }
  while (ConsumeToken("<seg", 3, &text)) ++object.num_segment_tokens;
  if (absl::StrContains(text, "<loc") || absl::StrContains(text, "<seg")) {
    *problem = "location or segmentation tokens inside the label";
    return std::nullopt;
  }
  object.label = std::string(text);
  if (object.num_segment_tokens != 0 && object.num_segment_tokens != kSegments) {
    *problem =
        absl::StrCat(object.num_segment_tokens, " segmentation tokens, expected ", kSegments);
  } else if (object.label.empty()) {
    *problem = "no label";
  }
  return object;
}

}  // namespace

Detections ParseDetections(absl::string_view answer) {
  Detections detections;
  answer = absl::StripAsciiWhitespace(answer);
  if (answer.empty()) return detections;
  size_t number = 0;
  for (const absl::string_view part : absl::StrSplit(answer, ';')) {
    ++number;
    std::string problem;
    auto object = ParseObject(absl::StripAsciiWhitespace(part), &problem);
    if (!problem.empty()) {
      detections.problems.push_back(absl::StrCat("object ", number, ": ", problem));
    }
    if (object) detections.objects.push_back(*std::move(object));
  }
  return detections;
}

}  // namespace prefixd::ctl
