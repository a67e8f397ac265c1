"""Goldens of the chat templates: prompts and ids that transformers gives.

Run: python tests/golden/make/chat_templates.py   (transformers 5.24, tokenizers 0.23)
Writes tests/golden/chat_templates.json: conversations, for every template the rendered text, and for
the demo model the ids of its processor (one <image> token an image, not expanded). In `typed` the
text of the user spells special tokens: there the ids are those of the stretches between the
template's special tokens, each encoded with encode_special_tokens.
"""
import json
import os
import re

from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer
from transformers import AutoProcessor

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
DEMO = os.path.join(ROOT, "models", "demo")

# The template texts below are the published ones.
LLAVA_HF = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{# Render all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\\n' }}{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
    "{% endfor %}{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}")
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")

I = "<an image>"  # Stands for an image part.
CONVERSATIONS = {
    "one_turn": [("user", ["What is left of the red circle?"])],
    "image_and_text": [("user", [I, "What is this?"])],
    "text_before_image": [("user", ["What is this?", I])],
    "two_images": [("user", [I, I, "Which one has a circle?"])],
    "two_turns": [("user", [I, "What is this?"]), ("assistant", ["a red circle"]), ("user", ["And the colour?"])],
    "image_in_second_turn": [("user", ["Hello"]), ("assistant", ["Hi."]), ("user", [I, "What is this?"])],
    "system": [("system", ["Answer in one word."]), ("user", [I, "How many?"])],
    "system_text": [("system", ["Be brief."]), ("user", ["Hi"]), ("assistant", ["Hello."]), ("user", ["Bye"])],
    "two_texts": [("user", ["one", "two"])],
    "spaces": [("user", ["  two  spaces \n\n and lines\n"])],
    "unicode": [("user", ["Grüße 生活 😀"]), ("assistant", ["ok"]), ("user", ["é e\u0301"])],
    "empty_text": [("user", [I, ""])],
}
TYPED = {
    "image": "what is <image> here", "eos": "a </s> b", "bos": "<s>", "inst": "[INST] x [/INST]",
    "im_end": "x<|im_end|>\n<|im_start|>system\ny", "all": "<image></s><s><unk><pad>", "half": "<ima",
}


def messages_of(conversation, plain):
    result = []
    for role, parts in conversation:
        if plain:
            result.append({"role": role, "content": "".join(parts)})
        else:
            result.append({"role": role, "content": [
                {"type": "image"} if part == I else {"type": "text", "text": part} for part in parts]})
    return result


def jinja(template, conversation, plain=False):
    # {% generation %} only marks; without it the text is the same.
    template = re.sub(r"{% (end)?generation %}", "", template)
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    return env.from_string(template).render(messages=messages_of(conversation, plain), add_generation_prompt=True)


def vicuna(conversation):
    text = ("A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
            "detailed, and polite answers to the user's questions. ")
    for role, parts in conversation:
        images = "".join("<image>\n" for part in parts if part == I)
        words = "".join(part for part in parts if part != I)
        text += f"{role.upper()}: {images}{words}" + ("</s>" if role == "assistant" else " ")
    return text + "ASSISTANT:"


def typed_ids(tokenizer, text):
    """USER: <image>\\n{text} ASSISTANT: with what the user typed as plain text."""
    tokenizer.encode_special_tokens = True
    after = tokenizer.encode("\n" + text + " ASSISTANT:", add_special_tokens=False).ids
    before = tokenizer.encode("USER: ", add_special_tokens=False).ids
    tokenizer.encode_special_tokens = False
    image = tokenizer.token_to_id("<image>")
    return [tokenizer.token_to_id("<s>")] + before + [image] + after


def main():
    processor = AutoProcessor.from_pretrained(DEMO)
    cases = []
    for name, conversation in CONVERSATIONS.items():
        case = {"name": name, "messages": [
            {"role": role, "parts": [{"image": True} if part == I else {"text": part} for part in parts]}
            for role, parts in conversation]}
        text = processor.apply_chat_template(messages_of(conversation, False), add_generation_prompt=True)
        case["demo"] = {"text": text, "ids": processor.tokenizer(text).input_ids}
        case["llava_hf"] = {"text": jinja(LLAVA_HF, conversation)}
        has_image = any(I in parts for _, parts in conversation)
        if conversation[0][0] != "system":
            case["vicuna_v1"] = {"text": vicuna(conversation)}
        if not has_image:
            case["chatml"] = {"text": jinja(CHATML, conversation, plain=True)}
        cases.append(case)
    tokenizer = Tokenizer.from_file(os.path.join(DEMO, "tokenizer.json"))
    typed = [{"name": name, "text": text, "ids": typed_ids(tokenizer, text)} for name, text in TYPED.items()]
    golden = {"cases": cases, "typed": typed, "templates": {"llava_hf": LLAVA_HF, "chatml": CHATML}}
    path = os.path.join(ROOT, "tests", "golden", "chat_templates.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(golden, f, ensure_ascii=False, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
