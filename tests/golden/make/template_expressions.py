"""Goldens of the template language: what Jinja (as transformers sets it up) makes of small templates.

Run: python tests/golden/make/template_expressions.py   (transformers 5.24, jinja2 3.1.6)
Writes tests/golden/template_expressions.json: [template, text] or [template, null] where rendering fails.
All are rendered with VARIABLES, which the test holds, too.
"""
import json
import os

from transformers.utils.chat_template_utils import _compile_jinja_template

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")

VARIABLES = {
    "s": "Hello, World", "blank": "  \t padded text \n", "empty": "", "uni": "Grüße 生活 😀 e\u0301",
    "lines": "one\n  two\n\nthree\n", "quote": "it's \"so\" \\ \x01\u00a0\u200b", "n": 7, "neg": -3, "f": 2.5,
    "yes": True, "no": False, "nothing": None, "list": [3, 1, 2], "words": ["b", "A", "c", "a"],
    "dict": {"b": 1, "a": "x", "C": [1, 2]}, "nested": {"k": {"items": [1, {"z": None}], "get": "own"}},
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi\n"},
                 {"role": "assistant", "content": " Hello "}, {"role": "user", "content": "Bye"}],
    "parts": [{"type": "image"}, {"type": "text", "text": "What?"}, {"type": "text", "text": "Now"}],
}

