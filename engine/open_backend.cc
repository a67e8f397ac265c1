#include "engine/open_backend.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/checked_math.h"
#include "base/error.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "engine/backend/registry.h"
#include "engine/error_reasons.h"
#include "engine/memory.h"

namespace prefixd {
namespace {

// Share of the host's available memory that the KV cache takes by default.
constexpr uint64_t kHostKvShare = 4;  // A quarter.

// On a card pages are the only use of what is left once weights and buffers have their place, so
// they get most of it; the rest is for what the reserve below only estimates.
constexpr uint64_t kDeviceKvPercent = 90;
constexpr uint64_t kFixedReserve = uint64_t{512} << 20;  // Workspaces, graphs, staging, fragments.
// Elements of activations of one row, in units of the hidden size: residual, norms, q, k, v, the
// output of attention, gate and up projections, their product; about 14 in Llama.
constexpr uint64_t kRowWidths = 20;

absl::Status BadDType(absl::string_view option, absl::string_view value,
                      absl::string_view allowed) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason::kParameterOutOfRange,
                   absl::StrCat(option, " is \"", value, "\", allowed: ", allowed),
                   {{"option", std::string(option)}});
}

// nullopt for "auto".
absl::StatusOr<std::optional<DType>> ParseDType(absl::string_view option, absl::string_view value) {
  if (value == "auto") return std::nullopt;
  if (value == "f32") return DType::kF32;
  if (value == "bf16") return DType::kBF16;
  if (value == "f16") return DType::kF16;
  return BadDType(option, value, "auto, f32, bf16, f16");
}

// Bytes of a card that neither weights nor pages take, as far as they can be told before anything
// is allocated.
uint64_t DeviceReserve(const EngineOptions& options, const ModelSpec& spec, uint64_t element) {
  const auto count = [](int64_t n) { return static_cast<uint64_t>(std::max<int64_t>(n, 0)); };
  uint64_t rows = count(options.max_batch_tokens) + 1;
  if (spec.sharing == Sharing::kWholePrefix) {
    rows = std::max(rows, count(MaxPromptRows(spec)) + count(options.max_running));
  }
  const uint64_t activations = rows * kRowWidths * count(spec.hidden_size) * element;
  const uint64_t logits = 2 * count(options.max_running) * count(spec.vocab_size) * element;
  return kFixedReserve + activations + logits +
         (spec.image.has_value() ? options.feature_cache_memory : 0);
}

