// Times of every kernel at the shapes of a model, by the kernels' own launchers, in graphs that go
// through buffers in turn so that the L2 cache helps no more than it does in a model.
#ifndef PREFIXD_TOOLS_ACCEPTANCE_ROOFLINE_H_
#define PREFIXD_TOOLS_ACCEPTANCE_ROOFLINE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/backend/cuda/gemm.h"
#include "tools/acceptance/device_timer.h"
#include "tools/acceptance/floors.h"

namespace prefixd::acceptance {

struct RooflineOptions {
  ModelShape model;
  // A step that decodes: so many sequences, each with so many slots of KV.
  int batch = 16, decode_slots = 640;
  std::vector<int> more_decode_slots = {2048, 8192};  // Measured too, of no step.
  int prefill_rows = 640;                             // A step that fills a prompt.
  std::vector<int> more_prefill_rows = {2048, 4096};
  int replays = 50;
  size_t cache_bytes = size_t{200} << 20;  // What the buffers of a kernel together exceed.
};

class Roofline {
 public:
  static absl::StatusOr<std::unique_ptr<Roofline>> Create(const RooflineOptions& options);

  // Measures everything. Errors: what a launch or an allocation says, with the kernel's name.
  absl::Status Run();
  const std::vector<KernelTime>& times() const { return times_; }

 private:
  struct Matrix {
    DeviceBuffer buffer;
    cuda::DeviceMatrix view;  // bf16.
  };
  // Sequences with page tables that name pages of a pool in a scrambled order.
  struct Sequences {
    Matrix q, y;
    DeviceBuffer pool, tables, sequence, visible, slots, scratch, lse;
    cuda::KvPages pages;
    cuda::AttentionRows rows;
  };

  explicit Roofline(const RooflineOptions& options) : options_(options) {}

  absl::StatusOr<Matrix> NewMatrix(int64_t rows, int64_t cols);
  // `count` sequences of `slots` slots with `rows_each` rows at their ends.
  absl::StatusOr<Sequences> NewSequences(int count, int slots, int rows_each);
  int VariantsFor(double bytes) const;
  // Adds a row to `times`: `time` without its seconds, then measures. `make` prepares one variant
  // and returns its launch.
  using Launch = std::function<absl::Status(cudaStream_t)>;
  absl::Status Measure(KernelTime time, const std::function<absl::StatusOr<Launch>()>& make);

  absl::Status RowKernels(int64_t rows, const std::string& step);
  absl::Status Gemms(int64_t rows, int64_t logit_rows, const std::string& step);
  absl::Status KvKernels(int64_t rows, const std::string& step);
  absl::Status DecodeAttention(int count, int slots, const std::string& step);
  absl::Status PrefillAttention(int rows, const std::string& step);
  absl::Status ColumnSums(int rows);
  absl::Status Image();
  absl::Status Gather();
  absl::Status Draws(int64_t rows, const std::string& step);

  const RooflineOptions options_;
  std::unique_ptr<DeviceTimer> timer_;
  std::unique_ptr<cuda::Gemm> gemm_;
  uint32_t seed_ = 1;
  std::vector<KernelTime> times_;
};

}  // namespace prefixd::acceptance

#endif  // PREFIXD_TOOLS_ACCEPTANCE_ROOFLINE_H_