EXPRESSIONS = """
s
n
f
yes
no
nothing
missing
list
dict
nested
words
quote
[quote]
[uni]
[1.0, 0.1, 1e16, 1e15, 123456789.125, 1e-5, 0.0001, -0.0, 1e100, 3.0e-310]
[true, none, "a", 'b"', "c'", [], {}, (), (1,), (1, 2)]
{'a': 1, "b": [None]}
1, 2
(1)
()
"a\\n\\t\\x41\\u00e9\\U0001F600\\q\\'\\"\\101"
'adjacent' ' strings' "!"
1_000 + 2
5 // 2, -5 // 2, 5 % 3, -5 % 3, 5 % -3
7 / 2, 6 / 3
2 ** 10, 2 ** -1, 2 ** 3 ** 2
5.5 // 2, -5.5 // 2, 5.5 % 2, -5.5 % 2
0.1 + 0.2
-n, +n, --n
- 2 ** 2
2 + 3 * 4 - 1
(2 + 3) * 4
n * 'ab'
'ab' * 2 ~ 'c'
[1, 2] * 2 + [3]
(1,) + (2,)
true + 1
'a' + 1
1 + 'a'
none + 1
missing + 'a'
1 / 0
1 % 0
[1] + (2,)
'a' ~ 1 ~ none ~ 2.5 ~ true ~ missing
1 < 2 < 3, 1 < 3 < 2
1 == 1.0, 1 == true, '1' == 1, none == missing, missing == missing2
[1, 2] == [1, 2], (1, 2) == [1, 2], {'a': 1} == {'a': 1.0}
'a' < 'b', 'B' < 'a', [1, 2] < [1, 3], (1,) < (1, 0)
1 < 'a'
none < 1
1 <= 1 >= 1 != 2
'ell' in s, 'x' not in s
1 in list, 9 in list, 'a' in dict, 'z' not in dict
1 in s
1 in n
'a' in missing
not yes, not empty, not not list
yes and n, no and n, no or 'x', empty or 0 or none
yes and no or 'z'
not no and yes
1 if yes else 2
1 if no else 2
1 if no
'a' if no else 'b' if no else 'c'
(1 if yes else 2) + 1
s[0], s[-1], s[100], uni[7], uni[1:4]
s[1:], s[:3], s[::-1], s[1:8:2], s[-3:], s[8:1:-2], s[5:2], s[:-1]
uni[::-1]
list[0], list[-1], list[5]
list[1:], list[::-1], list[:1], list[::2], list[-2:], list[10:], list[-10:2]
list[1:2:0]
(1, 2, 3)[1:]
dict.b, dict['a'], dict.C[1], dict['zz']
dict.items is defined, dict.items is callable
dict.a.b
missing.x
missing['x']
missing[1:]
nothing.x
nothing['x']
nothing[1:]
n.x
nested.k.get is callable
nested.k['get']
nested.k['items'][1]['z']
nested.k.items() | list
nested['k']['items'].0
words.1
s.nope
s.__class__
s['upper']()
dict['get']('a')
s.upper(), s.lower(), s.title(), s.capitalize()
"they're bill's".title()
"ß ǆ ﬁ".upper(), "ǄÀ".lower(), "ǆ ß".title(), 'ß'.capitalize()
blank.strip() ~ '|', blank.lstrip() ~ '|', blank.rstrip() ~ '|'
'xxaxbxx'.strip('x'), 'xyaxy'.lstrip('yx'), 'xyaxy'.rstrip('yx'), 'a'.strip(none)
'\\u3000a\\u00a0'.strip()
s.split(), s.split(', '), s.split('l', 1), s.split('l'), 'a  b c'.split(none, 1), ''.split(), ''.split('x')
' a  b '.split(' '), s.rsplit('o', 1), ' a b  c '.rsplit(none, 1), 'a,b,c'.rsplit(',')
s.split('')
' a  b c '.split(none, 1), ' a  b c '.split(none, 5), ' a b c '.rsplit(none, 5)
lines.splitlines(), lines.splitlines(true), 'a\\r\\nb\\rc\\x0bd\\u2028e'.splitlines()
s.startswith('He'), s.startswith(('x', 'H')), s.endswith('ld'), s.endswith(('a',)), s.startswith('')
s.startswith(1)
s.replace('l', 'L'), s.replace('l', '', 1), 'aaa'.replace('aa', 'b'), 'ab'.replace('', '-'), ''.replace('', 'x')
s.replace('l')
', '.join(words), ''.join([]), '-'.join('abc'), '+'.join(dict)
','.join([1])
'{} {}'.format(1, 'x'), '{1}{0}'.format('a', 'b'), '{x}{{}}'.format(x=2)
s.find('o'), s.rfind('o'), s.find('zz'), s.count('l'), s.count(''), uni.find('活')
'abc'.removeprefix('a'), 'abc'.removesuffix('c'), 'abc'.removeprefix('x')
'12'.isdigit(), ''.isdigit(), '1a'.isdigit(), ' \\t'.isspace()
dict.get('a'), dict.get('zz'), dict.get('zz', 5), dict.get('zz', none)
dict.keys() | list, dict.values() | list, dict.items() | list
dict.keys() | length
dict.items()[0]
list.append(1)
dict.update({'a': 1})
dict.pop('a')
list.index(1), list.count(3)
list.index(99)
blank | trim, 'xxaxx' | trim('x'), 5 | trim, missing | trim
s | upper, s | lower, n | upper, none | lower
"hello-wORLD foo(bar) they're" | title
"hELLO World" | capitalize
s | length, list | count, dict | length, uni | length, missing | length
n | length
s | list, dict | list, missing | list, (1, 2) | list, range(3) | list
list | first, s | first, [] | first, dict | first
list | last, s | last, [] | last, dict | last
[] | first is defined
words | join, words | join(', '), list | join('-'), messages | join('|', attribute='role'), missing | join
[1, none, 'a', 2.5] | join(',')
messages | map(attribute='role') | list
messages | map(attribute='nope', default='?') | list
messages | map(attribute='nope') | list
nested | map('upper') | list
words | map('upper') | join
words | map('replace', 'a', 'X') | list
words | map('default', 'x') | list
words | map('nope') | list
[[1, 2], [3]] | map('first') | list
[[1, 2], [3]] | map(attribute=0) | list
[{'a': {'b': 1}}] | map(attribute='a.b') | list
[0, 1, '', 'a', none] | select | list, [0, 1, '', 'a', none] | reject | list
range(10) | select('odd') | list, range(10) | reject('even') | list
range(10) | select('gt', 6) | list, range(10) | select('in', [1, 2]) | list
range(10) | select('divisibleby', 3) | list
messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list
messages | rejectattr('role', 'eq', 'user') | list | length
messages | selectattr('content') | list | length
messages | selectattr('nope', 'defined') | list
parts | selectattr('text', 'defined') | list | length
parts | selectattr('type', '==', 'text') | map(attribute='text') | join(' ')
none | selectattr('a') | list
missing | map('upper') | list
messages | selectattr('role', 'nope') | list
dict | tojson, nested | tojson, list | tojson, s | tojson, uni | tojson, quote | tojson
nested | tojson(indent=2)
list | tojson(indent=4), [] | tojson(indent=2), {} | tojson(indent=2), [[]] | tojson(indent=0)
{'b': 1, 'a': [1, 2]} | tojson(sort_keys=true), {'a': [1, 2]} | tojson(separators=(',', ':'))
uni | tojson(ensure_ascii=true), '\\x7f' | tojson(ensure_ascii=true)
[1.0, 1e16, true, none, '<a href="x">&\\u2028'] | tojson
{1: 2, none: 3, true: 4, 2.5: 5} | tojson
missing | tojson
(1, 2) | tojson
dict.items() | tojson
dict | items | list, missing | items | list
dict | dictsort, dict | dictsort(case_sensitive=true), {'a': 2, 'b': 1} | dictsort(by='value')
{'a': 2, 'b': 1} | dictsort(reverse=true), {'a': 2, 'b': 1} | dictsort(false, 'value', true)
n | string, none | string, list | string, missing | string
'12' | int, '1.9' | int, 'x' | int, 'x' | int(5), 2.9 | int, -2.9 | int, true | int, none | int, ' 4 ' | int, '1_000' | int, '' | int
'ff' | int(base=16), '0x1f' | int(0, 16), '101' | int(base=2), 'zz' | int(default=-1)
list | int(3)
missing | int
'1.5' | float, 'x' | float, 'x' | float(2.5), 3 | float, none | float, 'inf' | float, ' 1e3 ' | float
missing | default('d'), missing | d, empty | default('d'), empty | default('d', true), none | default('x'), 0 | d(5, boolean=true), s | default('d')
s | replace('l', 'L'), s | replace('l', 'L', 1), n | replace(7, 8)
['a', 'A', 'b', 'a'] | unique | list, ['a', 'A', 'b', 'a'] | unique(case_sensitive=true) | list, messages | unique(attribute='role') | map(attribute='role') | list
lines | indent, lines | indent(2), lines | indent(2, true), lines | indent(2, first=true, blank=true), lines | indent('> ')
'a' | indent, '' | indent, 'a\\n' | indent
2.5 | round, 3.5 | round, 2.675 | round(2), 1.25 | round(1), 7 | round, -2.5 | round, 2.1 | round(method='ceil'), 2.9 | round(0, 'floor'), 1234.567 | round(1)
5 | abs, -5 | abs, -2.5 | abs, true | abs
s | abs
[1, 2, 3] | sum, [1.5, 2] | sum, [] | sum, [1] | sum(start=10), [{'a': 1}, {'a': 2}] | sum(attribute='a')
words | sum
[3, 1, 2] | min, [3, 1, 2] | max, words | min, words | max, words | min(case_sensitive=true), [] | min, [{'a': 2}, {'a': 1}] | max(attribute='a')
[1, 'a'] | min
words | sort, words | sort(case_sensitive=true), list | sort(reverse=true), messages | sort(attribute='role') | map(attribute='role') | list
[1, 'a'] | sort
list | reverse | list, s | reverse, uni | reverse, words[:2] | reverse | list
n | reverse
range(5) | batch(2) | list, range(5) | batch(3, 'x') | list
s | nopefilter
missing is defined, s is defined, missing is undefined, none is none, s is none, dict.zz is defined
s is string, n is string, n is number, yes is number, f is number, n is integer, yes is integer, f is float, n is float
yes is boolean, n is boolean, yes is true, no is false, n is true, 1 is true
dict is mapping, list is mapping, list is iterable, s is iterable, n is iterable, dict is iterable, missing is iterable, none is iterable
list is sequence, s is sequence, dict is sequence, n is sequence, missing is sequence, (dict.items()) is sequence, (list | map('string')) is sequence, (list | map('string')) is iterable
n is odd, n is even, 4 is even, 2.0 is even
s is odd
n is eq 7, n is equalto(7), n is eq(8), n is ne 8, n is lt 8, n is ge 7, n is gt 6, n is le 6
n is sameas
1 is in [1, 2], 'x' is in s, 1 is not in [1]
6 is divisibleby 3, 7 is divisibleby(2)
'abc' is lower, 'ABC' is upper, 'aB' is lower, '1' is upper
s is not string, missing is not defined
not missing is defined
range is callable, s is callable
s is nopetest
x is defined and y is defined or s is defined
s is string and n is number
(s is string) == true
1 if missing is defined else 2
range(5) | list, range(2, 5) | list, range(5, 0, -2) | list, range(0) | list, range(3)[1], range(10)[2:4] | list
range(1, 2, 0)
range('a')
dict(a=1, b='x'), dict({'a': 1}, b=2), dict([('x', 1)])
dict | length == 3 and list | length > 2
s | upper | lower | title
-1 | abs
s ~ '|' ~ n | string | length
(s ~ n) | length
raise_exception('stop ' ~ n)
loop
loop.index
{'a': 1, 'a': 2}
{[1]: 2}
{(1, 2): 3}[(1, 2)]
{1: 'a'}[true], {1: 'a'}[1.0]
10 ** 18 * 8
messages[0].role, messages[-1]['content'], messages[1:] | length
messages[0]['role'] == 'system'
(messages | selectattr('role', 'equalto', 'user') | list)[0].content
messages | selectattr('role', 'equalto', 'user') | length
(messages | selectattr('role', 'equalto', 'tool')) and 'generators are true'
'yes' if (messages | selectattr('role', 'equalto', 'tool') | list) else 'no'
""".strip("\n").split("\n")

