// What a template can call by name. Tables; safe from any thread.
#ifndef PREFIXD_ENGINE_PROMPT_TEMPLATE_CALLEES_H_
#define PREFIXD_ENGINE_PROMPT_TEMPLATE_CALLEES_H_

#include <utility>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/prompt/template/value.h"

namespace prefixd::jinja {

using NamedCallee = std::pair<absl::string_view, Callee>;

absl::Span<const NamedCallee> TextFilters();
absl::Span<const NamedCallee> NumberFilters();
absl::Span<const NamedCallee> ListFilters();
absl::Span<const NamedCallee> SelectionFilters();
absl::Span<const NamedCallee> Tests();
absl::Span<const NamedCallee> StringMethods();
absl::Span<const NamedCallee> Functions();  // range, namespace, dict, raise_exception, ...

// Each returns null for an unknown name.
Callee FindFilter(absl::string_view name);
Callee FindTest(absl::string_view name);
Callee FindFunction(absl::string_view name);
// A method that a value of that kind has. Those that would change it fail when they are called.
Callee FindMethod(const Value& subject, absl::string_view name);
// Whether any value has a method of that name.
bool IsMethodName(absl::string_view name);

}  // namespace prefixd::jinja

#endif  // PREFIXD_ENGINE_PROMPT_TEMPLATE_CALLEES_H_
