"""Writes tests/golden/evaluation_budgets.json: the log-probabilities of the reference answers of the second
half of the demo model's calibration pictures under KV budgets, teacher forced token by token.

The decoder is written out here over the weights that transformers loaded (float32): every layer has a list of
keys and values of its own length, from which tokens are taken as the published code of PrefixKV does
(tests/golden/make/retention.py has the formulas); positions go on from the uncompressed length.
Run from the checkout's root: python tests/golden/make/evaluation_budgets.py
"""
import json
import pathlib

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from retention import exact_counts, keep_prefixkv, uniform_forget

DEMO = pathlib.Path("models/demo")
CASES = [(policy, budget) for policy in ("prefixkv", "local") for budget in (0.2, 0.5, 0.8)]


class Decoder:
    def __init__(self, model):
        text = model.model.language_model
        self.text, self.head, config = text, model.lm_head, model.config.text_config
        self.heads, self.kv_heads, self.dim = (config.num_attention_heads, config.num_key_value_heads,
                                               config.head_dim)

    def rotate(self, x, positions):
        half = self.dim // 2
        frequencies = 10000.0 ** (-torch.arange(0, half, dtype=torch.float32) * 2 / self.dim)
        angles = positions[:, None].float() * frequencies
        cos, sin = angles.cos()[:, None], angles.sin()[:, None]
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)

    def run(self, x, positions, cache):
        """x: [T, D] at `positions`; cache: per layer [keys, values] of [slots, kv_heads, dim], appended to.
        Returns logits [T, V] and column sums per layer."""
        sums = []
        for layer, kv in zip(self.text.layers, cache):
            attention = layer.self_attn
            normed = layer.input_layernorm(x)
            q = self.rotate(attention.q_proj(normed).view(len(x), self.heads, self.dim), positions)
            k = self.rotate(attention.k_proj(normed).view(len(x), self.kv_heads, self.dim), positions)
            v = attention.v_proj(normed).view(len(x), self.kv_heads, self.dim)
            kv[0], kv[1] = torch.cat([kv[0], k]), torch.cat([kv[1], v])
            group = self.heads // self.kv_heads
            keys, values = kv[0].repeat_interleave(group, 1), kv[1].repeat_interleave(group, 1)
            scores = torch.einsum("thd,shd->hts", q, keys) / self.dim ** 0.5
            slots, rows = len(keys), len(x)
            hidden = torch.arange(slots)[None] > torch.arange(rows)[:, None] + slots - rows
            weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
            sums.append(weights.double().mean(0).sum(0).float().numpy())
            x = x + attention.o_proj(torch.einsum("hts,shd->thd", weights, values).reshape(rows, -1))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return self.head(self.text.norm(x)), sums

    def empty(self):
        none = torch.zeros(0, self.kv_heads, self.dim)
        return [[none, none] for _ in self.text.layers]

    def embed(self, token):
        return self.text.embed_tokens(torch.tensor([token]))


def selection(policy, budget, sums):
    layers, n = len(sums), len(sums[0])
    if policy == "prefixkv":
        counts = exact_counts(np.stack(sums), 1 - budget, 2)
        kept = [keep_prefixkv(sums[i], n, 1, 1, counts[i], "") for i in range(layers)]
        first = [m - 25 if m - 25 >= 1 else m // 2 for m in map(len, kept)]
        return kept, [c / n for c in counts], first
    forget = uniform_forget(n, 1 - budget, 2)
    return [[0] + list(range(1 + forget, n))] * layers, [1 - budget] * layers, [1] * layers


def answer_logprobs(decoder, embeds, answer, policy, budget):
    n = len(embeds)
    cache = decoder.empty()
    logits, sums = decoder.run(embeds, torch.arange(n), cache)
    kept, ratios, first = selection(policy, budget, sums)
    for kv, keep in zip(cache, kept):
        kv[0], kv[1] = kv[0][keep], kv[1][keep]
    out = [torch.log_softmax(logits[-1].double(), -1)[answer[0]].item()]
    for i, token in enumerate(answer[:-1]):
        seen = n + i + 1
        logits, _ = decoder.run(decoder.embed(token), torch.tensor([seen - 1]), cache)
        out.append(torch.log_softmax(logits[-1].double(), -1)[answer[i + 1]].item())
        for kv, ratio, at in zip(cache, ratios, first):
            if int(len(kv[0]) - seen * (1 - ratio)) >= 1 and at < len(kv[0]):
                kv[0], kv[1] = (torch.cat([t[:at], t[at + 1:]]) for t in kv)
    return out


@torch.no_grad()
def main():
    processor = AutoProcessor.from_pretrained(DEMO)
    model = LlavaForConditionalGeneration.from_pretrained(DEMO, dtype=torch.float32).eval()
    decoder = Decoder(model)
    captured = {}
    model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: captured.update(kwargs), with_kwargs=True)
    items = json.loads((DEMO / "calibration/calibration.json").read_text())
    rows = {case: [] for case in CASES}
    for item in items[len(items) // 2:]:
        user = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": item["question"]}]}]
        text = processor.apply_chat_template(user, add_generation_prompt=True)
        image = Image.open(DEMO / "calibration" / item["file"]).convert("RGB")
        model(**processor(images=image, text=text, return_tensors="pt"))
        answer = processor.tokenizer(item["reference_answer"], add_special_tokens=False).input_ids
        for case in CASES:
            rows[case] += answer_logprobs(decoder, captured["inputs_embeds"][0], answer, *case)
    result = [{"policy": policy, "budget": budget, "tokens": len(r), "perplexity": float(np.exp(-np.mean(r)))}
              for (policy, budget), r in rows.items()]
    lines = ",\n".join(json.dumps(row) for row in result)
    pathlib.Path("tests/golden/evaluation_budgets.json").write_text(f"[\n{lines}\n]\n")
    print(lines)


main()
