"""Makes tests/golden/retention/*.json but for kvpress.json: python3 tests/golden/make/retention.py

Records column sums of attention (transformers, eager, float32; mean over heads, sum over queries in
float64, stored as float32) of models/demo on held-out pictures and of three tiny random LLaVAs, and
computes from the stored numbers what every policy must keep. The formulas are written anew from the
papers and from the behaviour of the published code of PrefixKV and ElasticCache, in numpy float64 and
plain lists; nothing here follows the daemon's own code.

A kept set is a hexadecimal bit mask, position k = bit k % 8 of byte k // 8. Scores are base64 of
little-endian float32 [layers][tokens].

Needs torch, transformers 5.24, numpy, pillow.
"""
import base64
import hashlib
import json
import os
import struct

import numpy as np
import torch
from PIL import Image
from transformers import (AutoProcessor, CLIPVisionConfig, LlamaConfig, LlavaConfig,
                          LlavaForConditionalGeneration)

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
OUT = os.path.join(ROOT, "tests", "golden", "retention")
DEMO = os.path.join(ROOT, "models", "demo")
BUDGETS = (0.98, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.37, 0.3, 0.2, 0.1, 0.03)
# start_size, protect
PROTECTED = ((1, 1), (4, 1), (0, 7))
MERGE_BUDGETS = (0.7, 0.2)


# --- Recording

def column_sums(attentions):
    """[layers][n] float32 from a tuple of [1, heads, n, n]."""
    sums = [a[0].double().mean(dim=0).sum(dim=0) for a in attentions]
    return torch.stack(sums).to(torch.float32).numpy()


@torch.no_grad()
def record_demo():
    processor = AutoProcessor.from_pretrained(DEMO)
    model = LlavaForConditionalGeneration.from_pretrained(
        DEMO, dtype=torch.float32, attn_implementation="eager").eval()
    with open(os.path.join(DEMO, "pictures", "answers.json"), encoding="utf-8") as f:
        answers = json.load(f)
    for i, picture in enumerate(("picture-02.png", "picture-08.jpg", "picture-11.png",
                                 "picture-15.png", "picture-19.png", "picture-24.png")):
        item = answers[picture][i % len(answers[picture])]
        user = [{"role": "user", "content": [{"type": "image"},
                                             {"type": "text", "text": item["question"]}]}]
        text = processor.apply_chat_template(user, add_generation_prompt=True)
        image = Image.open(os.path.join(DEMO, "pictures", picture)).convert("RGB")
        inputs = processor(images=image, text=text, return_tensors="pt")
        yield f"demo-{i}", column_sums(model(**inputs, output_attentions=True).attentions)


@torch.no_grad()
def record_tiny(seed, layers, heads, kv_heads, image_size, patch, text_tokens):
    """A random LLaVA whose layers differ in how sharp their attention is."""
    vision = CLIPVisionConfig(hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                              num_attention_heads=2, image_size=image_size, patch_size=patch,
                              projection_dim=16)
    text = LlamaConfig(hidden_size=16 * heads, intermediate_size=48, num_hidden_layers=layers,
                       num_attention_heads=heads, num_key_value_heads=kv_heads, vocab_size=64,
                       max_position_embeddings=2048)
    image_tokens = (image_size // patch) ** 2
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=63,
                         image_seq_length=image_tokens, vision_feature_layer=-2)
    config._attn_implementation = "eager"
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if p.dim() > 1:
            p.data = torch.randn(p.shape, generator=generator) / np.sqrt(p[0].numel())
        if "language_model" in name and ("q_proj" in name or "k_proj" in name):
            layer = int(name.split("layers.")[1].split(".")[0])
            p.data *= (0.3, 1.0, 1.6, 2.2)[layer % 4]
    ids = torch.randint(3, 60, (1, text_tokens), generator=generator)
    ids = torch.cat([torch.tensor([[1, 5, 6]]), torch.full((1, image_tokens), 63), ids], dim=1)
    pixels = torch.randn(1, 3, image_size, image_size, generator=generator)
    out = model(input_ids=ids, pixel_values=pixels, output_attentions=True)
    return column_sums(out.attentions)


# --- What must be kept

ties = []


def keep_top(scores, candidates, forget, label):
    """The candidates without the `forget` lowest, lower positions dropped first among equals."""
    candidates = np.asarray(candidates)
    order = candidates[np.argsort(scores[candidates], kind="stable")]
    if 0 < forget < len(order) and scores[order[forget - 1]] == scores[order[forget]]:
        ties.append(label)
    return sorted(int(k) for k in order[forget:])


def keep_prefixkv(scores, n, start, protect, forget, label):
    if forget == 0:
        return list(range(n))
    middle = keep_top(scores, range(start, n - protect), forget, label)
    return list(range(start)) + middle + list(range(n - protect, n))