TEMPLATES = [
    "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}"
    "{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.depth }}{{ loop.depth0 }}|{% endfor %}",
    "{% for m in messages %}{{ loop.previtem.role if loop.previtem is defined }}<{{ m.role }}>"
    "{{ loop.nextitem.role if not loop.last }};{% endfor %}",
    "{% for m in messages %}{{ loop.cycle('a', 'b') }}{{ loop.changed(m.role) }}{% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ loop.index }}/{{ loop.length }}{{ m.content }}{{ loop.last }}{% endfor %}",
    "{% for m in messages if m.role == 'nobody' %}x{% else %}none{% endfor %}",
    "{% for x in [] %}x{% else %}empty{% endfor %}{% for x in [1] %}x{% else %}empty{% endfor %}",
    "{% for x in missing %}x{% else %}undefined{% endfor %}", "{% for x in n %}x{% endfor %}", "{% for x in none %}{% endfor %}",
    "{% for k, v in dict.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in dict %}{{ k }}{% endfor %}",
    "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}",
    "{% for c in 'añ😀' %}[{{ c }}]{% endfor %}", "{% for x in 1, 2, 3 %}{{ x }}{% endfor %}",
    "{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for i in [1, 2] %}{% for j in [3, 4] %}{% if j == 4 %}{% break %}{% endif %}{{ i }}{{ j }}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}",
    "{% break %}", "{% macro f() %}{% break %}{% endmacro %}",
    "{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}",
    "{% for i in [1, 2] %}{{ y is defined }}{% set y = i %}{% endfor %}{{ y is defined }}",
    "{% if yes %}{% set z = 5 %}{% endif %}{{ z }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a = 1, 2 %}{{ a }}",
    "{% set a, b = [1] %}", "{% set (a, b) = 'xy' %}{{ b }}{{ a }}",
    "{% set ns = namespace(x=1, found=false) %}{% for i in [1, 2, 3] %}{% set ns.x = ns.x + i %}{% set ns.found = true %}{% endfor %}{{ ns.x }}{{ ns.found }}{{ ns.nope is defined }}{{ ns['x'] }}",
    "{% set dict.a = 1 %}", "{% set nope.a = 1 %}", "{% set ns = namespace() %}{% set ns.y = 'n' %}{{ ns.y }}{{ ns.z }}",
    "{% set x %}  block {{ n }} {% endset %}[{{ x }}]{{ x is string }}", "{% set x | trim | upper %}  block {% endset %}[{{ x }}]",
    "{% set x %}{% set inner = 1 %}{% endset %}{{ inner is defined }}",
    "{% macro f(a, b='d', c=none) %}[{{ a }}|{{ b }}|{{ c }}]{% endmacro %}{{ f(1) }}{{ f(1, 2) }}{{ f(a=3, c=4) }}{{ f() }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(b=2) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, a=2) }}",
    "{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, x=3) }}",
    "{% macro f(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}", "{% macro f() %}{{ s }}{{ later }}{% endmacro %}{% set later = 3 %}{{ f() }}",
    "{% macro f(x) %}{% if x > 0 %}{{ x }}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(4) }}",
    "{% macro f() %}{% set q = 1 %}{% endmacro %}{{ f() }}{{ q is defined }}", "{% set m = f %}{% macro f() %}x{% endmacro %}{{ m is defined }}{{ f() | upper }}",
    "{% macro f() %}<{{ caller() }}>{% endmacro %}{% call f() %}in{{ n }}{% endcall %}",
    "{% macro f() %}<{{ caller(1, 2) }}>{% endmacro %}{% call(a, b=5) f() %}{{ a }}{{ b }}{% endcall %}",
    "{% macro f() %}x{% endmacro %}{% call f() %}y{% endcall %}",
    "{% filter upper %}abc {{ s }}{% endfilter %}", "{% filter trim | replace('a', 'b') %} aaa {% endfilter %}",
    "{% generation %}gen {{ n }}{% set hidden = 1 %}{% endgeneration %}{{ hidden is defined }}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}", "{% with %}{% set a = 3 %}{{ a }}{% endwith %}{{ a is defined }}",
    "{% if no %}a{% elif n == 7 %}b{% elif yes %}c{% else %}d{% endif %}", "{% if no %}a{% elif no %}b{% else %}d{% endif %}",
    "{% if no %}a{% endif %}{% if missing %}b{% endif %}{% if not missing %}c{% endif %}", "{% if list and dict and s %}all{% endif %}",
    "a{# comment {{ n }} #}b{#- strip -#} c", " a {#- x #} b", "{{ n }}\n", "{{ n }}\n\n", "a\r\nb\rc\n",
    "  {% if yes %}\n    x\n  {% endif %}\n  y\n", "  {%+ if yes %}\n    x\n  {%+ endif +%}\n  y\n", "  {%- if yes -%}\n    x\n  {%- endif -%}\n  y\n",
    "a\n  {{ n }}\n  {{- n -}}\n  b", "a {{+ n }} b", "\t{% set x = 1 %}\n\t{# c #}\n\tz", "x  {% set x = 1 %}  \ny", "{% set x = 1 %}  {% set y = 2 %}\n z",
    "{% for m in messages %}\n    {% if m.role == 'user' %}\n        {{- 'U: ' + m.content }}\n    {% else %}\n        {{- m.role ~ ': ' ~ m.content | trim }}\n    {% endif %}\n{% endfor %}\n",
    "{% raw %}{{ not }} {% this %}{% endraw %}!", " {%- raw -%} {{ x }} {%- endraw -%} !", "{{ '{{' }}{{ '}}' }}{{ '%}' }}", "{{ {'a': {'b': 1}}['a']['b'] }}", "{{ {'a': {}}}}",
    "{ {% if yes %} } {% endif %} %} }} #}", "{{ 'a", "{{ n", "{% if yes %}", "{% endif %}", "{% for %}", "{% nope %}", "{{ }}", "{% if %}{% endif %}", "{# open",
    "{{ n }}{{ }}", "{{ (1 }}", "{{ [1 }}", "{{ 1) }}", "{{ a b }}", "{{ a. }}", "{{ |upper }}", "{{ n| }}", "{% set 1 = 2 %}", "{% set true = 2 %}", "{% for true in [1] %}{% endfor %}",
    "{% macro f(a=1, b) %}{% endmacro %}", "{{ f(a=1, 2) }}", "{{ not }}", "{{ ! }}", "{{ 1 is is }}", "{% else %}", "{% if yes %}{% else %}{% else %}{% endif %}",
    "{% set g = messages | selectattr('role', 'equalto', 'user') %}{% for m in g %}{{ m.content }}{% endfor %}{% for m in g %}again{% endfor %}",
    "{% set g = list | map('string') %}{{ g | first }}{{ g | list }}{{ g | list }}",
    "{% set it = list | reverse %}{{ it | list }}{{ it | list }}", "{% for x in list | reverse %}{{ x }}{{ loop.last }}{% endfor %}",
    "{% for x in list | sort %}{{ x }}{{ ',' if not loop.last }}{% endfor %}", "{% for x in dict | dictsort %}{{ x[0] }}{% endfor %}",
    "{% for key, value in dict | items %}{{ key }}{{ value }}{% endfor %}", "{% for m in messages[1:] %}{{ m['role'][0] }}{% endfor %}",
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}x{% endif %}{% endfor %}",
    "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{% set sys = messages[0]['content'] %}{% else %}{% set rest = messages %}{% set sys = false %}{% endif %}{{ sys }}{{ rest | length }}",
    "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{{ ns.last }}",
    "{%- for m in messages -%}\n  {{- m.role -}}\n{%- endfor -%}", "{% for p in parts %}{% if p.type == 'image' %}<image>{% elif p['type'] == 'text' %}{{ p.text }}{% endif %}{% endfor %}",
    "{% set x = ['a', 'b'] %}{% set x = x + ['c'] %}{{ x | join(' ') }}", "{% set _ = list.append(4) %}", "{% do list.append(4) %}", "{% include 'x' %}", "{% import 'x' as y %}",
    "{{ '<b>' | safe }}{{ s | safe }}", "{{ '<a & \"b' | e }}{{ \"'>\" | escape }}{{ n | e }}{{ missing | e }}",
    "{{ namespace(a=1).a }}", "{% set x = namespace({'a': 1}, b=2) %}{{ x.a }}{{ x.b }}", "{{ messages[0].content.split(' ')[0] }}", "{{ ('a' ~ 'b').upper() }}", "{{ 'x'.join(list | map('string')) }}",
    "{% for x in list %}{% set ns = namespace(v=x) %}{{ ns.v }}{% endfor %}", "{{ 'a' 'b' | upper }}", "{{ 'a' + 'b' | upper }}", "{{ 1 if yes }}{{ 2 if no }}x",
    "{%if yes%}a{%endif%}", "{{s}}{{n}}", "{{-s-}} x", "{{ s }} \n{%- if yes %} y{% endif %}", "{% if yes -%} \n a \n{%- endif %}",
    "{{ missing.a.b is defined }}", "{{ dict.zz.y is defined }}", "{{ (dict.zz or {}).y is defined }}", "{{ messages | map(attribute='content') | map('trim') | join('/') }}",
    "{% set msgs = messages %}{% for m in msgs %}{% if not loop.first and loop.previtem.role == m.role %}{{ raise_exception('twice') }}{% endif %}{% endfor %}ok",
]


def render(template):
    try:
        return _compile_jinja_template(template).render(**VARIABLES, add_generation_prompt=True)
    except Exception as error:  # Whatever Python makes of it: the interpreter must refuse, too.
        return None


def main():
    templates = ["{{ " + e.replace("\\\\", "\\") + " }}" for e in EXPRESSIONS] + TEMPLATES
    golden = {"variables": VARIABLES, "cases": [[t, render(t)] for t in templates]}
    path = os.path.join(ROOT, "tests", "golden", "template_expressions.json")
    with open(path, "w", encoding="utf-8") as f:
        f.write('{"variables": ' + json.dumps(golden["variables"]) + ',\n"cases": [\n')
        f.write(",\n".join(json.dumps(c) for c in golden["cases"]))
        f.write("\n]}\n")


if __name__ == "__main__":
    main()
