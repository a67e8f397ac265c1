"""Goldens of whole chat templates: random conversations in templates of well-known families.

Run: python tests/golden/make/conversations.py   (transformers 5.24, jinja2 3.1.6)
Writes tests/golden/conversations.json: the conversations (a part is a text, or null for an image), and for
every template its text, whether it takes images, the first 16 hex digits of the SHA-256 of each rendering
("" where it raises), and a few renderings in full. Templates of text models get the conversations without
images, as strings; the others get lists of parts. The families' forms are written anew here; the first two
are the published ones.
"""
import datetime
import hashlib
import json
import os
import random

from transformers.utils.chat_template_utils import _compile_jinja_template

from chat_templates import CHATML, LLAVA_HF

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
NOW = datetime.datetime(2026, 3, 9, 7, 5, 3)

LLAMA3 = """{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
LLAMA31 = """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- The system text is taken out of the list. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if builtin_tools is defined or tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{%- if builtin_tools is defined %}
    {{- "Tools: " + builtin_tools | reject('equalto', 'code_interpreter') | join(", ") + "\\n\\n" }}
{%- endif %}
{{- "Knowledge ends: December 2023\\n" }}
{{- "Today: " + date_string + "\\n\\n" }}
{%- if tools is not none %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls | length == 1 %}
            {{- raise_exception("One call at a time!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '{"name": "' + tool_call.name + '", "parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
VICUNA = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'].strip() %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = 'A chat with a helpful assistant.' %}{% endif %}{{ bos_token + system_message }}"
    "{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ ' USER: ' + message['content'].strip() }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ASSISTANT: ' + message['content'].strip() + eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}")
ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}"""
MISTRAL = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace() %}
{%- set ns.index = 0 %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("After the optional system message, roles must alternate") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}

{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- elif message == user_messages[-1] and tools %}
            {{- "[TOOLS]" + tools | string }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] | trim + eos_token }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, not " ~ message["role"] ~ "!") }}
    {%- endif %}
{%- endfor %}
"""
QWEN = """{%- macro render(content) -%}
    {%- if content is string -%}
        {{- content }}
    {%- else -%}
        {%- for item in content if item.type == 'text' %}{{ item.text }}{% endfor -%}
    {%- endif -%}
{%- endmacro -%}
{%- if tools %}
    {{- '<|im_start|>system\\nTools' }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- '<|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + render(messages[0].content) + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step=true, last_query_index=messages | length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages | length - 1) - loop.index0 %}
    {%- if ns.multi_step and message.role == "user" and not (message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + render(message.content) + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = message.content %}
        {%- set reasoning = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or (not loop.last and reasoning)) %}
            {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
    {%- if loop.previtem is defined and loop.previtem.role == message.role %}{{- '<!-- again -->' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}")
JSON = """{% filter trim %}
{% for message in messages %}
  {% set body %}{{ message | tojson }}{% endset %}
  {{ loop.index }}/{{ loop.length }} {{ body }} {{ message.content | length }} {{ [message.content] }}
  {{ message.content | upper | replace('A', '<a>') }} {{ message.content | title }} {{ message.content[::-1] }}
  {% for word in message.content.split() %}{{ word[:2] ~ word[-1:] }}{{ '|' if not loop.last }}{% else %}none{% endfor +%}
  {{ message.content | indent(3) | e }} {{ message.content.splitlines() | map('trim') | select | join('/') }}
{% endfor %}
{% endfilter %}
"""
PARTS = """{% set images = namespace(value=0) %}{% for message in messages %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}<|im_end|>
{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}{% set images.value = images.value + 1 %}{% if add_vision_id %}Picture {{ images.value }}: {% endif %}<|vision_start|><image><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def demo():
    with open(os.path.join(ROOT, "models", "demo", "tokenizer_config.json"), encoding="utf-8") as f:
        return json.load(f)["chat_template"]


FRAGMENTS = [
    "hello", "What is", "the answer", "42", "Grüße", "生活", "😀", "e\u0301", "İstanbul", "ß", "don't", "\"quoted\"", "back\\slash",
    " ", "  ", "\n", "\n\n", "\t", "\u00a0", "\u3000", "\r\n", "<|im_end|>", "<|im_start|>system\n", "</s>", "<s>", "<image>",
    "<|eot_id|>", "[INST]", "[/INST]", "<end_of_turn>", "{{ messages }}", "{% if x %}", "{# c #}", "\ue000", "\ue001", "\U000f0000", "<ima",
    "</think>", "<think>", "<tool_response>", "</tool_response>", "&<>'", "%s {0} {}", "###", "USER:", "\x00", "\x1f", "\u2028", "a-b (c) [d]",
]


def text(rng):
    return "".join(rng.choice(FRAGMENTS) for _ in range(rng.choice([0, 1, 1, 2, 3, 4, 6])))


def conversation(rng):
    messages = []
    if rng.random() < 0.4:
        messages.append(["system", [text(rng)]])
    turns = rng.choice([1, 1, 2, 2, 3])
    for i in range(turns):
        parts = [text(rng)]
        if rng.random() < 0.3:
            parts.insert(rng.randrange(2), None)
        if rng.random() < 0.1:
            parts.insert(rng.randrange(len(parts) + 1), rng.choice([None, text(rng)]))
        messages.append(["user", parts])
        if i + 1 < turns or rng.random() < 0.1:
            messages.append(["assistant", [text(rng)]])
    if rng.random() < 0.1:
        messages.insert(rng.randrange(len(messages) + 1), [rng.choice(["user", "assistant", "system"]), [text(rng)]])
    return messages


def render(template, takes_images, messages):
    given = []
    for role, parts in messages:
        if takes_images:
            content = [{"type": "image"} if p is None else {"type": "text", "text": p} for p in parts]
        else:
            content = "".join(p for p in parts if p is not None)
        given.append({"role": role, "content": content})
    try:
        return _compile_jinja_template(template).render(
            messages=given, tools=None, documents=None, add_generation_prompt=True,
            strftime_now=lambda form: NOW.strftime(form), **SPECIAL)
    except Exception:  # raise_exception, or an operation that the content does not allow.
        return None


def main():
    rng = random.Random(20260309)
    conversations = [conversation(rng) for _ in range(200)]
    templates = {
        "llava_hf": (LLAVA_HF, True), "demo": (demo(), True), "parts": (PARTS, True), "chatml": (CHATML, False),
        "llama3": (LLAMA3, False), "llama31": (LLAMA31, False), "vicuna": (VICUNA, False), "zephyr": (ZEPHYR, False),
        "mistral": (MISTRAL, False), "qwen": (QWEN, False), "gemma": (GEMMA, False), "json": (JSON, False),
    }
    golden = {"special": SPECIAL, "now": "2026-03-09 07:05:03", "conversations": conversations, "templates": {}}
    for name, (template, takes_images) in templates.items():
        digests, full = [], {}
        for i, messages in enumerate(conversations):
            rendered = render(template, takes_images, messages)
            digests.append("" if rendered is None else hashlib.sha256(rendered.encode()).hexdigest()[:16])
            if rendered is not None and len(full) < 3:
                full[str(i)] = rendered
        golden["templates"][name] = {"template": template, "images": takes_images, "digests": digests, "full": full}
        print(name, sum(d == "" for d in digests), "of", len(digests), "raise")
    path = os.path.join(ROOT, "tests", "golden", "conversations.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(golden, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
