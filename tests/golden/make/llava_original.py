"""Makes the goldens llava-original-* of tests/models: python3 tests/golden/make/llava_original.py [repository]

Needs what models.py needs. Tiny random checkpoints in the original layout (flat configuration with mm_* keys, model.mm_projector.*, the tower inside);
the logits are those of transformers' LlavaForConditionalGeneration on the same weights under its own names. A vocabulary without a placeholder: the file
says id V for it, the reference model has one row more, which nothing reads, and the logits are cut to V columns.
"""
import json
import sys

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from models import TEXT, VISION, pixels_of, randomise, write_case

V = TEXT["vocab_size"]
SMALL = dict(VISION, image_size=28, patch_size=14)


def original_name(name, linear):
    """The file's name of a tensor of the reference model."""
    if name.startswith("model.vision_tower."):
        rest = name.removeprefix("model.vision_tower.").removeprefix("vision_model.")
        return "model.vision_tower.vision_tower.vision_model." + rest
    if name.startswith("model.multi_modal_projector.linear_"):
        number, kind = name.removeprefix("model.multi_modal_projector.linear_").split(".")
        return f"model.mm_projector.{kind}" if linear else f"model.mm_projector.{2 * (int(number) - 1)}.{kind}"
    return name.replace("model.language_model.", "model.")


class Nothing(torch.nn.Module):
    def forward(self, x):
        return x


def pixels_of_image(i, size):
    """The tests rotate the values in the same way."""
    pixels = pixels_of(size)
    return torch.roll(pixels.flatten(), -101 * i).view(pixels.shape)


@torch.no_grad()
def original(name, seed, projector, feature, prompt, aspect, tied=False, text=TEXT):
    """`prompt`: ids, None where an image stands."""
    linear = projector == "linear"
    config = LlavaConfig(text_config=LlamaConfig(**dict(text, vocab_size=V + 1, rms_norm_eps=1e-5)), vision_config=CLIPVisionConfig(**SMALL),
                         image_token_index=V, vision_feature_select_strategy="full" if feature == "cls_patch" else "default")
    config._attn_implementation = "eager"
    model = LlavaForConditionalGeneration(config)
    model = randomise(model, seed)
    if linear:
        model.model.multi_modal_projector.act = Nothing()
        model.model.multi_modal_projector.linear_2 = Nothing()
    if projector == "mlp3x_gelu":
        first = model.model.multi_modal_projector
        third = torch.nn.Linear(TEXT["hidden_size"], TEXT["hidden_size"])
        generator = torch.Generator().manual_seed(seed + 1)
        third.weight.data = torch.randn(third.weight.shape, generator=generator) / 4
        third.bias.data = 0.2 * torch.randn(third.bias.shape, generator=generator)
        first.linear_2 = torch.nn.Sequential(first.linear_2, torch.nn.GELU(), third)
    rows = 4 + (feature == "cls_patch")
    ids = torch.tensor([[i for token in prompt for i in ([V] * rows if token is None else [token])]])
    count = prompt.count(None)
    pixels = torch.cat([pixels_of_image(i, SMALL["image_size"]) for i in range(count)])
    logits = model(input_ids=ids, pixel_values=pixels).logits[0, :, :V]
    state = {}
    for k, v in model.state_dict().items():
        k = k.replace("linear_2.0.", "linear_2.").replace("linear_2.2.", "linear_3.")
        if "position_ids" in k:
            continue
        if k.endswith("embed_tokens.weight") or k == "lm_head.weight":
            v = v[:V]
        state[original_name(k, linear)] = v.clone()
    file_config = {"model_type": "llava" if seed % 2 else "llava_llama", "architectures": ["LlavaLlamaForCausalLM"], **text, "num_key_value_heads": 2,
                   "hidden_act": "silu", "rms_norm_eps": 1e-5, "max_position_embeddings": 4096, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
                   "pretraining_tp": 1, "rope_scaling": None, "tie_word_embeddings": False, "torch_dtype": "float32", "max_length": 4096,
                   "mm_vision_tower": "openai/clip-vit-large-patch14-336", "mm_hidden_size": VISION["hidden_size"], "mm_projector_type": projector,
                   "mm_vision_select_layer": -2, "mm_vision_select_feature": feature, "mm_use_im_start_end": False, "mm_use_im_patch_token": False,
                   "image_aspect_ratio": aspect, "use_mm_proj": True, "mm_resampler_type": None, "vision_config": dict(SMALL)}
    if linear:
        del file_config["mm_projector_type"]  # The default of the first versions.
    write_case(name, json.loads(json.dumps(file_config)), state,
               {"ids": ids[0].to(torch.int32), "logits": logits.clone(), "num_images": torch.tensor([count], dtype=torch.int32)})


if __name__ == "__main__":
    original("llava-original-mlp", 101, "mlp2x_gelu", "patch", [1, 5, 9, None, 7, 30, 31, 2, 40], "pad")
    original("llava-original-linear", 102, "linear", "cls_patch", [1, 5, None, 7, 30, None, 31, 2, 40], "square")
    original("llava-original-mlp3", 103, "mlp3x_gelu", "patch", [1, None, None, 31, 2, 40], "pad")
