#include "client/classify_batch.h"

#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "client/call_status.h"
#include "prefixd/v1/classification_service.grpc.pb.h"

namespace prefixd {
namespace {

using Offered = OfferedRequest<v1::ClassifyRequest>;

// A request that was handed out and whose result was not taken yet.
struct Item {
  std::unique_ptr<Offered> request;  // Null once there is a result.
  size_t bytes = 0;                  // While `request` lives.
  std::optional<absl::StatusOr<v1::ClassifyResponse>> result;
};

class Exchange {
 public:
  Exchange(ClassifyBatchStream* stream, grpc::ClientContext* context,
           const ClassifyBatchOptions& options, const NextClassification& next,
           const OnClassified& on_result)
      : stream_(*stream),
        context_(*context),
        options_(options),
        next_(next),
        on_result_(on_result) {}

  absl::Status Run() {
    absl::Status broken;
    while (true) {
      if (!Deliver()) return Leave();
      if (CanHandOut()) {
        HandOut();
        continue;
      }
      if (may_write_ && handed_out_all_ && num_offered_ == 0) {
        stream_.WritesDone();
        may_write_ = false;
      }
      v1::ClassifyBatchResponse response;
      if (!stream_.Read(&response)) break;
      broken = Take(&response);
      if (!broken.ok()) break;
    }
    if (!broken.ok()) context_.TryCancel();
    const absl::Status status = FromGrpcStatus(stream_.Finish());
    if (!broken.ok()) return broken;
    PREFIXD_RETURN_IF_ERROR(status);
    if (handed_out_all_ && items_.empty()) return absl::OkStatus();
    return absl::DataLossError(
        absl::StrCat("the stream ended without an answer to request ", first_));
  }

 private:
  bool CanHandOut() const {
    return may_write_ && !handed_out_all_ && num_open_ < kMaxClassifyBatchRequests &&
           open_bytes_ < kMaxClassifyBatchBytes;
  }

  void HandOut() {
    std::optional<absl::StatusOr<v1::ClassifyRequest>> request = next_();
    if (!request) {
      handed_out_all_ = true;
      return;
    }
    items_.emplace_back();
    const absl::Status status = Open(*request, &items_.back());
    if (!status.ok()) items_.back().result.emplace(status);
  }

  absl::Status Open(const absl::StatusOr<v1::ClassifyRequest>& request, Item* item) {
    PREFIXD_RETURN_IF_ERROR(request.status());
    const size_t bytes = request->ByteSizeLong();
    PREFIXD_RETURN_IF_ERROR(CheckMessageSize(bytes, options_.max_message_bytes));
    item->request = std::make_unique<Offered>(*request, options_.image_digests, options_.sent);
    item->bytes = bytes;
    open_bytes_ += bytes;
    ++num_open_;
    Send(first_ + static_cast<int64_t>(items_.size()) - 1, *item);
    return absl::OkStatus();
  }

  void Send(int64_t index, const Item& item) {
    if (item.request->offer().has_offered()) ++num_offered_;
    sent_.push_back(index);
    v1::ClassifyBatchRequest message;
    *message.mutable_request() = item.request->message();
    may_write_ = stream_.Write(message);  // If false, Read tells the end, and Finish why.
  }

  // Takes the answer to the oldest request on the way, or sends that again.
  absl::Status Take(v1::ClassifyBatchResponse* response) {
    const int64_t index = num_answers_++;
    if (sent_.empty() || response->index() != index) {
      return absl::DataLossError(absl::StrCat("the server answered request ", response->index(),
                                              " of the stream, expected ", index));
    }
    const int64_t place = sent_.front();
    sent_.pop_front();
    Item* const item = &items_[static_cast<size_t>(place - first_)];
    ImageOffer& offer = item->request->offer();
    if (offer.has_offered()) --num_offered_;
    switch (response->result_case()) {
      case v1::ClassifyBatchResponse::kResponse:
        offer.Taken();
        item->result.emplace(std::move(*response->mutable_response()));
        break;
      case v1::ClassifyBatchResponse::kError: {
        const absl::Status status = FromRpcStatus(response->error());
        if (may_write_ && offer.PutBack(status)) {
          Send(place, *item);
          return absl::OkStatus();
        }
        item->result.emplace(status.ok() ? NoResult() : status);
        break;
      }
      case v1::ClassifyBatchResponse::RESULT_NOT_SET:
        item->result.emplace(NoResult());
        break;
    }
    item->request.reset();
    return absl::OkStatus();
  }

  static absl::Status NoResult() {
    return absl::DataLossError("the server's answer holds neither a ranking nor an error");
  }

  // Hands on the results whose turn it is; false if no more are wanted.
  bool Deliver() {
    while (!items_.empty() && items_.front().result) {
      const Item item = std::move(items_.front());
      items_.pop_front();
      if (item.bytes > 0) {
        open_bytes_ -= item.bytes;
        --num_open_;
      }
      if (!on_result_(first_++, *item.result)) return false;
    }
    return true;
  }

  absl::Status Leave() {
    context_.TryCancel();
    for (v1::ClassifyBatchResponse rest; stream_.Read(&rest);) {
    }
    static_cast<void>(stream_.Finish());
    return absl::OkStatus();
  }

  ClassifyBatchStream& stream_;
  grpc::ClientContext& context_;
  const ClassifyBatchOptions& options_;
  const NextClassification& next_;
  const OnClassified& on_result_;

  std::deque<Item> items_;    // In the order in which they were handed out.
  int64_t first_ = 0;         // Number of items_.front().
  std::deque<int64_t> sent_;  // Numbers of the items that wait for an answer, as they were sent.
  int64_t num_answers_ = 0;
  size_t num_open_ = 0;  // Items with a request on the wire whose result was not taken yet.
  size_t open_bytes_ = 0;
  int num_offered_ = 0;  // Messages on the way that may have to be sent again.
  bool may_write_ = true;
  bool handed_out_all_ = false;
};

}  // namespace

absl::Status CheckMessageSize(size_t bytes, size_t max_message_bytes) {
  if (bytes <= max_message_bytes) return absl::OkStatus();
  const std::string limit = absl::StrCat(max_message_bytes);
  return MakeError(absl::StatusCode::kInvalidArgument, "REQUEST_TOO_LARGE",
                   absl::StrCat("the request has ", bytes, " bytes, the limit is ", limit),
                   {{"bytes", absl::StrCat(bytes)}, {"limit_bytes", limit}});
}

absl::Status ClassifyOver(ClassifyBatchStream* stream, grpc::ClientContext* context,
                          const ClassifyBatchOptions& options, const NextClassification& next,
                          const OnClassified& on_result) {
  return Exchange(stream, context, options, next, on_result).Run();
}

}  // namespace prefixd
