#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/template/characters.h"
#include "engine/prompt/template/operations.h"

namespace prefixd::jinja {
namespace {

absl::Status Undefined() { return Fail("a value is undefined where its content is asked for"); }

bool HasIndex(const List& list) {
  return list.flavour != List::Flavour::kView && list.flavour != List::Flavour::kGenerator;
}

// What a[start:stop:step] takes of `length` items, as Python counts.
struct Range {
  int64_t start = 0, step = 1;
  int64_t count = 0;
};

int64_t ClampIndex(const Value& value, int64_t standard, int64_t length, bool backwards) {
  if (value.is_undefined() || value.is_none()) return standard;
  int64_t index = value.integer();
  if (index < 0) index = index < -length ? -1 : index + length;
  const int64_t low = backwards ? -1 : 0;
  const int64_t high = backwards ? length - 1 : length;
  return std::clamp(index, low, std::max(low, high));
}

absl::StatusOr<Range> Resolve(const Value& start, const Value& stop, const Value& step,
                              int64_t length) {
  for (const Value* part : {&start, &stop, &step}) {
    if (!part->is_undefined() && !part->is_none() && !part->is_integral()) {
      return Fail("the parts of a slice must be integers");
    }
  }
  Range range;
  if (step.is_integral()) range.step = step.integer();
  if (range.step == 0) return Fail("the step of a slice is zero");
  // Larger steps than the sequence take its first item, as these do.
  range.step = std::clamp(range.step, -length - 1, length + 1);
  const bool backwards = range.step < 0;
  range.start = ClampIndex(start, backwards ? length - 1 : 0, length, backwards);
  const int64_t end = ClampIndex(stop, backwards ? -1 : length, length, backwards);
  const int64_t distance = backwards ? range.start - end : end - range.start;
  const int64_t stride = backwards ? -range.step : range.step;
  range.count = distance <= 0 ? 0 : (distance + stride - 1) / stride;
  return range;
}

}  // namespace

absl::StatusOr<std::vector<Value>> Items(const Value& value, Heap* heap) {
  std::vector<Value> items;
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      return items;
    case Value::Kind::kString: {
      const Text& text = value.text();
      PREFIXD_RETURN_IF_ERROR(heap->CheckItems(CountCharacters(text.view())));
      const std::vector<size_t> starts = CharacterStarts(text.view());
      for (size_t i = 0; i + 1 < starts.size(); ++i) {
        PREFIXD_ASSIGN_OR_RETURN(const Value item,
                                 heap->NewText(text.Slice(starts[i], starts[i + 1])));
        items.push_back(item);
      }
      return items;
    }
    case Value::Kind::kList: {
      List& list = value.list();
      PREFIXD_RETURN_IF_ERROR(heap->Charge(list.items.size()));
      if (list.flavour != List::Flavour::kGenerator) return list.items;
      items.assign(list.items.begin() + static_cast<ptrdiff_t>(list.taken), list.items.end());
      list.taken = list.items.size();
      return items;
    }
    case Value::Kind::kDict:
      PREFIXD_RETURN_IF_ERROR(heap->Charge(value.dict().entries.size()));
      for (const auto& [key, entry] : value.dict().entries) items.push_back(key);
      return items;
    default:
      return Fail(absl::StrCat("a value of type ", TypeName(value), " has no items"));
  }
}

absl::StatusOr<int64_t> Length(const Value& value, Heap* heap) {
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      return 0;
    case Value::Kind::kString:
      PREFIXD_RETURN_IF_ERROR(heap->ChargeBytes(value.text().size()));
      return static_cast<int64_t>(CountCharacters(value.view()));
    case Value::Kind::kDict:
      return static_cast<int64_t>(value.dict().entries.size());
    case Value::Kind::kList:
      if (value.list().flavour == List::Flavour::kGenerator) break;
      return static_cast<int64_t>(value.list().items.size());
    default:
      break;
  }
  return Fail(absl::StrCat("a value of type ", TypeName(value), " has no length"));
}

