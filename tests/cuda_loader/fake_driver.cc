// A CUDA driver library that has no card but says what the environment tells it to say:
//   PREFIXD_FAKE_CUDA_VERSION     13000    (1000 * major + 10 * minor)
//   PREFIXD_FAKE_CUDA_INIT        0        what cuInit returns
//   PREFIXD_FAKE_CUDA_DEVICES     1
//   PREFIXD_FAKE_CUDA_CAPABILITY  90       (10 * major + minor)
#include <cstdio>
#include <cstdlib>

namespace {

int Setting(const char* name, int otherwise) {
  const char* const text = std::getenv(name);
  return text != nullptr ? std::atoi(text) : otherwise;
}

constexpr int kErrorInvalidValue = 1;

}  // namespace

extern "C" {

int cuDriverGetVersion(int* version) {
  *version = Setting("PREFIXD_FAKE_CUDA_VERSION", 13000);
  return 0;
}

int cuInit(unsigned) { return Setting("PREFIXD_FAKE_CUDA_INIT", 0); }

int cuDeviceGetCount(int* count) {
  *count = Setting("PREFIXD_FAKE_CUDA_DEVICES", 1);
  return 0;
}

int cuDeviceGet(int* device, int ordinal) {
  *device = 100 + ordinal;
  return 0;
}

int cuDeviceGetName(char* name, int size, int device) {
  std::snprintf(name, static_cast<size_t>(size), "Fake Card %d", device - 100);
  return 0;
}

int cuDeviceGetAttribute(int* value, int attribute, int) {
  const int capability = Setting("PREFIXD_FAKE_CUDA_CAPABILITY", 90);
  if (attribute != 75 && attribute != 76) return kErrorInvalidValue;
  *value = attribute == 75 ? capability / 10 : capability % 10;
  return 0;
}

int cuGetErrorString(int error, const char** text) {
  if (error != 803) return kErrorInvalidValue;
  *text = "system has unsupported display driver / cuda driver combination";
  return 0;
}

}  // extern "C"
