#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/template/limits.h"
#include "engine/prompt/template/operations.h"

namespace prefixd::jinja {
namespace {

bool SameNumber(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return a.integer() == b.integer();
  return a.real() == b.real();
}

absl::StatusOr<bool> SameItems(const std::vector<Value>& a, const std::vector<Value>& b, Heap* heap,
                               int depth) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    PREFIXD_ASSIGN_OR_RETURN(const bool same, Equal(a[i], b[i], heap, depth + 1));
    if (!same) return false;
  }
  return true;
}

absl::StatusOr<bool> SameEntries(const Dict& a, const Dict& b, Heap* heap, int depth) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    PREFIXD_ASSIGN_OR_RETURN(const Value* other, FindEntry(b, key, heap));
    if (other == nullptr) return false;
    PREFIXD_ASSIGN_OR_RETURN(const bool same, Equal(value, *other, heap, depth + 1));
    if (!same) return false;
  }
  return true;
}

absl::Status NotOrdered(const Value& a, const Value& b) {
  return Fail(absl::StrCat("values of type ", TypeName(a), " and ", TypeName(b), " have no order"));
}

}  // namespace

absl::StatusOr<bool> Equal(const Value& a, const Value& b, Heap* heap, int depth) {
  if (depth > kMaxValueDepth) return Fail("lists in lists are nested too deep to compare");
  PREFIXD_RETURN_IF_ERROR(heap->Charge(1));
  if (a.is_number() && b.is_number()) return SameNumber(a, b);
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Value::Kind::kUndefined:
    case Value::Kind::kNone:
      return true;
    case Value::Kind::kString:
      PREFIXD_RETURN_IF_ERROR(heap->ChargeBytes(a.text().size()));
      return a.view() == b.view();
    case Value::Kind::kList:
      if (&a.list() == &b.list()) return true;
      if (a.list().flavour != b.list().flavour || a.list().flavour == List::Flavour::kGenerator) {
        return false;
      }
      return SameItems(a.list().items, b.list().items, heap, depth);
    case Value::Kind::kDict:
      return SameEntries(a.dict(), b.dict(), heap, depth);
    case Value::Kind::kNamespace:
      return &a.space() == &b.space();
    case Value::Kind::kCallable:
      return &a.callable() == &b.callable();
    case Value::Kind::kLoop:
      return &a.loop() == &b.loop();
    default:
      return false;
  }
}

absl::StatusOr<bool> Less(const Value& a, const Value& b, Heap* heap, int depth) {
  if (depth > kMaxValueDepth) return Fail("lists in lists are nested too deep to compare");
  PREFIXD_RETURN_IF_ERROR(heap->Charge(1));
  if (a.is_integral() && b.is_integral()) return a.integer() < b.integer();
  if (a.is_number() && b.is_number()) return a.real() < b.real();
  if (a.is_string() && b.is_string()) {
    PREFIXD_RETURN_IF_ERROR(heap->ChargeBytes(a.text().size()));
    return a.view() < b.view();  // The order of UTF-8 is that of code points.
  }
  const bool lists =
      a.is(Value::Kind::kList) && b.is(Value::Kind::kList) &&
      a.list().flavour == b.list().flavour &&
      (a.list().flavour == List::Flavour::kList || a.list().flavour == List::Flavour::kTuple);
  if (!lists) return NotOrdered(a, b);
  const std::vector<Value>& left = a.list().items;
  const std::vector<Value>& right = b.list().items;
  for (size_t i = 0; i < left.size() && i < right.size(); ++i) {
    PREFIXD_ASSIGN_OR_RETURN(const bool same, Equal(left[i], right[i], heap, depth + 1));
    if (!same) return Less(left[i], right[i], heap, depth + 1);
  }
  return left.size() < right.size();
}

absl::StatusOr<bool> Contains(const Value& container, const Value& item, Heap* heap) {
  switch (container.kind()) {
    case Value::Kind::kUndefined:
      return false;
    case Value::Kind::kString:
      if (!item.is_string()) {
        return Fail(absl::StrCat("in: a string holds no value of type ", TypeName(item)));
      }
      PREFIXD_RETURN_IF_ERROR(heap->ChargeBytes(4 * container.text().size()));
      return container.view().find(item.view()) != absl::string_view::npos;
    case Value::Kind::kDict: {
      PREFIXD_ASSIGN_OR_RETURN(const Value* found, FindEntry(container.dict(), item, heap));
      return found != nullptr;
    }
    case Value::Kind::kList: {
      PREFIXD_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(container, heap));
      for (const Value& other : items) {
        PREFIXD_ASSIGN_OR_RETURN(const bool same, Equal(item, other, heap));
        if (same) return true;
      }
      return false;
    }
    default:
      return Fail(absl::StrCat("in: a value of type ", TypeName(container), " holds nothing"));
  }
}

absl::StatusOr<bool> Compare(Operator op, const Value& a, const Value& b, Heap* heap) {
  absl::StatusOr<bool> result = false;
  bool negated = false;
  switch (op) {
    case Operator::kEqual:
    case Operator::kNotEqual:
      result = Equal(a, b, heap);
      negated = op == Operator::kNotEqual;
      break;
    case Operator::kLess:
      result = Less(a, b, heap);
      break;
    case Operator::kGreater:
      result = Less(b, a, heap);
      break;
    case Operator::kLessEqual:
    case Operator::kGreaterEqual: {
      const bool swapped = op == Operator::kGreaterEqual;
      result = Less(swapped ? b : a, swapped ? a : b, heap);
      if (result.ok() && !*result) result = Equal(a, b, heap);
      break;
    }
    default:
      result = Contains(b, a, heap);
      negated = op == Operator::kNotIn;
      break;
  }
  PREFIXD_RETURN_IF_ERROR(result.status());
  return *result != negated;
}

}  // namespace prefixd::jinja
