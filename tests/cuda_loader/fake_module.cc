// A module like that of the CUDA backend, whose backend is the reference with another name. It has
// as much device memory as PREFIXD_FAKE_CUDA_MEMORY says, in bytes; 0 or unset: the host's.
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/log.h"
#include "engine/backend/cuda/module.h"
#include "engine/backend/ref/ref_backend.h"
#include "tests/backend/forwarding_backend.h"

namespace prefixd {
namespace {

class FakeCudaBackend final : public testing::ForwardingBackend {
 public:
  FakeCudaBackend(std::unique_ptr<Backend> real, int device)
      : ForwardingBackend(std::move(real)), info_(ForwardingBackend::info()) {
    info_.name = "cuda";
    info_.device = absl::StrCat("Fake Card ", device);
    info_.default_kv_dtype = DType::kBF16;
  }
  const BackendInfo& info() const override { return info_; }
  uint64_t AvailableMemory() const override {
    const char* const text = std::getenv("PREFIXD_FAKE_CUDA_MEMORY");
    return text != nullptr ? std::strtoull(text, nullptr, 10) : 0;
  }

 private:
  BackendInfo info_;
};

absl::StatusOr<std::unique_ptr<Backend>> Create(const BackendOptions& options) {
  if (options.deterministic) {
    return MakeError(absl::StatusCode::kResourceExhausted, "FAKE", "no memory for that");
  }
  auto real = CreateRefBackend({.name = "ref"});
  if (!real.ok()) return real.status();
  PREFIXD_LOG(kInfo, "the fake module says \"hello\"");
  return std::make_unique<FakeCudaBackend>(*std::move(real), options.cuda_device);
}

}  // namespace
}  // namespace prefixd

extern "C" const prefixd::cuda::ModuleEntry* prefixd_cuda_module_v1() {
  static const prefixd::cuda::ModuleEntry entry{prefixd::cuda::kModuleAbi, &prefixd::Create};
  return &entry;
}
