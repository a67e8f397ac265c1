"""Makes the goldens openflamingo-* of tests/models: python3 tests/golden/make/openflamingo.py [repository]

Needs what models.py needs, and the package open_flamingo (2.0.1; its own requirements are not needed) with einops and einops_exts. The perceiver, the
gated blocks and their place before the layers of a language model are the package's; the tower is transformers' CLIP, the language models are
transformers' or mpt.py's. Every case has four prompts: without an image, with one behind text, with three and several texts, with two side by side.
"""
import hashlib
import json
import os
import sys
import types

import numpy as np
import torch
from PIL import Image
from transformers import (CLIPVisionConfig, CLIPVisionModel, GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM, MptConfig,
                          MptForCausalLM)

sys.modules.setdefault("open_clip", types.ModuleType("open_clip"))  # The package asks for it; nothing here does.
from open_flamingo.src.flamingo_lm import FlamingoLayer  # noqa: E402
from open_flamingo.src.helpers import GatedCrossAttentionBlock, PerceiverResampler  # noqa: E402

from models import ROOT, as_written, pixels_of, write_case  # noqa: E402
from mpt import MOSAIC, MosaicGpt  # noqa: E402
from tiny_text import randomise  # noqa: E402

V, IMAGE, CHUNK = 61, 58, 57
VISION = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14)
PERCEIVER = dict(dim=16, depth=2, heads=2, dim_head=8, num_latents=3, ff_mult=2)
CROSS = dict(heads=2, dim_head=8, ff_mult=2)
PROMPTS = [
    [5, 9, 30, 31, 2, 40, 17, 8],
    [5, 9, IMAGE, 30, 31, 2, 40],
    [7, IMAGE, 30, 31, 12, CHUNK, IMAGE, 9, 14, CHUNK, 22, IMAGE, 30, 31],
    [IMAGE, IMAGE, 21, 33],
]
NUM_IMAGES = 3


def pixels_of_image(i):
    """The tests rotate the values in the same way."""
    pixels = pixels_of(VISION["image_size"])
    return torch.roll(pixels.flatten(), -101 * i).view(pixels.shape)


def vision_name(name):
    name = name.removeprefix("vision_model.").removeprefix("embeddings.").removeprefix("encoder.")
    return "vision_encoder." + name.replace("pre_layrnorm", "pre_layernorm")


