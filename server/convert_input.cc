#include "server/convert_input.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/sha256.h"
#include "google/protobuf/unknown_field_set.h"

namespace prefixd {
namespace {

// Numbers in input.proto that are reserved.
constexpr int kMessageReservedFirst = 3, kMessageReservedLast = 5;
constexpr int kImageUriField = 4, kImageDetailField = 5;
constexpr size_t kDigestBytes = 32;
constexpr int kRoleTool = 4;

// Whether the bytes of an "image" are an address.
bool LooksLikeUrl(absl::string_view bytes) {
  const absl::string_view start = bytes.substr(0, 8);
  for (const absl::string_view scheme : {"http://", "https://", "file://", "ftp://", "data:"}) {
    if (absl::StartsWithIgnoreCase(start, scheme)) return true;
  }
  return false;
}

bool HasUnknownField(const google::protobuf::Message& message, int first, int last) {
  const google::protobuf::UnknownFieldSet& fields =
      message.GetReflection()->GetUnknownFields(message);
  for (int i = 0; i < fields.field_count(); ++i) {
    if (fields.field(i).number() >= first && fields.field(i).number() <= last) return true;
  }
  return false;
}

}  // namespace

void InputConverter::RefuseReserved(const google::protobuf::Message& message,
                                    const std::string& path, int first, int last) {
  if (!unsupported_.ok() || !HasUnknownField(message, first, last)) return;
  unsupported_ = MakeError(
      absl::StatusCode::kUnimplemented, reason::kFeatureUnsupported,
      absl::StrCat(path.empty() ? "the request" : path, " uses a feature this server lacks"),
      {{"field", path}});
}

ChatInput InputConverter::Chat(v1::ChatInput* chat) {
  ChatInput out;
  const int count = chat->messages_size();
  if (count == 0) {
    violations_.Add(reason::kInputInvalid, "chat.messages", "at least one message is required");
  }
  violations_.CheckCount("chat.messages", "messages", static_cast<uint64_t>(count), kMaxMessages);
  for (int i = 0; i < std::min(count, kMaxMessages); ++i) {
    v1::ChatMessage* message = chat->mutable_messages(i);
    const std::string path = absl::StrCat("chat.messages[", i, "]");
    RefuseReserved(*message, path, kMessageReservedFirst, kMessageReservedLast);
    ChatMessage converted{.role = ConvertRole(*message, i, path)};
    const int images_before = num_images_;
    converted.parts = Parts(message->mutable_parts(), absl::StrCat(path, ".parts"));
    if (converted.role == Role::kAssistant && num_images_ > images_before) {
      violations_.Add(reason::kInputInvalid, absl::StrCat(path, ".parts"),
                      "a message of the assistant holds an image");
    }
    out.messages.push_back(std::move(converted));
  }
  if (use_ == Use::kAsk && count > 0 && count <= kMaxMessages &&
      out.messages.back().role != Role::kUser) {
    violations_.Add(reason::kInputInvalid, absl::StrCat("chat.messages[", count - 1, "].role"),
                    "the last message must be the user's");
  }
  RequireChatTemplate();
  return out;
}

void InputConverter::RequireChatTemplate() {
  if (!model_.chat_template.empty() || !unsupported_.ok()) return;
  unsupported_ =
      MakeError(absl::StatusCode::kFailedPrecondition, reason::kFeatureUnsupported,
                model_.chat_problem.empty() ? "this model has no chat template; send a prompt"
                                            : model_.chat_problem,
                {{"model", model_.name}});
}

Role InputConverter::ConvertRole(const v1::ChatMessage& message, int index,
                                 const std::string& path) {
  switch (message.role()) {
    case v1::ROLE_SYSTEM:
      if (index > 0) {
        violations_.Add(reason::kInputInvalid, absl::StrCat(path, ".role"),
                        "a system message must be the first");
      }
      return Role::kSystem;
    case v1::ROLE_USER:
      return Role::kUser;
    case v1::ROLE_ASSISTANT:
      return Role::kAssistant;
    default:
      break;
  }
  if (static_cast<int>(message.role()) == kRoleTool) {
    if (unsupported_.ok()) {
      unsupported_ = MakeError(absl::StatusCode::kUnimplemented, reason::kFeatureUnsupported,
                               absl::StrCat(path, ": tools are not supported"), {{"field", path}});
    }
  } else {
    violations_.Add(reason::kInputInvalid, absl::StrCat(path, ".role"),
                    absl::StrCat("role ", static_cast<int>(message.role()),
                                 "; required is one of ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT"));
  }
  return Role::kUser;
}

PromptInput InputConverter::Prompt(v1::PromptInput* prompt) {
  PromptInput out{Parts(prompt->mutable_parts(), "prompt.parts")};
  if (!out.parts.empty() && text_bytes_ == 0 && num_images_ == 0) {
    violations_.Add(reason::kInputInvalid, "prompt.parts", "there is neither text nor an image");
  }
  return out;
}

std::vector<Part> InputConverter::Parts(google::protobuf::RepeatedPtrField<v1::Part>* parts,
                                        const std::string& path) {
  std::vector<Part> out;
  if (parts->empty()) {
    violations_.Add(reason::kInputInvalid, path, "at least one part is required");
  }
  violations_.CheckCount(path, "parts", static_cast<uint64_t>(parts->size()), kMaxParts);
  for (int i = 0; i < std::min(parts->size(), kMaxParts); ++i) {
    v1::Part& part = *parts->Mutable(i);
    const std::string part_path = absl::StrCat(path, "[", i, "]");
    switch (part.part_case()) {
      case v1::Part::kText:
        out.emplace_back(TextPart{Text(part.mutable_text())});
        break;
      case v1::Part::kImage:
        out.emplace_back(Image(part.mutable_image(), absl::StrCat(part_path, ".image")));
        break;
      case v1::Part::PART_NOT_SET:
        violations_.Add(reason::kInputInvalid, part_path, "neither text nor image is set");
        break;
    }
  }
  return out;
}

std::string InputConverter::Text(std::string* text) {
  text_bytes_ += text->size();
  return std::move(*text);
}

ImagePart InputConverter::Image(v1::Image* image, const std::string& path) {
  ++num_images_;
  RefuseReserved(*image, path, kImageDetailField, kImageDetailField);
  CheckImageBytes(*image, path);
  CheckImageDigest(*image, path);
  violations_.CheckCount(absl::StrCat(path, ".mime_type"), "bytes", image->mime_type().size(),
                         kMaxMimeTypeBytes);
  return ImagePart{.bytes = std::move(*image->mutable_data()),
                   .sha256 = std::move(*image->mutable_image_sha256())};
}

void InputConverter::CheckImageBytes(const v1::Image& image, const std::string& path) {
  const uint64_t size = image.data().size();
  const std::string data_path = absl::StrCat(path, ".data");
  if (HasUnknownField(image, kImageUriField, kImageUriField) || LooksLikeUrl(image.data())) {
    violations_.Add(reason::kInputInvalid, data_path,
                    "an address is not fetched; send the image's bytes");
  } else if (size == 0 && image.image_sha256().empty()) {
    violations_.Add(reason::kImageFormatUnsupported, data_path, "the image has no bytes");
  } else if (size > limits_.max_image_bytes) {
    violations_.Add(
        reason::kImageTooLarge, data_path,
        absl::StrCat(size, " bytes, the limit is ", limits_.max_image_bytes),
        {{"bytes", absl::StrCat(size)}, {"limit", absl::StrCat(limits_.max_image_bytes)}});
  }
}

void InputConverter::CheckImageDigest(const v1::Image& image, const std::string& path) {
  const std::string& given = image.image_sha256();
  if (given.empty()) return;
  const std::string digest_path = absl::StrCat(path, ".image_sha256");
  if (given.size() != kDigestBytes) {
    violations_.Add(reason::kInputInvalid, digest_path,
                    absl::StrCat(given.size(), " bytes, a SHA-256 has ", kDigestBytes));
    return;
  }
  if (image.data().empty() || image.data().size() > limits_.max_image_bytes) return;
  const Sha256Digest computed = Sha256Of(image.data());
  if (std::equal(computed.begin(), computed.end(), given.begin(),
                 [](uint8_t a, char b) { return a == static_cast<uint8_t>(b); })) {
    return;
  }
  violations_.Add(reason::kInputInvalid, digest_path, "not the SHA-256 of the image's bytes");
}

TokenInput InputConverter::Tokens(v1::TokenInput* tokens) {
  TokenInput out;
  CheckTokenIds(*tokens);
  violations_.CheckCount("tokens.images", "images", static_cast<uint64_t>(tokens->images_size()),
                         static_cast<uint64_t>(limits_.max_images));
  for (int i = 0; i < std::min(tokens->images_size(), limits_.max_images); ++i) {
    out.images.push_back(Image(tokens->mutable_images(i), absl::StrCat("tokens.images[", i, "]")));
  }
  num_images_ = tokens->images_size();
  if (violations_.empty()) out.ids.assign(tokens->ids().begin(), tokens->ids().end());
  return out;
}

void InputConverter::CheckTokenIds(const v1::TokenInput& tokens) {
  const int count = tokens.ids_size();
  if (count == 0) {
    violations_.Add(reason::kInputInvalid, "tokens.ids", "at least one token id is required");
  }
  if (count >= model_.context_length) {
    violations_.Add(reason::kContextLengthExceeded, "tokens.ids",
                    absl::StrCat(count, " tokens, the context holds ", model_.context_length,
                                 " with at least one to generate"),
                    {{"prompt_tokens", absl::StrCat(count)},
                     {"context_length", absl::StrCat(model_.context_length)}});
    return;
  }
  int placeholders = 0;
  for (int i = 0; i < count; ++i) {
    const int32_t id = tokens.ids(i);
    if (model_.supports_images && id == model_.image_token_id) {
      ++placeholders;  // May lie beyond the vocabulary.
    } else if (id < 0 || id >= model_.vocab_size) {
      violations_.CheckRange(absl::StrCat("tokens.ids[", i, "]"), id, 0, model_.vocab_size - 1);
    }
  }
  if (model_.supports_images && placeholders != tokens.images_size()) {
    violations_.Add(reason::kImageCountMismatch, "tokens.images",
                    absl::StrCat(tokens.images_size(), " images for ", placeholders,
                                 " image placeholders in tokens.ids"),
                    {{"images", absl::StrCat(tokens.images_size())},
                     {"placeholders", absl::StrCat(placeholders)}});
  }
}

absl::Status InputConverter::Finish() {
  if (num_images_ > 0 && !model_.supports_images && unsupported_.ok()) {
    unsupported_ = MakeError(absl::StatusCode::kFailedPrecondition, reason::kFeatureUnsupported,
                             "this model takes no images", {{"model", model_.name}});
  }
  // The limit of a request holds for every model; that of the model may be lower.
  const int max_images = std::min(limits_.max_images, model_.max_images);
  if (model_.supports_images) {
    violations_.CheckCount("input", "images", static_cast<uint64_t>(num_images_),
                           static_cast<uint64_t>(max_images));
  }
  violations_.CheckCount("input", "bytes of text", text_bytes_, limits_.max_prompt_bytes);
  return unsupported_;
}

}  // namespace prefixd
