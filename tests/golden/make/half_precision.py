"""Makes tests/golden/half_precision.json: python3 tests/golden/make/half_precision.py [repository]

How far transformers' own runs in bf16 and f16 lie from its float32 run (eager attention, CPU): the largest difference of logits over their standard
deviation. On models/demo with the first prompts of tests/golden/models/demo.safetensors, each by itself; on random models of
build/release/bin/make_random_model with the prompts of tests/cuda_emulation/cuda_logits_test.cc, together. Needs torch, transformers (5.x), safetensors.
"""
import json
import os
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration

ROOT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
PROMPTS = 6
TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def load(directory):
    return {name: LlavaForConditionalGeneration.from_pretrained(directory, dtype=dtype, attn_implementation="eager").eval() for name, dtype in TYPES.items()}


@torch.no_grad()
def logits_of(models, ids, pixels):
    return {name: model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels.to(model.dtype)).logits[0].float()
            for name, model in models.items()}


def gaps_of(logits):
    return {name: float((logits[name] - logits["f32"]).abs().max() / logits["f32"].std(unbiased=False)) for name in ("bf16", "f16")}


def demo():
    golden = load_file(os.path.join(ROOT, "tests", "golden", "models", "demo.safetensors"))
    models = load(os.path.join(ROOT, "models", "demo"))
    pixels = golden["pixels"].reshape(-1, 3, 96, 96)
    gaps = [gaps_of(logits_of(models, golden[f"prompt_{i}.ids"].long()[None], pixels[int(golden[f"prompt_{i}.picture"][0])][None]))
            for i in range(PROMPTS)]
    return {name: max(gap[name] for gap in gaps) for name in gaps[0]}


def tiny(shape):
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run([os.path.join(ROOT, "build", "release", "bin", "make_random_model"), "--shape", shape, "--seed", "5", "--out", directory],
                       check=True, stdout=subprocess.DEVNULL)
        models = load(directory)
    pixels = torch.tensor([((i * 7919 % 256) - 128) / 64.0 for i in range(3 * 28 * 28)]).reshape(1, 3, 28, 28)
    parts = [logits_of(models, torch.tensor([[3 if 20 <= i < 36 else 5 + i * 37 % 256 + (first if i >= 36 else 0) for i in range(90)]]), pixels)
             for first in (0, 1)]
    return gaps_of({name: torch.cat([part[name] for part in parts]) for name in TYPES})


if __name__ == "__main__":
    torch.set_num_threads(1)
    result = {"demo": demo()} | {shape: tiny(shape) for shape in ("tiny-llava", "tiny-llava-wide-heads")}
    with open(os.path.join(ROOT, "tests", "golden", "half_precision.json"), "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)
        f.write("\n")
