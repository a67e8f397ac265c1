// The command line of prefixctl.
#ifndef PREFIXD_CLIENT_PREFIXCTL_OPTIONS_H_
#define PREFIXD_CLIENT_PREFIXCTL_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/prefixctl/classification.h"
#include "prefixd/v1/params.pb.h"

namespace prefixd::ctl {

enum class Command {
  kRun,
  kCount,
  kModelsList,
  kModelsShow,
  kPs,
  kHealth,
  kWait,
  kVersion,
  kDoctor,
  kPrefixCreate,
  kPrefixList,
  kPrefixShow,
  kPrefixTouch,
  kPrefixRelease,
  kCacheStats,
  kCacheFlush,
  kTop,
  kClassify,
  kClassSetList,
  kClassSetGet,
  kClassSetCreate,
  kClassSetDelete,
  kScore,
};

// How an answer is generated. What is not set is the server's to choose.
struct Generation {
  std::optional<int32_t> max_tokens;
  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<int32_t> top_k;
  std::optional<int32_t> num_beams;
  std::optional<float> length_penalty;
  std::optional<uint64_t> seed;
  std::optional<int32_t> logprobs;
  std::vector<std::string> stop;
};

// Writes what is set into the three messages of a request.
void Apply(const Generation& generation, v1::SamplingParams* sampling, v1::StoppingParams* stopping,
           v1::OutputParams* output);

// How much of the KV is kept. What is not set is the server's to choose.
struct Retention {
  std::optional<std::string> scope;  // "off", "exact", "shared".
  std::optional<double> budget;
  std::optional<std::string> policy;
  std::optional<std::string> profile;  // Empty: the prompt's own scores.
};

struct Options {
  Command command = Command::kRun;

  // All commands.
  std::string server = "127.0.0.1:50051";
  std::string admin_server;  // For what AdminService answers; empty: `server`.
  std::string token_file;    // Paths; empty: none.
  std::string tls_ca;
  std::string tls_cert;
  std::string tls_key;
  bool tls = false;
  bool insecure = false;  // A token may travel in plain text.
  bool json = false;
  bool quiet = false;
  bool verbose = false;
  bool no_color = false;
  std::optional<absl::Duration> timeout;

  // run, count, prefix create, classify, score; `model` also in `models show` and class-sets
  // create.
  std::string model;
  std::optional<std::string> prompt;
  std::vector<std::string> images;  // Paths; "-" is stdin.
  std::string system;
  Generation generation;
  Retention retention;  // run
  bool no_wrap = false;
  bool no_kv_cache = false;  // run
  bool raw = false;          // run and count: no chat template.
  bool detect = false;       // run: the answer is a list of boxes in the only picture.
  std::string svg;           // File for the picture with these boxes; empty: none.

  // run, count; `prefix` also in the commands of one prefix, `cache_salt` in `prefix create`.
  std::string prefix;  // As typed: with or without "prefixes/".
  bool no_cache = false;
  std::string cache_salt;
  // prefix create
  std::string prefix_id;  // Empty: drawn by the server.
  std::optional<absl::Duration> ttl;

  // classify, class-sets, score; they use fields above, too.
  Classification classification;

  // health
  std::string service = "ready";
  // doctor: a model directory to look at; empty: none.
  std::string model_directory;

  // cache flush
  std::optional<std::string> tenant;  // Unset: everybody's.
  bool yes = false;                   // Without asking.
  // top
  absl::Duration interval = absl::Seconds(1);  // Between two looks.
  bool once = false;                           // One frame, then the end.
};

// What is printed instead of running a command: help, version, a usage error.
struct EarlyExit {
  int exit_code = 0;
  std::string out;
  std::string err;
};

// Parses the arguments after the program's name. `server` comes from PREFIXD_SERVER where the flag
// is absent, `admin_server` from PREFIXD_ADMIN_SERVER, `token_file` from PREFIXD_TOKEN_FILE.
std::variant<Options, EarlyExit> ParseOptions(const std::vector<std::string>& arguments);

// "30", "1.5", "30s", "2m": seconds unless a unit is given. Nothing for what is no time above zero
// and of at most a year.
std::optional<absl::Duration> ParseTimeout(const std::string& text);

// The candidate nearest to `word` if it is near enough to be meant; empty if none is.
std::string Suggest(absl::string_view word, const std::vector<std::string>& candidates);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_OPTIONS_H_
