// What the converters share: tensors on their way from sources to one safetensors file, and a
// directory that appears when it is complete.
#ifndef PREFIXD_TOOLS_CONVERSION_H_
#define PREFIXD_TOOLS_CONVERSION_H_

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/tensor/dtype.h"
#include "tools/tensor_source.h"

namespace prefixd::tools {

// Rows of a tensor of a source under a new name.
struct OutputTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  const TensorSource* source = nullptr;
  const TensorSource::Tensor* tensor = nullptr;
  uint64_t first = 0;  // Element of the source's tensor.
};

// Whether a tensor is one of weights, and not a mask, a table of angles or positions that old
// files carry along.
bool IsWeight(const TensorSource::Tensor& tensor);

// `tensor` as a whole. Errors: INVALID_ARGUMENT for a type that no model is computed with, naming
// file and tensor.
absl::StatusOr<OutputTensor> WholeTensor(const TensorSource& source,
                                         const TensorSource::Tensor& tensor, std::string name);

// A directory that is made beside its final place and moved there by Commit; removed if that does
// not happen.
class OutputDirectory {
 public:
  // Errors: INVALID_ARGUMENT if `path` exists or cannot be made.
  static absl::StatusOr<OutputDirectory> Create(const std::string& path);
  OutputDirectory(OutputDirectory&& other) noexcept;
  OutputDirectory& operator=(OutputDirectory&&) = delete;
  ~OutputDirectory();

  // Where files go until Commit.
  const std::string& path() const { return temporary_; }

  // Copies those of the files that `directory` has.
  absl::Status CopyFiles(const std::string& directory, absl::Span<const char* const> names) const;
  absl::Status WriteJson(const std::string& name, const nlohmann::ordered_json& value) const;
  // model.safetensors. Errors name file and tensor; two tensors of one name.
  absl::Status WriteWeights(const std::vector<OutputTensor>& tensors) const;
  // Opens the model as the daemon would, then moves the directory. Errors: what the loader says.
  absl::Status Commit();

 private:
  OutputDirectory() = default;

  std::string path_, temporary_;
};

// As ReadJsonFile, with the keys in their order. For files that are written again.
absl::StatusOr<nlohmann::ordered_json> ReadOrderedJson(const std::string& path);

// The files that make a tokenizer.
inline constexpr const char* kTokenizerFiles[] = {
    "tokenizer.json",    "tokenizer.model",       "vocab.json",
    "merges.txt",        "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja",   "chat_template.json"};

}  // namespace prefixd::tools

#endif  // PREFIXD_TOOLS_CONVERSION_H_
