"""Makes tests/golden/torch: python3 tests/golden/make/torch_files.py [repository]

Needs torch and safetensors, and the goldens of llava_original.py and openflamingo.py. Files of torch.save for the reader of pickles, with hashes of what
they hold, and golden checkpoints split into the files that the converters start from, with hashes of what they are to write:

  plain.pt, protocol4.pt, protocol5.pt, training.pt   files.json: name -> type, shape, sha256 of the elements in row-major order
  legacy.pt, evil_*.pt, compressed.pt                 to be refused
  flamingo-mpt, flamingo-mosaic                       checkpoint.pt, lm/, tower.pt or tower/, expected.json
  llava                                               model/ (.bin shards), tower/, expected.json
"""
import hashlib
import json
import os
import shutil
import sys
import zipfile

import numpy as np
import torch
from safetensors.torch import load_file, save_file

ROOT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
OUT = os.path.join(ROOT, "tests", "golden", "torch")
MODELS = os.path.join(ROOT, "tests", "golden", "models")
NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float64: "F64", torch.int64: "I64", torch.int32: "I32",
         torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}


def described(tensors):
    out = {}
    for name, t in tensors.items():
        t = t.detach().contiguous()
        data = t.view(torch.uint8).numpy().tobytes() if t.dim() else t.reshape(1).view(torch.uint8).numpy().tobytes()
        out[name] = {"dtype": NAMES[t.dtype], "shape": list(t.shape), "sha256": hashlib.sha256(data).hexdigest()}
    return out


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1)
        f.write("\n")


# --- What the reader of pickles reads

def values(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def reader_files():
    big = values(6, 8, seed=1)
    plain = {
        "f32": values(3, 4), "f16": values(5, dtype=torch.float16), "bf16": values(2, 3, dtype=torch.bfloat16), "f64": values(3, dtype=torch.float64),
        "i64": torch.arange(4), "i32": torch.arange(4, dtype=torch.int32), "u8": torch.arange(9, dtype=torch.uint8), "bool": torch.tensor([True, False]),
        "i16": torch.arange(3, dtype=torch.int16), "i8": torch.arange(-2, 3, dtype=torch.int8), "scalar": torch.tensor(1.5), "empty": torch.zeros(0, 3),
        "view": big[2:5], "transposed": big.t(), "columns": big[:, 3:6], "every_other": big[::2, 1::3], "permuted": values(2, 3, 4, seed=2).permute(2, 0, 1),
        "parameter": torch.nn.Parameter(values(2, 2, seed=3)),
    }
    files = {}

    def save(name, value, tensors, **options):
        torch.save(value, os.path.join(OUT, name), **options)
        files[name] = described(tensors)

    save("plain.pt", plain, plain)
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2), torch.nn.BatchNorm1d(2))
    for i, p in enumerate(module.parameters()):
        p.data = values(*p.shape, seed=10 + i)
    state = module.state_dict()  # An OrderedDict with attributes.
    for protocol in (4, 5):
        save(f"protocol{protocol}.pt", state, state, pickle_protocol=protocol)
    training = {"epoch": 3, "lr": 1e-4, "done": False, "note": None, "model_state_dict": {"module." + k: v for k, v in state.items()},
                "optimizer_state_dict": {"state": {0: {"step": torch.tensor(7.0), "exp_avg": values(2, seed=20)}}, "param_groups": [{"betas": (0.9, 0.95)}]}}
    flat = {"model_state_dict.module." + k: v for k, v in state.items()}
    flat["optimizer_state_dict.state.0.step"] = torch.tensor(7.0)
    flat["optimizer_state_dict.state.0.exp_avg"] = values(2, seed=20)
    save("training.pt", training, flat)
    write_json(os.path.join(OUT, "files.json"), files)


