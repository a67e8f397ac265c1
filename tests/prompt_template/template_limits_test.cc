// Templates that mean harm, and templates with random damage: all of them end soon, in a text or in
// an error. PREFIXD_TEMPLATE_MUTATIONS=100000 for the long form.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <random>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/prompt_template/template_testing.h"

namespace prefixd::jinja {
namespace {

using nlohmann::ordered_json;

constexpr RenderOptions kSmall = {.max_output_bytes = 1 << 16};

std::string Times(size_t count, absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < count; ++i) absl::StrAppend(&out, text);
  return out;
}

// Renders; the time that it may take is far more than it needs, also under a sanitizer.
absl::StatusOr<Text> Bounded(const std::string& source, const RenderOptions& options = kSmall) {
  const absl::Time start = absl::Now();
  const absl::StatusOr<Text> text =
      RenderJson(source, {{"s", "user"}, {"missing", nullptr}}, options);
  EXPECT_LT(absl::Now() - start, absl::Seconds(60)) << source.substr(0, 200);
  if (text.ok()) {
    EXPECT_LE(text->size(), options.max_output_bytes);
  }
  return text;
}

void ExpectError(const std::string& source, absl::string_view problem,
                 const RenderOptions& options = kSmall) {
  const auto text = Bounded(source, options);
  ASSERT_FALSE(text.ok()) << source.substr(0, 200);
  EXPECT_THAT(std::string(text.status().message()), testing::HasSubstr(std::string(problem)))
      << source.substr(0, 200);
}

TEST(TemplateLimits, NestingIsBounded) {
  const size_t n = 20'000;
  const auto brackets = [n](absl::string_view open, absl::string_view close) {
    return absl::StrCat("{{ ", Times(n, open), "1", Times(n, close), " }}");
  };
  ExpectError(brackets("(", ")"), "nested more than");
  ExpectError(brackets("[", "]"), "nested more than");
  ExpectError(brackets("{1:", "}"), "nested more than");
  ExpectError(brackets("x(", ")"), "nested more than");
  ExpectError(brackets("x[", "]"), "nested more than");
  ExpectError("{{ " + Times(n, "-") + "1 }}", "nested more than");
  ExpectError("{{ " + Times(n, "not ") + "1 }}", "nested more than");
  ExpectError("{{ " + Times(n, "1 if 1 else ") + "1 }}", "nested more than");
  ExpectError("{{ 1" + Times(n, " if 1") + " }}", "levels");
  ExpectError("{{ x" + Times(n, ".b") + " }}", "levels");
  ExpectError("{{ x" + Times(n, "|upper") + " }}", "levels");
  ExpectError("{{ x" + Times(n, "()") + " }}", "levels");
  ExpectError(Times(n, "{% if 1 %}"), "nested more than");
  ExpectError(Times(n / 2, "{% for x in y %}"), "nested more than");
  ExpectError("{% for " + Times(n, "(") + "x" + Times(n, ")") + " in y %}{% endfor %}",
              "nested more than");
  ExpectError("{% filter upper" + Times(n, "|upper") + " %}{% endfilter %}", "levels");
}

TEST(TemplateLimits, LongChainsAreNotDeep) {
  const auto sum = Bounded("{{ 0" + Times(20'000, "+1") + " }}");
  ASSERT_TRUE(sum.ok()) << sum.status();
  EXPECT_EQ(sum->view(), "20000");
  EXPECT_TRUE(Bounded("{{ ''" + Times(20'000, "~1") + " }}").ok());
  EXPECT_TRUE(Bounded("{{ 0" + Times(20'000, " or 0") + " }}").ok());
  EXPECT_TRUE(Bounded("{% if 0 %}" + Times(10'000, "{% elif 0 %}") + "{% endif %}").ok());
}

TEST(TemplateLimits, TheTextOfATemplateIsBounded) {
  ExpectError(std::string((256 << 10) + 1, 'x'), "262145 bytes, the limit is 262144");
  EXPECT_TRUE(Bounded(std::string(256 << 10, 'x'), {.max_output_bytes = 1 << 20}).ok());
  ExpectError("\xff", "not valid UTF-8");
}

TEST(TemplateLimits, StringsAreBoundedBeforeTheyAreMade) {
  for (const char* source :
       {"{{ 'a' * 1000000000000 }}", "{{ 9000000000000000000 * 'abc' }}", "{{ 'a' * 70000 }}",
        "{% set x = namespace(s='ab') %}{% for i in range(60) %}{% set x.s = x.s + x.s %}{% endfor "
        "%}",
        "{% set x = namespace(s='ab') %}{% for i in range(60) %}{% set x.s = x.s ~ x.s %}{% endfor "
        "%}",
        "{% set x = 'a' * 60000 %}{{ x.replace('', x) }}",
        "{% set x = 'a' * 60000 %}{{ x.join(x) }}",
        "{% set x = 'a' * 60000 %}{{ x | list | join(x) }}", "{{ 'a\nb' | indent(1000000000) }}",
        "{% set x = 'a\n' * 30000 %}{{ x | indent(60000) }}",
        "{% set x = '&' * 60000 %}{{ x | e }}", "{% set x = '\\x00' * 60000 %}{{ [x] }}",
        "{% set x = '\\x00' * 60000 %}{{ x | tojson }}",
        "{% for i in range(100000) %}xxxxxxxxxx{% endfor %}",
        "{% set x = 'a' * 60000 %}{{ x }}{{ x }}",
        "{% set x = 'a' * 60000 %}{{ '{0}{0}{0}{0}'.format(x) }}",
        "{% macro f() %}{% for i in range(100000) %}x{% endfor %}{% endmacro %}{{ f() }}"}) {
    ExpectError(source, "");
  }
  // Each string is short enough, all together are not.
  ExpectError("{% for i in range(1000) %}{% set x = 'a' * 60000 %}{% endfor %}", "in all");
}

TEST(TemplateLimits, ListsAreBoundedBeforeTheyAreMade) {
  for (const char* source :
       {"{{ range(1000000000000) | list }}",
        "{{ range(-9000000000000000000, 9000000000000000000) }}", "{{ [0] * 1000000000000 }}",
        "{{ ([0] * 100000) * 2 }}", "{{ [1] | batch(1000000000000, 1) }}",
        "{% set x = namespace(l=[1]) %}{% for i in range(60) %}{% set x.l = x.l + x.l %}{% endfor "
        "%}"}) {
    ExpectError(source, "items, the limit is 100000");
  }
  EXPECT_TRUE(Bounded("{{ range(100000) | length }}").ok());
}

TEST(TemplateLimits, StepsAreBounded) {
  for (const char* source :
       {"{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% for i in range(100000) %}{% set x = range(100000) | list %}{% endfor %}",
        "{% set l = range(50000) | list %}{% for i in l %}{{ '' if i in l }}{% endfor %}",
        "{% set l = range(100000) | list %}{% for i in l %}{{ '' if l == l[:] }}{% endfor %}",
        "{{ range(100000) | unique | list | length }}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) "
        "}}",
        "{% set x = 'a' * 60000 %}{% for i in range(100000) %}{{ '' if 'b' in x }}{% endfor %}",
        "{% set x = 'a' * 60000 %}{% for i in range(100000) %}{{ '' if x[i] }}{% endfor %}",
        "{% set x = ' ' * 60000 %}{% for i in range(100000) %}{{ x.strip() }}{% endfor %}"}) {
    ExpectError(source, "steps");
  }
  std::string many = "{% set x = 1 %}";
  for (int i = 0; i < 8000; ++i) absl::StrAppend(&many, "{% set v", i, "=1 %}");
  ExpectError(many +
                  "{% for i in range(100000) %}{% for j in range(100000) %}{{ x }}{% endfor %}"
                  "{% endfor %}",
              "steps");
}

TEST(TemplateLimits, RecursionIsBounded) {
  ExpectError("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "deep");
  ExpectError("{% macro f(x=f()) %}{% endmacro %}{{ f() }}", "levels of evaluation");
  ExpectError(
      "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
      "deep");
  ExpectError("{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}",
              "");
}

TEST(TemplateLimits, DeepAndCircularValuesEnd) {
  const std::string deep =
      "{% set n = namespace(x=[], y=[]) %}{% for i in range(30000) %}{% set n.x = [n.x] %}"
      "{% set n.y = [n.y] %}{% endfor %}";
  ExpectError(deep + "{{ n.x }}", "nested too deep");
  ExpectError(deep + "{{ n.x | tojson }}", "nested too deep");
  ExpectError(deep + "{{ n.x == n.y }}", "nested too deep");
  ExpectError(deep + "{{ n.x < n.y }}", "nested too deep");
  EXPECT_TRUE(Bounded(deep).ok());
  // Small, but as many leaves as 2^60.
  const std::string wide =
      "{% set n = namespace(x=[], y=[]) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}"
      "{% set n.y = [n.y, n.y] %}{% endfor %}";
  ExpectError(wide + "{{ n.x }}", "");
  ExpectError(wide + "{{ n.x | tojson }}", "");
  ExpectError(wide + "{{ n.x == n.y }}", "steps");
  ExpectError("{% set n = namespace() %}{% set n.n = n %}{{ n }}", "cannot be printed");
  ExpectError("{% set n = namespace() %}{% set n.n = [n] %}{{ n.n | tojson }}", "not JSON");
}

TEST(TemplateLimits, WhatOutlivesItsBlockIsStillThere) {
  const auto text = Bounded(
      "{% set n = namespace() %}{% for i in [1, 2, 3] if i > 1 %}{% set n.loop = loop %}"
      "{% macro m() %}{{ i }}{{ loop.index }}{% endmacro %}{% set n.m = m %}{% endfor %}"
      "{{ n.loop.index }}{{ n.loop.length }}{{ n.loop.last }}{{ n.loop.nextitem }}"
      "{{ n['m']() }}{{ n.loop.cycle('a', 'b') }}");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->view(), "22True32b");
}

TEST(TemplateLimits, NumbersAreBounded) {
  for (const char* source :
       {"{{ 2 ** 1000000000000 }}", "{{ 9000000000000000000 + 9000000000000000000 }}",
        "{{ 9223372036854775808 }}", "{{ (-9223372036854775807 - 1) // -1 }}",
        "{{ (-9223372036854775807 - 1) | abs }}", "{{ -(-9223372036854775807 - 1) }}",
        "{{ 1e300 | int }}", "{{ 1.5 | round(1000000000) }}", "{{ [1] | tojson(indent=1000000) }}",
        "{{ 10.0 ** 1000 }}", "{{ 1 % 0 }}", "{{ 1.0 // 0 }}", "{{ 0 ** -1 }}"}) {
    ExpectError(source, "");
  }
  EXPECT_TRUE(Bounded("{{ (-9223372036854775807 - 1) % -1 }}").ok());
}

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds;
  std::ifstream language(PREFIXD_SOURCE_DIR "/tests/golden/template_expressions.json");
  const ordered_json expressions = ordered_json::parse(language);
  for (const ordered_json& test : expressions["cases"]) seeds.push_back(test[0]);
  std::ifstream families(PREFIXD_SOURCE_DIR "/tests/golden/conversations.json");
  const ordered_json golden = ordered_json::parse(families);
  for (const auto& [name, entry] : golden["templates"].items()) {
    for (int i = 0; i < 10; ++i) seeds.push_back(entry["template"]);
  }
  return seeds;
}

TEST(TemplateLimits, DamagedTemplatesEnd) {
  int64_t count = 3000;
  if (const char* text = std::getenv("PREFIXD_TEMPLATE_MUTATIONS")) {
    ASSERT_TRUE(absl::SimpleAtoi(text, &count)) << text;
  }
  const std::vector<std::string> seeds = Seeds();
  const char* const pieces[] = {
      "{{", "}}", "{%", "%}",       "{#",     "#}",        "-",        "+",    "(",
      ")",  "[",  "]",  "{",        "}",      "|",         ".",        ",",    ":",
      "'",  "\"", "\\", "if ",      " else ", "for x in ", " not ",    " is ", "99999999999",
      "*",  "~",  "**", "messages", "loop.",  "range(9)",  "\xc3\xa9", "\n"};
  ordered_json variables = {{"messages", {{{"role", "user"}, {"content", "Hi <b> there"}}}},
                            {"add_generation_prompt", true},
                            {"list", {3, 1, 2}},
                            {"dict", {{"a", 1}}},
                            {"s", "text"},
                            {"n", 7}};
  std::mt19937 random(20260309);
  const auto below = [&](size_t limit) { return limit == 0 ? 0 : random() % limit; };
  int rendered = 0;
  for (int64_t i = 0; i < count; ++i) {
    std::string text = seeds[below(seeds.size())];
    for (size_t edits = 1 + below(4); edits > 0; --edits) {
      const size_t at = below(text.size());
      switch (below(5)) {
        case 0:
          if (!text.empty()) text[at] = static_cast<char>(random() % 128);
          break;
        case 1:
          text.erase(at, 1 + below(8));
          break;
        case 2:
          text.insert(at, pieces[below(std::size(pieces))]);
          break;
        case 3:
          text.insert(at, text.substr(below(text.size()), below(24)));
          break;
        default: {
          const std::string& other = seeds[below(seeds.size())];
          text.insert(at, other.substr(below(other.size()), below(48)));
        }
      }
    }
    const absl::Time start = absl::Now();
    const auto result = RenderJson(text, variables, kSmall);
    ASSERT_LT(absl::Now() - start, absl::Seconds(30)) << text;
    if (result.ok()) ++rendered;
    ASSERT_TRUE(result.ok() || absl::IsInvalidArgument(result.status()) ||
                absl::IsUnimplemented(result.status()))
        << result.status();
  }
  // Neither all of them broken nor all whole.
  EXPECT_GT(rendered, count / 20);
  EXPECT_LT(rendered, count);
}

}  // namespace
}  // namespace prefixd::jinja
