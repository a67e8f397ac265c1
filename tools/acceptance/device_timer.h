// Device memory, a stream, and times of work on it, for measurements below the backend's door.
#ifndef PREFIXD_TOOLS_ACCEPTANCE_DEVICE_TIMER_H_
#define PREFIXD_TOOLS_ACCEPTANCE_DEVICE_TIMER_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prefixd::acceptance {

// Errors: INTERNAL "what: cudaErrorX (text)".
absl::Status CheckCuda(cudaError_t error, absl::string_view what);

// OK, or FAILED_PRECONDITION "no CUDA device: ...".
absl::Status CheckDevice();

// Owned; move-only.
class DeviceBuffer {
 public:
  // Errors: INTERNAL.
  static absl::StatusOr<DeviceBuffer> Create(size_t size_bytes);
  // Random finite 16-bit floats (type bf16) of both signs, around 0.02; never zeros.
  static absl::StatusOr<DeviceBuffer> Random(size_t size_bytes, uint32_t seed);
  template <typename T>
  static absl::StatusOr<DeviceBuffer> Of(const std::vector<T>& values) {
    return Copy(values.data(), values.size() * sizeof(T));
  }

  DeviceBuffer() = default;
  DeviceBuffer(DeviceBuffer&& other) noexcept { *this = std::move(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_bytes_, other.size_bytes_);
    return *this;
  }
  ~DeviceBuffer();

  template <typename T = void>
  T* data() const {
    return static_cast<T*>(data_);
  }
  size_t size_bytes() const { return size_bytes_; }

 private:
  static absl::StatusOr<DeviceBuffer> Copy(const void* data, size_t size_bytes);

  void* data_ = nullptr;
  size_t size_bytes_ = 0;
};

// Bits of random bf16 numbers around 0.02, as DeviceBuffer::Random has them.
std::vector<uint16_t> RandomBf16(size_t count, uint32_t seed);

class DeviceTimer {
 public:
  static absl::StatusOr<std::unique_ptr<DeviceTimer>> Create();
  ~DeviceTimer();

  cudaStream_t stream() const { return stream_; }

  using Work = std::function<absl::Status(int variant, cudaStream_t stream)>;

  // Seconds of one piece of work, the median over `replays`: a graph of `work` for each variant,
  // played again and again, divided by their number. Runs each variant once before.
  absl::StatusOr<double> MedianReplay(int variants, int replays, const Work& work);
  // The same without a graph, for what cannot be captured.
  absl::StatusOr<double> MedianEager(int variants, int repeats, const Work& work);

 private:
  DeviceTimer() = default;
  absl::StatusOr<double> Time(const std::function<absl::Status()>& work);

  cudaStream_t stream_ = nullptr;
  cudaEvent_t start_ = nullptr, stop_ = nullptr;
};

double Median(std::vector<double> values);

}  // namespace prefixd::acceptance

#endif  // PREFIXD_TOOLS_ACCEPTANCE_DEVICE_TIMER_H_
