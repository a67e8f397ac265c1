// What a pickle of a checkpoint may name, and what becomes of it.
#include <iterator>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/weights/pickle_machine.h"
#include "engine/weights/pickle_storages.h"

namespace prefixd {
namespace {

struct NamedGlobal {
  absl::string_view module, name;
  PickleGlobal global;
};

constexpr NamedGlobal kGlobals[] = {
    {"collections", "OrderedDict", PickleGlobal::kOrderedDict},
    {"torch._utils", "_rebuild_tensor_v2", PickleGlobal::kRebuildTensor},
    {"torch._utils", "_rebuild_parameter", PickleGlobal::kRebuildParameter},
};

std::string PrintableName(absl::string_view text) { return absl::CHexEscape(text.substr(0, 80)); }

}  // namespace

absl::Status PickleMachine::PushGlobal(absl::string_view module, absl::string_view name) {
  for (const NamedGlobal& known : kGlobals) {
    if (known.module == module && known.name == name) {
      return Push({.kind = PickleKind::kGlobal, .number = static_cast<int64_t>(known.global)});
    }
  }
  for (size_t i = 0; module == "torch" && i < std::size(kPickleStorages); ++i) {
    if (kPickleStorages[i].name == name) {
      return Push({.kind = PickleKind::kGlobal, .number = static_cast<int64_t>(i)});
    }
  }
  return absl::UnimplementedError(absl::StrCat("global ", PrintableName(module), ".",
                                               PrintableName(name), " at byte ", opcode_at_,
                                               " of the pickle is not one of a checkpoint"));
}

absl::Status PickleMachine::Reduce() {
  PREFIXD_ASSIGN_OR_RETURN(const PickleId arguments, Pop());
  PREFIXD_ASSIGN_OR_RETURN(const PickleId function, Pop());
  if (value(function).kind != PickleKind::kGlobal || value(arguments).kind != PickleKind::kTuple) {
    return Error("what is called is no global");
  }
  const absl::Span<const PickleId> given = items(arguments);
  switch (static_cast<PickleGlobal>(value(function).number)) {
    case PickleGlobal::kOrderedDict:
      if (!given.empty()) return Error("OrderedDict has arguments");
      return PushContainer(PickleKind::kDict, {});
    case PickleGlobal::kRebuildTensor: {
      // storage, storage_offset, size, stride, requires_grad, backward_hooks[, metadata].
      constexpr size_t kUsed = 4;
      if (given.size() < 6 || given.size() > 7) {
        return Error(absl::StrCat("_rebuild_tensor_v2 has ", given.size(), " arguments"));
      }
      return PushContainer(PickleKind::kTensor, {given.begin(), given.begin() + kUsed});
    }
    case PickleGlobal::kRebuildParameter:
      // data, requires_grad, backward_hooks.
      if (given.size() != 3 || value(given[0]).kind != PickleKind::kTensor) {
        return Error("_rebuild_parameter is not given a tensor");
      }
      return PushAgain(given[0]);
    default:
      return Error("a storage type is called");
  }
}

// Persistent ids are ("storage", type, key, location, elements).
absl::Status PickleMachine::MakeStorage() {
  PREFIXD_ASSIGN_OR_RETURN(const PickleId id, Pop());
  const bool is_tuple = value(id).kind == PickleKind::kTuple && items(id).size() == 5;
  if (!is_tuple) return Error("a persistent id is not of five parts");
  const absl::Span<const PickleId> parts = items(id);
  const PickleValue &tag = value(parts[0]), &type = value(parts[1]), &key = value(parts[2]);
  const PickleValue& elements = value(parts[4]);
  if (tag.kind != PickleKind::kString || tag.text != "storage" ||
      type.kind != PickleKind::kGlobal ||
      type.number >= static_cast<int64_t>(std::size(kPickleStorages)) ||
      key.kind != PickleKind::kString || elements.kind != PickleKind::kInt || elements.number < 0) {
    return Error("a persistent id is not of a storage");
  }
  return Push({.kind = PickleKind::kStorage,
               .number = elements.number,
               .text = key.text,
               .items = static_cast<uint32_t>(type.number)});
}

}  // namespace prefixd
