"""Makes tests/golden/half_precision.json: python3 tests/golden/make/half_precision.py [repository]

How far transformers' own runs of models/demo in bf16 and f16 lie from its float32 run on the first prompts of tests/golden/models/demo.safetensors
(eager attention, CPU): the largest difference of logits over the standard deviation of a prompt's logits. Needs torch, transformers (5.x), safetensors.
"""
import json
import os
import sys

import torch
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration

ROOT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
PROMPTS = 6


@torch.no_grad()
def main():
    golden = load_file(os.path.join(ROOT, "tests", "golden", "models", "demo.safetensors"))
    models = {name: LlavaForConditionalGeneration.from_pretrained(os.path.join(ROOT, "models", "demo"), dtype=dtype, attn_implementation="eager").eval()
              for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16), ("f16", torch.float16))}
    pixels = golden["pixels"].reshape(-1, 3, 96, 96)
    gaps = {"bf16": 0.0, "f16": 0.0}
    for i in range(PROMPTS):
        ids = golden[f"prompt_{i}.ids"].long()[None]
        picture = pixels[int(golden[f"prompt_{i}.picture"][0])][None]
        logits = {name: model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=picture.to(model.dtype)).logits[0].float()
                  for name, model in models.items()}
        for name in gaps:
            gap = (logits[name] - logits["f32"]).abs().max() / logits["f32"].std(unbiased=False)
            gaps[name] = max(gaps[name], float(gap))
    with open(os.path.join(ROOT, "tests", "golden", "half_precision.json"), "w", encoding="utf-8") as f:
        json.dump({"prompts": PROMPTS, "largest_gap": gaps}, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
