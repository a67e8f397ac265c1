"""Makes the goldens of tests/models: python3 tests/golden/make/models.py [demo]

Needs torch, transformers (5.x), safetensors, pillow and numpy; without torchvision, so that the processors are the exact Pillow ones. Everything is
computed in float32 with eager attention, but for the activations of the stages (float64, rounded at the end). Writes tests/golden/models/:

  demo.safetensors       models/demo on 20 prompts: ids, pixel tensors, logits, activations of every stage for two pictures
  <case>/                a tiny random checkpoint each, with expected.safetensors (ids, logits of every row)
"""
import json
import os
import shutil
import sys

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoProcessor, CLIPVisionConfig, LlamaConfig, LlamaForCausalLM, LlavaConfig, LlavaForConditionalGeneration

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
OUT = os.path.join(ROOT, "tests", "golden", "models")
DEMO = os.path.join(ROOT, "models", "demo")

DEMO_PICTURES = ("picture-01.png", "picture-08.jpg", "picture-14.jpg", "picture-15.png", "picture-22.png", "picture-23.png")
TEXT_PROMPTS = ("USER: How many objects can you see? ASSISTANT:", "USER: Describe the image. ASSISTANT:", "There is a red ring at the top left",
                "USER: What color is the background? ASSISTANT: The background is", "a", "x y z 0 1 2 3 4 5 6 7 8 9")


def save(tensors, path, metadata={"format": "pt"}):
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata=metadata)


# --- models/demo

@torch.no_grad()
def demo():
    processor = AutoProcessor.from_pretrained(DEMO)
    model = LlavaForConditionalGeneration.from_pretrained(DEMO, dtype=torch.float32, attn_implementation="eager").eval()
    with open(os.path.join(DEMO, "pictures", "answers.json"), encoding="utf-8") as f:
        answers = json.load(f)
    prompts = []
    for i in range(14):
        picture = i % len(DEMO_PICTURES)
        item = answers[DEMO_PICTURES[picture]][i % len(answers[DEMO_PICTURES[picture]])]
        user = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": item["question"]}]}]
        prompts.append((processor.apply_chat_template(user, add_generation_prompt=True), picture))
    prompts += [(text, -1) for text in TEXT_PROMPTS]

    out, pixels, last = {}, [None] * len(DEMO_PICTURES), []
    for i, (text, picture) in enumerate(prompts):
        image = Image.open(os.path.join(DEMO, "pictures", DEMO_PICTURES[picture])).convert("RGB") if picture >= 0 else None
        inputs = processor(images=image, text=text, return_tensors="pt")
        logits = model(**inputs).logits[0]
        out[f"prompt_{i}.ids"] = inputs["input_ids"][0].to(torch.int32)
        out[f"prompt_{i}.picture"] = torch.tensor([picture], dtype=torch.int32)
        last.append(logits[-1])
        if picture >= 0:
            pixels[picture] = inputs["pixel_values"][0]
        if i in (0, 15):
            out[f"prompt_{i}.logits"] = logits
    out["pixels"] = torch.stack(pixels)
    out["last_logits"] = torch.stack(last)
    # The projector's outputs reach 177, where the float32 reference itself is 1.02e-4 off its float64 run: the stages are taken from the latter.
    model.double()
    for picture in (0, 1):
        states = model.model.vision_tower(pixels[picture][None].double(), output_hidden_states=True).hidden_states
        selected = states[-2][:, 1:]
        out[f"picture_{picture}.hidden_0"] = states[0][0].float()
        out[f"picture_{picture}.selected"] = selected[0].float()
        out[f"picture_{picture}.features"] = model.model.multi_modal_projector(selected)[0].float()
    save(out, os.path.join(OUT, "demo.safetensors"))
    print("demo:", len(prompts), "prompts")


# --- tiny random checkpoints

TEXT = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, vocab_size=64)
VISION = dict(hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2)


