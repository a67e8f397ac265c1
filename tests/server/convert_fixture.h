// A valid request, and the violations that a change to it causes.
#ifndef PREFIXD_TESTS_SERVER_CONVERT_FIXTURE_H_
#define PREFIXD_TESTS_SERVER_CONVERT_FIXTURE_H_

#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "server/convert.h"
#include "tests/server/fake_engine.h"

namespace prefixd::testing {

inline RequestLimits FakeLimits() {
  RequestLimits limits;
  limits.max_prompt_bytes = 1000;
  limits.max_image_bytes = 100;
  limits.max_images = 3;
  return limits;
}

inline v1::GenerateRequest ValidRequest() {
  v1::GenerateRequest request;
  v1::ChatMessage* message = request.mutable_chat()->add_messages();
  message->set_role(v1::ROLE_USER);
  message->add_parts()->set_text("What is this?");
  message->add_parts()->mutable_image()->set_data("\x89PNG...");
  return request;
}

using Change = std::function<void(v1::GenerateRequest*)>;

inline absl::StatusOr<Request> Convert(const Change& change,
                                       const EngineModelInfo& model = FakeModel()) {
  v1::GenerateRequest request = ValidRequest();
  change(&request);
  return ConvertGenerateRequest(std::move(request), model, FakeLimits());
}

// "REASON field: description" for each violation; the code if the error has none; "OK".
inline std::vector<std::string> Problems(const Change& change,
                                         const EngineModelInfo& model = FakeModel()) {
  const absl::Status status = Convert(change, model).status();
  if (status.ok()) return {"OK"};
  const ErrorDetail detail = GetErrorDetail(status).value_or(ErrorDetail{});
  std::vector<std::string> problems = {absl::StatusCodeToString(status.code()) + " " +
                                       detail.reason};
  for (const FieldViolation& violation : detail.field_violations) {
    problems.push_back(violation.field + ": " + violation.description);
  }
  return problems;
}

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_SERVER_CONVERT_FIXTURE_H_
