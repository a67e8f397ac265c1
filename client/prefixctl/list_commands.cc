#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "client/prefixctl/commands.h"
#include "client/prefixctl/exit_code.h"
#include "client/prefixctl/json_events.h"
#include "client/prefixctl/proto_time.h"
#include "client/prefixctl/retention_text.h"
#include "client/prefixctl/table.h"

namespace prefixd::ctl {
namespace {

std::string StateName(const std::string& name, absl::string_view prefix) {
  return absl::AsciiStrToLower(absl::StripPrefix(name, prefix));
}

std::string ModelStateName(const v1::Model& model) {
  return StateName(v1::ModelState_Name(model.state()), "MODEL_STATE_");
}

const char* YesNo(bool value) { return value ? "yes" : "no"; }

std::string Defaults(const v1::SamplingParams& sampling) {
  return absl::StrFormat("temperature %g, top_p %g, top_k %d, repetition_penalty %g",
                         sampling.temperature(), sampling.top_p(), sampling.top_k(),
                         sampling.repetition_penalty());
}

std::string Megabytes(uint64_t bytes) {
  return absl::StrFormat("%.1f MB", static_cast<double>(bytes) / 1e6);
}

std::string Names(const google::protobuf::RepeatedPtrField<std::string>& names) {
  return names.empty() ? "none" : absl::StrJoin(names, ", ");
}

}  // namespace

int RunModelsList(Session* session) {
  const auto models = session->client->ListModels();
  if (!models.ok()) return Fail(session, models.status());
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "STATE", "FAMILY", "WEIGHTS", "SIZE", "CONTEXT", "IMAGES"}};
  for (const v1::Model& model : *models) {
    if (session->options.json) PrintLine(ModelLine(model));
    rows.push_back({model.name(), ModelStateName(model), model.family(), model.weights_dtype(),
                    Megabytes(model.weight_bytes()), absl::StrCat(model.limits().context_length()),
                    YesNo(model.capabilities().images())});
  }
  if (!session->options.json) Print(FormatTable(rows));
  return kExitOk;
}

int RunModelsShow(Session* session) {
  const auto model = session->client->GetModel(session->options.model);
  if (!model.ok()) return Fail(session, model.status());
  if (session->options.json) {
    PrintLine(ModelLine(*model));
    return kExitOk;
  }
  const v1::ModelLimits& limits = model->limits();
  const v1::ModelCapabilities& can = model->capabilities();
  Print(FormatTable({
      {"name", model->name()},
      {"state", ModelStateName(*model)},
      {"family", model->family()},
      {"parameters", absl::StrCat(model->num_parameters())},
      {"weights", absl::StrCat(model->weights_dtype(), ", ", Megabytes(model->weight_bytes()))},
      {"digest", model->digest()},
      {"chat template", model->chat_template().empty() ? "none" : model->chat_template()},
      {"takes images", YesNo(can.images())},
      {"prefix cache", YesNo(can.prefix_cache())},
      {"context", absl::StrCat(limits.context_length(), " tokens")},
      {"longest answer", absl::StrCat(limits.max_output_tokens(), " tokens")},
      {"images",
       absl::StrCat("up to ", limits.max_images(), ", ", limits.tokens_per_image(),
                    " tokens and at most ", Megabytes(limits.max_image_bytes()), " each")},
      {"defaults", Defaults(model->sampling_defaults())},
      {"retention", model->retention_defaults().has_scope()
                        ? DescribeRetention(model->retention_defaults())
                        : "none"},
      {"policies", Names(model->retention_policies())},
      {"profiles", Names(model->retention_profiles())},
  }));
  return kExitOk;
}

int RunPs(Session* session) {
  const auto list = session->client->ListRequests();
  if (!list.ok()) return Fail(session, list.status());
  std::vector<std::vector<std::string>> rows = {{"REQUEST", "STATE", "TENANT", "PRIORITY", "PROMPT",
                                                 "CACHED", "COMPUTED", "GENERATED", "KV PAGES",
                                                 "POSITIONS", "PREEMPTED", "AGE"}};
  for (const v1::RequestSummary& request : list->requests()) {
    if (session->options.json) PrintLine(RequestLine(request));
    rows.push_back({request.request_id(),
                    StateName(v1::RequestState_Name(request.state()), "REQUEST_STATE_"),
                    request.tenant().empty() ? "-" : request.tenant(),
                    absl::StrCat(request.priority()), absl::StrCat(request.prompt_tokens()),
                    absl::StrCat(request.cached_tokens()), absl::StrCat(request.computed_tokens()),
                    absl::StrCat(request.generated_tokens()), absl::StrCat(request.kv_pages()),
                    absl::StrCat(request.cached_positions()), absl::StrCat(request.preemptions()),
                    absl::StrFormat("%.1f s", ToMillis(request.age()) / 1e3)});
  }
  if (session->options.json) return kExitOk;
  if (list->requests().empty()) {
    session->messages.Note("no requests");
    return kExitOk;
  }
  Print(FormatTable(rows));
  session->messages.Note(absl::StrCat(list->running(), " running, ", list->waiting(), " waiting"));
  return kExitOk;
}

}  // namespace prefixd::ctl
