"""Makes tests/golden/retention/demo_prompts.json: python3 tests/golden/make/retention_prompts.py

The prompts of demo-*.json, so that the engine can be given the same: picture, question and token
ids, and the column sums of attention (see retention.py) over the rows before the last page boundary
alone, which is what the engine stores with a cached prefix.

Needs what retention.py needs.
"""
import base64
import json
import os

import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from retention import DEMO, OUT, column_sums

PAGE = 16


@torch.no_grad()
def main():
    processor = AutoProcessor.from_pretrained(DEMO)
    model = LlavaForConditionalGeneration.from_pretrained(
        DEMO, dtype=torch.float32, attn_implementation="eager").eval()
    with open(os.path.join(DEMO, "pictures", "answers.json"), encoding="utf-8") as f:
        answers = json.load(f)
    prompts = []
    for i, picture in enumerate(("picture-02.png", "picture-08.jpg", "picture-11.png",
                                 "picture-15.png", "picture-19.png", "picture-24.png")):
        question = answers[picture][i % len(answers[picture])]["question"]
        user = [{"role": "user", "content": [{"type": "image"},
                                             {"type": "text", "text": question}]}]
        text = processor.apply_chat_template(user, add_generation_prompt=True)
        image = Image.open(os.path.join(DEMO, "pictures", picture)).convert("RGB")
        inputs = processor(images=image, text=text, return_tensors="pt")
        attentions = model(**inputs, output_attentions=True).attentions
        ids = inputs["input_ids"][0].tolist()
        with open(os.path.join(OUT, f"demo-{i}.json"), encoding="utf-8") as f:
            recorded = json.load(f)
        sums = column_sums(attentions)
        scores = np.frombuffer(base64.b64decode(recorded["scores"]), dtype="<f4")
        assert np.allclose(sums.reshape(-1), scores, rtol=1e-4, atol=1e-5), picture
        rows = len(ids) // PAGE * PAGE
        stored = column_sums([a[:, :, :rows, :rows] for a in attentions])
        prompts.append({"golden": f"demo-{i}", "picture": picture, "question": question,
                        "token_ids": ids, "stored_rows": rows,
                        "stored_scores": base64.b64encode(
                            stored.astype("<f4").tobytes()).decode("ascii")})
    with open(os.path.join(OUT, "demo_prompts.json"), "w", encoding="utf-8") as f:
        json.dump({"prompts": prompts}, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
