// What every call of the emulated runtime shares: the lock, the last error, a lost device, faults
// and counters. For the emulator's own files.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_DEVICE_STATE_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_DEVICE_STATE_H_

#include <condition_variable>
#include <mutex>
#include <random>
#include <string>

#include "tests/cuda_emulation/emulator/emulated_device.h"

namespace prefixd::emu {

struct DeviceState {
  static DeviceState& Get();

  std::mutex mutex;
  std::condition_variable released;  // A hung stream may go on, or the device is lost.
  DeviceOptions options;
  Faults faults;
  Counters counters;
  cudaError_t last_error = cudaSuccess;
  cudaError_t lost = cudaSuccess;  // The sticky error.
  bool lost_by_report = false;
  std::mt19937_64 random{0};
};

// Whether a countdown of Faults hits now.
bool Hits(int& countdown);

// Every later call fails with `error`; what is pending never runs.
void LoseDevice(cudaError_t error, bool by_report);

// One call of the API: holds the lock, refuses while the device is lost, and keeps the last error.
class ApiCall {
 public:
  enum Rule {
    kInCapture,     // May come at any time.
    kNotInCapture,  // CUDA forbids it while streams capture in the global mode.
    kOnLostDevice,  // Works on a lost device, too.
  };
  ApiCall(const char* name, Rule rule = kInCapture);
  ApiCall(const ApiCall&) = delete;
  ApiCall& operator=(const ApiCall&) = delete;

  const char* name() const { return name_; }
  // Not cudaSuccess: return Return(refusal()).
  cudaError_t refusal() const { return refusal_; }
  cudaError_t Return(cudaError_t error);
  // Adds a report "name: text".
  cudaError_t Misuse(cudaError_t error, const std::string& text);
  std::unique_lock<std::mutex>& lock() { return lock_; }

 private:
  const char* const name_;
  std::unique_lock<std::mutex> lock_;
  cudaError_t refusal_ = cudaSuccess;
};

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_DEVICE_STATE_H_
