#include "tools/calibration_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/tools/folder.h"

namespace prefixd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const CalibrationHeader kHeader = {{"model", "demo"}, {"model_digest", "abc"}};
constexpr CalibrationLimits kLimits = {.num_samples = 4, .num_layers = 2};

class CalibrationStateTest : public ::testing::Test {
 protected:
  absl::StatusOr<CalibrationState> Open(const CalibrationHeader& header = kHeader,
                                        bool restart = false) {
    return CalibrationState::Open(path_, header, kLimits, restart);
  }
  std::string Error(const CalibrationHeader& header = kHeader) {
    return std::string(Open(header).status().message());
  }
  // A file with one cell.
  std::string OneCell() {
    CalibrationState state = Open().value();
    EXPECT_TRUE(
        state.Add({.key = {.sample = 3, .tenths = 9}, .selected_from = 10, .kept = {2, 7}}).ok());
    return folder_.Read("state.jsonl");
  }

  testing::Folder folder_;
  const std::string path_ = folder_.At("state.jsonl");
};

TEST_F(CalibrationStateTest, ReadsBackWhatItWrote) {
  const std::string text = OneCell();
  EXPECT_EQ(text,
            "{\"calibration\":1,\"model\":\"demo\",\"model_digest\":\"abc\"}\n"
            "{\"sample\": 3, \"tenths\": 9, \"from\": 10, \"kept\": [2,7]}\n");
  const CalibrationState state = Open().value();
  EXPECT_EQ(state.num_cells(), 1u);
  const CalibrationCell* const cell = state.Find({.sample = 3, .tenths = 9});
  ASSERT_NE(cell, nullptr);
  EXPECT_EQ(cell->selected_from, 10);
  EXPECT_THAT(cell->kept, ::testing::ElementsAre(2, 7));
  EXPECT_EQ(state.Find({.sample = 3, .tenths = 8}), nullptr);
}

TEST_F(CalibrationStateTest, DropsATornLastLineWhereverItIsTorn) {
  const std::string text = OneCell();
  const size_t header = text.find('\n') + 1;
  for (size_t size = 0; size < text.size(); ++size) {
    folder_.Write("state.jsonl", text.substr(0, size));
    absl::StatusOr<CalibrationState> state = Open();
    ASSERT_TRUE(state.ok()) << size << ": " << state.status();
    EXPECT_EQ(state->num_cells(), 0u);
    EXPECT_EQ(folder_.Read("state.jsonl"), text.substr(0, header))
        << "a new line begins where the torn one did";
  }
}

TEST_F(CalibrationStateTest, AnotherHeaderIsAnErrorThatNamesBoth) {
  OneCell();
  EXPECT_THAT(Error({{"model", "demo"}, {"model_digest", "xyz"}}),
              AllOf(HasSubstr("state.jsonl: was begun with model_digest \"abc\""),
                    HasSubstr("this run has \"xyz\""), HasSubstr("--restart")));
  EXPECT_THAT(Error({{"model", "demo"}}), HasSubstr("model_digest \"abc\", this run has null"));
  EXPECT_THAT(Error({{"model", "demo"}, {"model_digest", "abc"}, {"samples", "4"}}),
              HasSubstr("samples null, this run has \"4\""));
  EXPECT_TRUE(absl::IsFailedPrecondition(Open({{"model", "other"}}).status()));
}

TEST_F(CalibrationStateTest, RestartForgetsEverything) {
  OneCell();
  const absl::StatusOr<CalibrationState> state = Open({{"model", "other"}}, true);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->num_cells(), 0u);
  EXPECT_EQ(folder_.Read("state.jsonl"), "{\"calibration\":1,\"model\":\"other\"}\n");
}

TEST_F(CalibrationStateTest, NamesTheLineThatIsWrong) {
  const std::string good = OneCell();
  const auto error = [&](const std::string& from, const std::string& to) {
    const std::string text = absl::StrReplaceAll(good, {{from, to}});
    EXPECT_NE(text, good);
    folder_.Write("state.jsonl", text);
    return Error();
  };
  EXPECT_THAT(error("\"sample\": 3", "\"sample\": 4"),
              HasSubstr("line 2: sample is not in [0, 3]"));
  EXPECT_THAT(error("\"tenths\": 9", "\"tenths\": 0"), HasSubstr("tenths is not in [1, 9]"));
  EXPECT_THAT(error("\"from\": 10", "\"from\": -1"), HasSubstr("from is not in [1, "));
  EXPECT_THAT(error("[2,7]", "[2,11]"), HasSubstr("a number of kept is not in [1, 10]"));
  EXPECT_THAT(error("[2,7]", "[2,0]"), HasSubstr("a number of kept is not in [1, 10]"));
  EXPECT_THAT(error("[2,7]", "[2]"), HasSubstr("kept is no list of 2 numbers"));
  EXPECT_THAT(error("\"from\"", "\"form\""), HasSubstr("from is not in"));
  EXPECT_THAT(error("{\"sample\"", "\"sample\""), HasSubstr("line 2: "));
  EXPECT_THAT(error("\"calibration\"", "\"something\""), HasSubstr("line 1: "));
  folder_.Write("state.jsonl", good + good.substr(good.find('\n') + 1));
  EXPECT_THAT(Error(), HasSubstr("line 3: sample 3, tenths 9 is there twice"));
}

TEST_F(CalibrationStateTest, OnlyOneHasItOpen) {
  const CalibrationState state = Open().value();
  EXPECT_THAT(Error(), HasSubstr("another calibration has it open"));
}

}  // namespace
}  // namespace prefixd
