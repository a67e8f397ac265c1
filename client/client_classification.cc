// The part of Client that speaks to ClassificationService.
#include <grpcpp/client_context.h>

#include "base/status_macros.h"
#include "client/call_status.h"
#include "client/client.h"
#include "client/stubs.h"

namespace prefixd {

absl::StatusOr<v1::ClassifyResponse> Client::Classify(const v1::ClassifyRequest& request,
                                                      absl::Duration timeout) {
  v1::ClassifyResponse response;
  const std::function<grpc::Status(grpc::ClientContext*, const v1::ClassifyRequest&)> classify =
      [&](grpc::ClientContext* context, const v1::ClassifyRequest& message) {
        return stubs_->classification.Classify(context, message, &response);
      };
  PREFIXD_RETURN_IF_ERROR(SendOffered(request, timeout, classify));
  return response;
}

absl::Status Client::ClassifyBatch(const NextClassification& next, const OnClassified& on_result,
                                   absl::Duration timeout) {
  grpc::ClientContext context;
  Prepare(timeout, &context);
  const auto stream = stubs_->classification.ClassifyBatch(&context);
  return ClassifyOver(stream.get(), &context,
                      {.max_message_bytes = static_cast<size_t>(options_.max_message_bytes),
                       .image_digests = options_.image_digests,
                       .sent = sent_images_},
                      next, on_result);
}

absl::StatusOr<v1::ScoreResponse> Client::Score(const v1::ScoreRequest& request,
                                                absl::Duration timeout) {
  v1::ScoreResponse response;
  const std::function<grpc::Status(grpc::ClientContext*, const v1::ScoreRequest&)> score =
      [&](grpc::ClientContext* context, const v1::ScoreRequest& message) {
        return stubs_->classification.Score(context, message, &response);
      };
  PREFIXD_RETURN_IF_ERROR(SendOffered(request, timeout, score));
  return response;
}

absl::StatusOr<v1::ClassSet> Client::CreateClassSet(const v1::CreateClassSetRequest& request,
                                                    absl::Duration timeout) {
  v1::CreateClassSetResponse response;
  const std::function<grpc::Status(grpc::ClientContext*, const v1::CreateClassSetRequest&)> create =
      [&](grpc::ClientContext* context, const v1::CreateClassSetRequest& message) {
        return stubs_->classification.CreateClassSet(context, message, &response);
      };
  PREFIXD_RETURN_IF_ERROR(SendOffered(request, timeout, create));
  return response.class_set();
}

absl::StatusOr<v1::ClassSet> Client::GetClassSet(const std::string& name) {
  grpc::ClientContext context;
  Prepare(options_.unary_timeout, &context);
  v1::GetClassSetRequest request;
  request.set_name(name);
  v1::GetClassSetResponse response;
  PREFIXD_RETURN_IF_ERROR(
      FromGrpcStatus(stubs_->classification.GetClassSet(&context, request, &response)));
  return response.class_set();
}

absl::StatusOr<std::vector<v1::ClassSet>> Client::ListClassSets() {
  std::vector<v1::ClassSet> sets;
  v1::ListClassSetsRequest request;
  request.set_page_size(kListPageSize);
  for (int page = 0; page < kMaxListPages; ++page) {
    grpc::ClientContext context;
    Prepare(options_.unary_timeout, &context);
    v1::ListClassSetsResponse response;
    PREFIXD_RETURN_IF_ERROR(
        FromGrpcStatus(stubs_->classification.ListClassSets(&context, request, &response)));
    sets.insert(sets.end(), response.class_sets().begin(), response.class_sets().end());
    if (response.next_page_token().empty()) return sets;
    request.set_page_token(response.next_page_token());
  }
  return absl::DataLossError("the server's list of class sets has no end");
}

absl::Status Client::DeleteClassSet(const std::string& name) {
  grpc::ClientContext context;
  Prepare(options_.unary_timeout, &context);
  v1::DeleteClassSetRequest request;
  request.set_name(name);
  v1::DeleteClassSetResponse response;
  return FromGrpcStatus(stubs_->classification.DeleteClassSet(&context, request, &response));
}

}  // namespace prefixd
