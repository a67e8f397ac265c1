// The chart as a file of XML, read by a small checker of its own.
#include "tools/chart.h"

#include <cmath>
#include <limits>
#include <map>
#include <regex>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/tools/sample_evaluation.h"

namespace prefixd {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::Not;

struct Element {
  std::string name;
  std::map<std::string, std::string> attributes;
};

// The elements of a well-formed file in order; empty (with a failure) if it is not.
std::vector<Element> ParseXml(const std::string& text) {
  static const std::regex tag(
      R"(<(/?)([a-z]+)((?: [a-zA-Z0-9:-]+="[^"<>&]*(?:&(?:amp|lt|gt|quot|apos);[^"<>&]*)*")*)(/?)>)");
  static const std::regex attribute(R"re( ([a-zA-Z0-9:-]+)="([^"]*)")re");
  static const std::regex entity("&(?!(amp|lt|gt|quot|apos);)");
  std::vector<Element> elements;
  std::vector<std::string> open;
  size_t end = 0;
  for (std::sregex_iterator it(text.begin(), text.end(), tag), last; it != last; ++it) {
    const std::string between = text.substr(end, static_cast<size_t>(it->position()) - end);
    EXPECT_EQ(between.find_first_of("<>"), std::string::npos) << between;
    EXPECT_FALSE(std::regex_search(between, entity)) << between;
    end = static_cast<size_t>(it->position() + it->length());
    if ((*it)[1].length() > 0) {
      if (open.empty() || open.back() != (*it)[2]) {
        ADD_FAILURE() << "</" << (*it)[2] << "> closes nothing";
        return {};
      }
      open.pop_back();
      continue;
    }
    Element element{.name = (*it)[2]};
    const std::string attributes = (*it)[3];
    for (std::sregex_iterator a(attributes.begin(), attributes.end(), attribute); a != last; ++a) {
      EXPECT_TRUE(element.attributes.emplace((*a)[1], (*a)[2]).second) << (*a)[1] << " twice";
    }
    elements.push_back(element);
    if ((*it)[4].length() == 0) open.push_back((*it)[2]);
  }
  EXPECT_EQ(text.substr(end), "\n");
  EXPECT_TRUE(open.empty());
  return elements;
}

size_t Count(const std::vector<Element>& elements, const std::string& name) {
  size_t count = 0;
  for (const Element& element : elements) count += element.name == name ? 1 : 0;
  return count;
}

Evaluation ManyPolicies(int count) {
  Evaluation evaluation = testing::SampleEvaluation();
  evaluation.rows.clear();
  for (int policy = 0; policy < count; ++policy) {
    for (const double budget : {0.1, 0.5, 0.9}) {
      EvaluationRow row;
      row.setting = {.policy = absl::StrCat("policy-", policy), .budget = budget};
      row.perplexity = 5 + policy;
      row.rouge_l = 0.1 * policy;
      evaluation.rows.push_back(row);
    }
  }
  return evaluation;
}

TEST(Chart, IsWellFormedAndSelfContained) {
  const std::string svg = ChartSvg(testing::SampleEvaluation());
  const std::vector<Element> elements = ParseXml(svg);
  ASSERT_FALSE(elements.empty());
  EXPECT_EQ(elements[0].name, "svg");
  EXPECT_EQ(elements[0].attributes.at("xmlns"), "http://www.w3.org/2000/svg");
  for (const char* word : {"script", "href", "url(", "@import", "style", "nan", "inf"}) {
    EXPECT_THAT(svg, Not(HasSubstr(word)));
  }
  EXPECT_THAT(svg,
              AllOf(HasSubstr(">Perplexity (log scale, lower is better)<"),
                    HasSubstr(">ROUGE-L (higher is better)<"), HasSubstr(">budget: KV kept, %<"),
                    HasSubstr(">full cache<"), HasSubstr(">prefixkv@cats<")));
  // A line in each panel and in the legend, for two policies; a marker a point, and the legend's.
  EXPECT_EQ(Count(elements, "path"), 2u * 3 + 2 * 2 * 2 + 2);
}

TEST(Chart, EveryPolicyHasALookOfItsOwn) {
  const std::vector<Element> elements = ParseXml(ChartSvg(ManyPolicies(24)));
  std::map<std::string, int> looks;
  std::set<std::string> dashes, markers;
  for (const Element& element : elements) {
    if (element.name != "path") continue;
    const auto& attributes = element.attributes;
    if (attributes.at("fill") != "none") {
      markers.insert(attributes.at("d"));
      continue;
    }
    const auto dash = attributes.find("stroke-dasharray");
    const std::string look = dash == attributes.end() ? "" : dash->second;
    dashes.insert(look);
    ++looks[absl::StrCat(attributes.at("stroke"), "/", look)];
  }
  EXPECT_EQ(looks.size(), 24u);
  for (const auto& [look, count] : looks) EXPECT_EQ(count, 3) << look;
  EXPECT_GE(dashes.size(), 6u);
  EXPECT_GE(markers.size(), 8u);
}

TEST(Chart, StaysWithinItsFrame) {
  Evaluation evaluation = testing::SampleEvaluation();
  evaluation.rows[0].perplexity = 1e9;
  evaluation.rows[1].perplexity = 1e-3;
  const std::vector<Element> elements = ParseXml(ChartSvg(evaluation));
  const double width = std::stod(elements[0].attributes.at("width"));
  const double height = std::stod(elements[0].attributes.at("height"));
  for (const Element& element : elements) {
    if (element.name != "text") continue;
    EXPECT_THAT(std::stod(element.attributes.at("x")), AllOf(Ge(0), Le(width)));
    EXPECT_THAT(std::stod(element.attributes.at("y")), AllOf(Ge(0), Le(height)));
  }
}

TEST(Chart, PutsPointsWhereTheirNumbersAre) {
  Evaluation evaluation = testing::SampleEvaluation();
  evaluation.rows.resize(1);  // local at 50 %: perplexity 132.25, ROUGE 0.2.
  evaluation.full.perplexity = 1;
  evaluation.rows[0].perplexity = 100;
  EvaluationRow middle = evaluation.rows[0];
  middle.setting.budget = 0.9;
  middle.perplexity = 10;
  evaluation.rows.push_back(middle);
  const std::string svg = ChartSvg(evaluation);
  static const std::regex line(R"re(d="M([0-9.]+) ([0-9.]+)L([0-9.]+) ([0-9.]+)")re");
  std::smatch found;
  ASSERT_TRUE(std::regex_search(svg, found, line));
  const double y100 = std::stod(found[2]), y10 = std::stod(found[4]);
  static const std::regex full(
      R"re(y1="([0-9.]+)" x2="[0-9.]+" y2="([0-9.]+)" stroke="#767676" stroke-width="1.5")re");
  std::smatch line_of_full;
  ASSERT_TRUE(std::regex_search(svg, line_of_full, full));
  const double y1 = std::stod(line_of_full[1]);
  EXPECT_LT(y100, y10) << "more is higher";
  EXPECT_NEAR(y10 - y100, y1 - y10, 0.2) << "a factor of ten is the same way everywhere";
  EXPECT_NEAR((std::stod(found[3]) - std::stod(found[1])) / 0.4, 390, 0.5);
}

TEST(Chart, LeavesOutWhatIsNotFinite) {
  Evaluation evaluation = ManyPolicies(1);
  evaluation.rows[1].perplexity = std::numeric_limits<double>::infinity();
  const std::string svg = ChartSvg(evaluation);
  ParseXml(svg);
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
  static const std::regex broken(R"re(d="M[0-9. ]+M[0-9. ]+")re");
  EXPECT_TRUE(std::regex_search(svg, broken)) << "the line is not drawn across the gap";
  evaluation.full.perplexity = std::numeric_limits<double>::quiet_NaN();
  for (EvaluationRow& row : evaluation.rows) row.perplexity = evaluation.full.perplexity;
  EXPECT_THAT(ChartSvg(evaluation), Not(HasSubstr("nan")));
}

TEST(Chart, EscapesLabels) {
  Evaluation evaluation = testing::SampleEvaluation();
  evaluation.rows[0].setting.policy = "a<b>&\"c'";
  const std::string svg = ChartSvg(evaluation);
  ParseXml(svg);
  EXPECT_THAT(svg, HasSubstr("a&lt;b&gt;&amp;&quot;c&apos;"));
}

TEST(LogTicks, AreRoundAndFew) {
  EXPECT_THAT(LogTicks(2.9, 70), ::testing::ElementsAre(5, 10, 20, 50));
  EXPECT_THAT(LogTicks(1, 30), ::testing::ElementsAre(1, 2, 5, 10, 20));
  EXPECT_THAT(LogTicks(0.9, 2e6), ::testing::ElementsAre(1, 10, 100, 1e3, 1e4, 1e5, 1e6));
  for (const auto& [low, high] : {std::pair(1.01, 1.09), std::pair(3.1, 4.5), std::pair(20., 390.),
                                  std::pair(1e-3, 1e9), std::pair(1., 1e300)}) {
    const std::vector<double> ticks = LogTicks(low, high);
    EXPECT_THAT(ticks.size(), AllOf(Ge(3u), Le(13u))) << low << " " << high;
    EXPECT_THAT(ticks, Each(AllOf(Ge(low), Le(high))));
    EXPECT_TRUE(std::is_sorted(ticks.begin(), ticks.end()));
  }
}

}  // namespace
}  // namespace prefixd
