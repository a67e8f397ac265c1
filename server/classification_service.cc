#include "server/classification_service.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "server/classification_to_proto.h"
#include "server/classify_batch.h"
#include "server/convert_classification.h"
#include "server/engine_call.h"
#include "server/paging.h"
#include "server/unary.h"

namespace prefixd {
namespace {

// One text for a set that is gone, never was or is another tenant's.
absl::Status NotFoundInOneText(absl::Status status, const std::string& name) {
  if (!absl::IsNotFound(status)) return status;
  return MakeError(absl::StatusCode::kNotFound, reason::kClassSetNotFound,
                   absl::StrCat("no class set named ", name), {{"class_set", name}});
}

// What the caller's identity decides about a request.
template <typename Request>
void SetIdentity(const CallIdentity& identity, Request* request) {
  request->id = identity.request_id;
  request->tenant = identity.caller.tenant;
  request->priority = std::min(request->priority, identity.caller.max_priority);
  request->deadline = identity.deadline;
}

std::function<void(const CallIdentity&)> CancelAt(Classifier* classifier) {
  return [classifier](const CallIdentity& identity) {
    classifier->Cancel(identity.caller.tenant, identity.request_id);
  };
}

}  // namespace

grpc::ServerUnaryReactor* ClassificationService::Classify(grpc::CallbackServerContext* call,
                                                          const v1::ClassifyRequest* message,
                                                          v1::ClassifyResponse* response) {
  Classifier* const classifier = context_.engine->classifier();
  const auto fill = [response](ClassifyResult result) {
    std::string description = Describe(result.usage, result.scoring);
    ToProto(std::move(result), response);
    return description;
  };
  return StartEngineCall<ClassifyResult>(
      &context_, call, message->request_id(), message->ByteSizeLong(),
      {.name = "classify", .fill = fill, .cancel = CancelAt(classifier)},
      [&](const CallIdentity& identity, auto done) -> absl::Status {
        PREFIXD_ASSIGN_OR_RETURN(
            ClassifyRequest request,
            ConvertClassifyRequest(TakeMessage(message), context_.engine->model_info(),
                                   context_.limits));
        SetIdentity(identity, &request);
        classifier->Classify(std::move(request), std::move(done));
        return absl::OkStatus();
      });
}

grpc::ServerBidiReactor<v1::ClassifyBatchRequest, v1::ClassifyBatchResponse>*
ClassificationService::ClassifyBatch(grpc::CallbackServerContext* call) {
  return StartClassifyBatch(&context_, &watch_, call);
}

grpc::ServerUnaryReactor* ClassificationService::Score(grpc::CallbackServerContext* call,
                                                       const v1::ScoreRequest* message,
                                                       v1::ScoreResponse* response) {
  Classifier* const classifier = context_.engine->classifier();
  const auto fill = [response](ScoreResult result) {
    std::string description = Describe(result.usage, result.scoring);
    ToProto(std::move(result), response);
    return description;
  };
  return StartEngineCall<ScoreResult>(
      &context_, call, message->request_id(), message->ByteSizeLong(),
      {.name = "score", .fill = fill, .cancel = CancelAt(classifier)},
      [&](const CallIdentity& identity, auto done) -> absl::Status {
        PREFIXD_ASSIGN_OR_RETURN(
            ScoreRequest request,
            ConvertScoreRequest(TakeMessage(message), context_.engine->model_info(),
                                context_.limits));
        SetIdentity(identity, &request);
        classifier->Score(std::move(request), std::move(done));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ClassificationService::CreateClassSet(
    grpc::CallbackServerContext* call, const v1::CreateClassSetRequest* message,
    v1::CreateClassSetResponse* response) {
  const auto fill = [this, response](ClassSetInfo set) {
    std::string description = absl::StrCat(" name=", set.name, " names=", set.num_names,
                                           " demonstrations=", set.num_demonstrations);
    set.names.clear();
    ToProto(std::move(set), context_.WallNow(), response->mutable_class_set());
    return description;
  };
  return StartEngineCall<ClassSetInfo>(
      &context_, call, "", message->ByteSizeLong(),
      {.name = "create_class_set", .fill = fill, .cancel = nullptr},
      [&](const CallIdentity& identity, auto done) -> absl::Status {
        PREFIXD_ASSIGN_OR_RETURN(
            ClassSetSpec spec,
            ConvertCreateClassSetRequest(TakeMessage(message), context_.engine->model_info(),
                                         context_.limits));
        spec.tenant = identity.caller.tenant;
        context_.engine->classifier()->CreateClassSet(std::move(spec), std::move(done));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* ClassificationService::GetClassSet(grpc::CallbackServerContext* call,
                                                             const v1::GetClassSetRequest* message,
                                                             v1::GetClassSetResponse* response) {
  const auto get = [&]() -> absl::Status {
    PREFIXD_RETURN_IF_ERROR(CheckClassSetRequestName(message->name()));
    PREFIXD_ASSIGN_OR_RETURN(const Principal caller, context_.auth.TenantOf(*call));
    absl::StatusOr<ClassSetInfo> set =
        context_.engine->classifier()->GetClassSet(caller.tenant, message->name());
    if (!set.ok()) return NotFoundInOneText(set.status(), message->name());
    ToProto(*std::move(set), context_.WallNow(), response->mutable_class_set());
    return absl::OkStatus();
  };
  return FinishUnary(call, get());
}

grpc::ServerUnaryReactor* ClassificationService::ListClassSets(
    grpc::CallbackServerContext* call, const v1::ListClassSetsRequest* message,
    v1::ListClassSetsResponse* response) {
  const auto list = [&]() -> absl::Status {
    PREFIXD_ASSIGN_OR_RETURN(const Principal caller, context_.auth.TenantOf(*call));
    std::vector<ClassSetInfo> sets = context_.engine->classifier()->ListClassSets(caller.tenant);
    PREFIXD_ASSIGN_OR_RETURN(const Page page,
                             ChoosePage(message->page_size(), message->page_token(), sets.size()));
    for (size_t i = page.begin; i < page.end; ++i) {
      sets[i].names.clear();
      ToProto(std::move(sets[i]), context_.WallNow(), response->add_class_sets());
    }
    response->set_next_page_token(page.next_token);
    return absl::OkStatus();
  };
  return FinishUnary(call, list());
}

grpc::ServerUnaryReactor* ClassificationService::DeleteClassSet(
    grpc::CallbackServerContext* call, const v1::DeleteClassSetRequest* message,
    v1::DeleteClassSetResponse*) {
  const auto forget = [&]() -> absl::Status {
    PREFIXD_RETURN_IF_ERROR(CheckClassSetRequestName(message->name()));
    PREFIXD_ASSIGN_OR_RETURN(const Principal caller, context_.auth.TenantOf(*call));
    return NotFoundInOneText(
        context_.engine->classifier()->DeleteClassSet(caller.tenant, message->name()),
        message->name());
  };
  return FinishUnary(call, forget());
}

}  // namespace prefixd
