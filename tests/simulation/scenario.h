// Everything that a run does, in plain numbers: the shape of the core, the requests, and what
// happens to them. Equal scenarios give equal runs, so a scenario is what is printed, replayed and
// shrunk. Times are microseconds of virtual time since start.
#ifndef PREFIXD_TESTS_SIMULATION_SCENARIO_H_
#define PREFIXD_TESTS_SIMULATION_SCENARIO_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace prefixd::simulation {

// RequestSpec::retention.
inline constexpr int64_t kOff = 0, kExact = 1, kShared = 2, kByDefault = 3;
inline constexpr absl::string_view kPolicyNames[] = {
    "prefixkv", "local",     "h2o",           "snapkv",          "random",           "full",
    "elastic",  "pyramidkv", "streaming-llm", "prefixkv-window", "prefixkv-debiased"};

struct Config {
  int64_t layers = 1, pages = 16, context = 64, vocab = 16;
  int64_t max_running = 4, max_batch = 16, chunk = 0, max_output = 64;
  int64_t image_rows = 3, tower_steps = 1, tower_rows = 1;
  int64_t cache = 1;          // Prefixes are shared.
  int64_t reserve = 0;        // Admission by all that a request may ever hold.
  int64_t key_bits = 256;     // Of the index's keys that count.
  int64_t features = 0;       // Bytes of the feature cache.
  int64_t pinned_share = 50;  // Most of the pool that pins hold, in percent.
  int64_t fail_all = 0;       // 1: the run ends as by SIGTERM instead of healing.
};

// In percent of the pool. Without tenants there is one, without limits.
struct TenantSpec {
  int64_t weight = 1, share = 100, floor = 0, max_running = 64;
};

// Token ids: 0 is the end of sequence, vocab - 1 the image placeholder.
struct RequestSpec {
  int64_t id = 0, at = 0;
  int64_t max_tokens = 1, choices = 1, priority = 0;  // max_tokens 0: unset.
  int64_t tenant = 0, salt = 0, bypass = 0;
  int64_t deadline = 0, soft_limit = 0;                     // After arrival; 0: none.
  int64_t temperature = 0, top_k = 0, seed = 0;             // Temperature in tenths.
  int64_t penalty = 0, min_tokens = 0, ignore_eos = 0;      // Penalty in tenths, of all kinds.
  int64_t stop_token = 0, stop_first = 0, stop_second = 0;  // 0: none. Two make a stop string.
  int64_t logprobs = 0;                                     // Alternatives + 1; 0: none.
  // A KV budget. Scope: kOff and so on, or kByDefault, which means SHARED where it is possible.
  // Policy: of kPolicyNames. Budget: in thousandths. The named prefix has the first `prefix` items
  // of the prompt; 0: none is named.
  int64_t retention = 0, policy = 0, budget = 1000, start_size = 1, protect = 1, distance = -25;
  int64_t prefix = 0;
  // 0: a request for tokens. Else its prompt is a prefix to pin for so long, and most of the above
  // is without meaning.
  int64_t pin = 0;
  // What its client does when so many tokens of all choices came: goes away, or reads nothing
  // during some steps. 0: never.
  int64_t cancel_at = 0, stall_at = 0, stall_steps = 0;
  std::vector<int64_t> prompt;  // Token ids; -1 - m stands for image m.
};

enum class ActionKind : int64_t {
  kCancel,        // `request`, like a client that went away.
  kDrain,         // `request`, like a server that shuts down.
  kStall,         // The sink of `request` stops taking events.
  kResume,        // It takes them again.
  kClockJump,     // The clock moves forward by `value`.
  kSlowStep,      // The next step takes `value` longer.
  kForwardFails,  // The next forward pass fails as a whole.
  kCopyFails,     // The next copy of pages fails, and its step with it.
  kLogitsNan,     // Logits row `value` (modulo their number) of the next step holds a NaN.
  kFlush,         // Of the tenant `value` - 1, or of all (0).
  kRelease,       // The prefix that `request` pinned.
  kImageFails,    // The next `value` + 1 tower steps fail.
  kGatherFails,   // The next move of slots fails, and its request with it.
  kCount,
};

struct Action {
  int64_t at = 0;
  ActionKind kind = ActionKind::kCancel;
  int64_t request = 0, value = 0;
};

struct Scenario {
  Config config;
  std::vector<TenantSpec> tenants;
  std::vector<int64_t> durations;     // Of steps, in turn; never empty in a run, each >= 1.
  std::vector<RequestSpec> requests;  // Ids distinct.
  std::vector<Action> actions;
};

// A number of a config or request: its name, where it is, and the value that says the least.
template <typename T>
struct Field {
  const char* name;
  int64_t T::*member;
  int64_t simplest;
};
absl::Span<const Field<Config>> ConfigFields();
absl::Span<const Field<TenantSpec>> TenantFields();
absl::Span<const Field<RequestSpec>> RequestFields();

absl::string_view ActionName(ActionKind kind);

// One item a line; numbers that have their default are left out. Parse takes ';' for a line's end.
std::string Print(const Scenario& scenario);
absl::StatusOr<Scenario> Parse(absl::string_view text);

// Whether a run can take it: sizes in range, prompts that fit the context, one step's duration.
absl::Status Validate(const Scenario& scenario);

}  // namespace prefixd::simulation

#endif  // PREFIXD_TESTS_SIMULATION_SCENARIO_H_
