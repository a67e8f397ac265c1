#include "client/input.h"

#include <utility>

namespace prefixd {

v1::ChatMessage UserMessage(absl::string_view text, std::vector<std::string> images) {
  v1::ChatMessage message;
  message.set_role(v1::ROLE_USER);
  for (std::string& image : images) {
    message.add_parts()->mutable_image()->set_data(std::move(image));
  }
  message.add_parts()->set_text(text.data(), text.size());
  return message;
}

v1::ChatMessage TextMessage(v1::Role role, absl::string_view text) {
  v1::ChatMessage message;
  message.set_role(role);
  message.add_parts()->set_text(text.data(), text.size());
  return message;
}

}  // namespace prefixd