def exact_counts(scores, ratio, protected):
    """One list of all entries that could go, sorted by cumulative importance."""
    layers, n = scores.shape
    entries = []
    for layer in range(layers):
        s = np.sort(scores[layer].astype(np.float64))[::-1]
        c = np.cumsum(s / s.sum())
        for k in range(1, n - protected):
            entries.append((-c[n - protected - k - 1], -layer, k))
    entries.sort()
    counts = [0] * layers
    for _, layer, _ in entries[:int(np.round(layers * n * ratio))]:
        counts[-layer] += 1
    return counts


def bisected_counts(scores, ratio, start):
    """As the published code searches: float32, halving until within five of the total. None if
    the search does not end."""
    layers, n = scores.shape
    protect = start + 1
    target = layers * n * ratio
    curves = []
    for layer in range(layers):
        s = np.sort(scores[layer])[::-1]
        curves.append(np.cumsum(s / s.sum(dtype=np.float32), dtype=np.float32))

    def forgotten(p):
        out = []
        for c in curves:
            reached = np.nonzero(c >= p)[0]
            out.append(max(0, n - ((reached[0] if len(reached) else n) + 1) - protect))
        return out

    left, right = 0.0, 1.0
    for _ in range(60):
        p = (left + right) / 2
        counts = forgotten(p)
        if abs(sum(counts) - target) < 5:
            total = sum(counts)
            return [int(c * target / total) if total else 0 for c in counts]
        if sum(counts) < target:
            right = p
        else:
            left = p
    return None


def uniform_forget(n, ratio, protected):
    return min(max(0, int(n - n * (1 - ratio))), max(0, n - protected))


def nearest(kept, n):
    """By index distance, the lower of two."""
    kept = np.asarray(kept)
    return [int(kept[np.argmin(np.abs(kept - k))]) for k in range(n)]


def splitmix(x):
    mask = (1 << 64) - 1
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & mask
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & mask
    return x ^ (x >> 31)


def random_scores(seed, layer, n):
    base = splitmix((seed + 0x9E3779B97F4A7C15) % (1 << 64))
    return np.array([splitmix(base ^ (layer << 32 | k)) >> 40 for k in range(n)], dtype=np.float64)


def mask(kept, n):
    bits = np.zeros(n, dtype=np.uint8)
    bits[kept] = 1
    return np.packbits(bits, bitorder="little").tobytes().hex()


def expected(name, scores, profiles, start, protect, budget, seed, full):
    layers, n = scores.shape
    ratio = 1 - budget
    protected = start + protect

    def label(policy, layer):
        return f"{name} {policy} start {start} protect {protect} budget {budget} layer {layer}"

    def masks(policy, values, counts, tail=protect):
        return [mask(keep_prefixkv(values[i], n, start, tail, counts[i], label(policy, i)), n)
                for i in range(layers)]

    out = {"start_size": start, "protect": protect, "budget": budget}
    counts = exact_counts(scores, ratio, protected)
    out["prefixkv"] = {"counts": counts, "kept": masks("prefixkv", scores, counts)}
    if protect == 1:
        found = bisected_counts(scores, ratio, start)
        out["prefixkv"]["bisection"] = found
        if found is not None:
            out["prefixkv"]["bisection_off"] = max(abs(a - b) for a, b in zip(found, counts))
    uniform = [uniform_forget(n, ratio, protected)] * layers
    kept = [keep_prefixkv(scores[i], n, start, protect, uniform[i], label("elastic", i))
            for i in range(layers)]
    out["elastic"] = {"kept": [mask(k, n) for k in kept]}
    if full and budget in MERGE_BUDGETS:
        out["elastic"]["merged_into"] = [nearest(k, n) for k in kept]
    if not full:
        return out

    profile = profiles[budget]
    offline = [int(c) for c in np.clip(np.round(np.array(profile) * n), 0, n - protected)]
    out["offline"] = {"ratios": profile, "counts": offline, "kept": masks("offline", scores, offline)}
    seen = n - np.arange(n, dtype=np.float64)
    debiased = (scores.astype(np.float64) / seen).astype(np.float32)
    counts = exact_counts(debiased, ratio, protected)
    out["prefixkv-debiased"] = {"counts": counts, "kept": masks("debiased", debiased, counts)}
    counts = exact_counts(scores, ratio, start + 32)
    out["prefixkv-window"] = {"counts": counts, "kept": masks("window", scores, counts, 32)}
    mean = scores.astype(np.float64).mean(axis=0).astype(np.float32)
    kept = keep_top(mean, range(n - protect), uniform[0], label("h2o", 0))
    out["h2o"] = {"kept": [mask(kept + list(range(n - protect, n)), n)]}
    first = uniform[0] + start
    out["local"] = {"kept": [mask(list(range(start)) + list(range(first, n)), n)]}
    out["random"] = {"seed": seed, "kept": [
        mask(keep_prefixkv(random_scores(seed, i, n), n, start, protect, uniform[i],
                           label("random", i)), n) for i in range(layers)]}
    return out


