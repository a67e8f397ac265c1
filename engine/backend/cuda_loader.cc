#include "engine/backend/cuda_loader.h"

#include <dlfcn.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/status_macros.h"
#include "engine/backend/cuda/module.h"
#include "engine/backend/cuda_driver.h"

namespace prefixd {
namespace {

constexpr char kModuleFile[] = "libprefixd_cuda.so";

absl::StatusOr<std::string> FindModule(const BackendOptions& options,
                                       const CudaLibraries& libraries) {
  if (!options.cuda_module.empty()) {
    // A name without a slash would be looked for where the system keeps its libraries.
    const std::string file = absl::StrContains(options.cuda_module, '/')
                                 ? options.cuda_module
                                 : absl::StrCat("./", options.cuda_module);
    if (access(file.c_str(), F_OK) == 0) return file;
    return CudaRefused(absl::StrCat("cuda_module is ", options.cuda_module, ", no such file"));
  }
  const std::vector<std::string> files =
      libraries.modules.empty() ? DefaultCudaModules() : libraries.modules;
  for (const std::string& file : files) {
    if (access(file.c_str(), F_OK) == 0) return file;
  }
  return CudaRefused(absl::StrCat("no module at ", absl::StrJoin(files, " or "),
                                  "; build it with PREFIXD_CUDA=ON or name it with cuda_module"));
}

// Of the module in `file`. Unloads a module that is of no use.
absl::StatusOr<const cuda::ModuleEntry*> LoadModule(const std::string& file) {
  void* const module = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr) {
    const char* const text = dlerror();
    const std::string why = text != nullptr ? text : "unknown error";
    return CudaRefused(
        absl::StrCat("the module ", file, " cannot be loaded: ", why,
                     absl::StrContains(why, "cannot open shared object file")
                         ? "; install that library (CUDA 13) or put it beside the module"
                         : ""));
  }
  absl::Status refused;
  if (void* const symbol = dlsym(module, cuda::kModuleEntry); symbol == nullptr) {
    refused = CudaRefused(absl::StrCat("the module ", file, " has no ", cuda::kModuleEntry,
                                       "; it is not a module of this version of prefixd"));
  } else {
    const auto entry_of = reinterpret_cast<const cuda::ModuleEntry* (*)()>(symbol);
    const cuda::ModuleEntry* const entry = entry_of();
    if (entry != nullptr && entry->abi == cuda::kModuleAbi && entry->create != nullptr) {
      return entry;
    }
    refused = CudaRefused(absl::StrCat("the module ", file, " has interface ",
                                       entry != nullptr ? absl::StrCat(entry->abi) : "none",
                                       ", needed: ", cuda::kModuleAbi,
                                       "; program and module must come from one build"));
  }
  dlclose(module);
  return refused;
}

}  // namespace

std::vector<std::string> DefaultCudaModules() {
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path folder = program.parent_path();
  std::vector<std::string> files;
  for (const char* place : {"../lib/prefixd", "../lib64/prefixd", "."}) {
    files.push_back((folder / place / kModuleFile).lexically_normal());
  }
  return files;
}

absl::StatusOr<std::unique_ptr<Backend>> LoadCudaBackend(const BackendOptions& options,
                                                         const CudaLibraries& libraries) {
  PREFIXD_RETURN_IF_ERROR(FindCudaCard(libraries.driver, options.cuda_device).status());
  PREFIXD_ASSIGN_OR_RETURN(const std::string file, FindModule(options, libraries));
  PREFIXD_ASSIGN_OR_RETURN(const cuda::ModuleEntry* const entry, LoadModule(file));
  return entry->create(options);
}

}  // namespace prefixd