class Evil:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def refused_files():
    tensor = {"a": torch.arange(3)}
    torch.save(tensor, os.path.join(OUT, "legacy.pt"), _use_new_zipfile_serialization=False)
    torch.save({"a": Evil(os.system, "true")}, os.path.join(OUT, "evil_system.pt"))
    torch.save({"a": Evil(eval, "1")}, os.path.join(OUT, "evil_eval.pt"))
    torch.save({"a": np.arange(3)}, os.path.join(OUT, "evil_numpy.pt"))
    torch.save({"a": torch.nn.Linear(1, 1)}, os.path.join(OUT, "evil_module.pt"))
    with zipfile.ZipFile(os.path.join(OUT, "protocol4.pt")) as source, zipfile.ZipFile(os.path.join(OUT, "compressed.pt"), "w",
                                                                                     zipfile.ZIP_DEFLATED) as out:
        for item in source.namelist():
            out.writestr(item, source.read(item))


# --- What the converters start from

def tokenizer_files(folder, size, pad=False):
    """Byte-level BPE without merges, `size` tokens."""
    os.makedirs(folder, exist_ok=True)
    letters = [chr(c) for c in range(33, 127)][:size - 1]
    vocab = {"<|endoftext|>": 0, **{c: i + 1 for i, c in enumerate(letters)}}
    added = {"id": 0, "content": "<|endoftext|>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    write_json(os.path.join(folder, "tokenizer.json"), {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [added], "normalizer": None, "pre_tokenizer": byte_level,
        "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
                  "byte_fallback": False, "vocab": vocab, "merges": []}})
    config = {"tokenizer_class": "GPTNeoXTokenizer", "eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>", "model_max_length": 64}
    if pad:
        config["pad_token"] = "<|endoftext|>"
    write_json(os.path.join(folder, "tokenizer_config.json"), config)


def open_clip_name(name):
    name = name.removeprefix("vision_encoder.")
    for a, b in (("class_embedding", "class_embedding"), ("patch_embedding.", "conv1."), ("position_embedding.weight", "positional_embedding"),
                 ("pre_layernorm.", "ln_pre."), ("post_layernorm.", "ln_post."), ("layers.", "transformer.resblocks.")):
        if name.startswith(a):
            name = b + name[len(a):]
            break
    for a, b in ((".layer_norm1.", ".ln_1."), (".layer_norm2.", ".ln_2."), (".mlp.fc1.", ".mlp.c_fc."), (".mlp.fc2.", ".mlp.c_proj."),
                 (".self_attn.out_proj.", ".attn.out_proj.")):
        name = name.replace(a, b)
    return "visual." + name


def open_clip_state(state):
    out, layers = {}, {}
    for name, t in state.items():
        if ".self_attn." in name and ".out_proj." not in name:
            layer, rest = name.split(".self_attn.")
            layers.setdefault((layer, rest.split(".")[1]), {})[rest[0]] = t
        else:
            out[open_clip_name(name)] = t
    for (layer, kind), parts in layers.items():
        out[open_clip_name(layer + ".") + f"attn.in_proj_{kind}"] = torch.cat([parts["q"], parts["k"], parts["v"]])
    out["logit_scale"] = torch.tensor(1.0)
    return out


def hf_tower_name(name):
    name = name.removeprefix("vision_encoder.").replace("pre_layernorm", "pre_layrnorm")
    if name.startswith("layers."):
        return "vision_model.encoder." + name
    return "vision_model." + name if "layernorm" in name or "layrnorm" in name else "vision_model.embeddings." + name


