#include "engine/prompt/template/heap.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace prefixd::jinja {

absl::Status Fail(absl::string_view problem) { return absl::InvalidArgumentError(problem); }

Heap::Heap(uint64_t max_text_bytes)
    : max_text_bytes_(std::min(max_text_bytes, kMaxTextBytes)),
      max_all_text_bytes_(max_text_bytes_ * kMaxOutputsInMemory) {}

absl::Status Heap::Charge(uint64_t steps) {
  if (steps <= kMaxSteps - steps_) {
    steps_ += steps;
    return absl::OkStatus();
  }
  steps_ = kMaxSteps;
  return Fail(absl::StrCat("more than ", kMaxSteps, " steps"));
}

absl::Status Heap::CheckTextSize(uint64_t bytes) const {
  if (bytes <= max_text_bytes_) return absl::OkStatus();
  return Fail(absl::StrCat("a text of ", bytes, " bytes, the limit is ", max_text_bytes_));
}

absl::Status Heap::CheckItems(uint64_t count) const {
  if (count <= kMaxItems) return absl::OkStatus();
  return Fail(absl::StrCat(count, " items, the limit is ", kMaxItems));
}

absl::StatusOr<Value> Heap::NewText(Text text) {
  PREFIXD_RETURN_IF_ERROR(CheckTextSize(text.size()));
  PREFIXD_RETURN_IF_ERROR(Charge(4 + text.size() / kBytesPerStep));
  text_bytes_ += text.size();
  if (text_bytes_ > max_all_text_bytes_) {
    return Fail(absl::StrCat("texts of more than ", max_all_text_bytes_, " bytes in all"));
  }
  return Value(&texts_.emplace_back(std::move(text)));
}

absl::StatusOr<Value> Heap::NewList(std::vector<Value> items, List::Flavour flavour) {
  PREFIXD_RETURN_IF_ERROR(CheckItems(items.size()));
  PREFIXD_RETURN_IF_ERROR(Charge(4 + items.size()));
  return Value(&lists_.emplace_back(List{.flavour = flavour, .items = std::move(items)}));
}

absl::StatusOr<Value> Heap::NewDict(Dict dict) {
  PREFIXD_RETURN_IF_ERROR(CheckItems(dict.entries.size()));
  PREFIXD_RETURN_IF_ERROR(Charge(4 + 2 * dict.entries.size()));
  return Value(&dicts_.emplace_back(std::move(dict)));
}

absl::StatusOr<Value> Heap::NewNamespace(Namespace space) {
  PREFIXD_RETURN_IF_ERROR(Charge(4 + 2 * space.attributes.size()));
  return Value(&spaces_.emplace_back(std::move(space)));
}

absl::StatusOr<Value> Heap::NewCallable(const Callable& callable) {
  PREFIXD_RETURN_IF_ERROR(Charge(4));
  return Value(&callables_.emplace_back(callable));
}

absl::StatusOr<Scope*> Heap::NewScope(Scope* parent) {
  PREFIXD_RETURN_IF_ERROR(Charge(4));
  return &scopes_.emplace_back(Scope{.parent = parent});
}

}  // namespace prefixd::jinja
