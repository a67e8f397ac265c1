"""Makes tests/golden/smollm2_names.json: python3 tests/golden/make/smollm2_names.py SmolLM2-135M-Instruct.Q4_1.gguf [repository]

Needs what smollm2.py needs. The log-probs of the first hundred names of bench/class_names.txt behind a question, by transformers in float64 on the
dequantised tensors: one forward pass over prompt and name for each, without a cache and without padding.
"""
import json
import os

import torch
from gguf import GGUFReader

from smollm2 import PATH, ROOT, load, render, tokenizer

QUESTION = "Name one thing that people like to take pictures of. Answer with its name only."
COUNT = 100


@torch.no_grad()
def main():
    torch.set_num_threads(2)
    reader = GGUFReader(PATH)
    model, encoder = load(reader).double(), tokenizer(reader)
    encode = lambda text: encoder.encode(text, add_special_tokens=False).ids  # noqa: E731
    with open(os.path.join(ROOT, "bench", "class_names.txt"), encoding="utf-8") as f:
        names = f.read().splitlines()[:COUNT]
    ids = encode(render([QUESTION]))
    out = []
    for name in names:
        tokens = encode(name)
        logprobs = torch.log_softmax(model(torch.tensor([ids + tokens]), use_cache=False).logits[0], -1)[-len(tokens) - 1:-1]
        out.append({"name": name, "ids": tokens, "logprobs": [round(float(row[t]), 7) for row, t in zip(logprobs, tokens)]})
    best = sorted(out, key=lambda item: -sum(item["logprobs"]) / len(item["ids"]))
    print(len(ids), [item["name"] for item in best[:5]], sum(len(item["ids"]) for item in out) / COUNT)
    with open(os.path.join(ROOT, "tests", "golden", "smollm2_names.json"), "w", encoding="utf-8") as f:
        f.write(json.dumps({"ids": ids, "names": out}, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n")


main()
