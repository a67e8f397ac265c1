#include "engine/prompt/image_resolver.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"

namespace prefixd {
namespace {

// Adds which image it was to an error, and keeps its reason.
absl::Status InImage(const absl::Status& status, size_t index) {
  ErrorDetail detail =
      GetErrorDetail(status).value_or(ErrorDetail{.reason = reason::kImageCorrupt});
  const std::string field = absl::StrCat("image ", index);
  if (status.code() == absl::StatusCode::kInvalidArgument) {
    detail.field_violations.push_back({field, std::string(status.message())});
  }
  detail.metadata.emplace_back("image_index", absl::StrCat(index));
  return MakeError(status.code(), absl::StrCat(field, ": ", status.message()), detail);
}

absl::Status BadDigest(absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason::kInputInvalid, what);
}

// The digest that names the image, checked against its bytes.
absl::StatusOr<Sha256Digest> DigestOf(const ImagePart& image) {
  Sha256Digest digest{};
  if (!image.sha256.empty() && image.sha256.size() != digest.size()) {
    return BadDigest(absl::StrCat("the digest has ", image.sha256.size(), " bytes, SHA-256 has ",
                                  digest.size()));
  }
  if (image.bytes.empty() && !image.sha256.empty()) {
    std::memcpy(digest.data(), image.sha256.data(), digest.size());
    return digest;
  }
  digest = Sha256Of(image.bytes);
  if (!image.sha256.empty() &&
      std::memcmp(digest.data(), image.sha256.data(), digest.size()) != 0) {
    return BadDigest("the digest is not that of the bytes beside it");
  }
  return digest;
}

absl::Status NotCached(const std::vector<std::pair<size_t, Sha256Digest>>& missing) {
  std::vector<std::string> indices, digests;
  for (const auto& [index, digest] : missing) {
    indices.push_back(absl::StrCat(index));
    digests.push_back(ToHex(digest));
  }
  const std::string list = absl::StrJoin(indices, ",");
  return MakeError(
      absl::StatusCode::kNotFound, reason::kImageNotCached,
      absl::StrCat("the server does not have the bytes of image ", list, "; send them"),
      {{"image_index", list}, {"sha256", absl::StrJoin(digests, ",")}});
}

}  // namespace

ImageResolver::ImageResolver(std::unique_ptr<ImageDecoder> decoder,
                             std::unique_ptr<const ImageProcessor> processor, ImageStore* store)
    : decoder_(std::move(decoder)), processor_(std::move(processor)), store_(*store) {}

absl::StatusOr<std::vector<ResolvedImage>> ImageResolver::Resolve(
    absl::string_view tenant, absl::Span<const ImagePart* const> images,
    absl::Span<const KeptImage> kept, ImageWork work) const {
  std::vector<ResolvedImage> resolved(images.size());
  std::vector<std::pair<size_t, Sha256Digest>> missing;
  for (size_t i = 0; i < images.size(); ++i) {
    const absl::StatusOr<Sha256Digest> digest = DigestOf(*images[i]);
    if (!digest.ok()) return InImage(digest.status(), i);
    resolved[i].sha256 = *digest;
    resolved[i].image = Find(tenant, *digest, kept);
    resolved[i].decode_hit = resolved[i].image.has_value();
    const bool named = images[i]->bytes.empty() && !images[i]->sha256.empty();
    if (named && !resolved[i].image) missing.emplace_back(i, *digest);
  }
  if (!missing.empty()) return NotCached(missing);
  if (work == ImageWork::kCountOnly) return resolved;
  for (size_t i = 0; i < images.size(); ++i) {
    if (resolved[i].image) continue;
    absl::StatusOr<PreparedImage> prepared = Prepare(images[i]->bytes);
    if (!prepared.ok()) return InImage(prepared.status(), i);
    store_.Insert(tenant, resolved[i].sha256, *prepared);
    resolved[i].image = *std::move(prepared);
  }
  return resolved;
}

std::optional<PreparedImage> ImageResolver::Find(absl::string_view tenant,
                                                 const Sha256Digest& digest,
                                                 absl::Span<const KeptImage> kept) const {
  for (const KeptImage& image : kept) {
    if (image.sha256 == digest) return image.image;
  }
  return store_.Find(tenant, digest);
}

absl::StatusOr<PreparedImage> ImageResolver::Prepare(absl::string_view bytes) const {
  PREFIXD_ASSIGN_OR_RETURN(const RgbImage decoded, decoder_->Decode(bytes));
  PREFIXD_ASSIGN_OR_RETURN(std::vector<float> pixels, processor_->Process(decoded));
  PreparedImage image;
  image.pixels = std::make_shared<const std::vector<float>>(std::move(pixels));
  Sha256 hash;
  hash.Update(uint64_t{processor_->version().size()}).Update(processor_->version());
  hash.Update(static_cast<uint64_t>(decoded.width)).Update(static_cast<uint64_t>(decoded.height));
  hash.Update(absl::Span<const uint8_t>(decoded.pixels));
  image.media_id = hash.Finish();
  return image;
}

namespace {

template <typename Visit>
void ForEachImage(Input* input, Visit visit) {
  const auto in_parts = [&visit](std::vector<Part>* parts) {
    for (Part& part : *parts) {
      if (auto* image = std::get_if<ImagePart>(&part)) visit(image);
    }
  };
  if (auto* tokens = std::get_if<TokenInput>(input)) {
    for (ImagePart& image : tokens->images) visit(&image);
  } else if (auto* prompt = std::get_if<PromptInput>(input)) {
    in_parts(&prompt->parts);
  } else {
    for (ChatMessage& message : std::get<ChatInput>(*input).messages) in_parts(&message.parts);
  }
}

}  // namespace

std::vector<const ImagePart*> ImagesOf(const Input& input) {
  std::vector<const ImagePart*> images;
  // Only read from here.
  ForEachImage(const_cast<Input*>(&input),
               [&images](ImagePart* image) { images.push_back(image); });
  return images;
}

void NameImages(absl::Span<const KeptImage> images, Input* input) {
  size_t next = 0;
  ForEachImage(input, [&](ImagePart* image) {
    const Sha256Digest& digest = images[next++].sha256;
    image->sha256.assign(digest.begin(), digest.end());
    image->bytes.clear();
  });
}

}  // namespace prefixd
