#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/prompt/template/arguments.h"
#include "engine/prompt/template/attribute_path.h"
#include "engine/prompt/template/callees.h"
#include "engine/prompt/template/interpreter.h"
#include "engine/prompt/template/operations.h"
#include "engine/prompt/template/print.h"

namespace prefixd::jinja {
namespace {

using Result = absl::StatusOr<Value>;

Result LengthFilter(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_RETURN_IF_ERROR(Arguments::Bind("length", args, {}).status());
  PREFIXD_ASSIGN_OR_RETURN(const int64_t length, Length(subject, &in.heap()));
  return Value(length);
}

Result ListFilter(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_RETURN_IF_ERROR(Arguments::Bind("list", args, {}).status());
  PREFIXD_ASSIGN_OR_RETURN(std::vector<Value> items, Items(subject, &in.heap()));
  return in.heap().NewList(std::move(items));
}

bool IsGenerator(const Value& value) {
  return value.is(Value::Kind::kList) && value.list().flavour == List::Flavour::kGenerator;
}

Result First(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_RETURN_IF_ERROR(Arguments::Bind("first", args, {}).status());
  if (IsGenerator(subject)) {
    List& list = subject.list();
    return list.taken < list.items.size() ? list.items[list.taken++] : Value();
  }
  if (subject.is_string()) return Item(subject, Value(int64_t{0}), &in.heap());
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(subject, &in.heap()));
  return items.empty() ? Value() : items.front();
}

Result Last(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_RETURN_IF_ERROR(Arguments::Bind("last", args, {}).status());
  if (IsGenerator(subject)) return Fail("last: a generator has no last item; filter it with |list");
  if (subject.is_string()) return Item(subject, Value(int64_t{-1}), &in.heap());
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(subject, &in.heap()));
  return items.empty() ? Value() : items.back();
}

Result Join(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound,
                           Arguments::Bind("join", args, {"d", "attribute"}));
  PREFIXD_ASSIGN_OR_RETURN(const AttributePath path, AttributePath::Create(bound.at(1), &in));
  PREFIXD_ASSIGN_OR_RETURN(const Text between, Str(bound.at(0), &in.heap()));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(subject, &in.heap()));
  Text out;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out.Append(between);
    PREFIXD_ASSIGN_OR_RETURN(const Value item, path.Of(items[i]));
    PREFIXD_RETURN_IF_ERROR(AppendStr(item, &in.heap(), &out));
    PREFIXD_RETURN_IF_ERROR(in.heap().ChargeBytes(between.size()));
  }
  return in.heap().NewText(std::move(out));
}

Result Sum(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound,
                           Arguments::Bind("sum", args, {"attribute", "start"}));
  PREFIXD_ASSIGN_OR_RETURN(const AttributePath path, AttributePath::Create(bound.at(0), &in));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(subject, &in.heap()));
  Value sum = bound.has(1) ? bound.at(1) : Value(int64_t{0});
  if (sum.is_string()) return Fail("sum: strings are joined by |join");
  for (const Value& item : items) {
    PREFIXD_ASSIGN_OR_RETURN(const Value value, path.Of(item));
    PREFIXD_ASSIGN_OR_RETURN(sum, Arithmetic(Operator::kAdd, sum, value, &in.heap()));
  }
  return sum;
}

Result Extreme(absl::string_view name, bool greatest, Interpreter& in, const Value& subject,
               const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound,
                           Arguments::Bind(name, args, {"case_sensitive", "attribute"}));
  PREFIXD_ASSIGN_OR_RETURN(const AttributePath path,
                           AttributePath::Create(bound.at(1), &in, !bound.flag(0)));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(subject, &in.heap()));
  Value best, best_key;
  for (size_t i = 0; i < items.size(); ++i) {
    PREFIXD_ASSIGN_OR_RETURN(const Value key, path.Of(items[i]));
    if (i > 0) {
      PREFIXD_ASSIGN_OR_RETURN(const bool better, Less(greatest ? best_key : key,
                                                       greatest ? key : best_key, &in.heap()));
      if (!better) continue;
    }
    best = items[i];
    best_key = key;
  }
  return best;
}
Result Min(Interpreter& in, const Value& subject, const Args& args) {
  return Extreme("min", /*greatest=*/false, in, subject, args);
}
Result Max(Interpreter& in, const Value& subject, const Args& args) {
  return Extreme("max", /*greatest=*/true, in, subject, args);
}

// Sorts `items` by `keys`; equal ones keep their order.
absl::StatusOr<std::vector<Value>> SortBy(const std::vector<Value>& keys,
                                          const std::vector<Value>& items, bool reverse,
                                          Heap* heap) {
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  absl::Status status;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    if (!status.ok()) return false;
    const absl::StatusOr<bool> less = Less(keys[reverse ? b : a], keys[reverse ? a : b], heap);
    status = less.status();
    return less.ok() && *less;
  });
  PREFIXD_RETURN_IF_ERROR(status);
  std::vector<Value> sorted;
  for (const size_t i : order) sorted.push_back(items[i]);
  return sorted;
}

Result Sort(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(
      const Arguments bound,
      Arguments::Bind("sort", args, {"reverse", "case_sensitive", "attribute"}));
  PREFIXD_ASSIGN_OR_RETURN(const AttributePath path,
                           AttributePath::Create(bound.at(2), &in, !bound.flag(1)));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(subject, &in.heap()));
  std::vector<Value> keys;
  for (const Value& item : items) {
    PREFIXD_ASSIGN_OR_RETURN(const Value key, path.Of(item));
    keys.push_back(key);
  }
  PREFIXD_ASSIGN_OR_RETURN(std::vector<Value> sorted,
                           SortBy(keys, items, bound.flag(0), &in.heap()));
  return in.heap().NewList(std::move(sorted));
}

