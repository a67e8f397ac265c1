// Values of the template language from JSON, for tests. One render, one thread.
#ifndef PREFIXD_TESTS_PROMPT_TEMPLATE_TEMPLATE_TESTING_H_
#define PREFIXD_TESTS_PROMPT_TEMPLATE_TEMPLATE_TESTING_H_

#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/statusor.h"
#include "engine/prompt/template/template.h"

namespace prefixd::jinja {

// Strings are marked as a user's. Objects keep their order.
absl::StatusOr<Value> ValueOf(const nlohmann::ordered_json& json, Heap* heap);

// Parses and renders with the entries of an object as variables.
absl::StatusOr<Text> RenderJson(const std::string& source, const nlohmann::ordered_json& variables,
                                const RenderOptions& options = {});

}  // namespace prefixd::jinja

#endif  // PREFIXD_TESTS_PROMPT_TEMPLATE_TEMPLATE_TESTING_H_