def decode(n, kept, ratios, start, distance, steps):
    """The published decode rule on plain lists: per layer the token dropped at each step, or -1."""
    out = []
    for tokens, ratio in zip(kept, ratios):
        tokens = list(tokens)
        m = len(tokens)
        index = distance if distance > 0 else (m + distance if m + distance >= 1 else m // 2)
        index = max(index, start)
        dropped = []
        for total in range(n + 1, n + steps + 1):
            tokens.append(total - 1)
            over = int(len(tokens) - total * (1 - ratio))
            if over >= 1 and index < len(tokens):
                dropped.append(tokens[index])
                del tokens[index]
            else:
                dropped.append(-1)
        out.append({"dropped": dropped, "left": tokens})
    return out


def decode_cases(name, scores, profiles):
    layers, n = scores.shape
    for budget, distance, offline in ((0.2, -25, False), (0.2, -25, True), (0.5, -25, False),
                                      (0.9, -25, True), (0.03, -25, False), (0.5, 12, False),
                                      (0.5, -3, True), (0.5, 0, False), (0.2, 400, True)):
        ratio = 1 - budget
        if offline:
            ratios = profiles[budget]
            counts = [int(c) for c in np.clip(np.round(np.array(ratios) * n), 0, n - 2)]
        else:
            counts = exact_counts(scores, ratio, 2)
            ratios = [c / n for c in counts]
        kept = [keep_prefixkv(scores[i], n, 1, 1, counts[i], f"{name} decode") for i in range(layers)]
        yield {"budget": budget, "distance": distance, "ratios": ratios,
               "kept": [mask(k, n) for k in kept],
               "layers": decode(n, kept, ratios, 1, distance, 260)}


def write(name, value):
    path = os.path.join(OUT, name)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, separators=(",", ":"))
        f.write("\n")
    print(name, os.path.getsize(path), "bytes")


def digest(policy, version, ratios, budget, start, protect, distance, reference_positions):
    h = hashlib.sha256(b"retentn1" + struct.pack("<Q", len(policy)) + policy.encode())
    h.update(struct.pack("<Q", version))
    if ratios:
        h.update(b"profile" + struct.pack("<Q", len(ratios)) + struct.pack(f"<{len(ratios)}d", *ratios))
    else:
        h.update(b"online" + struct.pack("<d", budget))
    h.update(struct.pack("<QQqQ", start, protect, distance, reference_positions))
    return h.hexdigest()


def main():
    os.makedirs(OUT, exist_ok=True)
    recorded = dict(record_demo())
    recorded["tiny-4"] = record_tiny(11, 4, 4, 2, 32, 4, 40)
    recorded["tiny-8"] = record_tiny(12, 8, 4, 4, 48, 4, 150)
    recorded["tiny-12"] = record_tiny(13, 12, 2, 1, 96, 4, 45)
    demos = [s for name, s in recorded.items() if name.startswith("demo")]
    for seed, (name, scores) in enumerate(recorded.items()):
        layers, n = scores.shape
        # A calibrated profile: the mean over several prompts, for the tiny ones of their own halves.
        samples = demos if name.startswith("demo") else [scores[:, :n // 2], scores]
        profiles = {b: np.mean([np.array(exact_counts(s, 1 - b, 2)) / s.shape[1] for s in samples],
                               axis=0).tolist() for b in BUDGETS}
        cases = [expected(name, scores, profiles, start, protect, b, seed, (start, protect) == (1, 1))
                 for start, protect in PROTECTED for b in BUDGETS
                 if (start, protect) == (1, 1) or b in (0.9, 0.5, 0.2, 0.03)]
        value = {"layers": layers, "tokens": n,
                 "scores": base64.b64encode(scores.astype("<f4").tobytes()).decode(),
                 "cases": cases}
        if name in ("demo-0", "demo-3"):
            value["decode"] = list(decode_cases(name, scores, profiles))
        write(name + ".json", value)
        endless = sum(c["prefixkv"].get("bisection", 0) is None for c in cases)
        off = max(c["prefixkv"].get("bisection_off", 0) for c in cases)
        print(f"  {layers} layers, {n} tokens; searches without end: {endless}, else off by at most {off}")
    recipes = [("prefixkv", 1, [], 0.2, 1, 1, -25, 0), ("prefixkv", 1, [0.25, 0.75], 0.5, 1, 1, -25, 0),
               ("local", 1, [], 0.5, 4, 1, 7, 1)]
    write("digests.json", [{"policy": r[0], "ratios": r[2], "budget": r[3], "start_size": r[4],
                            "protect": r[5], "distance": r[6], "reference_positions": bool(r[7]),
                            "digest": digest(*r)} for r in recipes])
    write("ties.json", ties)


if __name__ == "__main__":
    main()
