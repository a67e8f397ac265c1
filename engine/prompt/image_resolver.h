// From the images of an input to what the vision tower takes: found by digest where they were sent
// before, decoded and preprocessed otherwise. Thread-safe.
#ifndef PREFIXD_ENGINE_PROMPT_IMAGE_RESOLVER_H_
#define PREFIXD_ENGINE_PROMPT_IMAGE_RESOLVER_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/request.h"
#include "engine/vision/image_decoder.h"
#include "engine/vision/image_processor.h"
#include "engine/vision/image_store.h"

namespace prefixd {

// Whether images are decoded. CountTokens knows only those that were decoded before.
enum class ImageWork { kDecode, kCountOnly };

// An image that is kept outside the store, by the digest of its bytes.
struct KeptImage {
  Sha256Digest sha256{};
  PreparedImage image;
};

struct ResolvedImage {
  Sha256Digest sha256{};               // Of the encoded bytes.
  std::optional<PreparedImage> image;  // Unset: not decoded, and kCountOnly was asked for.
  bool decode_hit = false;             // It was decoded before.
};

class ImageResolver {
 public:
  // `store` must outlive the resolver.
  ImageResolver(std::unique_ptr<ImageDecoder> decoder,
                std::unique_ptr<const ImageProcessor> processor, ImageStore* store);

  // In order of `images`. Errors: INVALID_ARGUMENT naming the image, IMAGE_* or INPUT_INVALID (a
  // digest that is not 32 bytes or not that of the bytes beside it); NOT_FOUND, IMAGE_NOT_CACHED,
  // naming every image whose digest is unknown; RESOURCE_EXHAUSTED, DECODE_MEMORY_BUSY.
  absl::StatusOr<std::vector<ResolvedImage>> Resolve(absl::string_view tenant,
                                                     absl::Span<const ImagePart* const> images,
                                                     absl::Span<const KeptImage> kept,
                                                     ImageWork work) const;

  const std::string& preprocessing_version() const { return processor_->version(); }

 private:
  std::optional<PreparedImage> Find(absl::string_view tenant, const Sha256Digest& digest,
                                    absl::Span<const KeptImage> kept) const;
  absl::StatusOr<PreparedImage> Prepare(absl::string_view bytes) const;

  const std::unique_ptr<ImageDecoder> decoder_;
  const std::unique_ptr<const ImageProcessor> processor_;
  ImageStore& store_;
};

// The images of an input in the order in which they appear.
std::vector<const ImagePart*> ImagesOf(const Input& input);

// Replaces the bytes of each image by its digest; `images` are those of the input, in order.
void NameImages(absl::Span<const KeptImage> images, Input* input);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_PROMPT_IMAGE_RESOLVER_H_
