"""Exact match of the greedy answers by question kind on scenes with digits never seen in training.

python3 evaluate.py CHECKPOINT [--scenes 300] [--device cpu] [--loosely] prints the table of all picture forms; --loosely
asks in the words of phrases.py instead of those of scenes.py.
"""
import argparse
import collections
import json
import os

import numpy as np
import torch

import bpe
import phrases
import scenes
from model import Llava, pixels_of
from rows import IMAGE_TOKENS, IMAGE, prompt

# name: (height, width, JPEG quality or None)
FORMS = {"96x96": (96, 96, None), "384x384": (384, 384, None), "384x384 JPEG q75": (384, 384, 75), "500x384": (384, 500, None),
         "200x200": (200, 200, None)}
KINDS = ("describe", "count", "background", "at", "color", "where", "digit", "yesno")
LOOSE_KINDS = (*KINDS, "is", "how many")


def read_safetensors(path):
    """Tensors of a BF16 file as float32 (what export.py writes; no package needed)."""
    with open(path, "rb") as f:
        data = f.read()
    size = int.from_bytes(data[:8], "little")
    out = {}
    for name, t in json.loads(data[8:8 + size]).items():
        if name != "__metadata__":
            assert t["dtype"] == "BF16", (name, t["dtype"])
            begin, end = t["data_offsets"]
            half = np.frombuffer(data[8 + size + begin:8 + size + end], np.uint16).astype(np.uint32) << 16
            out[name] = torch.from_numpy(half.view(np.float32).reshape(t["shape"]).copy())
    return out


@torch.no_grad()
def generate(model, ids, features, limit=96):
    """Greedy decoding with a plain KV cache; returns the new ids without the end token."""
    return generate_batch(model, torch.tensor([ids], device=features.device), features, limit)[0]


@torch.no_grad()
def generate_batch(model, ids, features, limit=96):
    """ids [b,n] prompts of one length; features [b,144,d]. Returns b lists of new ids without the end token."""
    b, n = ids.shape
    device, lm = ids.device, model.language_model
    mask = torch.ones(n, n, dtype=torch.bool, device=device).tril()
    logits, past = lm(model.embed(ids, features), torch.arange(n, device=device)[None], mask)
    token, done, out = logits[:, -1].argmax(-1), torch.zeros(b, dtype=torch.bool, device=device), []
    for step in range(limit):
        done = done | (token == bpe.EOS)
        out.append(torch.where(done, bpe.EOS, token))
        if step % 4 == 3 and bool(done.all()):
            break
        logits, past = lm(lm.model.embed_tokens(token[:, None]), torch.tensor([[n + step]], device=device), past=past)
        token = logits[:, -1].argmax(-1)
    table = torch.stack(out, 1).tolist()
    return [row[:row.index(bpe.EOS)] if bpe.EOS in row else row for row in table]


def held_out(seed, count, height, width, quality, loosely=False):
    """Scenes' canvases [count,96,96,3] and questions; scene and questions of number i are the same in every form."""
    images, asked = [], []
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        scene = scenes.sample_scene(rng)
        asked.append(scenes.questions(scene, rng))
        if loosely:                                               # about the same picture, with numbers of its own
            asked[-1] = [item[:3] for item in phrases.loosely(scene, np.random.default_rng([seed, i, 1]))]
        image = scenes.draw(scene, rng, scenes.HELD_OUT_DIGITS, height, width)
        images.append(scenes.to_canvas(scenes.jpeg(image, quality) if quality else image))
    return np.stack(images), asked


@torch.no_grad()
def accuracy(model, tok, seed=2028, count=300, height=scenes.CANVAS, width=None, quality=None, device="cpu", batch=512, loosely=False):
    """model in eval mode, float32, on the device. Returns {kind: share right} and {kind: questions}."""
    images, asked = held_out(seed, count, height, width or height, quality, loosely)
    features = torch.cat([model.image_features(pixels_of(torch.from_numpy(x).to(device))) for x in np.array_split(images, -(-count // 256))])
    lengths = collections.defaultdict(list)
    for i, qa in enumerate(asked):
        for kind, q, a in qa:
            ids = prompt(tok, q)
            assert ids.count(IMAGE) == IMAGE_TOKENS
            lengths[len(ids), kind == "describe"].append((i, kind, ids, a))      # long answers apart from short ones
    hits, total = collections.Counter(), collections.Counter()
    for items in lengths.values():
        for at in range(0, len(items), batch):
            part = items[at:at + batch]
            ids = torch.tensor([x[2] for x in part], device=device)
            own = features[torch.tensor([x[0] for x in part], device=device)]
            for (_, kind, _, a), new in zip(part, generate_batch(model, ids, own)):
                hits[kind] += tok.decode(new) == a
                total[kind] += 1
    return {k: round(hits[k] / total[k], 4) for k in LOOSE_KINDS if total[k]}, dict(total)


def load_weights(path, device="cpu"):
    model = Llava()
    model.load_state_dict(read_safetensors(path))
    return model.eval().to(device)


def table(model, tok, count, device, out=None, seed=2028, loosely=False):
    """Prints a line a form; out: a JSON file written anew after every form."""
    result, kinds = {"scenes": count, "seed": seed}, LOOSE_KINDS if loosely else KINDS
    print(f"{'exact match':18s}" + "".join(f"{k:>11s}" for k in kinds), flush=True)
    for name, (height, width, quality) in FORMS.items():
        result[name], result["questions"] = accuracy(model, tok, seed, count, height, width, quality, device, loosely=loosely)
        print(f"{name:18s}" + "".join(f"{result[name].get(k, float('nan')):11.3f}" for k in kinds), flush=True)
        if out:
            with open(out, "w", encoding="utf-8") as f:
                json.dump(result, f, indent=1)
                f.write("\n")
    return result


def main():
    p = argparse.ArgumentParser()
    p.add_argument("checkpoint")
    p.add_argument("--scenes", type=int, default=300)
    p.add_argument("--device", default="cpu")
    p.add_argument("--loosely", action="store_true")
    p.add_argument("--out")
    args = p.parse_args()
    torch.backends.cudnn.allow_tf32 = False
    tok = bpe.read_json(os.path.join(args.checkpoint, "tokenizer.json"))
    table(load_weights(os.path.join(args.checkpoint, "model.safetensors"), args.device), tok, args.scenes, args.device, args.out, loosely=args.loosely)


if __name__ == "__main__":
    main()
