// A buffer of the emulated device, owned. Begins as all 0xFF (NaN), guarded at both ends. The host
// cannot read it in place.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_DEVICE_ARRAY_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_DEVICE_ARRAY_H_

#include <cstddef>
#include <cstdlib>
#include <type_traits>
#include <utility>
#include <vector>

#include "tests/cuda_emulation/emulator/emulated_device.h"

namespace prefixd::emu {

template <typename T>
class DeviceArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit DeviceArray(size_t size) : data_(AllocateDevice(size * sizeof(T))), size_(size) {}
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    Upload(values);
  }
  DeviceArray(DeviceArray&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~DeviceArray() {
    if (data_ != nullptr) FreeDevice(data_);
  }

  T* data() { return static_cast<T*>(data_); }
  const T* data() const { return static_cast<const T*>(data_); }
  size_t size() const { return size_; }

  // Requires: values.size() <= size(). Writes the first values.
  void Upload(const std::vector<T>& values) {
    if (values.size() > size_) std::abort();
    WriteDevice(data_, values.data(), values.size() * sizeof(T));
  }

  std::vector<T> Download() const {
    std::vector<T> values(size_);
    ReadDevice(values.data(), data_, size_ * sizeof(T));
    return values;
  }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_DEVICE_ARRAY_H_
