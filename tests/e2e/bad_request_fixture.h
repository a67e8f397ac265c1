// Runs requests that are wrong on purpose against one daemon. After each the daemon must be as
// before: same process, serving, every page and request slot back, and a control stream unharmed.
#ifndef PREFIXD_TESTS_E2E_BAD_REQUEST_FIXTURE_H_
#define PREFIXD_TESTS_E2E_BAD_REQUEST_FIXTURE_H_

#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "base/file.h"
#include "tests/e2e/daemon.h"

namespace prefixd::testing {

using Edit = std::function<void(v1::GenerateRequest*)>;

struct Row {
  std::string id;  // Names the row of the catalogue that it stands for.
  Edit edit;       // Applied to a valid request.
  grpc::StatusCode code = grpc::StatusCode::INVALID_ARGUMENT;
  std::string field;  // Must be among the violated fields; empty: not checked.
};

class BadRequestTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    daemon_ = new Daemon();
    picture_ = *ReadFile(SourcePath("models/demo/pictures/picture-15.png"), 1 << 20);
    control_ = daemon_->Generate(Ask("Describe the image.", picture_)).text();
    ASSERT_FALSE(control_.empty());
    before_ = daemon_->MeasureIdle();
  }
  static void TearDownTestSuite() {
    delete daemon_;
    daemon_ = nullptr;
  }

  static v1::GenerateRequest Valid() {
    v1::GenerateRequest request = Ask("How many objects can you see?", picture_);
    request.mutable_stopping()->set_max_tokens(4);
    return request;
  }

  // What holds after every row, whatever it was.
  static void ExpectUnharmed(const std::string& id) {
    ASSERT_TRUE(daemon_->Running()) << id;
    EXPECT_TRUE(daemon_->Serving()) << id;
    EXPECT_TRUE(daemon_->ReturnsTo(before_)) << id;
    EXPECT_EQ(daemon_->Generate(Ask("Describe the image.", picture_)).text(), control_) << id;
  }

  // From a fixed list: no pointer, path or bytes of the input, and short.
  static void ExpectMessageIsClean(const Answer& answer, const std::string& id) {
    const std::string& message = answer.status.error_message();
    EXPECT_FALSE(message.empty()) << id;
    EXPECT_LE(message.size(), 1024u) << id;
    EXPECT_FALSE(absl::StrContains(message, "0x")) << id << message;
    for (const char* folder : {PREFIXD_SOURCE_DIR, "/tmp", "/usr", "/home"}) {
      EXPECT_FALSE(absl::StrContains(message, folder)) << id << message;
    }
  }

  static void Check(const Row& row) {
    v1::GenerateRequest request = Valid();
    row.edit(&request);
    const Answer answer = daemon_->Generate(request);
    EXPECT_EQ(answer.status.error_code(), row.code)
        << row.id << ": " << answer.status.error_message();
    EXPECT_FALSE(answer.got_headers) << row.id;
    EXPECT_FALSE(answer.reason().empty()) << row.id;
    if (!row.field.empty()) {
      EXPECT_TRUE(absl::StrContains(answer.fields(), row.field))
          << row.id << ": " << answer.fields() << ": " << answer.status.error_message();
    }
    ExpectMessageIsClean(answer, row.id);
    ExpectUnharmed(row.id);
  }

  static inline Daemon* daemon_ = nullptr;
  static inline std::string picture_, control_;
  static inline Footprint before_;
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_E2E_BAD_REQUEST_FIXTURE_H_
