// What names and class sets may be, on both sides of every limit.
#include "engine/classify/check_class_set.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "tests/classify_store/random_sets.h"

namespace prefixd {
namespace {

using testing::SmallSet;

ClassSetSpec Spec() { return SmallSet("t", "a").spec; }

void ExpectRefused(const absl::Status& status, absl::string_view reason, absl::string_view field,
                   absl::string_view problem) {
  ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << field;
  EXPECT_EQ(status.message(), absl::StrCat(field, ": ", problem));
  const auto detail = GetErrorDetail(status);
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->reason, reason);
  ASSERT_EQ(detail->field_violations.size(), 1u);
  EXPECT_EQ(detail->field_violations[0].field, field);
  EXPECT_EQ(detail->field_violations[0].description, problem);
}

constexpr char kRange[] = "PARAMETER_OUT_OF_RANGE", kInput[] = "INPUT_INVALID";

TEST(CheckNames, NumbersOfNames) {
  ClassificationOptions options;
  options.max_names = 3;
  const auto check = [&options](size_t count) {
    return CheckNames("names.names", std::vector<std::string>(count, "x"), options);
  };
  ExpectRefused(check(0), kRange, "names.names", "0 names is outside the range [2, 3]");
  ExpectRefused(check(1), kRange, "names.names", "1 names is outside the range [2, 3]");
  EXPECT_TRUE(check(2).ok());
  EXPECT_TRUE(check(3).ok());
  ExpectRefused(check(4), kRange, "names.names", "4 names is outside the range [2, 3]");
}

TEST(CheckNames, EachName) {
  ClassificationOptions options;
  options.max_name_bytes = 5;
  const auto check = [&options](const std::string& name) {
    return CheckNames("names", {"a", "b", "c", name}, options);
  };
  EXPECT_TRUE(check("12345").ok());
  EXPECT_TRUE(check("a").ok());  // Names may be equal.
  EXPECT_TRUE(check("\xF0\x9F\x90\x88").ok());
  ExpectRefused(check(""), kInput, "names[3]", "is empty");
  ExpectRefused(check("123456"), kRange, "names[3]", "6 bytes, the limit is 5");
  ExpectRefused(check("a\xff"), kInput, "names[3]", "is not UTF-8");
  ExpectRefused(check("\xC0\x80"), kInput, "names[3]", "is not UTF-8");  // An overlong NUL.
  ExpectRefused(check(std::string("a\0b", 3)), kInput, "names[3]", "contains a NUL byte");
}

TEST(CheckClassSetSpec, Ids) {
  EXPECT_TRUE(IsClassSetId("a"));
  EXPECT_TRUE(IsClassSetId("a-0"));
  EXPECT_TRUE(IsClassSetId(std::string(63, 'z')));
  for (const std::string id : {"", "A", "a.b", "..", "a/b", "a_b", "\xC3\xA9"}) {
    EXPECT_FALSE(IsClassSetId(id)) << id;
  }
  EXPECT_FALSE(IsClassSetId(std::string(64, 'z')));
  ClassSetSpec spec = Spec();
  EXPECT_TRUE(CheckClassSetSpec(spec, {}).ok());
  spec.id = "A";
  ExpectRefused(CheckClassSetSpec(spec, {}), kRange, "class_set_id",
                "the id of a class set has 1..63 characters of [a-z0-9-]");
}

TEST(CheckClassSetSpec, Texts) {
  ClassSetSpec spec = Spec();
  spec.label_prefix = std::string(256, ' ');
  spec.prompt = {.system = std::string(65536, 's'),
                 .question = std::string(65536, 'q'),
                 .separator = std::string(65536, ';')};
  spec.null_text = std::string(65536, 'n');
  EXPECT_TRUE(CheckClassSetSpec(spec, {}).ok());
  struct Case {
    const char* field;
    std::string ClassSetSpec::*text;
    std::string ClassPrompt::*prompt_text;
    size_t limit;
  };
  const Case cases[] = {{"label_prefix", &ClassSetSpec::label_prefix, nullptr, 256},
                        {"null_text", &ClassSetSpec::null_text, nullptr, 65536},
                        {"prompt.system", nullptr, &ClassPrompt::system, 65536},
                        {"prompt.question", nullptr, &ClassPrompt::question, 65536},
                        {"prompt.separator", nullptr, &ClassPrompt::separator, 65536}};
  for (const Case& c : cases) {
    ClassSetSpec changed = spec;
    std::string& text = c.text != nullptr ? changed.*c.text : changed.prompt.*c.prompt_text;
    text += 'x';
    ExpectRefused(CheckClassSetSpec(changed, {}), kRange, c.field,
                  absl::StrCat(c.limit + 1, " bytes, the limit is ", c.limit));
    text = "\x80";
    ExpectRefused(CheckClassSetSpec(changed, {}), kInput, c.field, "is not UTF-8");
  }
}

TEST(CheckClassSetSpec, Demonstrations) {
  ClassSetSpec spec = Spec();
  const Demonstration text = {.text = "a text", .label = "cat"};
  const Demonstration picture = {.image = ImagePart{.bytes = "PNG"}, .label = "dog"};
  const Demonstration digest = {.image = ImagePart{.sha256 = std::string(32, 'd')}, .label = "dog"};
  spec.demonstrations = {text, picture, digest};
  EXPECT_TRUE(CheckClassSetSpec(spec, {}).ok());

  ClassificationOptions two;
  two.max_demonstrations = 2;
  ExpectRefused(CheckClassSetSpec(spec, two), kRange, "demonstrations",
                "3 demonstrations, the limit is 2");
  spec.num_shots = 2;
  ExpectRefused(CheckClassSetSpec(spec, {}), kInput, "demonstrations[0].image",
                "is missing: num_shots chooses by pictures");
  spec.demonstrations = {picture, picture, digest};
  spec.num_shots = 3;
  EXPECT_TRUE(CheckClassSetSpec(spec, {}).ok());
  spec.num_shots = 4;
  ExpectRefused(CheckClassSetSpec(spec, {}), kRange, "num_shots",
                "4 is outside the range [0, 3], the number of demonstrations");
  spec.num_shots = 0;
  spec.demonstrations[2].label = "";
  ExpectRefused(CheckClassSetSpec(spec, {}), kInput, "demonstrations[2].label", "is empty");
  spec.demonstrations[2].label = "x";
  spec.demonstrations[2].image->sha256 = "short";
  ExpectRefused(CheckClassSetSpec(spec, {}), kInput, "demonstrations[2].image",
                "a digest of 5 bytes, expected 32");
  spec.demonstrations[2].image->sha256 = "";
  ExpectRefused(CheckClassSetSpec(spec, {}), kInput, "demonstrations[2].image",
                "has neither bytes nor a digest");
}

TEST(CheckClassSetSpec, NamesTextsAndPicturesTogether) {
  ClassSetSpec spec = Spec();  // "cat" and "dog": 6 bytes; the separator: 1.
  spec.demonstrations = {{.image = ImagePart{.bytes = std::string(90, 'p')}, .label = "cat"}};
  ClassificationOptions options;
  options.max_set_bytes = 100;
  EXPECT_TRUE(CheckClassSetSpec(spec, options).ok());
  spec.null_text = "x";
  ExpectRefused(CheckClassSetSpec(spec, options), kRange, "demonstrations",
                "101 bytes of names, texts and pictures, the limit is 100");
}

TEST(CheckStoredClassSet, TenantsThatAreNoFileName) {
  EXPECT_TRUE(CheckStoredClassSet(SmallSet(std::string(127, 't'), "a"), {}).ok());
  ExpectRefused(CheckStoredClassSet(SmallSet(std::string(128, 't'), "a"), {}), kRange, "tenant",
                "128 bytes, the limit is 127");
}

}  // namespace
}  // namespace prefixd