// The pool of a backend that has been made.
absl::Status FixPool(const EngineOptions& options, const ModelSpec& spec, OpenedBackend* opened) {
  const BackendInfo& info = opened->backend->info();
  PREFIXD_ASSIGN_OR_RETURN(const std::optional<DType> wanted_kv,
                           ParseDType("kv_dtype", options.kv_dtype));
  PREFIXD_ASSIGN_OR_RETURN(const std::optional<DType> wanted_activation,
                           ParseDType("activation_dtype", options.activation_dtype));
  const DType kv_dtype = wanted_kv.value_or(info.default_kv_dtype);
  if (kv_dtype == DType::kF16 && (info.name == "cpu" || info.name == "ref")) {
    return BadDType("kv_dtype", options.kv_dtype,
                    absl::StrCat("auto, f32, bf16 (backend ", info.name, ")"));
  }
  const bool exact = info.name == "ref";
  const DType stored = exact ? DType::kF64 : kv_dtype;
  const DType activation_dtype =
      exact ? info.activation_dtype : wanted_activation.value_or(info.activation_dtype);
  const uint64_t positions = spec.keeps_positions ? kPageSlots * sizeof(int32_t) : 0;
  const uint64_t page_bytes = uint64_t{2} * kPageSlots * static_cast<uint64_t>(spec.num_kv_heads) *
                                  static_cast<uint64_t>(spec.head_dim) * DTypeSize(stored) +
                              positions;
  PREFIXD_ASSIGN_OR_RETURN(const uint64_t memory, KvMemoryBytes(options, spec, activation_dtype,
                                                                opened->backend->AvailableMemory(),
                                                                AvailableMemoryBytes()));
  const uint64_t num_pages =
      std::min<uint64_t>(memory / page_bytes, std::numeric_limits<int32_t>::max());
  if (num_pages < static_cast<uint64_t>(spec.num_layers)) {
    return MakeError(absl::StatusCode::kInvalidArgument, reason::kParameterOutOfRange,
                     absl::StrCat("kv_memory is ", memory, " bytes, this model needs at least ",
                                  page_bytes * static_cast<uint64_t>(spec.num_layers),
                                  " (one page of ", page_bytes, " bytes a layer)"),
                     {{"option", "kv_memory"}});
  }
  opened->page_bytes = page_bytes;
  opened->kv_shape = {.num_pages = static_cast<int32_t>(num_pages),
                      .num_kv_heads = spec.num_kv_heads,
                      .head_dim = spec.head_dim,
                      .dtype = kv_dtype,
                      .keeps_positions = spec.keeps_positions};
  opened->runtime_info = {.backend = info.name,
                          .level = info.level,
                          .device = info.device,
                          .threads = info.num_threads,
                          .kv_dtype = std::string(DTypeName(stored)),
                          .activation_dtype = std::string(DTypeName(activation_dtype)),
                          .kv_memory_bytes = num_pages * page_bytes};
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<uint64_t> KvMemoryBytes(const EngineOptions& options, const ModelSpec& spec,
                                       DType activation_dtype, uint64_t free_device,
                                       uint64_t free_host) {
  if (free_device == 0) {
    return options.kv_memory_bytes != 0 ? options.kv_memory_bytes : free_host / kHostKvShare;
  }
  // The pool is sized before the weights are read, so that what cannot work is refused before
  // anything listens. A card keeps weights in the activation type.
  const uint64_t element = DTypeSize(activation_dtype);
  const uint64_t weights =
      CheckedMul(spec.num_parameters, element).value_or(std::numeric_limits<uint64_t>::max());
  const uint64_t reserve = DeviceReserve(options, spec, element);
  const uint64_t taken =
      CheckedAdd(weights, reserve).value_or(std::numeric_limits<uint64_t>::max());
  const uint64_t left = free_device > taken ? free_device - taken : 0;
  if (left == 0 || options.kv_memory_bytes > left) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the card has ", free_device, " bytes free, needed: ", weights, " for weights as ",
        DTypeName(activation_dtype), ", ", reserve, " for buffers, and ",
        options.kv_memory_bytes != 0 ? absl::StrCat("kv_memory, ", options.kv_memory_bytes)
                                     : "keys and values"));
  }
  if (options.kv_memory_bytes != 0) return options.kv_memory_bytes;
  return left / 100 * kDeviceKvPercent;
}

absl::StatusOr<OpenedBackend> OpenBackend(const EngineOptions& options, const ModelSpec& spec) {
  PREFIXD_ASSIGN_OR_RETURN(const std::optional<DType> activation_dtype,
                           ParseDType("activation_dtype", options.activation_dtype));
  BackendOptions wanted{.name = options.backend,
                        .cpu_level = options.cpu_level,
                        .num_threads = options.threads,
                        .activation_dtype = activation_dtype,
                        .cuda_device = options.cuda_device,
                        .deterministic = options.cuda_deterministic,
                        .cuda_module = options.cuda_module};
  OpenedBackend opened;
  PREFIXD_ASSIGN_OR_RETURN(opened.backend, CreateBackend(wanted));
  absl::Status status = FixPool(options, spec, &opened);
  if (absl::IsResourceExhausted(status) && options.backend == "auto") {
    PREFIXD_LOG(kInfo, opened.backend->info().name, ": ", status.message(), "; the CPU computes");
    wanted.name = "cpu";
    PREFIXD_ASSIGN_OR_RETURN(opened.backend, CreateBackend(wanted));
    status = FixPool(options, spec, &opened);
  }
  PREFIXD_RETURN_IF_ERROR(status);
  return opened;
}

}  // namespace prefixd
