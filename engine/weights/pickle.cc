#include "engine/weights/pickle.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/weights/pickle_machine.h"
#include "engine/weights/pickle_storages.h"
#include "engine/weights/safetensors.h"

namespace prefixd {
namespace {

// Follows dictionaries and lists from the result to the tensors. Bounded: a value may be reached in
// many ways, even from itself.
class TensorFinder {
 public:
  explicit TensorFinder(const PickleMachine& machine) : machine_(machine) {}

  absl::Status Visit(PickleId id, const std::string& name, size_t depth) {
    if (++visits_ > kMaxPickleValues) return Error(name, "too many values");
    if (depth > kMaxPickleDepth) {
      return Error(name, absl::StrCat("nested more than ", kMaxPickleDepth, " deep"));
    }
    switch (machine_.value(id).kind) {
      case PickleKind::kTensor:
        return AddTensor(id, name);
      case PickleKind::kDict:
        return VisitDict(id, name, depth);
      case PickleKind::kList:
      case PickleKind::kTuple:
        for (size_t i = 0; i < machine_.items(id).size(); ++i) {
          PREFIXD_RETURN_IF_ERROR(
              Visit(machine_.items(id)[i], Joined(name, absl::StrCat(i)), depth + 1));
        }
        return absl::OkStatus();
      default:
        return absl::OkStatus();  // Numbers and texts beside the tensors.
    }
  }

  std::vector<PickledTensor> TakeTensors() { return std::move(tensors_); }

 private:
  static absl::Status Error(const std::string& name, absl::string_view problem) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor \"", absl::CHexEscape(name.substr(0, 80)), "\": ", problem));
  }

  static std::string Joined(const std::string& name, absl::string_view key) {
    return name.empty() ? std::string(key) : absl::StrCat(name, ".", key);
  }

  absl::Status VisitDict(PickleId id, const std::string& name, size_t depth) {
    const absl::Span<const PickleId> items = machine_.items(id);
    for (size_t i = 0; i < items.size(); i += 2) {
      const PickleValue& key = machine_.value(items[i]);
      if (key.kind != PickleKind::kString && key.kind != PickleKind::kInt) {
        return Error(name, "a key is neither a string nor an integer");
      }
      const std::string text =
          key.kind == PickleKind::kInt ? absl::StrCat(key.number) : std::string(key.text);
      PREFIXD_RETURN_IF_ERROR(Visit(items[i + 1], Joined(name, text), depth + 1));
    }
    return absl::OkStatus();
  }

  absl::Status AddTensor(PickleId id, const std::string& name) {
    if (tensors_.size() >= kMaxPickledTensors) {
      return Error(name, absl::StrCat("more than ", kMaxPickledTensors, " tensors"));
    }
    if (name.empty() || name.size() > kMaxTensorNameBytes || name.find('\0') != std::string::npos) {
      return Error(name, "the name is empty, too long or holds a zero byte");
    }
    const absl::Span<const PickleId> parts = machine_.items(id);
    const PickleValue &storage = machine_.value(parts[0]), &offset = machine_.value(parts[1]);
    if (storage.kind != PickleKind::kStorage) return Error(name, "its storage is none");
    if (offset.kind != PickleKind::kInt || offset.number < 0) {
      return Error(name, "its offset is no integer from 0 on");
    }
    PREFIXD_ASSIGN_OR_RETURN(const std::vector<int64_t> shape, Integers(name, parts[2]));
    PREFIXD_ASSIGN_OR_RETURN(const std::vector<int64_t> strides, Integers(name, parts[3]));
    if (shape.size() != strides.size()) {
      return Error(name,
                   absl::StrCat(shape.size(), " dimensions, but ", strides.size(), " strides"));
    }
    tensors_.push_back({.name = name,
                        .dtype = std::string(kPickleStorages[storage.items].dtype),
                        .storage = std::string(storage.text),
                        .storage_elements = static_cast<uint64_t>(storage.number),
                        .offset = static_cast<uint64_t>(offset.number),
                        .shape = shape,
                        .strides = {strides.begin(), strides.end()}});
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<int64_t>> Integers(const std::string& name, PickleId id) {
    if (machine_.value(id).kind != PickleKind::kTuple) return Error(name, "its shape is no tuple");
    const absl::Span<const PickleId> items = machine_.items(id);
    if (items.size() > kMaxTensorRank) {
      return Error(name, absl::StrCat(items.size(), " dimensions, the limit is ", kMaxTensorRank));
    }
    std::vector<int64_t> numbers;
    for (const PickleId item : items) {
      const PickleValue& number = machine_.value(item);
      if (number.kind != PickleKind::kInt || number.number < 0) {
        return Error(name, "its shape or strides hold what is no integer from 0 on");
      }
      numbers.push_back(number.number);
    }
    return numbers;
  }

  const PickleMachine& machine_;
  size_t visits_ = 0;
  std::vector<PickledTensor> tensors_;
};

}  // namespace

uint64_t PickledElementBytes(absl::string_view dtype) {
  for (const PickleStorage& storage : kPickleStorages) {
    if (storage.dtype == dtype) return storage.element_bytes;
  }
  return 0;
}

absl::StatusOr<std::vector<PickledTensor>> ReadPickledTensors(absl::string_view pickle) {
  if (pickle.size() > kMaxPickleBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the pickle has ", pickle.size(), " bytes, the limit is ", kMaxPickleBytes));
  }
  PickleMachine machine(pickle);
  PREFIXD_ASSIGN_OR_RETURN(const PickleId result, machine.Run());
  TensorFinder finder(machine);
  PREFIXD_RETURN_IF_ERROR(finder.Visit(result, "", 0));
  return finder.TakeTensors();
}

}  // namespace prefixd
