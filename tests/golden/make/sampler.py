"""Writes tests/golden/sampler.json: logits, sampling parameters, and the tokens drawn.

References: the logits processors of transformers 5.24 (torch, float32) for repetition penalty, temperature,
top-k, top-p and min-p, chained in the order of generate(); numpy float32 for logit bias and for presence and
frequency penalties, which transformers lacks; Philox4x32-10 and the draw as docs/decisions.md, rule 6, has them.
Run from the checkout's root: python tests/golden/make/sampler.py
"""
import json
import pathlib

import numpy as np
import torch
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

DRAWS = 40


def philox(key, counter):
    c, k = list(counter), [key & 0xFFFFFFFF, key >> 32]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def process(logits, p):
    scores = np.array(logits, dtype=np.float32)
    for token, bias in p["logit_bias"]:
        scores[token] += np.float32(bias)
    scores = torch.from_numpy(scores)[None]
    seen = torch.tensor([p["prompt"] + p["generated"]], dtype=torch.long)
    if p["repetition_penalty"] != 1.0:
        scores = RepetitionPenaltyLogitsProcessor(p["repetition_penalty"])(seen, scores)
    scores = scores.numpy().copy()
    for token in set(p["generated"]):
        count = np.float32(p["generated"].count(token))
        scores[0, token] -= np.float32(p["presence_penalty"]) + np.float32(p["frequency_penalty"]) * count
    scores = torch.from_numpy(scores)
    scores = TemperatureLogitsWarper(p["temperature"])(seen, scores)
    if p["top_k"] > 0:
        scores = TopKLogitsWarper(p["top_k"])(seen, scores)
    if p["top_p"] < 1.0:
        scores = TopPLogitsWarper(p["top_p"])(seen, scores)
    if p["min_p"] > 0.0:
        scores = MinPLogitsWarper(p["min_p"])(seen, scores)
    return scores[0].numpy().astype(np.float64)


def draw(scores, seed, step, choice):
    weights = np.exp(scores - scores.max())
    masses = [int(m) for m in weights * (2.0**40 / weights.sum())]
    bits = philox(seed, (step, choice, 0, 0))
    left = ((bits[1] << 32 | bits[0]) * sum(masses)) >> 64
    for token, mass in enumerate(masses):
        if left < mass:
            return token
        left -= mass
    raise AssertionError("the draw lies below the total")


DEFAULTS = {
    "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0,
    "presence_penalty": 0.0, "frequency_penalty": 0.0, "logit_bias": [], "prompt": [], "generated": [],
    "ties": False,
}
CASES = {
    "plain": {},
    "cold": {"temperature": 0.3},
    "hot": {"temperature": 2.5},
    "top_k": {"top_k": 5},
    "top_k_with_ties": {"top_k": 4, "ties": True},
    "top_k_beyond_the_vocabulary": {"top_k": 1000},
    "top_p": {"top_p": 0.7},
    "top_p_of_one_token": {"top_p": 0.01},
    "min_p": {"min_p": 0.2},
    "min_p_of_the_best": {"min_p": 1.0},
    "repetition": {"repetition_penalty": 1.8, "prompt": [0, 3, 5, 7, 9, 11], "generated": [3, 3, 20, 21]},
    "repetition_rewarded": {"repetition_penalty": 0.5, "prompt": [1, 2], "generated": [4]},
    "presence": {"presence_penalty": 1.5, "prompt": [1, 2, 3], "generated": [4, 5, 5, 6]},
    "frequency": {"frequency_penalty": 0.75, "prompt": [1, 2, 3], "generated": [4, 5, 5, 5, 6]},
    "bias": {"logit_bias": [[7, 6.0], [8, -100.0], [9, 2.5]]},
    "everything": {
        "temperature": 0.7, "top_k": 20, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.3,
        "presence_penalty": 0.5, "frequency_penalty": 0.25, "logit_bias": [[0, 1.0], [31, -2.0]],
        "prompt": [0, 1, 2, 3, 4, 5, 6, 7], "generated": [7, 8, 8, 9, 30],
    },
}

rng = np.random.default_rng(17)
cases = []
for number, (name, changes) in enumerate(CASES.items()):
    params = DEFAULTS | changes
    logits = rng.normal(0, 2, 48).astype(np.float32)
    if params["ties"]:
        logits = np.round(logits * 2).astype(np.float32) / 2
    scores = process(logits, params)
    seed = int(rng.integers(0, 2**63)) * 2 + 1
    choice = number % 8
    cases.append({
        "name": name, **{k: v for k, v in params.items() if k != "ties"},
        "logits": [float(x) for x in logits], "seed": seed, "choice": choice,
        "allowed": [int(i) for i in np.flatnonzero(np.isfinite(scores))],
        "drawn": [draw(scores, seed, step, choice) for step in range(DRAWS)],
    })
text = ",\n".join(json.dumps(c) for c in cases)
pathlib.Path("tests/golden/sampler.json").write_text("[\n" + text + "\n]\n")
