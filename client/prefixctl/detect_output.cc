#include "client/prefixctl/detect_output.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace prefixd::ctl {
namespace {

// Keys stay in the order in which they are written here.
using Json = nlohmann::ordered_json;

constexpr const char* kColours[] = {"#e6194b", "#3cb44b", "#4363d8",
                                    "#f58231", "#911eb4", "#008080"};

struct Box {
  double x_min = 0, y_min = 0, x_max = 0, y_max = 0;
};

// In units of which the picture has `width` and `height`.
Box Scaled(const DetectedObject& object, double width, double height) {
  return {.x_min = object.x_min * width / kLocationBins,
          .y_min = object.y_min * height / kLocationBins,
          .x_max = object.x_max * width / kLocationBins,
          .y_max = object.y_max * height / kLocationBins};
}

Json ToJson(const Box& box) {
  return {{"x_min", box.x_min}, {"y_min", box.y_min}, {"x_max", box.x_max}, {"y_max", box.y_max}};
}

// UTF-8 with U+FFFD for what is none.
std::string ValidUtf8(const std::string& text) {
  const std::string quoted = Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
  return Json::parse(quoted).get<std::string>();
}

// Text content of XML. Control characters, which XML cannot hold, become spaces.
std::string XmlText(const std::string& text) {
  std::string out;
  for (const char c : ValidUtf8(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? ' ' : c;
    }
  }
  return out;
}

}  // namespace

std::string DetectionsLine(const Detections& detections, const PictureInfo& picture) {
  Json objects = Json::array();
  for (const DetectedObject& object : detections.objects) {
    objects.push_back({{"label", object.label},
                       {"box", ToJson(Scaled(object, picture.width, picture.height))},
                       {"relative", ToJson(Scaled(object, 1, 1))},
                       {"segment_tokens", object.num_segment_tokens}});
  }
  const Json line = {{"event", "detections"},
                     {"width", picture.width},
                     {"height", picture.height},
                     {"objects", std::move(objects)},
                     {"problems", detections.problems}};
  return line.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string DetectionsSvg(const Detections& detections, const PictureInfo& picture,
                          absl::string_view bytes) {
  const double unit = std::max(picture.width, picture.height) / 200.0;  // Width of a line.
  const double font_size = 6 * unit;
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
      "font-family=\"sans-serif\" font-size=\"%.6g\">\n",
      picture.width, picture.height, picture.width, picture.height, font_size);
  absl::StrAppendFormat(&svg, "<image width=\"%d\" height=\"%d\" href=\"data:%s;base64,%s\"/>\n",
                        picture.width, picture.height, picture.media_type,
                        absl::Base64Escape(bytes));
  for (size_t i = 0; i < detections.objects.size(); ++i) {
    const DetectedObject& object = detections.objects[i];
    const char* const colour = kColours[i % std::size(kColours)];
    const Box box = Scaled(object, picture.width, picture.height);
    absl::StrAppendFormat(&svg,
                          "<rect x=\"%.6g\" y=\"%.6g\" width=\"%.6g\" height=\"%.6g\" "
                          "fill=\"none\" stroke=\"%s\" stroke-width=\"%.6g\"/>\n",
                          box.x_min, box.y_min, box.x_max - box.x_min, box.y_max - box.y_min,
                          colour, unit);
    // Above the box, or inside where there is no room.
    const bool is_above = box.y_min >= font_size + unit;
    absl::StrAppendFormat(
        &svg,
        "<text x=\"%.6g\" y=\"%.6g\" fill=\"%s\" stroke=\"#ffffff\" stroke-width=\"%.6g\" "
        "paint-order=\"stroke\">%s</text>\n",
        box.x_min, is_above ? box.y_min - unit : box.y_min + font_size + unit, colour, unit / 2,
        XmlText(object.label));
  }
  return absl::StrCat(svg, "</svg>\n");
}

}  // namespace prefixd::ctl
