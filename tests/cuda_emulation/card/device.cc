// What tests of kernels ask the emulator for (emulator/*.h), on a real card: memory with guards,
// bodies that run twice in place of orders of threads. Tests that plant bugs or inject faults are
// skipped.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/cuda_emulation/card/skip.h"
#include "tests/cuda_emulation/emulator/emulated_device.h"
#include "tests/cuda_emulation/emulator/grid.h"
#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/emulator/testing.h"

namespace prefixd::emu {
namespace {

constexpr size_t kGuardBytes = 256;
constexpr unsigned char kGuardByte = 0xC5;

std::map<void*, size_t> sizes;
std::vector<std::string> reports;
size_t written = 0, read = 0;  // Hashes of what went to the device and what came back.

void Must(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "the device failed: %s: %s (%s)\n", what, cudaGetErrorName(error),
               cudaGetErrorString(error));
  std::exit(4);
}

void Mix(const void* data, size_t bytes, size_t* hash) {
  const std::string_view view(static_cast<const char*>(data), bytes);
  *hash = *hash * 1000003 + std::hash<std::string_view>()(view);
}

void CheckGuards(void* pointer, size_t bytes) {
  unsigned char guard[kGuardBytes];
  for (const ptrdiff_t at : {-static_cast<ptrdiff_t>(kGuardBytes), static_cast<ptrdiff_t>(bytes)}) {
    Must(cudaMemcpy(guard, static_cast<unsigned char*>(pointer) + at, kGuardBytes,
                    cudaMemcpyDeviceToHost),
         "reading a guard");
    for (size_t i = 0; i < kGuardBytes; ++i) {
      if (guard[i] == kGuardByte) continue;
      AddReport(absl::StrCat("a buffer of ", bytes, " bytes was written at byte ",
                             at + static_cast<ptrdiff_t>(i)));
      return;
    }
  }
}

class Card : public ::testing::Environment {
  void SetUp() override {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && count > 0) return;
    std::fprintf(stderr, "no CUDA device: %s\n",
                 error == cudaSuccess ? "the driver shows none" : cudaGetErrorString(error));
    std::exit(3);
  }
};

class Listener : public ::testing::EmptyTestEventListener {
  void OnTestEnd(const ::testing::TestInfo&) override {
    Must(cudaDeviceSynchronize(), "waiting at the end of a test");
    for (const std::string& report : TakeReports()) ADD_FAILURE() << report;
  }
};

[[maybe_unused]] const bool installed = [] {
  ::testing::AddGlobalTestEnvironment(new Card);
  ::testing::UnitTest::GetInstance()->listeners().Append(new Listener);
  return true;
}();

}  // namespace

void SkipOnCard(const char* why) {
  GTEST_MESSAGE_AT_(__FILE__, __LINE__, why, ::testing::TestPartResult::kSkip);
  throw ::testing::AssertionException(
      ::testing::TestPartResult(::testing::TestPartResult::kSkip, __FILE__, __LINE__, why));
}

void* AllocateDevice(size_t bytes) {
  unsigned char* memory = nullptr;
  Must(cudaMalloc(&memory, bytes + 2 * kGuardBytes), "allocating");
  Must(cudaMemset(memory, kGuardByte, bytes + 2 * kGuardBytes), "writing guards");
  void* const data = memory + kGuardBytes;
  if (bytes > 0) Must(cudaMemset(data, 0xFF, bytes), "poisoning");
  Must(cudaDeviceSynchronize(), "poisoning");
  sizes[data] = bytes;
  return data;
}

void FreeDevice(void* pointer) {
  Must(cudaDeviceSynchronize(), "waiting for kernels");
  CheckGuards(pointer, sizes.at(pointer));
  sizes.erase(pointer);
  Must(cudaFree(static_cast<unsigned char*>(pointer) - kGuardBytes), "freeing");
}

void WriteDevice(void* to, const void* from, size_t bytes) {
  Must(cudaDeviceSynchronize(), "waiting for kernels");
  Mix(from, bytes, &written);
  if (bytes > 0) Must(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "uploading");
}

void ReadDevice(void* to, const void* from, size_t bytes) {
  Must(cudaDeviceSynchronize(), "waiting for kernels");
  if (bytes > 0) Must(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "downloading");
  Mix(to, bytes, &read);
}

void AddReport(std::string report) { reports.push_back(std::move(report)); }
std::vector<std::string> TakeReports() { return std::exchange(reports, {}); }

// Twice. If both runs were given the same bytes, both must give the same bytes.
void ForAllOrders(int, const std::function<void()>& body) {
  written = read = 0;
  body();
  const std::pair<size_t, size_t> first = {written, read};
  if (::testing::Test::HasFailure()) return;
  written = read = 0;
  body();
  if (written == first.first && read != first.second) {
    ADD_FAILURE() << "two runs over the same inputs gave different bits";
  }
}

namespace {
Config order;
}
void SetConfig(const Config& config) { order = config; }
const Config& config() { return order; }

void ResetDevice() { Must(cudaDeviceSynchronize(), "waiting for kernels"); }
void SetFaults(const Faults&) { SkipOnCard("faults are injected in the emulation only"); }
void SetDeviceOptions(const DeviceOptions&) { SkipOnCard("the card is what it is"); }
Counters GetCounters() { SkipOnCard("calls are counted in the emulation only"); }

}  // namespace prefixd::emu