class UnbatchedLayer(torch.nn.Module):
    """A layer of a model that computes [rows, D]."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, **options):
        return self.layer(x[None], **options)[0]


class UnbatchedBlock(torch.nn.Module):
    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x, attention_mask=None):
        return self.block(x[0])[None]


@torch.no_grad()
def flamingo(name, seed, lang_encoder, text_config, layers_of, every, batched=True, post_layernorm=False, gates=(0.7, -0.4)):
    vision_config = CLIPVisionConfig(**VISION)
    vision_config._attn_implementation = "eager"
    tower = randomise(CLIPVisionModel(vision_config), seed)
    perceiver = randomise(PerceiverResampler(**PERCEIVER), seed + 1)
    lang_encoder = randomise(lang_encoder, seed + 2)
    if text_config.get("tie_word_embeddings") and hasattr(lang_encoder, "tie_weights"):
        lang_encoder.tie_weights()
    state = {vision_name(k): v for k, v in tower.state_dict().items() if "position_ids" not in k}
    state.update({"perceiver." + k: v for k, v in perceiver.state_dict().items()})
    tied = text_config.get("tie_word_embeddings") or text_config["model_type"] in ("mpt", "mosaic_gpt")
    for k, v in lang_encoder.state_dict().items():
        if not (tied and k.startswith("lm_head")):
            state["lang_encoder." + k] = v

    owner, attribute = layers_of(lang_encoder)
    layers, blocks = [], []
    for i, layer in enumerate(owner[attribute] if isinstance(owner, torch.nn.ModuleDict) else getattr(owner, attribute)):
        block = None
        if (i + 1) % every == 0:
            block = randomise(GatedCrossAttentionBlock(dim=32, dim_visual=16, **CROSS), seed + 3 + i)
            block.attn_gate.data[0], block.ff_gate.data[0] = gates[0] + 0.1 * i, gates[1]
            blocks.append(block)
            state.update({f"gated_cross_attn_layers.{i}.{k}": v for k, v in block.state_dict().items()})
        layers.append(FlamingoLayer(block, layer if batched else UnbatchedBlock(layer)))
    replaced = torch.nn.ModuleList(layers if batched else [UnbatchedLayer(layer) for layer in layers])
    if isinstance(owner, torch.nn.ModuleDict):
        owner[attribute] = replaced
    else:
        setattr(owner, attribute, replaced)

    def media_of(image):
        rows = tower(pixel_values=pixels_of_image(image)).last_hidden_state[:, 1:]
        if post_layernorm:
            rows = getattr(tower, "vision_model", tower).post_layernorm(rows)
        return perceiver(rows[:, None, None])

    media = [media_of(i) for i in range(NUM_IMAGES)]  # [1, 1, latents, D] each.
    expected = {f"image_{i}.features": torch.cat([b.attn.to_kv(m[0, 0]) for b in blocks], dim=-1) for i, m in enumerate(media)}
    for p, prompt in enumerate(PROMPTS):
        ids = torch.tensor([prompt])
        count = prompt.count(IMAGE)
        seen = torch.cat(media[:max(1, count)], dim=1) if count else torch.zeros_like(media[0])
        for layer in layers:
            layer.condition_vis_x(seen)
            layer.condition_media_locations(ids == IMAGE)
            layer.condition_use_cached_media(False)
        logits = lang_encoder(input_ids=ids).logits[0] if batched else lang_encoder(ids[0])
        expected[f"prompt_{p}.ids"] = ids[0].to(torch.int32)
        expected[f"prompt_{p}.logits"] = logits
    expected["logits"] = expected["prompt_2.logits"].clone()
    config = {"model_type": "openflamingo", "architectures": ["OpenFlamingoForConditionalGeneration"], "cross_attn_every_n_layers": every,
              "only_attend_immediate_media": True, "vision_tokens_post_layernorm": post_layernorm, "media_token_id": IMAGE, "eoc_token_id": CHUNK,
              "pad_token_id": 59, "vision_config": {"model_type": "clip_vision_model", "hidden_act": "quick_gelu", **VISION},
              "perceiver_config": PERCEIVER, "cross_attention_config": CROSS, "text_config": text_config}
    write_case(name, json.loads(json.dumps(config)), {k: v.clone() for k, v in state.items()}, expected)


def open_clip_crops():
    """tests/golden/vision/open_clip.json: what torchvision's Resize and CenterCrop make of pictures, as levels in float32. Both are given by their
    rules: the long side is truncated, half a margin is rounded by Python's round (to even)."""
    folder = os.path.join(ROOT, "tests", "golden", "vision")
    cases = []
    for file, side in (("source_61x43.png", 19), ("source_61x43.png", 22), ("source_50x101.png", 19), ("source_25x90.png", 11)):
        image = Image.open(os.path.join(folder, file)).convert("RGB")
        short, long = min(image.size), max(image.size)
        size = [side if s == short else int(side * long / short) for s in image.size]
        image = image.resize(size, Image.BICUBIC)
        left, top = (int(round((s - side) / 2.0)) for s in size)
        levels = np.asarray(image.crop((left, top, left + side, top + side))).transpose(2, 0, 1).astype(np.float32)
        cases.append({"file": file, "side": side, "left": left, "top": top, "size": size,
                      "sha256": hashlib.sha256(levels.tobytes()).hexdigest()})
    with open(os.path.join(folder, "open_clip.json"), "w", encoding="utf-8") as f:
        json.dump(cases, f, indent=1)
    print(cases)


def eager(config):
    config._attn_implementation = "eager"
    return config


if __name__ == "__main__":
    open_clip_crops()
    mpt = eager(MptConfig(vocab_size=V, d_model=32, n_heads=4, n_layers=1, max_seq_len=64, attn_config=dict(alibi=True)))
    flamingo("openflamingo-mpt", 51, MptForCausalLM(mpt), as_written(mpt), lambda m: (m.transformer, "blocks"), every=1)
    mosaic = dict(MOSAIC, n_layers=3)
    flamingo("openflamingo-mosaic", 61, MosaicGpt(mosaic), mosaic, lambda m: (m.transformer, "blocks"), every=2, batched=False)
    neox = eager(GPTNeoXConfig(vocab_size=V, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=64,
                               use_parallel_residual=False, bos_token_id=0, eos_token_id=0,
                               rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0}))
    flamingo("openflamingo-neox", 71, GPTNeoXForCausalLM(neox), as_written(neox), lambda m: (m.gpt_neox, "layers"), every=2, post_layernorm=True)
    llama = eager(LlamaConfig(vocab_size=V, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2))
    flamingo("openflamingo-llama", 81, LlamaForCausalLM(llama), as_written(llama), lambda m: (m.model, "layers"), every=1)
