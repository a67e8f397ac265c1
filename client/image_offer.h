// Sends the digests of images before their bytes: a server that had an image before needs no more.
// Where it says NOT_FOUND, IMAGE_NOT_CACHED, the bytes follow in a second attempt.
#ifndef PREFIXD_CLIENT_IMAGE_OFFER_H_
#define PREFIXD_CLIENT_IMAGE_OFFER_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "client/sent_images.h"
#include "prefixd/v1/classification_service.pb.h"
#include "prefixd/v1/input.pb.h"

namespace prefixd {

// When an image is offered by its digest.
enum class ImageDigests {
  kAfterFirst,  // If this client sent it to this server before.
  kAlways,      // Also the first time: one more round trip unless somebody sent it before.
  kNever,       // Bytes are always sent.
};

// The images of an input, in order: the server counts them the same way.
std::vector<v1::Image*> ImagesOf(v1::ChatInput* chat);
std::vector<v1::Image*> ImagesOf(v1::PromptInput* prompt);
std::vector<v1::Image*> ImagesOf(v1::TokenInput* tokens);

// The images of a request, likewise.
std::vector<v1::Image*> ImagesOf(v1::ClassifyRequest* request);
std::vector<v1::Image*> ImagesOf(v1::CreateClassSetRequest* request);
// Of any request with the `oneof input` of GenerateRequest.
template <typename Request>
requires requires(Request* request) { request->input_case(); }
std::vector<v1::Image*> ImagesOf(Request* request) {
  switch (request->input_case()) {
    case Request::kChat:
      return ImagesOf(request->mutable_chat());
    case Request::kPrompt:
      return ImagesOf(request->mutable_prompt());
    case Request::kTokens:
      return ImagesOf(request->mutable_tokens());
    default:
      return {};
  }
}

// The images of one request. An image that carries a digest already is left as it is. One thread.
class ImageOffer {
 public:
  // Replaces bytes by digests. The images must outlive the offer and belong to it until it ends.
  ImageOffer(const std::vector<v1::Image*>& images, ImageDigests mode,
             std::shared_ptr<SentImages> sent);

  // Whether an image travels as a digest in the place of its bytes.
  bool has_offered() const;

  // After an attempt that ended with `status` and brought nothing: whether another one makes sense.
  // Puts bytes back first: those of the images that `status` names, at the second time of all.
  // A server too old for digests (UNIMPLEMENTED) gets all bytes.
  bool PutBack(const absl::Status& status);

  // The server took the request: it has the images.
  void Taken();

 private:
  struct Entry {
    v1::Image* image;
    std::string digest;
    std::string bytes;  // While the image is offered.
    bool offered = false;
  };

  // Those that `status` names; empty if they are not to be told from the others.
  std::vector<Entry*> Named(const absl::Status& status);
  std::vector<Entry*> NamedByDigest(absl::string_view list);
  std::vector<Entry*> NamedByPlace(absl::string_view list);
  void PutBack(Entry* entry);

  const std::shared_ptr<SentImages> sent_;
  std::vector<Entry> entries_;  // By place in the request; digest empty: not ours to offer.
  bool put_back_ = false;
};

// A copy of a request whose images are offered. ImagesOf knows `Request`.
template <typename Request>
class OfferedRequest {
 public:
  OfferedRequest(const Request& request, ImageDigests mode, std::shared_ptr<SentImages> sent)
      : message_(request), offer_(ImagesOf(&message_), mode, std::move(sent)) {}
  OfferedRequest(const OfferedRequest&) = delete;
  OfferedRequest& operator=(const OfferedRequest&) = delete;

  const Request& message() const { return message_; }
  ImageOffer& offer() { return offer_; }

 private:
  Request message_;
  ImageOffer offer_;  // Points into message_.
};

}  // namespace prefixd

#endif  // PREFIXD_CLIENT_IMAGE_OFFER_H_
