"""Makes tests/golden/retention/kvpress.json: python3 tests/golden/make/retention_kvpress.py

What kvpress's own SnapKV, PyramidKV and StreamingLLM presses leave in the cache of tiny random
Llamas with one kv head, where its sets per head and ours are the same thing, beside the attention
that the last 64 queries pay (mean over heads, summed over those queries; float32).

Needs torch, kvpress 0.5.5 and the transformers that it supports (5.2). Formats: retention.py.
"""
import base64
import json
import os

import numpy as np
import torch
from kvpress import PyramidKVPress, SnapKVPress, StreamingLLMPress
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "retention", "kvpress.json")
PRESSES = {"snapkv": SnapKVPress, "pyramidkv": PyramidKVPress, "streaming-llm": StreamingLLMPress}
WINDOW = 64


def llama(seed, layers):
    config = LlamaConfig(hidden_size=64, intermediate_size=96, num_hidden_layers=layers,
                         num_attention_heads=4, num_key_value_heads=1, vocab_size=256,
                         max_position_embeddings=4096)
    config._attn_implementation = "eager"
    model = LlamaForCausalLM(config).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if p.dim() > 1:
            p.data = torch.randn(p.shape, generator=generator) / np.sqrt(p.shape[-1])
        if "q_proj" in name or "k_proj" in name:
            p.data *= 1.5
    return model


def keys_of(cache, layer):
    return [k.numpy().tobytes() for k in cache.layers[layer].keys[0, 0]]


@torch.no_grad()
def case(seed, layers, n, budgets):
    model = llama(seed, layers)
    ids = torch.randint(0, 256, (1, n), generator=torch.Generator().manual_seed(seed))
    whole = DynamicCache()
    attentions = model(ids, past_key_values=whole, output_attentions=True).attentions
    votes = torch.stack([a[0].double().mean(dim=0)[-WINDOW:].sum(dim=0) for a in attentions])
    place = [{key: k for k, key in enumerate(keys_of(whole, i))} for i in range(layers)]
    assert all(len(p) == n for p in place)
    out = []
    for budget in budgets:
        for name, press in PRESSES.items():
            cache = DynamicCache()
            with press(compression_ratio=1 - budget)(model):
                model(ids, past_key_values=cache)
            masks = []
            for i in range(layers):
                bits = np.zeros(n, dtype=np.uint8)
                bits[[place[i][key] for key in keys_of(cache, i)]] = 1
                masks.append(np.packbits(bits, bitorder="little").tobytes().hex())
            out.append({"policy": name, "budget": budget, "kept": masks})
    scores = base64.b64encode(votes.to(torch.float32).numpy().astype("<f4").tobytes()).decode()
    return {"layers": layers, "tokens": n, "scores": scores, "cases": out}


def main():
    # Budgets that keep at least the window: below it kvpress keeps an arbitrary part of it.
    value = [case(1, 4, 300, (0.9, 0.7, 0.6, 0.5, 0.3, 0.25)), case(2, 6, 131, (0.9, 0.8, 0.5)),
             case(3, 3, 1500, (0.95, 0.5, 0.2, 0.9, 0.06)), case(4, 1, 200, (0.75, 0.4))]
    with open(OUT, "w", encoding="utf-8") as f:
        json.dump(value, f, separators=(",", ":"))
        f.write("\n")
    print(os.path.getsize(OUT), "bytes")


if __name__ == "__main__":
    main()
