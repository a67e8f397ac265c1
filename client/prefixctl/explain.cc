#include "client/prefixctl/explain.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "base/error.h"
#include "client/call_status.h"

namespace prefixd::ctl {
namespace {

// What to do about each reason of the server; errors without a row speak for themselves.
struct Advice {
  const char* reason;
  const char* next_step;
};
constexpr Advice kAdvice[] = {
    {"CONTEXT_LENGTH_EXCEEDED", "shorten the prompt; `prefixctl count` counts its tokens"},
    {"IMAGE_TOO_LARGE", "send a smaller picture; `prefixctl models show` lists the limits"},
    {"IMAGE_FORMAT_UNSUPPORTED", "convert it to PNG or baseline JPEG"},
    {"IMAGE_CORRUPT", "check the file; it is cut off or damaged"},
    {"IMAGE_UNREADABLE", "check the path and its permissions"},
    {"REQUEST_TOO_LARGE", "send smaller or fewer pictures"},
    {"MODEL_NOT_FOUND", "`prefixctl models` lists what is served"},
    {"MODEL_NOT_READY", "use `prefixctl wait`"},
    {"DRAINING",
     "the server is stopping; ask another, or wait for its successor with "
     "`prefixctl wait`"},
    {"ENGINE_FAILED", "the server's log says why"},
    {"KV_CACHE_FULL", "lower --max-tokens, or start prefixd with a larger --kv-memory"},
    {"QUEUE_FULL", "too many requests wait; `prefixctl ps` lists them"},
    {"DEADLINE_UNREACHABLE", "give more time with --timeout, or try later"},
    {"PREFIX_NOT_FOUND",
     "`prefixctl prefix list` lists those that live; pin it again with `prefixctl prefix create`"},
    {"PREFIX_EXISTS", "choose another --id, or let the other go with `prefixctl prefix release`"},
    {"CLASS_SET_NOT_FOUND",
     "`prefixctl class-sets` lists those that there are; store it with `prefixctl class-sets "
     "create`"},
    {"CLASS_SET_EXISTS",
     "choose another id, or forget the other with `prefixctl class-sets delete`"},
    {"TENANT_QUOTA",
     "let prefixes go with `prefixctl prefix release` or class sets with `prefixctl class-sets "
     "delete`, or ask for less at a time"},
    {"IMAGE_NOT_CACHED", "send the picture again"},
    {"UNAUTHENTICATED", "give your token with --token-file FILE or PREFIXD_TOKEN"},
    {"PERMISSION_DENIED",
     "tenants' tokens do not open the admin listener, nor operators' the other"},
    {"TOO_MANY_BAD_TOKENS", "check the token"},
    {"FEATURE_UNSUPPORTED", "`prefixctl models show` lists what the model can do"},
};

// The flags behind fields that the server names.
struct FieldFlag {
  const char* field;
  const char* flag;
};
constexpr FieldFlag kFieldFlags[] = {
    {"sampling.temperature", "--temperature"},
    {"sampling.top_p", "--top-p"},
    {"sampling.top_k", "--top-k"},
    {"sampling.num_beams", "--num-beams"},
    {"sampling.length_penalty", "--length-penalty"},
    {"kv_cache", "--no-kv-cache"},
    {"sampling.seed", "--seed"},
    {"stopping.max_tokens", "--max-tokens"},
    {"stopping.stop", "--stop"},
    {"output.logprobs", "--logprobs"},
    {"retention.scope", "--retention"},
    {"retention.budget", "--budget"},
    {"retention.policy", "--policy"},
    {"retention.profile", "--profile"},
    {"names.prompt.question", "--question"},
    {"prompt.question", "--question"},
    {"prompt.separator", "--separator"},
    {"label_prefix", "--label-prefix"},
    {"class_set_id", "id"},
    {"class_set", "--class-set"},
    {"normalization", "--normalization"},
    {"top_k", "--top-k"},
    {"temperature", "--temperature"},
    {"ensemble", "--ensemble"},
    {"demonstrations", "--demonstrations"},
    {"num_shots", "--shots"},
    {"null_text", "--null-text"},
    {"continuations", "--continuation"},
    {"model", "--model"},
    {"prefix_id", "--id"},
    {"prefix", "--prefix"},
    {"ttl", "--ttl"},
    {"cache_salt", "--cache-salt"},
};

std::string NameOf(const FieldViolation& violation) {
  for (const FieldFlag& entry : kFieldFlags) {
    if (absl::StartsWith(violation.field, entry.field)) return entry.flag;
  }
  return violation.field;
}

// gRPC's own words about a connection end in the system's: "... remote host: Connection refused".
std::string LastPart(absl::string_view message) {
  const size_t colon = message.rfind(": ");
  return std::string(colon == absl::string_view::npos ? message : message.substr(colon + 2));
}

Explanation ExplainConnection(const absl::Status& status, const std::string& server) {
  return {
      .message = absl::StrCat("cannot reach prefixd at ", server, ": ", LastPart(status.message())),
      .next_step =
          "start it with `prefixd --model DIR`, or name another with --server "
          "HOST:PORT or PREFIXD_SERVER; `prefixctl doctor` looks closer"};
}

// The message with a line for each violation. A message about one field only repeats its
// description; then the field's name and the description say it all.
std::string WithViolations(const std::string& message,
                           const std::vector<FieldViolation>& violations) {
  if (violations.size() == 1 && absl::EndsWith(message, violations[0].description)) {
    const std::string name = NameOf(violations[0]);
    return absl::StartsWith(name, "--") ? absl::StrCat(name, ": ", violations[0].description)
                                        : message;
  }
  std::string text = message;
  for (const FieldViolation& violation : violations) {
    absl::StrAppend(&text, "\n  ", NameOf(violation), ": ", violation.description);
  }
  return text;
}

std::string NextStep(const absl::Status& status, const ErrorDetail& detail) {
  std::string step;
  for (const Advice& advice : kAdvice) {
    if (detail.reason == advice.reason) step = advice.next_step;
  }
  if (step.empty() && status.code() == absl::StatusCode::kDeadlineExceeded) {
    step = "give more time with --timeout, or ask for fewer tokens with --max-tokens";
  }
  if (step.empty() && status.code() == absl::StatusCode::kUnimplemented) {
    step =
        "AdminService may have an address of its own: --admin-server HOST:PORT; or client and "
        "server do not fit together";
  }
  if (detail.retry_after) {
    absl::StrAppend(&step, step.empty() ? "" : "; ", "try again in ",
                    absl::FormatDuration(*detail.retry_after));
  }
  return step;
}

}  // namespace

Explanation Explain(const absl::Status& status, const std::string& server) {
  const ErrorDetail detail = GetErrorDetail(status).value_or(ErrorDetail{});
  if (status.code() == absl::StatusCode::kUnavailable && detail.reason.empty()) {
    return ExplainConnection(status, server);
  }
  Explanation explanation{.message = std::string(status.message())};
  if (explanation.message.empty()) {
    explanation.message = absl::StatusCodeToString(status.code());
  }
  explanation.message = WithViolations(explanation.message, detail.field_violations);
  if (const std::string id = GetRequestId(status); !id.empty()) {
    absl::StrAppend(&explanation.message, " (request ", id, ")");
  }
  explanation.next_step = NextStep(status, detail);
  return explanation;
}

bool TellsNothing(const absl::Status& status) {
  return absl::IsUnimplemented(status) || absl::IsUnauthenticated(status) ||
         absl::IsPermissionDenied(status);
}

std::string LoadProgress(const v1::GetServerInfoResponse& info) {
  if (info.load_bytes_total() == 0) return "starting";
  const double done = static_cast<double>(info.load_bytes_done());
  const double total = static_cast<double>(info.load_bytes_total());
  return absl::StrFormat("%.0f %% (%.1f of %.1f MB)", 100.0 * done / total, done / 1e6,
                         total / 1e6);
}

}  // namespace prefixd::ctl
