#include "tools/acceptance/device_timer.h"

#include <algorithm>
#include <random>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace prefixd::acceptance {

absl::Status CheckCuda(cudaError_t error, absl::string_view what) {
  if (error == cudaSuccess) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat(what, ": ", cudaGetErrorName(error), " (", cudaGetErrorString(error), ")"));
}

absl::Status CheckDevice() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count > 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("no CUDA device: ",
                   error == cudaSuccess ? "the driver shows none" : cudaGetErrorString(error)));
}

absl::StatusOr<DeviceBuffer> DeviceBuffer::Create(size_t size_bytes) {
  DeviceBuffer buffer;
  PREFIXD_RETURN_IF_ERROR(CheckCuda(cudaMalloc(&buffer.data_, std::max<size_t>(size_bytes, 1)),
                                    absl::StrCat("allocating ", size_bytes, " bytes")));
  buffer.size_bytes_ = size_bytes;
  return buffer;
}

std::vector<uint16_t> RandomBf16(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint16_t> bits(count);
  // A sign, an exponent of 2^-7 or 2^-6, any mantissa.
  for (uint16_t& one : bits) {
    const auto draw = static_cast<uint32_t>(random());
    one = static_cast<uint16_t>((draw & 0x8000) | (0x3C00 + (draw & 0x00FF)));
  }
  return bits;
}

absl::StatusOr<DeviceBuffer> DeviceBuffer::Random(size_t size_bytes, uint32_t seed) {
  PREFIXD_ASSIGN_OR_RETURN(DeviceBuffer buffer, Create(size_bytes));
  const std::vector<uint16_t> block =
      RandomBf16(std::min<size_t>(size_bytes, 1 << 20) / 2 + 1, seed);
  size_t done = std::min(size_bytes, block.size() * 2);
  PREFIXD_RETURN_IF_ERROR(CheckCuda(
      cudaMemcpy(buffer.data_, block.data(), done, cudaMemcpyHostToDevice), "filling a buffer"));
  // What is there is copied behind itself; lengths stay whole elements.
  while (done < size_bytes) {
    const size_t more = std::min(done, size_bytes - done);
    PREFIXD_RETURN_IF_ERROR(CheckCuda(cudaMemcpy(static_cast<std::byte*>(buffer.data_) + done,
                                                 buffer.data_, more, cudaMemcpyDeviceToDevice),
                                      "filling a buffer"));
    done += more;
  }
  return buffer;
}

absl::StatusOr<DeviceBuffer> DeviceBuffer::Copy(const void* data, size_t size_bytes) {
  PREFIXD_ASSIGN_OR_RETURN(DeviceBuffer buffer, Create(size_bytes));
  if (size_bytes > 0) {
    PREFIXD_RETURN_IF_ERROR(
        CheckCuda(cudaMemcpy(buffer.data_, data, size_bytes, cudaMemcpyHostToDevice), "uploading"));
  }
  return buffer;
}

DeviceBuffer::~DeviceBuffer() {
  if (data_ != nullptr) cudaFree(data_);
}

absl::StatusOr<std::unique_ptr<DeviceTimer>> DeviceTimer::Create() {
  std::unique_ptr<DeviceTimer> timer(new DeviceTimer);
  PREFIXD_RETURN_IF_ERROR(CheckCuda(
      cudaStreamCreateWithFlags(&timer->stream_, cudaStreamNonBlocking), "making a stream"));
  for (cudaEvent_t* event : {&timer->start_, &timer->stop_}) {
    PREFIXD_RETURN_IF_ERROR(CheckCuda(cudaEventCreate(event), "making an event"));
  }
  return timer;
}

DeviceTimer::~DeviceTimer() {
  if (start_ != nullptr) cudaEventDestroy(start_);
  if (stop_ != nullptr) cudaEventDestroy(stop_);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

absl::StatusOr<double> DeviceTimer::Time(const std::function<absl::Status()>& work) {
  PREFIXD_RETURN_IF_ERROR(CheckCuda(cudaEventRecord(start_, stream_), "recording an event"));
  PREFIXD_RETURN_IF_ERROR(work());
  PREFIXD_RETURN_IF_ERROR(CheckCuda(cudaEventRecord(stop_, stream_), "recording an event"));
  PREFIXD_RETURN_IF_ERROR(CheckCuda(cudaEventSynchronize(stop_), "waiting for the work"));
  float milliseconds = 0;
  PREFIXD_RETURN_IF_ERROR(
      CheckCuda(cudaEventElapsedTime(&milliseconds, start_, stop_), "reading the time"));
  return milliseconds / 1e3;
}

absl::StatusOr<double> DeviceTimer::MedianEager(int variants, int repeats, const Work& work) {
  std::vector<double> seconds;
  for (int i = 0; i <= repeats; ++i) {
    PREFIXD_ASSIGN_OR_RETURN(const double one, Time([&] {
                               for (int v = 0; v < variants; ++v) {
                                 PREFIXD_RETURN_IF_ERROR(work(v, stream_));
                               }
                               return absl::OkStatus();
                             }));
    if (i > 0) seconds.push_back(one / variants);
  }
  return Median(std::move(seconds));
}

absl::StatusOr<double> DeviceTimer::MedianReplay(int variants, int replays, const Work& work) {
  for (int v = 0; v < variants; ++v) PREFIXD_RETURN_IF_ERROR(work(v, stream_));
  PREFIXD_RETURN_IF_ERROR(CheckCuda(cudaStreamSynchronize(stream_), "the first run"));
  PREFIXD_RETURN_IF_ERROR(CheckCuda(
      cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "beginning a capture"));
  absl::Status status;
  for (int v = 0; v < variants && status.ok(); ++v) status = work(v, stream_);
  cudaGraph_t graph = nullptr;
  const absl::Status ended = CheckCuda(cudaStreamEndCapture(stream_, &graph), "ending a capture");
  PREFIXD_RETURN_IF_ERROR(status);
  PREFIXD_RETURN_IF_ERROR(ended);
  cudaGraphExec_t exec = nullptr;
  status = CheckCuda(cudaGraphInstantiate(&exec, graph, 0), "instantiating a graph");
  cudaGraphDestroy(graph);
  PREFIXD_RETURN_IF_ERROR(status);
  const absl::StatusOr<double> seconds = MedianEager(1, replays, [exec](int, cudaStream_t stream) {
    return CheckCuda(cudaGraphLaunch(exec, stream), "playing a graph");
  });
  cudaGraphExecDestroy(exec);
  PREFIXD_RETURN_IF_ERROR(seconds.status());
  return *seconds / variants;
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace prefixd::acceptance