absl::StatusOr<Value> Item(const Value& container, const Value& index, Heap* heap) {
  if (container.is_undefined()) return Undefined();
  if (container.is(Value::Kind::kDict)) {
    PREFIXD_ASSIGN_OR_RETURN(const Value* entry, FindEntry(container.dict(), index, heap));
    return entry != nullptr ? *entry : Value();
  }
  if (!index.is_integral()) return Value();
  int64_t position = index.integer();
  if (container.is_string()) {
    PREFIXD_ASSIGN_OR_RETURN(const int64_t length, Length(container, heap));
    if (position < 0) position += length;
    if (position < 0 || position >= length) return Value();
    PREFIXD_RETURN_IF_ERROR(heap->ChargeBytes(8 * container.text().size()));
    const std::vector<size_t> starts = CharacterStarts(container.view());
    const auto at = static_cast<size_t>(position);
    return heap->NewText(container.text().Slice(starts[at], starts[at + 1]));
  }
  if (!container.is(Value::Kind::kList) || !HasIndex(container.list())) return Value();
  const std::vector<Value>& items = container.list().items;
  if (position < 0) position += static_cast<int64_t>(items.size());
  if (position < 0 || position >= static_cast<int64_t>(items.size())) return Value();
  return items[static_cast<size_t>(position)];
}

absl::StatusOr<const Value*> FindEntry(const Dict& dict, const Value& key, Heap* heap) {
  PREFIXD_RETURN_IF_ERROR(heap->Charge(dict.entries.size() / 8));
  for (const auto& [other, value] : dict.entries) {
    if (other.is_string() || key.is_string()) {
      if (other.is_string() && key.is_string() && other.view() == key.view()) return &value;
      continue;
    }
    PREFIXD_ASSIGN_OR_RETURN(const bool same, Equal(other, key, heap));
    if (same) return &value;
  }
  return nullptr;
}

absl::Status SetEntry(Value key, Value value, Heap* heap, Dict* dict) {
  const bool tuple = key.is(Value::Kind::kList) && key.list().flavour == List::Flavour::kTuple;
  if (key.is(Value::Kind::kDict) || (key.is(Value::Kind::kList) && !tuple)) {
    return Fail(absl::StrCat("a value of type ", TypeName(key), " is no key"));
  }
  PREFIXD_ASSIGN_OR_RETURN(const Value* entry, FindEntry(*dict, key, heap));
  if (entry != nullptr) {
    *const_cast<Value*>(entry) = value;  // An entry of `dict`, which may change.
    return absl::OkStatus();
  }
  dict->entries.emplace_back(key, value);
  return heap->CheckItems(dict->entries.size());
}

absl::StatusOr<Value> Slice(const Value& container, const Value& start, const Value& stop,
                            const Value& step, Heap* heap) {
  if (container.is_undefined()) return Undefined();
  const bool list = container.is(Value::Kind::kList) && HasIndex(container.list());
  if (!list && !container.is_string()) {
    return Fail(absl::StrCat("a value of type ", TypeName(container), " has no slices"));
  }
  PREFIXD_ASSIGN_OR_RETURN(const int64_t length, Length(container, heap));
  PREFIXD_ASSIGN_OR_RETURN(const Range range, Resolve(start, stop, step, length));
  const auto at = [&](int64_t i) { return static_cast<size_t>(range.start + i * range.step); };
  if (list) {
    std::vector<Value> items;
    for (int64_t i = 0; i < range.count; ++i) items.push_back(container.list().items[at(i)]);
    return heap->NewList(std::move(items), container.list().flavour);
  }
  const Text& text = container.text();
  PREFIXD_RETURN_IF_ERROR(heap->ChargeBytes(8 * text.size()));
  const std::vector<size_t> starts = CharacterStarts(text.view());
  if (range.step == 1) {
    return heap->NewText(text.Slice(starts[at(0)], starts[at(range.count)]));
  }
  Text out;
  for (int64_t i = 0; i < range.count; ++i) out.Append(text, starts[at(i)], starts[at(i) + 1]);
  return heap->NewText(std::move(out));
}

}  // namespace prefixd::jinja
