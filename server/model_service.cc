#include "server/model_service.h"

#include "base/status_macros.h"
#include "server/convert.h"
#include "server/paging.h"
#include "server/to_proto.h"
#include "server/unary.h"

namespace prefixd {
namespace {

void DescribeModel(const ServingContext& context, v1::Model* out) {
  ToProto(context.engine->model_info(), context.engine->Stats()->state, context.limits, out);
  out->mutable_capabilities()->set_prefix_cache(context.options.engine.prefix_cache);
}

absl::Status FillModels(const v1::ListModelsRequest& message, const ServingContext& context,
                        v1::ListModelsResponse* response) {
  PREFIXD_ASSIGN_OR_RETURN(const Page page,
                           ChoosePage(message.page_size(), message.page_token(), 1));
  if (page.begin < page.end) {
    DescribeModel(context, response->add_models());
  }
  response->set_next_page_token(page.next_token);
  return absl::OkStatus();
}

absl::Status FillModel(const v1::GetModelRequest& message, const ServingContext& context,
                       v1::GetModelResponse* response) {
  Violations violations;
  PREFIXD_RETURN_IF_ERROR(
      CheckModelName("name", message.name(), context.engine->model_info(), &violations));
  PREFIXD_RETURN_IF_ERROR(violations.ToStatus());
  DescribeModel(context, response->mutable_model());
  return absl::OkStatus();
}

}  // namespace

grpc::ServerUnaryReactor* ModelService::ListModels(grpc::CallbackServerContext* call,
                                                   const v1::ListModelsRequest* message,
                                                   v1::ListModelsResponse* response) {
  return FinishUnary(call, FillModels(*message, context_, response));
}

grpc::ServerUnaryReactor* ModelService::GetModel(grpc::CallbackServerContext* call,
                                                 const v1::GetModelRequest* message,
                                                 v1::GetModelResponse* response) {
  return FinishUnary(call, FillModel(*message, context_, response));
}

}  // namespace prefixd