def randomise(model, seed, dtype=torch.float32):
    """Seeded weights that keep activations of order one; rounded to `dtype`, computed with in float32."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if p.dim() == 1 and "norm" in name and name.endswith("weight"):
            value = 1 + 0.2 * noise
        elif p.dim() == 1:
            value = 0.2 * noise
        elif "embed" in name and "patch" not in name:
            value = 0.7 * noise
        else:
            value = noise / np.sqrt(p[0].numel())
        p.data = value.to(dtype).to(torch.float32)
    model.tie_weights()
    return model.eval()


def pixels_of(size):
    """The tests fill the same values: exact in float32, no file needed."""
    i = np.arange(3 * size * size, dtype=np.int64)
    return torch.from_numpy((((i * 7919) % 256 - 128) / 64).astype(np.float32).reshape(1, 3, size, size))


def split_names(state, rename, dtype, drop=()):
    return {rename(k): v.to(dtype) for k, v in state.items() if k not in drop}


def old_spelling(name):
    """The released checkpoints: language_model.model.*, vision_tower.vision_model.*"""
    name = name.removeprefix("model.")
    if name.startswith("vision_tower."):
        return "vision_tower.vision_model." + name.removeprefix("vision_tower.")
    if name.startswith("language_model."):
        return "language_model.model." + name.removeprefix("language_model.")
    return "language_model." + name if name.startswith("lm_head") else name


def flat_tower_spelling(name):
    return old_spelling(name).replace("vision_tower.vision_model.", "vision_tower.")


def new_spelling(name):
    return name.replace("model.vision_tower.", "model.vision_tower.vision_model.")


def write_case(name, config, tensors, expected, shards=1):
    folder = os.path.join(OUT, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f, indent=1)
    if shards == 1:
        save(tensors, os.path.join(folder, "model.safetensors"))
    else:
        weight_map, names = {}, sorted(tensors)
        for s in range(shards):
            file = f"model-{s + 1:05d}-of-{shards:05d}.safetensors"
            save({k: tensors[k] for k in names[s::shards]}, os.path.join(folder, file))
            weight_map.update({k: file for k in names[s::shards]})
        total = sum(t.numel() * t.element_size() for t in tensors.values())
        with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as f:
            json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, f, indent=1)
    save(expected, os.path.join(folder, "expected.safetensors"))
    print(name, "logits", tuple(expected["logits"].shape), "std", float(expected["logits"].std()))


@torch.no_grad()
def llava(name, seed, file_config, spelling, text=TEXT, vision=VISION, dtype=torch.float32, shards=1, file_token=None, **top):
    token = 63
    config = LlavaConfig(text_config=LlamaConfig(**text), vision_config=CLIPVisionConfig(**vision), image_token_index=token, **top)
    config._attn_implementation = "eager"
    model = randomise(LlavaForConditionalGeneration(config), seed, dtype)
    vision_config = config.vision_config
    tokens = (vision_config.image_size // vision_config.patch_size) ** 2 + (config.vision_feature_select_strategy == "full")
    ids = torch.tensor([[1, 5, 9] + [token] * tokens + [7, 30, 31, 2, 40]])
    logits = model(input_ids=ids, pixel_values=pixels_of(vision_config.image_size)).logits[0]
    if file_token is not None:
        ids[ids == token] = file_token
    write_case(name, file_config(config), split_names(model.state_dict(), spelling, dtype),
               {"ids": ids[0].to(torch.int32), "logits": logits}, shards)


@torch.no_grad()
def llama(name, seed, config, file_config, dtype=torch.float32, rows=40):
    config._attn_implementation = "eager"
    model = randomise(LlamaForCausalLM(config), seed, dtype)
    ids = torch.randint(0, config.vocab_size, (1, rows), generator=torch.Generator().manual_seed(seed))
    logits = model(input_ids=ids).logits[0]
    drop = ("lm_head.weight",) if config.tie_word_embeddings else ()
    write_case(name, file_config(config), split_names(model.state_dict(), lambda n: n, dtype, drop),
               {"ids": ids[0].to(torch.int32), "logits": logits})


def as_written(config):
    return json.loads(config.to_json_string(use_diff=False))


def tiny():
    # Every optional key absent: what is left are the sizes that keep the file small.
    llava("llava-defaults", 1, lambda c: {"model_type": "llava", "text_config": dict(TEXT), "vision_config": dict(VISION)}, old_spelling, file_token=32000)
    small = dict(VISION, image_size=28, patch_size=8)  # Four pixels of every row and column are left over.
    gqa = dict(TEXT, num_attention_heads=4, num_key_value_heads=2, rms_norm_eps=1e-5)
    llava("llava-new-spelling-sharded", 2, as_written, new_spelling, text=gqa, vision=small, shards=3)
    llava("llava-list-full", 3, as_written, flat_tower_spelling, vision=dict(small, num_hidden_layers=4), vision_feature_layer=[-3, 0, -2],
          vision_feature_select_strategy="full", multimodal_projector_bias=False, projector_hidden_act="gelu_pytorch_tanh")
    llava("llava-bf16", 4, as_written, old_spelling, text=gqa, vision=small, dtype=torch.bfloat16)

    llama("llama-bias", 5, LlamaConfig(hidden_size=24, intermediate_size=36, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=10,
                                       vocab_size=50, attention_bias=True, mlp_bias=True), as_written)
    rope = {"rope_type": "llama3", "rope_theta": 5000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    llama("llama-llama3-tied", 6, LlamaConfig(hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2, vocab_size=50,
                                              tie_word_embeddings=True, rope_parameters=rope), as_written)

    def old_keys(config):
        written = as_written(config)
        del written["rope_parameters"]
        return dict(written, rope_theta=20000.0, rope_scaling={"type": "linear", "factor": 2.0})
    llama("llama-linear-f16", 7, LlamaConfig(hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2, vocab_size=50,
                                             rope_parameters={"rope_type": "linear", "rope_theta": 20000.0, "factor": 2.0}), old_keys, dtype=torch.float16)


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    if sys.argv[1:] != ["demo"]:
        tiny()
    demo()
