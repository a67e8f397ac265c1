#include "tools/inspect.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/json.h"
#include "base/status_macros.h"
#include "engine/models/model_loader.h"
#include "engine/weights/gguf.h"
#include "engine/weights/tensor_info.h"
#include "tools/tensor_source.h"

namespace prefixd::tools {
namespace {

constexpr size_t kMaxConfigBytes = size_t{16} << 20;

absl::Status ReadGguf(const std::string& path, Inspection* out) {
  PREFIXD_ASSIGN_OR_RETURN(const File file, File::Open(path));
  PREFIXD_ASSIGN_OR_RETURN(const GgufHeader header, ReadGgufHeader(file));
  out->form = "gguf";
  PREFIXD_RETURN_IF_ERROR(header.metadata.String("general.architecture", &out->family));
  for (const TensorInfo& tensor : header.tensors) {
    out->tensors.push_back({.name = tensor.name,
                            .dtype = tensor.dtype,
                            .file = path,
                            .shape = tensor.shape,
                            .size_bytes = tensor.size_bytes});
  }
  return absl::OkStatus();
}

absl::Status ReadSource(const std::string& path, Inspection* out) {
  PREFIXD_ASSIGN_OR_RETURN(const TensorSource source, TensorSource::Open(path));
  out->form = source.is_torch() ? "torch" : "safetensors";
  for (const auto& [name, tensor] : source.tensors()) {
    out->tensors.push_back({.name = name,
                            .dtype = tensor.dtype,
                            .file = tensor.file,
                            .shape = tensor.shape,
                            .size_bytes = tensor.size_bytes});
  }
  return absl::OkStatus();
}

// model_type of a configuration that may be anything.
std::string ModelType(const std::string& directory) {
  const auto config = ReadJsonFile(absl::StrCat(directory, "/config.json"), kMaxConfigBytes);
  if (!config.ok() || !config->is_object() || !config->contains("model_type")) return "";
  const auto& type = (*config)["model_type"];
  return type.is_string() ? type.get<std::string>() : "";
}

// What the daemon would say of it.
void Judge(const std::string& path, bool is_gguf, Inspection* out) {
  const bool is_directory = std::filesystem::is_directory(path);
  if (!is_directory && !is_gguf) {
    out->refused = out->form == "torch"
                       ? "pickle weights are not opened by the server; see prefixctl convert"
                       : "one file of weights without config.json is no model";
    return;
  }
  const auto model = OpenModelFiles(path);
  if (model.ok()) {
    out->family = (*model)->spec().family;
    return;
  }
  out->refused = std::string(model.status().message());
  if (is_directory && !is_gguf) out->family = ModelType(path);
}

struct Totals {
  uint64_t elements = 0, bytes = 0;
  std::map<std::string, uint64_t> types;  // Tensors by type.
  std::set<std::string> files;
};

Totals TotalsOf(const Inspection& inspection) {
  Totals totals;
  for (const InspectedTensor& tensor : inspection.tensors) {
    totals.elements += NumElements(tensor.shape);
    totals.bytes += tensor.size_bytes;
    ++totals.types[tensor.dtype];
    totals.files.insert(tensor.file);
  }
  return totals;
}

std::string Size(uint64_t bytes) {
  if (bytes < uint64_t{1} << 20) return absl::StrFormat("%.1f KiB", bytes / 1024.0);
  if (bytes < uint64_t{1} << 30) return absl::StrFormat("%.1f MiB", bytes / 1048576.0);
  return absl::StrFormat("%.2f GiB", bytes / 1073741824.0);
}

}  // namespace

absl::StatusOr<Inspection> Inspect(const std::string& path) {
  Inspection inspection{.path = path};
  if (!std::filesystem::exists(path)) {
    return absl::NotFoundError(absl::StrCat(path, ": no such file or directory"));
  }
  std::optional<std::string> gguf;
  if (std::filesystem::is_directory(path)) {
    PREFIXD_ASSIGN_OR_RETURN(gguf, FindGgufFile(path));
  } else if (absl::EndsWith(path, ".gguf")) {
    gguf = path;
  }
  PREFIXD_RETURN_IF_ERROR(gguf.has_value() ? ReadGguf(*gguf, &inspection)
                                           : ReadSource(path, &inspection));
  Judge(path, gguf.has_value(), &inspection);
  std::sort(inspection.tensors.begin(), inspection.tensors.end(),
            [](const InspectedTensor& a, const InspectedTensor& b) { return a.name < b.name; });
  return inspection;
}

std::string InspectionText(const Inspection& inspection) {
  const Totals totals = TotalsOf(inspection);
  std::string text = absl::StrCat(inspection.path, "\n");
  absl::StrAppend(&text, "family   ", inspection.family.empty() ? "unknown" : inspection.family,
                  "\nweights  ", inspection.form, ", ", totals.files.size(),
                  totals.files.size() == 1 ? " file" : " files", "\ntensors  ",
                  inspection.tensors.size(), ", ", totals.elements, " parameters, ",
                  Size(totals.bytes), "\ntypes   ");
  for (const auto& [type, count] : totals.types) absl::StrAppend(&text, " ", type, " ", count);
  absl::StrAppend(&text, "\nserved   ",
                  inspection.refused.empty() ? "yes" : absl::StrCat("no: ", inspection.refused),
                  "\n\n");
  size_t width = 0;
  for (const InspectedTensor& tensor : inspection.tensors) {
    width = std::max(width, tensor.name.size());
  }
  width = std::min<size_t>(width, 80);
  for (const InspectedTensor& tensor : inspection.tensors) {
    absl::StrAppendFormat(&text, "%-*s  %-5s %-10s  %s\n", static_cast<int>(width),
                          absl::CHexEscape(tensor.name), tensor.dtype, Size(tensor.size_bytes),
                          ShapeString(tensor.shape));
  }
  return text;
}

std::string InspectionJson(const Inspection& inspection) {
  const Totals totals = TotalsOf(inspection);
  nlohmann::ordered_json json = {
      {"path", inspection.path},       {"family", inspection.family},
      {"form", inspection.form},       {"files", totals.files},
      {"parameters", totals.elements}, {"bytes", totals.bytes},
      {"types", totals.types},         {"served", inspection.refused.empty()},
      {"refused", inspection.refused}};
  json["tensors"] = nlohmann::ordered_json::array();
  for (const InspectedTensor& tensor : inspection.tensors) {
    json["tensors"].push_back({{"name", tensor.name},
                               {"dtype", tensor.dtype},
                               {"shape", tensor.shape},
                               {"bytes", tensor.size_bytes},
                               {"file", tensor.file}});
  }
  // Names are bytes of a file: what is no UTF-8 is replaced.
  return json.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace prefixd::tools
