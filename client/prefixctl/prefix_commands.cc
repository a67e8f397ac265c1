#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "client/call_deadline.h"
#include "client/input.h"
#include "client/prefixctl/ask.h"
#include "client/prefixctl/commands.h"
#include "client/prefixctl/exit_code.h"
#include "client/prefixctl/json_events.h"
#include "client/prefixctl/prefix_options.h"
#include "client/prefixctl/proto_time.h"
#include "client/prefixctl/table.h"

namespace prefixd::ctl {
namespace {

// Whole seconds: "9m58s".
std::string Seconds(const google::protobuf::Duration& duration) {
  return absl::FormatDuration(absl::Trunc(ToDuration(duration), absl::Seconds(1)));
}

std::string Megabytes(uint64_t bytes) {
  return absl::StrFormat("%.1f MB", static_cast<double>(bytes) / 1e6);
}

absl::StatusOr<v1::CreatePrefixRequest> Request(const Options& options) {
  v1::CreatePrefixRequest request;
  request.set_prefix_id(options.prefix_id);
  request.set_model(options.model);
  request.set_cache_salt(options.cache_salt);
  if (options.ttl) SetProto(*options.ttl, request.mutable_ttl());
  v1::ChatInput* const chat = request.mutable_chat();
  if (!options.system.empty()) {
    *chat->add_messages() = TextMessage(v1::ROLE_SYSTEM, options.system);
  }
  if (options.images.empty() && !options.prompt) return request;
  v1::ChatMessage* const user = chat->add_messages();
  user->set_role(v1::ROLE_USER);
  for (const std::string& path : options.images) {
    PREFIXD_ASSIGN_OR_RETURN(*user->add_parts()->mutable_image()->mutable_data(), ReadImage(path));
  }
  if (options.prompt) user->add_parts()->set_text(*options.prompt);
  return request;
}

// What a command that concerns one prefix shows of it.
int Show(const Session& session, const v1::Prefix& prefix) {
  if (session.options.json) {
    PrintLine(PrefixLine(prefix));
    return kExitOk;
  }
  Print(FormatTable({
      {"name", prefix.name()},
      {"model", prefix.model()},
      {"prompt", absl::StrCat(prefix.prompt_tokens(), " tokens, ", prefix.pinned_tokens(),
                              " of them pinned")},
      {"images", absl::StrCat(prefix.images())},
      {"memory", absl::StrCat(Megabytes(prefix.kv_bytes()), " of KV, ",
                              Megabytes(prefix.image_bytes()), " of images")},
      {"requests", absl::StrCat(prefix.requests())},
      {"age", Seconds(prefix.age())},
      {"expires in",
       absl::StrCat(Seconds(prefix.expires_in()), " (ttl ", Seconds(prefix.ttl()), ")")},
  }));
  return kExitOk;
}

}  // namespace

int RunPrefixCreate(Session* session) {
  absl::StatusOr<v1::CreatePrefixRequest> request = Request(session->options);
  if (!request.ok()) return Fail(session, request.status());
  if (request->chat().messages().empty()) {
    session->messages.Error("there is nothing to pin: neither text nor picture",
                            "prefixctl prefix create --id cat -i cat.jpg");
    return kExitUsage;
  }
  const absl::Duration timeout = session->options.timeout.value_or(absl::InfiniteDuration());
  const auto prefix = session->client->CreatePrefix(*request, timeout);
  if (!prefix.ok()) return Fail(session, prefix.status());
  if (session->options.json) return Show(*session, *prefix);
  // The name alone goes to stdout, for scripts.
  PrintLine(prefix->name());
  session->messages.Note(absl::StrCat(prefix->prompt_tokens(), " tokens, kept for ",
                                      Seconds(prefix->ttl()), "; ask with `prefixctl run --prefix ",
                                      prefix->name(), " \"...\"`"));
  return kExitOk;
}

int RunPrefixList(Session* session) {
  const auto prefixes = session->client->ListPrefixes();
  if (!prefixes.ok()) return Fail(session, prefixes.status());
  std::vector<std::vector<std::string>> rows = {
      {"PREFIX", "TOKENS", "PINNED", "IMAGES", "KV", "REQUESTS", "AGE", "EXPIRES IN"}};
  for (const v1::Prefix& prefix : *prefixes) {
    if (session->options.json) PrintLine(PrefixLine(prefix));
    rows.push_back({prefix.name(), absl::StrCat(prefix.prompt_tokens()),
                    absl::StrCat(prefix.pinned_tokens()), absl::StrCat(prefix.images()),
                    Megabytes(prefix.kv_bytes()), absl::StrCat(prefix.requests()),
                    Seconds(prefix.age()), Seconds(prefix.expires_in())});
  }
  if (session->options.json) return kExitOk;
  if (prefixes->empty()) {
    session->messages.Note("no prefixes");
    return kExitOk;
  }
  Print(FormatTable(rows));
  return kExitOk;
}

int RunPrefixShow(Session* session) {
  const auto prefix = session->client->GetPrefix(FullPrefixName(session->options.prefix));
  if (!prefix.ok()) return Fail(session, prefix.status());
  return Show(*session, *prefix);
}

int RunPrefixTouch(Session* session) {
  const auto prefix =
      session->client->TouchPrefix(FullPrefixName(session->options.prefix), session->options.ttl);
  if (!prefix.ok()) return Fail(session, prefix.status());
  return Show(*session, *prefix);
}

int RunPrefixRelease(Session* session) {
  const absl::Status status =
      session->client->ReleasePrefix(FullPrefixName(session->options.prefix));
  if (!status.ok()) return Fail(session, status);
  session->messages.Note("released");
  return kExitOk;
}

}  // namespace prefixd::ctl
