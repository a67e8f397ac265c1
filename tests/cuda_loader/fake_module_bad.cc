// Modules that are wrong in one way each, chosen by FAKE_MODULE_*.
#include "engine/backend/cuda/module.h"

extern "C" {

#if defined(FAKE_MODULE_OTHER_ABI)
const prefixd::cuda::ModuleEntry* prefixd_cuda_module_v1() {
  static const prefixd::cuda::ModuleEntry entry{prefixd::cuda::kModuleAbi + 1, nullptr};
  return &entry;
}
#elif defined(FAKE_MODULE_NO_ENTRY)
int prefixd_cuda_module_v0() { return 0; }
#elif defined(FAKE_MODULE_NEEDS)
int fake_dependency();
int prefixd_cuda_module_v1() { return fake_dependency(); }
#elif defined(FAKE_MODULE_DEPENDENCY)
int fake_dependency() { return 0; }
#endif

}  // extern "C"