def flamingo(case, layers, embeddings, open_clip):
    source = os.path.join(MODELS, "openflamingo-" + case)
    folder = os.path.join(OUT, "flamingo-" + case)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    state = load_file(os.path.join(source, "model.safetensors"))
    with open(os.path.join(source, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    rows = 60  # The tokenizer has 57 tokens and gets three more.
    checkpoint, lm, tower = {}, {}, {}
    for name, t in state.items():
        if name.startswith("vision_encoder."):
            tower[name] = t
        elif name.startswith("perceiver."):
            checkpoint[name] = t
        elif name.startswith("gated_cross_attn_layers."):
            _, n, rest = name.split(".", 2)
            checkpoint[f"lang_encoder.{layers}.{n}.gated_cross_attn_layer.{rest}"] = t
            if case == "mosaic":
                checkpoint["lang_encoder." + name] = t
        else:
            native = name.removeprefix("lang_encoder.")
            if native in embeddings:
                state[name] = t[:rows].clone()
                checkpoint[name] = state[name]
                lm[native] = torch.cat([t, torch.zeros(3, t.shape[1])])  # As many rows as pleased its makers.
            else:
                lm[native] = t
    checkpoint[f"lang_encoder.{layers}.0.decoder_layer.attention.bias"] = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    checkpoint[f"lang_encoder.old_decoder_blocks.0.ln_1.weight"] = torch.ones(2)
    if case == "mpt":
        checkpoint = {"epoch": 2, "model_state_dict": {"module." + k: v for k, v in checkpoint.items()}}
    torch.save(checkpoint, os.path.join(folder, "checkpoint.pt"))
    tokenizer_files(os.path.join(folder, "lm"), 57)
    text = dict(config["text_config"], vocab_size=64)
    write_json(os.path.join(folder, "lm", "config.json"), text)
    if case == "mpt":
        torch.save(lm, os.path.join(folder, "lm", "pytorch_model.bin"))
    else:
        weight_map, names = {}, sorted(lm)
        for s in range(2):
            file = f"model-{s + 1:05d}-of-00002.safetensors"
            save_file({k: lm[k] for k in names[s::2]}, os.path.join(folder, "lm", file))
            weight_map.update({k: file for k in names[s::2]})
        write_json(os.path.join(folder, "lm", "model.safetensors.index.json"), {"metadata": {}, "weight_map": weight_map})
    if open_clip:
        torch.save(open_clip_state(tower), os.path.join(folder, "tower.pt"))
    else:
        os.makedirs(os.path.join(folder, "tower"))
        save_file({hf_tower_name(k): v for k, v in tower.items()}, os.path.join(folder, "tower", "model.safetensors"))
        write_json(os.path.join(folder, "tower", "config.json"), {"model_type": "clip", "vision_config": config["vision_config"]})
    write_json(os.path.join(folder, "expected.json"), described(state))


def llava():
    source = os.path.join(MODELS, "llava-original-mlp")
    folder = os.path.join(OUT, "llava")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.join(folder, "model"))
    os.makedirs(os.path.join(folder, "tower"))
    state = load_file(os.path.join(source, "model.safetensors"))
    prefix = "model.vision_tower.vision_tower."
    tower = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    rest = {k: v for k, v in state.items() if not k.startswith(prefix)}
    rest["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    weight_map, names = {}, sorted(rest)
    for s in range(2):
        file = f"pytorch_model-{s + 1:05d}-of-00002.bin"
        torch.save({k: rest[k] for k in names[s::2]}, os.path.join(folder, "model", file))
        weight_map.update({k: file for k in names[s::2]})
    write_json(os.path.join(folder, "model", "pytorch_model.bin.index.json"), {"metadata": {"total_size": 1}, "weight_map": weight_map})
    with open(os.path.join(source, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    vision = config.pop("vision_config")
    write_json(os.path.join(folder, "model", "config.json"), config)
    write_json(os.path.join(folder, "model", "generation_config.json"), {"eos_token_id": 2})
    tokenizer_files(os.path.join(folder, "model"), 64)
    tower["text_model.final_layer_norm.weight"] = torch.ones(2)
    save_file(tower, os.path.join(folder, "tower", "model.safetensors"))
    write_json(os.path.join(folder, "tower", "config.json"), {"model_type": "clip", "vision_config": vision, "projection_dim": 4})
    write_json(os.path.join(folder, "tower", "preprocessor_config.json"), {
        "feature_extractor_type": "CLIPFeatureExtractor", "size": 28, "crop_size": 28, "resample": 3, "do_center_crop": True, "do_resize": True,
        "do_normalize": True, "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]})
    write_json(os.path.join(folder, "expected.json"), described(state))


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    reader_files()
    refused_files()
    flamingo("mpt", "transformer.blocks", ("transformer.wte.weight",), open_clip=True)
    flamingo("mosaic", "transformer.blocks", ("transformer.wte.weight",), open_clip=False)
    llava()
