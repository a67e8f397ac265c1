"""Makes tests/golden/beam_search.json: python3 tests/golden/make/beam_search.py [repository]

Beam search of models/demo by transformers' generate() in float32 with eager attention: text prompts and a picture, several numbers of beams and length
penalties. Depends on the checkpoint in models/demo.
"""
import json
import os
import sys

import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

ROOT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
DEMO = os.path.join(ROOT, "models", "demo")
PICTURE = "picture-01.png"
PROMPTS = [("There is a red ring", False), ("USER: How many objects are there? ASSISTANT: There", False), ("The", False),
           ("USER: <image>\nDescribe the image. ASSISTANT: There", True)]
SEARCHES = [(3, 0.0, 20), (3, 1.0, 20), (2, 2.0, 8), (5, -0.5, 12)]

torch.manual_seed(0)
processor = AutoProcessor.from_pretrained(DEMO)
model = LlavaForConditionalGeneration.from_pretrained(DEMO, dtype=torch.float32, attn_implementation="eager").eval()
cases = []
for text, with_picture in PROMPTS:
    image = Image.open(os.path.join(DEMO, "pictures", PICTURE)).convert("RGB") if with_picture else None
    inputs = processor(images=image, text=text, return_tensors="pt")
    prompt = inputs["input_ids"].shape[1]
    ids = inputs["input_ids"][0].tolist()
    if with_picture:  # One placeholder stands for the whole image.
        placeholder = model.config.image_token_id
        ids = [t for i, t in enumerate(ids) if t != placeholder or i == 0 or ids[i - 1] != placeholder]
    for beams, penalty, tokens in SEARCHES:
        with torch.no_grad():
            out = model.generate(**inputs, num_beams=beams, num_return_sequences=beams, length_penalty=penalty, max_new_tokens=tokens, do_sample=False,
                                 early_stopping=False, return_dict_in_generate=True, output_scores=True)
        eos = model.generation_config.eos_token_id
        eos = [eos] if isinstance(eos, int) else eos
        hypotheses = []
        for sequence in out.sequences[:, prompt:].tolist():
            end = next((i for i, t in enumerate(sequence) if t in eos), len(sequence) - 1)
            hypotheses.append(sequence[:end + 1])
        cases.append({"ids": ids, "picture": PICTURE if with_picture else "", "num_beams": beams, "length_penalty": penalty, "max_tokens": tokens,
                      "hypotheses": hypotheses, "worth": [round(x, 5) for x in out.sequences_scores.tolist()]})
with open(os.path.join(ROOT, "tests", "golden", "beam_search.json"), "w", encoding="utf-8") as f:
    json.dump({"cases": cases}, f, indent=None, separators=(",", ":"))
    f.write("\n")
