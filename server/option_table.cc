#include "server/option_table.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "server/option_parts.h"

namespace prefixd {
namespace {

constexpr int64_t kKiB = 1024;
constexpr int64_t kMiB = 1024 * kKiB;
constexpr int64_t kTiB = 1024 * 1024 * kMiB;
constexpr int64_t kSecond = 1000;  // Durations have their range in milliseconds.
constexpr int64_t kHour = 3600 * kSecond;

void AddServerOptions(std::vector<OptionSpec>* table) {
  const std::vector<OptionSpec> options = {
      {.name = "config",
       .group = "Server",
       .field = PREFIXD_FIELD(config),
       .help = "YAML file with options; keys are the flag names with _ for -.",
       .in_file = false},
      {.name = "listen",
       .group = "Server",
       .field = PREFIXD_FIELD(listen),
       .help = "HOST:PORT to listen on; port 0 picks a free one."},
      {.name = "port-file",
       .group = "Server",
       .field = PREFIXD_FIELD(port_file),
       .help = "File that gets the port in force once the server listens."},
      {.name = "insecure",
       .group = "Server",
       .field = PREFIXD_FIELD(insecure),
       .help = "Allows to listen beyond the loopback interface without TLS or authentication."},
      {.name = "reflection",
       .group = "Server",
       .field = PREFIXD_FIELD(reflection),
       .help = "Serves gRPC reflection, which grpcurl needs."},
      {.name = "max-request-bytes",
       .group = "Server",
       .field = PREFIXD_FIELD(max_request_bytes),
       .min = 64 * kKiB,
       .max = 1024 * kMiB,
       .help = "Largest request message."},
      {.name = "max-connection-memory",
       .group = "Server",
       .field = PREFIXD_FIELD(max_connection_memory),
       .min = 64 * kMiB,
       .max = kTiB,
       .help = "Memory for messages and buffers of all connections together."},
      {.name = "max-streams",
       .group = "Server",
       .field = PREFIXD_FIELD(max_streams),
       .min = 1,
       .max = 65536,
       .help = "Calls at once on one connection."},
      {.name = "default-deadline",
       .group = "Server",
       .field = PREFIXD_FIELD(default_deadline),
       .min = kSecond,
       .max = 24 * kHour,
       .help = "Deadline of a call that has none."},
      {.name = "max-deadline",
       .group = "Server",
       .field = PREFIXD_FIELD(max_deadline),
       .min = kSecond,
       .max = 24 * kHour,
       .help = "Longer deadlines are cut to this."},
      {.name = "slow-reader-timeout",
       .group = "Server",
       .field = PREFIXD_FIELD(slow_reader_timeout),
       .min = 100,
       .max = kHour,
       .help = "A stream that is not read for this long ends with RESOURCE_EXHAUSTED."},
      {.name = "drain-delay",
       .group = "Server",
       .field = PREFIXD_FIELD(drain_delay),
       .min = 0,
       .max = kHour,
       .help = "After SIGTERM: time to serve on while load balancers take notice."},
      {.name = "drain-timeout",
       .group = "Server",
       .field = PREFIXD_FIELD(drain_timeout),
       .min = 0,
       .max = kHour,
       .help = "After the delay: time for accepted requests to finish."},
      {.name = "log-level",
       .group = "Server",
       .field = PREFIXD_FIELD(log_level),
       .choices = {"trace", "debug", "info", "warn", "error"},
       .help = "Least level that is logged.",
       .reloadable = true},
      {.name = "log-format",
       .group = "Server",
       .field = PREFIXD_FIELD(log_format),
       .choices = {"text", "json"},
       .help = "Form of log lines on stderr."},
  };
  table->insert(table->end(), options.begin(), options.end());
}

void AddModelOptions(std::vector<OptionSpec>* table) {
  const std::vector<OptionSpec> options = {
      {.name = "model",
       .group = "Model",
       .field = PREFIXD_FIELD(engine.model_path),
       .help = "Model directory in the Hugging Face layout, or a GGUF file. Required."},
      {.name = "model-name",
       .group = "Model",
       .field = PREFIXD_FIELD(engine.model_name),
       .help = "Name of the model in requests; empty: the name of the directory or file."},
      {.name = "chat-template",
       .group = "Model",
       .field = PREFIXD_FIELD(engine.chat_template),
       .help =
           "Name of a built-in chat template or path of a .jinja file; empty: the model's own."},
      {.name = "max-output-tokens",
       .group = "Model",
       .field = PREFIXD_FIELD(engine.max_output_tokens),
       .min = 1,
       .max = 1 << 24,
       .help = "Cap of max_tokens in requests."},
      {.name = "max-prompt-bytes",
       .group = "Model",
       .field = PREFIXD_FIELD(engine.max_prompt_bytes),
       .min = kKiB,
       .max = 256 * kMiB,
       .help = "Largest text of a prompt."},
      {.name = "max-images",
       .group = "Model",
       .field = PREFIXD_FIELD(engine.max_images),
       .min = 0,
       .max = 64,
       .help = "Images in a request."},
      {.name = "max-image-bytes",
       .group = "Model",
       .field = PREFIXD_FIELD(engine.max_image_bytes),
       .min = kKiB,
       .max = 256 * kMiB,
       .help = "Largest encoded image."},
      {.name = "image-orientation",
       .group = "Model",
       .field = PREFIXD_FIELD(engine.image_exif_orientation),
       .help = "Turns pictures upright as their EXIF data says."},
      {.name = "image-background",
       .group = "Model",
       .field = PREFIXD_FIELD(engine.image_background),
       .help = "Colour under transparent pixels as R,G,B; drop ignores transparency."},
  };
  table->insert(table->end(), options.begin(), options.end());
}

void AddEngineOptions(std::vector<OptionSpec>* table) {
  const std::vector<OptionSpec> options = {
      {.name = "backend",
       .group = "Engine",
       .field = PREFIXD_FIELD(engine.backend),
       .choices = {"auto", "cpu", "cuda", "ref"},
       .help = "What computes; auto: cuda if there is a card for it, else cpu; ref is slow and "
               "exact."},
      {.name = "cpu-level",
       .group = "Engine",
       .field = PREFIXD_FIELD(engine.cpu_level),
       .choices = {"auto", "portable", "avx2", "avx512", "avx512bf16"},
       .help = "Instructions of the cpu backend; auto takes the best that the CPU has."},
      {.name = "threads",
       .group = "Engine",
       .field = PREFIXD_FIELD(engine.threads),
       .min = 1,
       .max = 256,
       .zero_word = "auto",
       .help = "Threads that compute; auto: one per usable CPU."},
      {.name = "cuda-device",
       .group = "Engine",
       .field = PREFIXD_FIELD(engine.cuda_device),
       .min = 0,
       .max = 1023,
       .help = "Number of the card, as the driver counts those that it shows."},
      {.name = "cuda-deterministic",
       .group = "Engine",
       .field = PREFIXD_FIELD(engine.cuda_deterministic),
       .help = "On a card: bits of an answer that do not depend on its batch, at some cost."},
      {.name = "cuda-module",
       .group = "Engine",
       .field = PREFIXD_FIELD(engine.cuda_module),
       .help = "File of the CUDA backend; empty: libprefixd_cuda.so beside the program."},
      {.name = "kv-memory",
       .group = "Engine",
       .field = PREFIXD_FIELD(engine.kv_memory_bytes),
       .min = kMiB,
       .max = 1024 * kTiB,
       .zero_word = "auto",
       .help = "Memory for keys and values; auto: 25 % of the available memory, on a card 90 % of "
               "what weights and a reserve leave."},
      {.name = "kv-dtype",
       .group = "Engine",
       .field = PREFIXD_FIELD(engine.kv_dtype),
       .choices = {"auto", "f32", "bf16", "f16"},
       .help = "Type of keys and values in memory; auto: f32, on a card bf16; f16 on a card only."},
      {.name = "activation-dtype",
       .group = "Engine",
       .field = PREFIXD_FIELD(engine.activation_dtype),
       .choices = {"auto", "f32", "bf16", "f16"},
       .help = "Type of activations; auto: f32, on a card bf16; without a card bf16 on CPU level "
               "avx512bf16 only."},
      {.name = "max-batch-tokens",
       .group = "Engine",
       .field = PREFIXD_FIELD(engine.max_batch_tokens),
       .min = 1,
       .max = 65536,
       .help = "Tokens of one step, at least max-running: decodes first, the rest is prefill."},
      {.name = "prefill-chunk",
       .group = "Engine",
       .field = PREFIXD_FIELD(engine.prefill_chunk),
       .min = 1,
       .max = 65536,
       .zero_word = "auto",
       .help = "Largest piece of one prompt in a step; auto: max-batch-tokens."},
      {.name = "max-running",
       .group = "Engine",
       .field = PREFIXD_FIELD(engine.max_running),
       .min = 1,
       .max = 4096,
       .help = "Choices that are decoded at once."},
      {.name = "max-queue",
       .group = "Engine",
       .field = PREFIXD_FIELD(engine.max_queue),
       .min = 1,
       .max = 65536,
       .help = "Requests that wait; more are refused."},
      {.name = "max-image-memory",
       .group = "Engine",
       .field = PREFIXD_FIELD(engine.max_image_memory),
       .min = kMiB,
       .max = 1024 * kTiB,
       .help = "Memory for the pixels of all requests; more images are refused."},
      {.name = "step-timeout",
       .group = "Engine",
       .field = PREFIXD_FIELD(engine.step_timeout),
       .min = 0,
       .max = kHour,
       .help =
           "A step that takes longer, and ten times as long as 99 % of those before, hangs: the "
           "daemon exits with status 70. 0: 30 s on a device, 10 min on the CPU."},
      {.name = "prep-threads",
       .group = "Engine",
       .field = PREFIXD_FIELD(engine.prep_threads),
       .min = 1,
       .max = 64,
       .help = "Threads that decode images and tokenise."},
      {.name = "check-invariants",
       .group = "Engine",
       .field = PREFIXD_FIELD(engine.check_invariants),
       .help = "Checks the cache after every step and stops the process on an error; slow."},
  };
  table->insert(table->end(), options.begin(), options.end());
}

void AddSharingOptions(std::vector<OptionSpec>* table) {
  const std::vector<OptionSpec> options = {
      {.name = "prefix-cache",
       .group = "Sharing",
       .field = PREFIXD_FIELD(engine.prefix_cache),
       .help = "Whether requests share the KV of equal prefixes."},
      {.name = "admission",
       .group = "Sharing",
       .field = PREFIXD_FIELD(engine.admission),
       .choices = {"optimistic", "reserve"},
       .help =
           "optimistic: a request starts when its prompt fits, and may be preempted and computed "
           "again; reserve: when all it may ever hold fits."},
      {.name = "feature-cache-memory",
       .group = "Sharing",
       .field = PREFIXD_FIELD(engine.feature_cache_memory),
       .min = 0,
       .max = int64_t{1} << 50,
       .help = "Image features that are kept; 0B: none."},
      {.name = "image-cache-memory",
       .group = "Sharing",
       .field = PREFIXD_FIELD(engine.image_cache_memory),
       .min = 0,
       .max = int64_t{1} << 50,
       .help = "Decoded images that are kept; 0B: none, and no image can be named by its digest."},
      {.name = "pinned-percent",
       .group = "Sharing",
       .field = PREFIXD_FIELD(engine.pinned_percent),
       .min = 0,
       .max = 100,
       .help = "Most of the KV cache that pinned prefixes may hold, percent."},
      {.name = "max-prefixes",
       .group = "Sharing",
       .field = PREFIXD_FIELD(engine.max_prefixes),
       .min = 0,
       .max = 1 << 20,
       .help = "Pinned prefixes of all tenants."},
  };
  table->insert(table->end(), options.begin(), options.end());
}

void AddMetricsOptions(std::vector<OptionSpec>* table) {
  const std::vector<OptionSpec> options = {
      {.name = "metrics-listen",
       .group = "Metrics",
       .field = PREFIXD_FIELD(metrics_listen),
       .help = "HOST:PORT for HTTP with /metrics, /healthz and /readyz; empty: off."},
      {.name = "metrics-port-file",
       .group = "Metrics",
       .field = PREFIXD_FIELD(metrics_port_file),
       .help = "File that gets the HTTP port in force once it listens."},
      {.name = "metrics-compat",
       .group = "Metrics",
       .field = PREFIXD_FIELD(metrics_compat),
       .choices = {"none", "vllm"},
       .help = "vllm adds metrics under the names of vLLM."},
  };
  table->insert(table->end(), options.begin(), options.end());
}

void AddSecurityOptions(std::vector<OptionSpec>* table) {
  const std::vector<OptionSpec> options = {
      {.name = "tenants-file",
       .group = "Security",
       .field = PREFIXD_FIELD(tenants_file),
       .help = "YAML file with tenants, digests of their tokens and their shares; empty: everybody "
               "may call. SIGHUP reads its tokens again.",
       .reloadable = true},
      {.name = "tls-cert",
       .group = "Security",
       .field = PREFIXD_FIELD(tls_cert),
       .help = "PEM file with the server's certificate chain; followed when it changes.",
       .reloadable = true},
      {.name = "tls-key",
       .group = "Security",
       .field = PREFIXD_FIELD(tls_key),
       .help = "PEM file with its private key, not encrypted and not open to everybody.",
       .reloadable = true},
      {.name = "tls-client-ca",
       .group = "Security",
       .field = PREFIXD_FIELD(tls_client_ca),
       .help =
           "PEM file with authorities; clients must show a certificate that one of them issued.",
       .reloadable = true},
      {.name = "admin-listen",
       .group = "Security",
       .field = PREFIXD_FIELD(admin_listen),
       .help = "HOST:PORT for AdminService alone; empty: with the other services, and nowhere if "
               "there are tenants."},
      {.name = "admin-port-file",
       .group = "Security",
       .field = PREFIXD_FIELD(admin_port_file),
       .help = "File that gets the port of admin-listen in force."},
  };
  table->insert(table->end(), options.begin(), options.end());
}

std::vector<OptionSpec> MakeTable() {
  std::vector<OptionSpec> table;
  AddServerOptions(&table);
  AddModelOptions(&table);
  AddEngineOptions(&table);
  AddSharingOptions(&table);
  AddRetentionOptions(&table);
  AddClassificationOptions(&table);
  AddMetricsOptions(&table);
  AddSecurityOptions(&table);
  return table;
}

}  // namespace

absl::Span<const OptionSpec> OptionTable() {
  static const std::vector<OptionSpec>* const table = new std::vector<OptionSpec>(MakeTable());
  return *table;
}

const OptionSpec* FindOption(absl::string_view name) {
  for (const OptionSpec& spec : OptionTable()) {
    if (spec.name == name) return &spec;
  }
  return nullptr;
}

std::string OptionSpec::Flag() const { return absl::StrCat("--", name); }

std::string OptionSpec::Environment() const {
  return absl::StrCat("PREFIXD_", absl::AsciiStrToUpper(Key()));
}

std::string OptionSpec::Key() const { return absl::StrReplaceAll(name, {{"-", "_"}}); }

}  // namespace prefixd
