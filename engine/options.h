// Options of an engine, with defaults and limits. Plain values; the server fills them from its
// option table.
#ifndef PREFIXD_ENGINE_OPTIONS_H_
#define PREFIXD_ENGINE_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/classification.h"
#include "engine/request.h"

namespace prefixd {

// One tenant's share of the engine. Without tenants there is one, named "", without caps.
struct TenantOptions {
  std::string name;          // 1..64 of [A-Za-z0-9._-].
  double weight = 1.0;       // (0, 1000]. Work is shared in proportion while tenants compete.
  double page_share = 0.5;   // (0, 1]: most of the pool that its requests and prefixes hold.
  double page_floor = 0.05;  // [0, page_share]: cached columns below it are safe from the others.
  int32_t max_running = 64;  // Choices that run at once.
  int32_t max_queue = 256;   // Requests waiting.
  int32_t max_prefixes = 1000;  // Pinned prefixes.
  int32_t max_priority = 100;   // Higher priorities are lowered to it.
  RetentionParams retention;    // Defaults of its requests; what is unset is the engine's.
};

struct EngineOptions {
  std::string model_path;  // A Hugging Face directory or a GGUF file. Required.
  std::string model_name;  // Empty: the last component of model_path, without .gguf.
  // Name of a built-in chat template, or path of a file with one (it ends with .jinja or has a
  // slash); empty: the model's own.
  std::string chat_template;

  std::string backend = "auto";           // auto, cpu, cuda, ref.
  std::string cpu_level = "auto";         // auto, portable, avx2, avx512, avx512bf16.
  int32_t threads = 0;                    // 0: one per usable CPU.
  int32_t cuda_device = 0;                // The card's number as the driver counts.
  bool cuda_deterministic = false;        // Bits that do not depend on the batch, at some cost.
  std::string cuda_module;                // File of the CUDA backend; empty: beside the program.
  std::string kv_dtype = "auto";          // auto (the backend's own), f32, bf16; cuda: f16.
  std::string activation_dtype = "auto";  // auto (the backend's own), f32, bf16; cuda: f16.
  // 0: of a card with memory of its own most of what the weights leave, else 25 % of the available
  // memory (cgroup-aware).
  uint64_t kv_memory_bytes = 0;

  // A step that takes longer, and ten times as long as 99 % of those before, hangs: the engine has
  // failed. 0: 30 s on a device, 10 min on the CPU.
  absl::Duration step_timeout;

  int32_t max_batch_tokens = 256;  // Rows of one step: decodes first, the rest is prefill.
  int32_t prefill_chunk = 0;       // Largest prefill piece of one sequence; 0: max_batch_tokens.
  int32_t max_running = 64;        // Choices that decode at once.
  int32_t max_queue = 1024;        // Requests waiting for admission, prepared or not.
  uint64_t max_image_memory = 1 << 30;  // Pixels that all live requests hold, bytes.
  int32_t max_output_tokens = 4096;     // Cap of max_tokens.
  int32_t prep_threads = 2;
  uint64_t max_prompt_bytes = 1 << 20;
  uint64_t max_image_bytes = 16 << 20;
  int32_t max_images = 8;
  bool image_exif_orientation = true;
  std::string image_background = "255,255,255";  // R,G,B or drop.

  bool prefix_cache = true;  // Share prefixes between requests.
  // "optimistic": a request starts when its prompt fits, and may be preempted and computed again;
  // "reserve": when all it may ever hold fits.
  std::string admission = "optimistic";
  uint64_t feature_cache_memory = 256 << 20;  // Image features, bytes; 0: none are kept.
  uint64_t image_cache_memory = 256 << 20;    // Decoded images, bytes; 0: none are kept.
  int32_t pinned_percent = 50;                // Most of the pool that pinned prefixes may hold.
  int32_t max_prefixes = 1000;                // Pinned prefixes of all tenants.
  std::vector<TenantOptions> tenants;         // At most 1,000, names distinct.

  // Defaults of retention; docs/retention.md.
  std::string retention = "off";              // off, exact, shared.
  double retention_budget = 1.0;              // [0.001, 1].
  std::string retention_policy = "prefixkv";  // Of RetentionPolicies().
  std::string retention_profile;              // Empty: online counts.
  std::string retention_profiles;             // Directory of offline profiles; empty: none.
  int32_t retention_start_size = 1;           // [0, 1024].
  int32_t retention_protect = 1;              // [1, 1024].
  int32_t retention_distance = -25;           // [-65536, 65536].

  double guard_sample_rate = 0.0;    // [0, 1]: share of requests under a default budget; 0: off.
  double guard_min_agreement = 0.9;  // [0, 1].
  double guard_max_drift = 0.2;      // Nats a token, > 0.
  double guard_budget_step = 0.1;    // (0, 1]: by which the default budget is raised.

  ClassificationOptions classification;

  bool check_invariants = false;  // Check the cache after every step (tests).

  // Errors: INVALID_ARGUMENT naming the option, its value and its range.
  absl::Status Validate() const;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_OPTIONS_H_
