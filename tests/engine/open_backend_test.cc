#include "engine/open_backend.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"

namespace prefixd {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGiB = uint64_t{1} << 30;

ModelSpec Spec() {
  ModelSpec spec;
  spec.num_layers = 32;
  spec.num_heads = spec.num_kv_heads = 32;
  spec.head_dim = 128;
  spec.hidden_size = 4096;
  spec.vocab_size = 32000;
  spec.num_parameters = 7'000'000'000;
  return spec;
}

EngineOptions Options() {
  EngineOptions options;
  options.max_batch_tokens = 255;
  options.max_running = 32;
  return options;
}

// Of 256 rows of 20 widths, 64 rows of logits, and the fixed part.
constexpr uint64_t kReserve = 512 * kMiB + uint64_t{256} * 20 * 4096 * 2 + uint64_t{64} * 32000 * 2;

TEST(KvMemory, OnTheHostIsAQuarterOfWhatIsFree) {
  EXPECT_EQ(KvMemoryBytes(Options(), Spec(), DType::kF32, 0, 400 * kMiB).value(), 100 * kMiB);
}

TEST(KvMemory, OnACardIsMostOfWhatWeightsAndReserveLeave) {
  const uint64_t left = 80 * kGiB - 14'000'000'000 - kReserve;
  const uint64_t memory = KvMemoryBytes(Options(), Spec(), DType::kBF16, 80 * kGiB, kGiB).value();
  EXPECT_LE(memory, left * 9 / 10);
  EXPECT_GT(memory, left * 9 / 10 - 100);
}

TEST(KvMemory, WeightsCountInTheTypeOfActivations) {
  const uint64_t narrow = KvMemoryBytes(Options(), Spec(), DType::kBF16, 80 * kGiB, 0).value();
  const uint64_t wide = KvMemoryBytes(Options(), Spec(), DType::kF32, 80 * kGiB, 0).value();
  EXPECT_GT(narrow - wide, uint64_t{14'000'000'000} * 9 / 10 - 100);
}

TEST(KvMemory, ImageFeaturesHaveTheirPlaceOnACard) {
  ModelSpec spec = Spec();
  const uint64_t text = KvMemoryBytes(Options(), spec, DType::kBF16, 80 * kGiB, 0).value();
  spec.image.emplace();
  EngineOptions options = Options();
  options.feature_cache_memory = 1000 * kMiB;
  const uint64_t images = KvMemoryBytes(options, spec, DType::kBF16, 80 * kGiB, 0).value();
  EXPECT_NEAR(static_cast<double>(text - images), 900.0 * kMiB, 100.0);
}

TEST(KvMemory, WhatTheOptionSaysIsTakenIfItFits) {
  EngineOptions options = Options();
  options.kv_memory_bytes = 3 * kGiB;
  EXPECT_EQ(KvMemoryBytes(options, Spec(), DType::kF32, 0, kMiB).value(), 3 * kGiB);
  EXPECT_EQ(KvMemoryBytes(options, Spec(), DType::kBF16, 24 * kGiB, 0).value(), 3 * kGiB);
  options.kv_memory_bytes = 11 * kGiB;
  EXPECT_EQ(KvMemoryBytes(options, Spec(), DType::kBF16, 24 * kGiB, 0).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(KvMemory, ACardThatIsTooSmallIsToldWithAllNumbers) {
  const absl::Status status =
      KvMemoryBytes(Options(), Spec(), DType::kBF16, 8 * kGiB, kGiB).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(absl::StrContains(status.message(), "8589934592 bytes free")) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "14000000000 for weights as bf16")) << status;
}

TEST(KvMemory, ImpossibleNumbersOfParametersDoNotWrap) {
  ModelSpec spec = Spec();
  spec.num_parameters = UINT64_MAX / 2 + 1;
  EXPECT_EQ(KvMemoryBytes(Options(), spec, DType::kBF16, 8 * kGiB, kGiB).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(OpenBackend, TakesTheTypesOfTheBackendIfNoneIsSaid) {
  EngineOptions options = Options();
  options.backend = "cpu";
  options.kv_memory_bytes = 512 * kMiB;
  const OpenedBackend cpu = OpenBackend(options, Spec()).value();
  EXPECT_EQ(cpu.runtime_info.kv_dtype, "f32");
  EXPECT_EQ(cpu.runtime_info.activation_dtype, "f32");
  EXPECT_EQ(cpu.runtime_info.device, "");
  EXPECT_EQ(cpu.kv_shape.num_pages, 1024);  // Of 2 * 16 * 32 * 128 * 4 bytes.
  options.kv_dtype = "bf16";
  const OpenedBackend narrow = OpenBackend(options, Spec()).value();
  EXPECT_EQ(narrow.runtime_info.kv_dtype, "bf16");
  EXPECT_EQ(narrow.kv_shape.num_pages, 2048);
  options.backend = "ref";
  EXPECT_EQ(OpenBackend(options, Spec())->runtime_info.kv_dtype, "f64");
  EXPECT_EQ(OpenBackend(options, Spec())->runtime_info.activation_dtype, "f64");
}

TEST(OpenBackend, RefusesTypesThatTheBackendLacks) {
  EngineOptions options = Options();
  options.backend = "cpu";
  options.kv_dtype = "f16";
  EXPECT_EQ(OpenBackend(options, Spec()).status().message(),
            "kv_dtype is \"f16\", allowed: auto, f32, bf16 (backend cpu)");
  options.kv_dtype = "int3";
  EXPECT_EQ(OpenBackend(options, Spec()).status().message(),
            "kv_dtype is \"int3\", allowed: auto, f32, bf16, f16");
  options.kv_dtype = "auto";
  options.activation_dtype = "f16";
  EXPECT_FALSE(OpenBackend(options, Spec()).ok());
}

}  // namespace
}  // namespace prefixd
