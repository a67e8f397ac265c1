#include "client/image_offer.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/error.h"
#include "base/sha256.h"

namespace prefixd {
namespace {

// As the server knows them; the client links no engine.
constexpr char kImageNotCached[] = "IMAGE_NOT_CACHED";
constexpr char kFeatureUnsupported[] = "FEATURE_UNSUPPORTED";

void Collect(google::protobuf::RepeatedPtrField<v1::Part>* parts, std::vector<v1::Image*>* out) {
  for (v1::Part& part : *parts) {
    if (part.has_image()) out->push_back(part.mutable_image());
  }
}

std::string Digest(const std::string& bytes) {
  const Sha256Digest digest = Sha256Of(bytes);
  return std::string(digest.begin(), digest.end());
}

std::string MetadataOf(const ErrorDetail& detail, absl::string_view key) {
  for (const auto& [k, value] : detail.metadata) {
    if (k == key) return value;
  }
  return "";
}

}  // namespace

std::vector<v1::Image*> ImagesOf(v1::ChatInput* chat) {
  std::vector<v1::Image*> images;
  for (v1::ChatMessage& message : *chat->mutable_messages()) {
    Collect(message.mutable_parts(), &images);
  }
  return images;
}

std::vector<v1::Image*> ImagesOf(v1::PromptInput* prompt) {
  std::vector<v1::Image*> images;
  Collect(prompt->mutable_parts(), &images);
  return images;
}

std::vector<v1::Image*> ImagesOf(v1::TokenInput* tokens) {
  std::vector<v1::Image*> images;
  for (v1::Image& image : *tokens->mutable_images()) images.push_back(&image);
  return images;
}

std::vector<v1::Image*> ImagesOf(v1::ClassifyRequest* request) {
  switch (request->context_case()) {
    case v1::ClassifyRequest::kQuery:
      if (!request->query().has_image()) return {};
      return {request->mutable_query()->mutable_image()};
    case v1::ClassifyRequest::kChat:
      return ImagesOf(request->mutable_chat());
    case v1::ClassifyRequest::kPrompt:
      return ImagesOf(request->mutable_prompt());
    case v1::ClassifyRequest::kTokens:
      return ImagesOf(request->mutable_tokens());
    case v1::ClassifyRequest::CONTEXT_NOT_SET:
      break;
  }
  return {};
}

std::vector<v1::Image*> ImagesOf(v1::CreateClassSetRequest* request) {
  std::vector<v1::Image*> images;
  for (v1::Demonstration& demonstration : *request->mutable_demonstrations()) {
    if (demonstration.has_image()) images.push_back(demonstration.mutable_image());
  }
  return images;
}

ImageOffer::ImageOffer(const std::vector<v1::Image*>& images, ImageDigests mode,
                       std::shared_ptr<SentImages> sent)
    : sent_(std::move(sent)) {
  if (mode == ImageDigests::kNever) return;
  for (v1::Image* image : images) {
    Entry entry{.image = image};
    if (!image->data().empty() && image->image_sha256().empty()) {
      entry.digest = Digest(image->data());
      if (mode == ImageDigests::kAlways || sent_->Has(entry.digest)) {
        entry.offered = true;
        entry.bytes = std::move(*image->mutable_data());
        image->clear_data();
        image->set_image_sha256(entry.digest);
      }
    }
    entries_.push_back(std::move(entry));
  }
}

bool ImageOffer::has_offered() const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [](const Entry& entry) { return entry.offered; });
}

bool ImageOffer::PutBack(const absl::Status& status) {
  std::vector<Entry*> offered;
  for (Entry& entry : entries_) {
    if (entry.offered) offered.push_back(&entry);
  }
  if (offered.empty() || status.ok()) return false;
  const ErrorDetail detail = GetErrorDetail(status).value_or(ErrorDetail{});
  const bool missing = absl::IsNotFound(status) && detail.reason == kImageNotCached;
  const bool too_old = absl::IsUnimplemented(status) && detail.reason == kFeatureUnsupported;
  if (!missing && !too_old) return false;
  if (missing && !std::exchange(put_back_, true)) {
    const std::vector<Entry*> named = Named(status);
    if (!named.empty()) offered = named;
  }
  for (Entry* entry : offered) PutBack(entry);
  return true;
}

std::vector<ImageOffer::Entry*> ImageOffer::Named(const absl::Status& status) {
  const ErrorDetail detail = GetErrorDetail(status).value_or(ErrorDetail{});
  const std::vector<Entry*> named = NamedByDigest(MetadataOf(detail, "sha256"));
  // Long lists of digests arrive cut off; places do not, but are shifted by a prefix's images.
  return named.empty() ? NamedByPlace(MetadataOf(detail, "image_index")) : named;
}

std::vector<ImageOffer::Entry*> ImageOffer::NamedByDigest(absl::string_view list) {
  std::vector<Entry*> named;
  for (const absl::string_view hex : absl::StrSplit(list, ',')) {
    const size_t before = named.size();
    for (Entry& entry : entries_) {
      if (entry.offered && absl::BytesToHexString(entry.digest) == hex) named.push_back(&entry);
    }
    if (named.size() == before) return {};
  }
  return named;
}

std::vector<ImageOffer::Entry*> ImageOffer::NamedByPlace(absl::string_view list) {
  std::vector<Entry*> named;
  for (const absl::string_view text : absl::StrSplit(list, ',')) {
    size_t index = 0;
    if (!absl::SimpleAtoi(text, &index) || index >= entries_.size()) return {};
    if (!entries_[index].offered) return {};
    named.push_back(&entries_[index]);
  }
  return named;
}

void ImageOffer::PutBack(Entry* entry) {
  if (!entry->offered) return;  // Named twice.
  sent_->Forget(entry->digest);
  entry->image->set_data(std::move(entry->bytes));
  entry->image->clear_image_sha256();
  entry->bytes.clear();
  entry->offered = false;
}

void ImageOffer::Taken() {
  for (const Entry& entry : entries_) {
    if (!entry.digest.empty()) sent_->Add(entry.digest);
  }
}

}  // namespace prefixd
