// The strict reader refuses what it must: else the tests that use it show nothing.
#include "tests/server/exposition.h"

#include <gtest/gtest.h>

namespace prefixd::testing {
namespace {

std::string Histogram(const std::string& samples) {
  return "# HELP a_seconds Help.\n# TYPE a_seconds histogram\n" + samples;
}

TEST(Exposition, ReadsWhatIsRight) {
  const auto families = ParseExposition(
      "# HELP a_total Help it is.\n# TYPE a_total counter\na_total{b=\"x\\\"\\\\\",c=\"\"} 3\n" +
      Histogram("a_seconds_count 2\na_seconds_sum 1.5\n"
                "a_seconds_bucket{le=\"1\"} 1\na_seconds_bucket{le=\"+Inf\"} 2\n"));
  ASSERT_TRUE(families.ok()) << families.status();
  EXPECT_EQ(families->at("a_total").help, "Help it is.");
  EXPECT_EQ(FindValue(*families, "a_total", {{"b", "x\"\\"}, {"c", ""}}).value_or(0), 3);
  EXPECT_EQ(FindValue(*families, "a_seconds_bucket", {{"le", "1"}}).value_or(0), 1);
}

TEST(Exposition, RefusesWhatIsWrong) {
  const std::string head = "# HELP a_total Help.\n# TYPE a_total counter\n";
  for (const std::string& text : {
           std::string("a_total 1\n"),                          // No HELP, no TYPE.
           std::string("# TYPE a_total counter\na_total 1\n"),  // No HELP.
           std::string("# HELP a_total Help.\na_total 1\n"),    // No TYPE.
           head + "a_total 1",                                  // No line feed.
           head + "b_total 1\n",                                // Another family.
           head + "a_total 1\na_total 2\n",                     // Twice.
           head + "a_total -1\n",
           head + "a_total x\n",
           head + "a_total{b=\"1\" 1\n",
           head + "a_total{b=\"\\x\"} 1\n",
           head + "a_total{2=\"\"} 1\n",
           head + "a_total{b=\"\",b=\"\"} 1\n",
           head + "a_total 1\n" + head,
           std::string("# HELP a Help.\n# TYPE a counter\na 1\n"),  // No _total.
           std::string("# HELP a_total Help.\n# TYPE a_total gauge\na_total 1\n"),
           std::string("# HELP a_ms Help.\n# TYPE a_ms gauge\na_ms 1\n"),
           std::string("# HELP a_ratio Help.\n# TYPE a_ratio gauge\na_ratio 1.5\n"),
           Histogram("a_seconds_count 2\na_seconds_sum 1\na_seconds_bucket{le=\"1\"} 2\n"),
           Histogram("a_seconds_count 1\na_seconds_sum 1\na_seconds_bucket{le=\"1\"} 2\n"
                     "a_seconds_bucket{le=\"+Inf\"} 1\n"),
           Histogram("a_seconds_count 3\na_seconds_sum 1\na_seconds_bucket{le=\"1\"} 1\n"
                     "a_seconds_bucket{le=\"+Inf\"} 2\n"),
           Histogram("a_seconds_count 1\na_seconds_bucket{le=\"+Inf\"} 1\n"),
       }) {
    EXPECT_FALSE(ParseExposition(text).ok()) << text;
  }
}

}  // namespace
}  // namespace prefixd::testing
