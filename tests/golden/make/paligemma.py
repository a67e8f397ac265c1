"""Makes the PaliGemma goldens of tests/models: python3 tests/golden/make/paligemma.py [repository]

Needs torch, transformers (5.x), safetensors, pillow and numpy. Float32 with eager attention. Writes tests/golden/models/paligemma-*/: a tiny random checkpoint each, with
expected.safetensors: ids (image, prompt and suffix), prompt_rows, the features of the image and the logits of every row. The prompt's rows see each other, the
suffix is causal (token types 0 and 1); decoding the suffix over a cache must give the same logits, which is checked here.
Also tests/golden/vision/siglip.json: pictures of that folder through SiglipImageProcessor.
"""
import hashlib
import json
import os
import sys

import torch
from PIL import Image
from transformers import GemmaConfig, PaliGemmaConfig, PaliGemmaForConditionalGeneration, SiglipVisionConfig
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from models import ROOT, as_written, old_spelling, pixels_of, split_names, write_case  # noqa: E402

PROMPT = [2, 9, 17, 33, 8]  # <bos>, a few words and the line feed.
SUFFIX = [20, 41, 5, 11, 1]


def randomise(model, seed, dtype=torch.float32):
    """Seeded weights that keep activations of order one; rounded to `dtype`, computed with in float32."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if p.dim() == 1 and "norm" in name and name.endswith("weight"):
            value = 0.2 * noise + (1 if "vision_tower" in name else 0)  # Gemma keeps the difference from 1.
        elif p.dim() == 1:
            value = 0.2 * noise
        elif "embed_tokens" in name or "lm_head" in name:
            value = 1.5 * noise / p.shape[1] ** 0.5
        elif "position_embedding" in name:
            value = 0.7 * noise
        else:
            value = noise / p[0].numel() ** 0.5
        p.data = value.to(dtype).to(torch.float32)
    model.tie_weights()
    return model.eval()


@torch.no_grad()
def paligemma(name, seed, text, vision, spelling, file_config, dtype=torch.float32, keep_head=False, file_token=None, tie=True):
    token = text["vocab_size"] - 1
    config = PaliGemmaConfig(text_config=GemmaConfig(**text), vision_config=SiglipVisionConfig(vision_use_head=False, **vision),
                             projection_dim=text["hidden_size"], hidden_size=text["hidden_size"], image_token_index=token, tie_word_embeddings=tie)
    config._attn_implementation = "eager"
    model = randomise(PaliGemmaForConditionalGeneration(config), seed, dtype)
    tower = config.vision_config
    num_image_tokens = (tower.image_size // tower.patch_size) ** 2
    prompt = [token] * num_image_tokens + PROMPT
    ids = torch.tensor([prompt + SUFFIX])
    types = torch.tensor([[0] * len(prompt) + [1] * len(SUFFIX)])
    pixels = pixels_of(tower.image_size)
    logits = model(input_ids=ids, pixel_values=pixels, token_type_ids=types, attention_mask=torch.ones_like(ids)).logits[0]

    # The same, as generation does it.
    first = model(input_ids=ids[:, :len(prompt)], pixel_values=pixels, token_type_ids=types[:, :len(prompt)], attention_mask=torch.ones(1, len(prompt)),
                  use_cache=True)
    cache = getattr(first, "cache", None) or first.past_key_values
    gap = float((first.logits[0] - logits[:len(prompt)]).abs().max())
    for i in range(len(prompt), ids.shape[1]):
        row = model(input_ids=ids[:, i:i + 1], attention_mask=torch.ones(1, i + 1), position_ids=torch.tensor([[i + 1]]), cache=cache, use_cache=True)
        gap = max(gap, float((row.logits[0, 0] - logits[i]).abs().max()))
    assert gap < 1e-5, gap

    features = model.model.get_image_features(pixels).pooler_output[0]
    if file_token is not None:
        ids[ids == token] = file_token
    drop = () if keep_head else ("lm_head.weight",)
    state = {k: v.clone() for k, v in model.state_dict().items()}  # Tied tensors are one in memory, two in the file.
    write_case(name, file_config(config), split_names(state, spelling, dtype, drop),
               {"ids": ids[0].to(torch.int32), "prompt_rows": torch.tensor([len(prompt)], dtype=torch.int32), "features": features, "logits": logits})


def new_spelling(name):
    return name.replace("model.vision_tower.", "model.vision_tower.vision_model.")


def flat_spelling(name):
    """What transformers 5 writes: language_model.model.*, the tower without the level vision_model."""
    return old_spelling(name).replace("vision_tower.vision_model.", "vision_tower.")


def pictures():
    folder = os.path.join(ROOT, "tests", "golden", "vision")
    processor = SiglipImageProcessorPil(size={"height": 28, "width": 28}, do_convert_rgb=None)
    cases = []
    for file in ("process_61x43.png", "source_61x43.png", "420_baseline.jpg"):
        values = processor(Image.open(os.path.join(folder, file)).convert("RGB"), return_tensors="np")["pixel_values"][0].astype("<f4")
        cases.append({"file": file, "first": [float(values[c, 0, 0]) for c in range(3)], "sha256": hashlib.sha256(values.tobytes()).hexdigest()})
    with open(os.path.join(folder, "siglip.json"), "w", encoding="utf-8") as f:
        json.dump(cases, f, indent=1)
        f.write("\n")


def main():
    # As the released files: few keys; head_dim (256), norms and activations are the classes' own.
    text = dict(hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, vocab_size=64)
    vision = dict(hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2)
    paligemma("paligemma-mqa-sparse", 11, text, vision, old_spelling,
              lambda c: {"model_type": "paligemma", "image_token_index": 257152, "hidden_size": 8, "projection_dim": 8, "bos_token_id": 2, "eos_token_id": 1,
                         "pad_token_id": 0, "text_config": dict(text, model_type="gemma", num_image_tokens=196),
                         "vision_config": dict(vision, model_type="siglip_vision_model", projection_dim=8, projector_hidden_act="gelu_fast",
                                               vision_use_head=False)}, file_token=257152)
    # Four pixels of every row and column of the picture are left over. The head is there and equals the embedding.
    gqa = dict(hidden_size=24, intermediate_size=36, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=10, vocab_size=70,
               rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 5000.0})
    small = dict(hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=8)
    paligemma("paligemma-gqa-new-spelling", 12, gqa, small, new_spelling, as_written, keep_head=True)
    # Heads of 72 in the tower, and the activation's legacy name.
    wide = dict(hidden_size=72, intermediate_size=40, num_hidden_layers=2, num_attention_heads=1, image_size=28, patch_size=7)
    mqa = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=1, head_dim=16, vocab_size=64)

    def legacy(config):
        written = as_written(config)
        written["text_config"].update(hidden_act="gelu", hidden_activation=None)
        return written
    paligemma("paligemma-bf16", 13, mqa, wide, flat_spelling, legacy, dtype=torch.bfloat16)
    paligemma("paligemma-untied", 14, mqa, small, old_spelling, as_written, keep_head=True, tie=False)


if __name__ == "__main__":
    pictures()
    main()
