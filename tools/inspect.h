// What a checkpoint holds, without reading its weights: for `prefixd-tools inspect`.
#ifndef PREFIXD_TOOLS_INSPECT_H_
#define PREFIXD_TOOLS_INSPECT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace prefixd::tools {

struct InspectedTensor {
  std::string name, dtype, file;
  std::vector<int64_t> shape;
  uint64_t size_bytes = 0;
};

struct Inspection {
  std::string path;
  std::string form;                      // "safetensors", "gguf", "torch".
  std::string family;                    // What the loader says, else model_type, else empty.
  std::vector<InspectedTensor> tensors;  // By name.
  std::string refused;                   // Why the daemon would not serve it; empty: it would.
};

// `path` is a directory or a file of safetensors, a GGUF file or one of torch.save.
// Errors: what is wrong with the weights themselves, naming file and tensor.
absl::StatusOr<Inspection> Inspect(const std::string& path);

// For people: totals, types, verdict, one line a tensor.
std::string InspectionText(const Inspection& inspection);
// The same as one JSON object and a line feed.
std::string InspectionJson(const Inspection& inspection);

}  // namespace prefixd::tools

#endif  // PREFIXD_TOOLS_INSPECT_H_
