// Ranks names behind many contexts over one stream (ClassificationService.ClassifyBatch).
#ifndef PREFIXD_CLIENT_CLASSIFY_BATCH_H_
#define PREFIXD_CLIENT_CLASSIFY_BATCH_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/image_offer.h"
#include "client/sent_images.h"
#include "prefixd/v1/classification_service.pb.h"

namespace prefixd {

// Hands out the next request; nothing: there are no more. An error stands for a request that could
// not be made: nothing is sent for it, and the error is its result.
using NextClassification = std::function<std::optional<absl::StatusOr<v1::ClassifyRequest>>()>;

// Takes the result of a request, in the order in which they were handed out; `index` counts from 0.
// Returns false to end the stream; the rest is not ranked then.
using OnClassified =
    std::function<bool(int64_t index, const absl::StatusOr<v1::ClassifyResponse>& result)>;

// So many requests are under way at most: what a server works on at a time.
inline constexpr size_t kMaxClassifyBatchRequests = 32;
// Beyond this many bytes under way no request is handed out.
inline constexpr size_t kMaxClassifyBatchBytes = size_t{64} << 20;

using ClassifyBatchStream =
    grpc::ClientReaderWriter<v1::ClassifyBatchRequest, v1::ClassifyBatchResponse>;

struct ClassifyBatchOptions {
  size_t max_message_bytes;
  ImageDigests image_digests;
  std::shared_ptr<SentImages> sent;
};

// Drives `stream` (of `context`) to its end; both callbacks run on this thread. A request whose
// images the server lacks is sent again with their bytes; `on_result` sees one request, the limit
// of the stream counts two. One that is larger than a message may be has INVALID_ARGUMENT,
// REQUEST_TOO_LARGE as its result. Returns OK also if `on_result` ended it. Errors: the status of
// the stream, whose last requests then have no result; DATA_LOSS for a server that breaks the order
// or leaves requests without an answer.
absl::Status ClassifyOver(ClassifyBatchStream* stream, grpc::ClientContext* context,
                          const ClassifyBatchOptions& options, const NextClassification& next,
                          const OnClassified& on_result);

// A request above the limit is refused: INVALID_ARGUMENT, REQUEST_TOO_LARGE.
absl::Status CheckMessageSize(size_t bytes, size_t max_message_bytes);

}  // namespace prefixd

#endif  // PREFIXD_CLIENT_CLASSIFY_BATCH_H_
