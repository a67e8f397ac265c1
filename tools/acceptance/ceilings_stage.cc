// Stage ceilings: what this card reaches; later percentages refer to it.
#include <algorithm>

#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "engine/backend/cuda/gemm.h"
#include "engine/backend/cuda/kernels/kv_ops.h"
#include "tools/acceptance/device_timer.h"
#include "tools/acceptance/stages.h"

namespace prefixd::acceptance {
namespace {

struct Sizes {
  size_t copy_bytes = size_t{2} << 30;
  size_t transfer_bytes = size_t{256} << 20;
  int64_t gemm = 8192;
};

void Note(StageReport* report, const char* key, const char* what, const std::string& text,
          double value) {
  report->facts.emplace_back(what, text);
  report->numbers[key] = value;
}

absl::Status MeasureCopy(DeviceTimer* timer, const Sizes& sizes, StageReport* report) {
  PREFIXD_ASSIGN_OR_RETURN(const DeviceBuffer from, DeviceBuffer::Random(sizes.copy_bytes, 1));
  PREFIXD_ASSIGN_OR_RETURN(const DeviceBuffer to, DeviceBuffer::Create(sizes.copy_bytes));
  PREFIXD_ASSIGN_OR_RETURN(
      const double seconds, timer->MedianEager(1, 11, [&](int, cudaStream_t stream) {
        return CheckCuda(cudaMemcpyAsync(to.data(), from.data(), sizes.copy_bytes,
                                         cudaMemcpyDeviceToDevice, stream),
                         "copying");
      }));
  const double rate = seconds > 0 ? 2.0 * static_cast<double>(sizes.copy_bytes) / seconds : 0;
  Note(report, "copy_bytes_per_second", "device copy, read plus written",
       absl::StrFormat("%.0f GB/s", rate / 1e9), rate);
  return absl::OkStatus();
}

absl::Status MeasureGemm(DeviceTimer* timer, const Sizes& sizes, StageReport* report) {
  const int64_t n = sizes.gemm;
  PREFIXD_ASSIGN_OR_RETURN(const std::unique_ptr<cuda::Gemm> gemm, cuda::Gemm::Create({}));
  const auto bytes = static_cast<size_t>(2 * n * n);
  PREFIXD_ASSIGN_OR_RETURN(const DeviceBuffer x, DeviceBuffer::Random(bytes, 2));
  PREFIXD_ASSIGN_OR_RETURN(const DeviceBuffer weight, DeviceBuffer::Random(bytes, 3));
  PREFIXD_ASSIGN_OR_RETURN(const DeviceBuffer y, DeviceBuffer::Create(bytes));
  const auto view = [n](const DeviceBuffer& buffer) {
    return cuda::DeviceMatrix{buffer.data(), cuda::Element::kBF16, n, n, n};
  };
  PREFIXD_ASSIGN_OR_RETURN(
      const double seconds, timer->MedianEager(1, 21, [&](int, cudaStream_t stream) {
        return gemm->Run(view(x), view(weight), nullptr, false, view(y), stream);
      }));
  const auto side = static_cast<double>(n);
  const double rate = seconds > 0 ? 2 * side * side * side / seconds : 0;
  Note(report, "gemm_flops_per_second", absl::StrFormat("bf16 GEMM of %d cubed", n).c_str(),
       absl::StrFormat("%.0f TFLOP/s", rate / 1e12), rate);
  return absl::OkStatus();
}

absl::Status MeasureTransfers(DeviceTimer* timer, const Sizes& sizes, StageReport* report) {
  PREFIXD_ASSIGN_OR_RETURN(const DeviceBuffer device,
                           DeviceBuffer::Random(sizes.transfer_bytes, 4));
  void* pinned = nullptr;
  PREFIXD_RETURN_IF_ERROR(
      CheckCuda(cudaMallocHost(&pinned, sizes.transfer_bytes), "allocating pinned memory"));
  const auto measure = [&](bool up) -> absl::StatusOr<double> {
    PREFIXD_ASSIGN_OR_RETURN(
        const double seconds, timer->MedianEager(1, 7, [&](int, cudaStream_t stream) {
          return CheckCuda(
              cudaMemcpyAsync(up ? device.data() : pinned, up ? pinned : device.data(),
                              sizes.transfer_bytes,
                              up ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost, stream),
              "copying");
        }));
    return seconds > 0 ? static_cast<double>(sizes.transfer_bytes) / seconds : 0;
  };
  const absl::StatusOr<double> down = measure(false), up = measure(true);
  cudaFreeHost(pinned);
  PREFIXD_RETURN_IF_ERROR(down.status());
  PREFIXD_RETURN_IF_ERROR(up.status());
  Note(report, "host_to_device", "host to device, pinned", absl::StrFormat("%.1f GB/s", *up / 1e9),
       *up);
  Note(report, "device_to_host", "device to host, pinned",
       absl::StrFormat("%.1f GB/s", *down / 1e9), *down);
  return absl::OkStatus();
}

// A kernel of one word, `count` times in a row.
absl::Status MeasureLaunches(DeviceTimer* timer, StageReport* report) {
  constexpr int kCount = 200;
  PREFIXD_ASSIGN_OR_RETURN(const DeviceBuffer words,
                           DeviceBuffer::Of(std::vector<int32_t>{0, 1, 2, 3}));
  const auto work = [&](int, cudaStream_t stream) {
    int32_t* const w = words.data<int32_t>();
    return CheckCuda(cuda::LaunchApplyDeltas(w, w + 1, 1, w + 2, stream), "launching");
  };
  PREFIXD_ASSIGN_OR_RETURN(const double eager, timer->MedianEager(kCount, 11, work));
  PREFIXD_ASSIGN_OR_RETURN(const double in_graph, timer->MedianReplay(kCount, 11, work));
  PREFIXD_ASSIGN_OR_RETURN(const double graph, timer->MedianReplay(1, 51, work));
  Note(report, "launch_seconds", "launch, one of many", absl::StrFormat("%.2f us", eager * 1e6),
       eager);
  Note(report, "graph_node_seconds", "kernel in a graph, one of many",
       absl::StrFormat("%.2f us", in_graph * 1e6), in_graph);
  Note(report, "graph_launch_seconds", "graph of one kernel",
       absl::StrFormat("%.2f us", graph * 1e6), graph);
  return absl::OkStatus();
}

}  // namespace

StageReport RunCeilings(const StageSettings& settings) {
  StageReport report;
  Sizes sizes;
  if (settings.small.name == ToyModel().name) sizes = {1 << 16, 1 << 16, 64};
  absl::StatusOr<std::unique_ptr<DeviceTimer>> timer = DeviceTimer::Create();
  report.FailUnless(timer.status());
  if (!timer.ok()) return report;
  report.FailUnless(MeasureCopy(timer->get(), sizes, &report));
  report.FailUnless(MeasureGemm(timer->get(), sizes, &report));
  report.FailUnless(MeasureTransfers(timer->get(), sizes, &report));
  report.FailUnless(MeasureLaunches(timer->get(), &report));
  return report;
}

}  // namespace prefixd::acceptance
