#include "tests/simulation/scenario.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"

namespace prefixd::simulation {
namespace {

constexpr Field<Config> kConfigFields[] = {
    {"layers", &Config::layers, 1},
    {"pages", &Config::pages, 16},
    {"context", &Config::context, 64},
    {"vocab", &Config::vocab, 16},
    {"max_running", &Config::max_running, 4},
    {"max_batch", &Config::max_batch, 16},
    {"chunk", &Config::chunk, 0},
    {"max_output", &Config::max_output, 64},
    {"image_rows", &Config::image_rows, 3},
    {"tower_steps", &Config::tower_steps, 1},
    {"tower_rows", &Config::tower_rows, 1},
    {"cache", &Config::cache, 0},
    {"reserve", &Config::reserve, 0},
    {"key_bits", &Config::key_bits, 256},
    {"features", &Config::features, 0},
    {"pinned_share", &Config::pinned_share, 50},
    {"fail_all", &Config::fail_all, 0},
};

constexpr Field<TenantSpec> kTenantFields[] = {
    {"weight", &TenantSpec::weight, 1},
    {"share", &TenantSpec::share, 100},
    {"floor", &TenantSpec::floor, 0},
    {"max_running", &TenantSpec::max_running, 64},
};

constexpr Field<RequestSpec> kRequestFields[] = {
    {"at", &RequestSpec::at, 0},
    {"max_tokens", &RequestSpec::max_tokens, 1},
    {"choices", &RequestSpec::choices, 1},
    {"priority", &RequestSpec::priority, 0},
    {"tenant", &RequestSpec::tenant, 0},
    {"salt", &RequestSpec::salt, 0},
    {"bypass", &RequestSpec::bypass, 0},
    {"deadline", &RequestSpec::deadline, 0},
    {"soft_limit", &RequestSpec::soft_limit, 0},
    {"temperature", &RequestSpec::temperature, 0},
    {"top_k", &RequestSpec::top_k, 0},
    {"seed", &RequestSpec::seed, 0},
    {"penalty", &RequestSpec::penalty, 0},
    {"min_tokens", &RequestSpec::min_tokens, 0},
    {"ignore_eos", &RequestSpec::ignore_eos, 0},
    {"stop_token", &RequestSpec::stop_token, 0},
    {"stop_first", &RequestSpec::stop_first, 0},
    {"stop_second", &RequestSpec::stop_second, 0},
    {"logprobs", &RequestSpec::logprobs, 0},
    {"retention", &RequestSpec::retention, 0},
    {"policy", &RequestSpec::policy, 0},
    {"budget", &RequestSpec::budget, 1000},
    {"start_size", &RequestSpec::start_size, 1},
    {"protect", &RequestSpec::protect, 1},
    {"distance", &RequestSpec::distance, -25},
    {"prefix", &RequestSpec::prefix, 0},
    {"pin", &RequestSpec::pin, 0},
    {"cancel_at", &RequestSpec::cancel_at, 0},
    {"stall_at", &RequestSpec::stall_at, 0},
    {"stall_steps", &RequestSpec::stall_steps, 0},
};

constexpr absl::string_view kActionNames[] = {
    "cancel",     "drain",      "stall", "resume",  "clock_jump",  "slow_step",   "forward_fails",
    "copy_fails", "logits_nan", "flush", "release", "image_fails", "gather_fails"};
static_assert(std::size(kActionNames) == static_cast<size_t>(ActionKind::kCount));

template <typename T>
void AppendFields(absl::Span<const Field<T>> fields, const T& item, std::string* out) {
  const T defaults;
  for (const Field<T>& field : fields) {
    if (item.*field.member != defaults.*field.member) {
      absl::StrAppend(out, " ", field.name, "=", item.*field.member);
    }
  }
}

absl::StatusOr<int64_t> ParseNumber(absl::string_view text) {
  int64_t value = 0;
  if (absl::SimpleAtoi(text, &value)) return value;
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not a number"));
}

absl::StatusOr<std::vector<int64_t>> ParseList(absl::string_view text) {
  std::vector<int64_t> list;
  for (const absl::string_view item : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    PREFIXD_ASSIGN_OR_RETURN(const int64_t value, ParseNumber(item));
    list.push_back(value);
  }
  return list;
}

using Pair = std::pair<absl::string_view, absl::string_view>;

template <typename T>
absl::Status ParseField(absl::Span<const Field<T>> fields, const Pair& pair, T* item) {
  for (const Field<T>& field : fields) {
    if (pair.first != field.name) continue;
    PREFIXD_ASSIGN_OR_RETURN(item->*field.member, ParseNumber(pair.second));
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown number \"", pair.first, "\""));
}

absl::Status ParseRequest(absl::Span<const Pair> pairs, RequestSpec* request) {
  for (const Pair& pair : pairs) {
    if (pair.first == "prompt") {
      PREFIXD_ASSIGN_OR_RETURN(request->prompt, ParseList(pair.second));
    } else if (pair.first == "id") {
      PREFIXD_ASSIGN_OR_RETURN(request->id, ParseNumber(pair.second));
    } else {
      PREFIXD_RETURN_IF_ERROR(ParseField(RequestFields(), pair, request));
    }
  }
  return absl::OkStatus();
}

absl::Status ParseAction(absl::Span<const Pair> pairs, Action* action) {
  for (const auto& [name, value] : pairs) {
    if (name == "kind") {
      const auto* found = std::find(std::begin(kActionNames), std::end(kActionNames), value);
      if (found == std::end(kActionNames)) {
        return absl::InvalidArgumentError(absl::StrCat("unknown action \"", value, "\""));
      }
      action->kind = static_cast<ActionKind>(found - std::begin(kActionNames));
      continue;
    }
    PREFIXD_ASSIGN_OR_RETURN(const int64_t number, ParseNumber(value));
    if (name == "at") action->at = number;
    if (name == "request") action->request = number;
    if (name == "value") action->value = number;
  }
  return absl::OkStatus();
}

absl::Status Limit(absl::string_view name, int64_t value, int64_t low, int64_t high) {
  if (low <= value && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is ", value, ", must be in [", low, ", ", high, "]"));
}

absl::Status ValidateConfig(const Config& config) {
  PREFIXD_RETURN_IF_ERROR(Limit("layers", config.layers, 1, 64));
  PREFIXD_RETURN_IF_ERROR(Limit("pages", config.pages, 1, 1 << 16));
  PREFIXD_RETURN_IF_ERROR(Limit("context", config.context, 2, 1 << 16));
  PREFIXD_RETURN_IF_ERROR(Limit("vocab", config.vocab, 4, 1000));
  PREFIXD_RETURN_IF_ERROR(Limit("max_running", config.max_running, 1, 64));
  PREFIXD_RETURN_IF_ERROR(Limit("max_batch", config.max_batch, config.max_running, 1 << 12));
  PREFIXD_RETURN_IF_ERROR(Limit("chunk", config.chunk, 0, 1 << 12));
  PREFIXD_RETURN_IF_ERROR(Limit("max_output", config.max_output, 1, 1 << 12));
  PREFIXD_RETURN_IF_ERROR(Limit("image_rows", config.image_rows, 1, 63));
  PREFIXD_RETURN_IF_ERROR(Limit("tower_steps", config.tower_steps, 1, 64));
  PREFIXD_RETURN_IF_ERROR(Limit("tower_rows", config.tower_rows, 1, 64));
  PREFIXD_RETURN_IF_ERROR(Limit("cache", config.cache, 0, 1));
  PREFIXD_RETURN_IF_ERROR(Limit("key_bits", config.key_bits, 1, 256));
  PREFIXD_RETURN_IF_ERROR(Limit("features", config.features, 0, 1 << 20));
  return Limit("pinned_share", config.pinned_share, 0, 100);
}

absl::Status ValidateTenants(absl::Span<const TenantSpec> tenants) {
  PREFIXD_RETURN_IF_ERROR(Limit("tenants", static_cast<int64_t>(tenants.size()), 0, 64));
  int64_t floors = 0;
  for (const TenantSpec& tenant : tenants) {
    PREFIXD_RETURN_IF_ERROR(Limit("weight", tenant.weight, 1, 1000));
    PREFIXD_RETURN_IF_ERROR(Limit("share", tenant.share, 1, 100));
    PREFIXD_RETURN_IF_ERROR(Limit("floor", tenant.floor, 0, tenant.share));
    PREFIXD_RETURN_IF_ERROR(Limit("max_running", tenant.max_running, 1, 1000));
    floors += tenant.floor;
  }
  return Limit("the sum of floors", floors, 0, 100);
}

absl::Status ValidateRequest(const Scenario& scenario, const RequestSpec& request) {
  const Config& config = scenario.config;
  int64_t rows = 0;
  for (const int64_t token : request.prompt) {
    PREFIXD_RETURN_IF_ERROR(Limit("token", token, -8, config.vocab - 2));
    if (token == 0) return absl::InvalidArgumentError("the end of sequence in a prompt");
    rows += token < 0 ? config.image_rows : 1;
  }
  PREFIXD_RETURN_IF_ERROR(Limit("prompt rows", rows, 1, config.context - 1));
  PREFIXD_RETURN_IF_ERROR(Limit("max_tokens", request.max_tokens, 0, 1 << 16));
  PREFIXD_RETURN_IF_ERROR(Limit("choices", request.choices, 1, 8));
  const auto tenants = static_cast<int64_t>(scenario.tenants.size());
  PREFIXD_RETURN_IF_ERROR(Limit("tenant", request.tenant, 0, std::max<int64_t>(0, tenants - 1)));
  PREFIXD_RETURN_IF_ERROR(Limit("salt", request.salt, 0, 3));
  PREFIXD_RETURN_IF_ERROR(Limit("id", request.id, 1, 10000));
  PREFIXD_RETURN_IF_ERROR(Limit("retention", request.retention, kOff, kByDefault));
  PREFIXD_RETURN_IF_ERROR(
      Limit("policy", request.policy, 0, static_cast<int64_t>(std::size(kPolicyNames)) - 1));
  PREFIXD_RETURN_IF_ERROR(Limit("budget", request.budget, 1, 1000));
  PREFIXD_RETURN_IF_ERROR(Limit("start_size", request.start_size, 0, 1024));
  PREFIXD_RETURN_IF_ERROR(Limit("protect", request.protect, 1, 1024));
  PREFIXD_RETURN_IF_ERROR(Limit("distance", request.distance, -65536, 65536));
  PREFIXD_RETURN_IF_ERROR(Limit("prefix", request.prefix, 0, 1 << 16));
  if (request.pin != 0) {
    PREFIXD_RETURN_IF_ERROR(Limit("retention of a pin", request.retention, kOff, kOff));
    PREFIXD_RETURN_IF_ERROR(Limit("choices of a pin", request.choices, 1, 1));
    PREFIXD_RETURN_IF_ERROR(Limit("bypass of a pin", request.bypass, 0, 0));
    PREFIXD_RETURN_IF_ERROR(Limit("cache below a pin", config.cache, 1, 1));
    PREFIXD_RETURN_IF_ERROR(Limit("soft_limit of a pin", request.soft_limit, 0, 0));
  }
  PREFIXD_RETURN_IF_ERROR(Limit("stop_token", request.stop_token, 0, config.vocab - 2));
  PREFIXD_RETURN_IF_ERROR(Limit("stop_first", request.stop_first, 0, config.vocab - 2));
  return Limit("stop_second", request.stop_second, 0, config.vocab - 2);
}

}  // namespace

absl::Span<const Field<Config>> ConfigFields() { return kConfigFields; }
absl::Span<const Field<TenantSpec>> TenantFields() { return kTenantFields; }
absl::Span<const Field<RequestSpec>> RequestFields() { return kRequestFields; }

absl::string_view ActionName(ActionKind kind) { return kActionNames[static_cast<size_t>(kind)]; }

std::string Print(const Scenario& scenario) {
  std::string out = "config";
  AppendFields(ConfigFields(), scenario.config, &out);
  for (const TenantSpec& tenant : scenario.tenants) {
    out += "\ntenant";
    AppendFields(TenantFields(), tenant, &out);
  }
  absl::StrAppend(&out, "\ndurations of=", absl::StrJoin(scenario.durations, ","), "\n");
  for (const RequestSpec& request : scenario.requests) {
    absl::StrAppend(&out, "request id=", request.id);
    AppendFields(RequestFields(), request, &out);
    absl::StrAppend(&out, " prompt=", absl::StrJoin(request.prompt, ","), "\n");
  }
  for (const Action& action : scenario.actions) {
    absl::StrAppend(&out, "action at=", action.at, " kind=", ActionName(action.kind));
    if (action.request != 0) absl::StrAppend(&out, " request=", action.request);
    if (action.value != 0) absl::StrAppend(&out, " value=", action.value);
    out += "\n";
  }
  return out;
}

absl::StatusOr<Scenario> Parse(absl::string_view text) {
  Scenario scenario;
  for (const absl::string_view line : absl::StrSplit(text, absl::ByAnyChar("\n;"))) {
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (words.empty()) continue;
    std::vector<Pair> pairs;
    for (size_t i = 1; i < words.size(); ++i) {
      pairs.push_back(absl::StrSplit(words[i], absl::MaxSplits('=', 1)));
    }
    if (words[0] == "config") {
      for (const Pair& pair : pairs) {
        PREFIXD_RETURN_IF_ERROR(ParseField(ConfigFields(), pair, &scenario.config));
      }
    } else if (words[0] == "tenant") {
      TenantSpec& tenant = scenario.tenants.emplace_back();
      for (const Pair& pair : pairs) {
        PREFIXD_RETURN_IF_ERROR(ParseField(TenantFields(), pair, &tenant));
      }
    } else if (words[0] == "durations" && pairs.size() == 1) {
      PREFIXD_ASSIGN_OR_RETURN(scenario.durations, ParseList(pairs[0].second));
    } else if (words[0] == "request") {
      PREFIXD_RETURN_IF_ERROR(ParseRequest(pairs, &scenario.requests.emplace_back()));
    } else if (words[0] == "action") {
      PREFIXD_RETURN_IF_ERROR(ParseAction(pairs, &scenario.actions.emplace_back()));
    } else {
      return absl::InvalidArgumentError(absl::StrCat("cannot read \"", line, "\""));
    }
  }
  PREFIXD_RETURN_IF_ERROR(Validate(scenario));
  return scenario;
}

absl::Status Validate(const Scenario& scenario) {
  PREFIXD_RETURN_IF_ERROR(ValidateConfig(scenario.config));
  PREFIXD_RETURN_IF_ERROR(ValidateTenants(scenario.tenants));
  if (scenario.durations.empty()) return absl::InvalidArgumentError("no durations");
  for (const int64_t duration : scenario.durations) {
    PREFIXD_RETURN_IF_ERROR(Limit("duration", duration, 1, 1'000'000'000));
  }
  for (const RequestSpec& request : scenario.requests) {
    PREFIXD_RETURN_IF_ERROR(ValidateRequest(scenario, request));
  }
  return absl::OkStatus();
}

}  // namespace prefixd::simulation
