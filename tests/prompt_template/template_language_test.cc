// Small templates against Jinja (tests/golden/make/template_expressions.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "absl/time/civil_time.h"
#include "tests/prompt_template/template_testing.h"

namespace prefixd::jinja {
namespace {

using nlohmann::ordered_json;

ordered_json Golden() {
  std::ifstream file(PREFIXD_SOURCE_DIR "/tests/golden/template_expressions.json");
  return ordered_json::parse(file);
}

std::string Rendered(const std::string& source, const RenderOptions& options = {}) {
  const auto text = RenderJson(source, ordered_json::object(), options);
  return text.ok() ? std::string(text->view()) : absl::StrCat("! ", text.status().message());
}

TEST(TemplateLanguage, RendersWhatJinjaRenders) {
  const ordered_json golden = Golden();
  ordered_json variables = golden["variables"];
  variables["add_generation_prompt"] = true;
  ASSERT_GE(golden["cases"].size(), 350u);
  int failing = 0;
  for (const ordered_json& test : golden["cases"]) {
    const auto source = test[0].get<std::string>();
    const auto text = RenderJson(source, variables);
    if (test[1].is_null()) {
      EXPECT_FALSE(text.ok()) << source << "\n gives: " << (text.ok() ? text->view() : "");
      ++failing;
      continue;
    }
    ASSERT_TRUE(test[1].is_string());
    EXPECT_TRUE(text.ok()) << source << "\n" << text.status();
    if (!text.ok()) continue;
    EXPECT_EQ(std::string(text->view()), test[1].get<std::string>()) << source;
  }
  EXPECT_GE(failing, 80);
}

TEST(TemplateLanguage, MakesDicts) {
  EXPECT_EQ(Rendered("{{ dict(a=1, b='x') }}{{ dict({'a': 1}, b=2) }}{{ dict([('x', 1)]) }}"),
            "{'a': 1, 'b': 'x'}{'a': 1, 'b': 2}{'x': 1}");
}

TEST(TemplateLanguage, TellsTheTimeThatItIsGiven) {
  const RenderOptions options = {
      .now = absl::FromCivil(absl::CivilSecond(2026, 3, 9, 7, 5, 3), absl::LocalTimeZone())};
  EXPECT_EQ(Rendered("{{ strftime_now('%d %b %Y|%B %A %H:%M:%S %j %y %m|%%') }}", options),
            "09 Mar 2026|March Monday 07:05:03 068 26 03|%");
  EXPECT_THAT(Rendered("{{ strftime_now('" + std::string(300, 'x') + "') }}"),
              testing::HasSubstr("too long"));
}

TEST(TemplateLanguage, NamesTheLineOfAnError) {
  EXPECT_EQ(Rendered("a\n{% if true %}\n{{ missing.x }}{% endif %}"),
            "! chat template, line 3: \"missing\" is undefined");
  EXPECT_EQ(Rendered("{% macro f() %}\n{{ 1 / 0 }}{% endmacro %}\n\n{{ f() }}"),
            "! chat template, line 2: division by zero");
  EXPECT_EQ(Rendered("\n{{ raise_exception('no') }}"), "! no");
}

TEST(TemplateLanguage, MarksWhatCameFromVariables) {
  const auto text = RenderJson("<{{ s.upper() ~ 'x' ~ s[0] }}>", {{"s", "ab"}});
  ASSERT_TRUE(text.ok()) << text.status();
  std::string marks;
  for (size_t i = 0; i < text->size(); ++i) marks += text->mark(i) == Mark::kUser ? 'u' : 't';
  EXPECT_EQ(text->view(), "<ABxa>");
  EXPECT_EQ(marks, "tuutut");
}

}  // namespace
}  // namespace prefixd::jinja
