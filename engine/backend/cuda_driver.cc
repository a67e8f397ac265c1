#include "engine/backend/cuda_driver.h"

#include <dlfcn.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

// Of the driver API's header (cuda.h).
constexpr int kSuccess = 0;
constexpr int kErrorNoDevice = 100;
constexpr int kAttributeComputeCapabilityMajor = 75;
constexpr int kAttributeComputeCapabilityMinor = 76;

// The few functions that are asked; all return 0 or an error.
struct Driver {
  int (*init)(unsigned flags) = nullptr;
  int (*driver_version)(int* version) = nullptr;  // 1000 * major + 10 * minor.
  int (*device_count)(int* count) = nullptr;
  int (*device)(int* handle, int ordinal) = nullptr;
  int (*device_name)(char* name, int size, int handle) = nullptr;
  int (*device_attribute)(int* value, int attribute, int handle) = nullptr;
  int (*error_string)(int error, const char** text) = nullptr;
};

std::string ToString(CudaVersion version) {
  return absl::StrCat(version.major, ".", version.minor);
}

template <typename Function>
absl::Status Resolve(void* library, const std::string& file, const char* name,
                     Function** function) {
  *function = reinterpret_cast<Function*>(dlsym(library, name));
  if (*function != nullptr) return absl::OkStatus();
  return CudaRefused(absl::StrCat("the driver library ", file, " has no ", name,
                                  "; needed: an NVIDIA driver for CUDA ",
                                  ToString(kLeastCudaDriver), " (release 580) or later"));
}

// The library is never unloaded: the module uses it, and a driver that has started has threads.
absl::StatusOr<Driver> LoadDriver(const std::string& file) {
  void* const library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const why = dlerror();
    return absl::NotFoundError(
        absl::StrCat("cuda: no NVIDIA driver on this machine (", why != nullptr ? why : file, ")"));
  }
  Driver driver;
  PREFIXD_RETURN_IF_ERROR(Resolve(library, file, "cuInit", &driver.init));
  PREFIXD_RETURN_IF_ERROR(Resolve(library, file, "cuDriverGetVersion", &driver.driver_version));
  PREFIXD_RETURN_IF_ERROR(Resolve(library, file, "cuDeviceGetCount", &driver.device_count));
  PREFIXD_RETURN_IF_ERROR(Resolve(library, file, "cuDeviceGet", &driver.device));
  PREFIXD_RETURN_IF_ERROR(Resolve(library, file, "cuDeviceGetName", &driver.device_name));
  PREFIXD_RETURN_IF_ERROR(Resolve(library, file, "cuDeviceGetAttribute", &driver.device_attribute));
  PREFIXD_RETURN_IF_ERROR(Resolve(library, file, "cuGetErrorString", &driver.error_string));
  return driver;
}

absl::Status Check(const Driver& driver, const char* function, int error) {
  if (error == kSuccess) return absl::OkStatus();
  const char* text = nullptr;
  if (driver.error_string(error, &text) != kSuccess || text == nullptr) text = "unknown error";
  return CudaRefused(absl::StrCat("the NVIDIA driver does not work: ", function, " says ", error,
                                  " (", text, ")"));
}

constexpr absl::string_view kNoCard =
    "the NVIDIA driver shows no card to this process; needed: one of compute capability 8.0 or "
    "later that CUDA_VISIBLE_DEVICES, the container and the device files do not hide";

}  // namespace

absl::Status CudaRefused(absl::string_view found) {
  return absl::FailedPreconditionError(absl::StrCat("cuda: ", found));
}

absl::StatusOr<CudaCard> FindCudaCard(const std::string& file, int device) {
  PREFIXD_ASSIGN_OR_RETURN(const Driver driver, LoadDriver(file));
  CudaCard card;
  // The version can be asked before the start, which an old driver may refuse.
  int version = 0;
  PREFIXD_RETURN_IF_ERROR(Check(driver, "cuDriverGetVersion", driver.driver_version(&version)));
  card.driver = {version / 1000, version % 1000 / 10};
  if (card.driver < kLeastCudaDriver) {
    return CudaRefused(absl::StrCat("the NVIDIA driver serves CUDA ", ToString(card.driver),
                                    ", needed: ", ToString(kLeastCudaDriver),
                                    " or later (driver release 580)"));
  }
  const int started = driver.init(0);
  if (started == kErrorNoDevice) return CudaRefused(kNoCard);
  PREFIXD_RETURN_IF_ERROR(Check(driver, "cuInit", started));
  int count = 0;
  PREFIXD_RETURN_IF_ERROR(Check(driver, "cuDeviceGetCount", driver.device_count(&count)));
  if (count <= 0) return CudaRefused(kNoCard);
  if (device < 0 || device >= count) {
    return CudaRefused(absl::StrCat("there is no card ", device, "; cuda_device may be ",
                                    count == 1 ? "0" : absl::StrCat("0 to ", count - 1)));
  }
  int handle = 0;
  PREFIXD_RETURN_IF_ERROR(Check(driver, "cuDeviceGet", driver.device(&handle, device)));
  char name[256] = {};
  PREFIXD_RETURN_IF_ERROR(
      Check(driver, "cuDeviceGetName", driver.device_name(name, sizeof(name) - 1, handle)));
  card.name = name;
  CudaVersion& capability = card.compute_capability;
  PREFIXD_RETURN_IF_ERROR(
      Check(driver, "cuDeviceGetAttribute",
            driver.device_attribute(&capability.major, kAttributeComputeCapabilityMajor, handle)));
  PREFIXD_RETURN_IF_ERROR(
      Check(driver, "cuDeviceGetAttribute",
            driver.device_attribute(&capability.minor, kAttributeComputeCapabilityMinor, handle)));
  if (capability < kLeastComputeCapability) {
    return CudaRefused(absl::StrCat("card ", device, " (", card.name, ") has compute capability ",
                                    ToString(capability),
                                    ", needed: ", ToString(kLeastComputeCapability), " or later"));
  }
  return card;
}

}  // namespace prefixd