absl::StatusOr<std::vector<Value>> Pairs(const Dict& dict, Heap* heap) {
  std::vector<Value> pairs;
  for (const auto& [key, value] : dict.entries) {
    PREFIXD_ASSIGN_OR_RETURN(const Value pair, heap->NewList({key, value}, List::Flavour::kTuple));
    pairs.push_back(pair);
  }
  return pairs;
}

Result DictSort(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound,
                           Arguments::Bind("dictsort", args, {"case_sensitive", "by", "reverse"}));
  PREFIXD_ASSIGN_OR_RETURN(const Text* const by, bound.TextOrNull(1));
  if (!subject.is(Value::Kind::kDict)) return Fail("dictsort: the value is no dict");
  const absl::string_view name = by == nullptr ? "key" : by->view();
  if (name != "key" && name != "value") return Fail("dictsort: by must be key or value");
  PREFIXD_ASSIGN_OR_RETURN(
      const AttributePath path,
      AttributePath::Create(Value(int64_t{name == "key" ? 0 : 1}), &in, !bound.flag(0)));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<Value> pairs, Pairs(subject.dict(), &in.heap()));
  std::vector<Value> keys;
  for (const Value& pair : pairs) {
    PREFIXD_ASSIGN_OR_RETURN(const Value key, path.Of(pair));
    keys.push_back(key);
  }
  PREFIXD_ASSIGN_OR_RETURN(std::vector<Value> sorted,
                           SortBy(keys, pairs, bound.flag(2), &in.heap()));
  return in.heap().NewList(std::move(sorted));
}

Result ItemsFilter(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_RETURN_IF_ERROR(Arguments::Bind("items", args, {}).status());
  if (subject.is_undefined()) return in.heap().NewList({}, List::Flavour::kGenerator);
  if (!subject.is(Value::Kind::kDict)) return Fail("items: the value is no dict");
  PREFIXD_ASSIGN_OR_RETURN(std::vector<Value> pairs, Pairs(subject.dict(), &in.heap()));
  return in.heap().NewList(std::move(pairs), List::Flavour::kGenerator);
}

Result Reverse(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_RETURN_IF_ERROR(Arguments::Bind("reverse", args, {}).status());
  if (subject.is_string()) {
    return Slice(subject, Value(), Value(), Value(int64_t{-1}), &in.heap());
  }
  if (subject.is_undefined()) return Fail("reverse: the value is undefined");
  PREFIXD_ASSIGN_OR_RETURN(std::vector<Value> items, Items(subject, &in.heap()));
  std::reverse(items.begin(), items.end());
  return in.heap().NewList(std::move(items),
                           IsGenerator(subject) ? List::Flavour::kList : List::Flavour::kGenerator);
}

Result Batch(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound,
                           Arguments::Bind("batch", args, {"linecount", "fill_with"}, 1));
  PREFIXD_ASSIGN_OR_RETURN(const int64_t size, bound.IntegerOr(0, 1));
  if (size < 1) return Fail("batch: linecount must be at least 1");
  PREFIXD_RETURN_IF_ERROR(in.heap().CheckItems(static_cast<uint64_t>(size)));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(subject, &in.heap()));
  std::vector<Value> batches;
  for (size_t i = 0; i < items.size(); i += static_cast<size_t>(size)) {
    const size_t end = std::min(items.size(), i + static_cast<size_t>(size));
    std::vector<Value> batch(items.begin() + static_cast<ptrdiff_t>(i),
                             items.begin() + static_cast<ptrdiff_t>(end));
    if (bound.has(1) && !bound.at(1).is_none()) {
      batch.resize(static_cast<size_t>(size), bound.at(1));
    }
    PREFIXD_ASSIGN_OR_RETURN(const Value list, in.heap().NewList(std::move(batch)));
    batches.push_back(list);
  }
  return in.heap().NewList(std::move(batches), List::Flavour::kGenerator);
}

Result Unique(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound,
                           Arguments::Bind("unique", args, {"case_sensitive", "attribute"}));
  PREFIXD_ASSIGN_OR_RETURN(const AttributePath path,
                           AttributePath::Create(bound.at(1), &in, !bound.flag(0)));
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(subject, &in.heap()));
  std::vector<Value> unique;
  Dict seen;
  for (const Value& item : items) {
    PREFIXD_ASSIGN_OR_RETURN(const Value key, path.Of(item));
    const size_t before = seen.entries.size();
    PREFIXD_RETURN_IF_ERROR(SetEntry(key, Value(), &in.heap(), &seen));
    if (seen.entries.size() > before) unique.push_back(item);
  }
  return in.heap().NewList(std::move(unique), List::Flavour::kGenerator);
}

Result Default(Interpreter& in, const Value& subject, const Args& args) {
  PREFIXD_ASSIGN_OR_RETURN(const Arguments bound,
                           Arguments::Bind("default", args, {"default_value", "boolean"}));
  if (!subject.is_undefined() && !(bound.flag(1) && !IsTrue(subject))) return subject;
  return bound.has(0) ? bound.at(0) : in.heap().NewString("");
}

constexpr NamedCallee kListFilters[] = {
    {"length", LengthFilter},
    {"count", LengthFilter},
    {"list", ListFilter},
    {"first", First},
    {"last", Last},
    {"join", Join},
    {"sum", Sum},
    {"min", Min},
    {"max", Max},
    {"sort", Sort},
    {"items", ItemsFilter},
    {"dictsort", DictSort},
    {"reverse", Reverse},
    {"batch", Batch},
    {"unique", Unique},
    {"default", Default},
    {"d", Default},
};

}  // namespace

absl::Span<const NamedCallee> ListFilters() { return kListFilters; }

}  // namespace prefixd::jinja
