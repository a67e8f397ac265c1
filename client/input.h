// Builds the messages of a request. Free functions; thread-safe.
#ifndef PREFIXD_CLIENT_INPUT_H_
#define PREFIXD_CLIENT_INPUT_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "prefixd/v1/input.pb.h"

namespace prefixd {

// A message of the user: the images (bytes of JPEG or PNG files) first, then the text.
v1::ChatMessage UserMessage(absl::string_view text, std::vector<std::string> images = {});

// A message of text only.
v1::ChatMessage TextMessage(v1::Role role, absl::string_view text);

}  // namespace prefixd

#endif  // PREFIXD_CLIENT_INPUT_H_
