"""Writes tests/golden/evaluation.json: the log-probabilities of the reference answers of the demo model's
calibration pictures, teacher forced with the full cache, and the perplexity of all of them.

Reference: transformers (float32). Run from the checkout's root: python tests/golden/make/evaluation.py
"""
import json
import math
import pathlib

import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

DEMO = pathlib.Path("models/demo")


def main():
    processor = AutoProcessor.from_pretrained(DEMO)
    model = LlavaForConditionalGeneration.from_pretrained(DEMO, dtype=torch.float32).eval()
    rows, nll, count = [], 0.0, 0
    for item in json.loads((DEMO / "calibration/calibration.json").read_text()):
        user = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": item["question"]}]}]
        text = processor.apply_chat_template(user, add_generation_prompt=True)
        image = Image.open(DEMO / "calibration" / item["file"]).convert("RGB")
        inputs = processor(images=image, text=text, return_tensors="pt")
        answer = processor.tokenizer(item["reference_answer"], add_special_tokens=False).input_ids
        ids = torch.cat([inputs.input_ids, torch.tensor([answer])], dim=1)
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=inputs.pixel_values).logits
        logprobs = torch.log_softmax(logits[0, -len(answer) - 1:-1].double(), dim=-1)
        row = logprobs[torch.arange(len(answer)), torch.tensor(answer)]
        rows.append({"ids": answer, "logprobs": [float(f"{x:.7g}") for x in row.tolist()]})
        nll -= row.sum().item()
        count += len(answer)
    half = rows[len(rows) // 2:]
    second = math.exp(-sum(sum(r["logprobs"]) for r in half) / sum(len(r["ids"]) for r in half))
    result = {"perplexity": math.exp(nll / count), "perplexity_second_half": second, "answers": rows}
    lines = ",\n".join(json.dumps(row) for row in rows)
    head = json.dumps({k: v for k, v in result.items() if k != "answers"})[:-1]
    pathlib.Path("tests/golden/evaluation.json").write_text(f'{head}, "answers": [\n{lines}\n]}}\n')
    print(f"{count} tokens, perplexity {result['perplexity']:.7f}, second half {second:.7f}")


main()
