"""Makes tests/golden/classification: python3 tests/golden/make/make_classification_goldens.py [repository]

Needs what models.py and openflamingo.py need. Log-probs of names behind a context, by the original implementations on the tiny checkpoints of
tests/golden/models: every name is one forward pass of its own over context and name, without a cache and without padding. The logits of a checkpoint's
own golden are compared first. A name's score is the mean of its tokens' log-probs: log_softmax of all rows, of which the rows from the last of the
context to the last but one of the whole are taken; the end token is not scored.

Weights and activations are float64 as far as the implementations let them: transformers' RmsNorm and softmax of attention go through float32.

<checkpoint>.safetensors: ids [context], num_images (the i-th picture: pixels_of, rolled by 101 * i), prompt_rows (of a prefix-LM: context rows that see
each other); name_ids [all tokens], name_begins [names + 1]; logprobs [all tokens], means [names].
"""
import json
import os
import random

import torch
from safetensors.torch import load_file
from transformers import (AutoConfig, AutoModelForCausalLM, CLIPVisionConfig, CLIPVisionModel, LlavaForConditionalGeneration,
                          PaliGemmaForConditionalGeneration)

import openflamingo as of  # Also makes the package usable; imports models.py.
from models import OUT as MODELS
from models import ROOT, pixels_of, save
from mpt import MosaicGpt

OUT = os.path.join(ROOT, "tests", "golden", "classification")


def names_below(limit, seed):
    """Names of 1 to 10 tokens: single ones, a fan behind a common beginning, a chain of which each is a beginning of the next, duplicates."""
    rng = random.Random(seed)
    token = lambda: rng.randrange(3, limit)  # noqa: E731
    some = lambda n: [token() for _ in range(n)]  # noqa: E731
    names = [[t] for t in rng.sample(range(3, limit), 8)]
    stem = some(2)
    names += [stem + some(rng.randint(1, 4)) for _ in range(10)] + [stem]
    chain = some(10)
    names += [chain[:n] for n in range(1, 11)]
    first = some(4)
    names += [[rng.choice(first)] + some(rng.randint(0, 9)) for _ in range(28)]
    names += [names[0], names[9], chain]  # Duplicates.
    rng.shuffle(names)
    return names


def text_below(limit, rows, seed):
    rng = random.Random(seed)
    return [rng.randrange(3, limit) for _ in range(rows)]


def pictures(size, count):
    return [torch.roll(pixels_of(size).flatten(), -101 * i).view(1, 3, size, size).double() for i in range(count)]


def expected_of(name):
    return load_file(os.path.join(MODELS, name, "expected.safetensors"))


def check(name, logits, expected):
    gap = float((logits - expected).abs().max())
    assert gap < 1e-4, (name, gap)


@torch.no_grad()
def write(name, context, names, logits_of, **more):
    """`logits_of(ids)`: of all rows of context + name."""
    rows = []
    for tokens in names:
        logprobs = torch.log_softmax(logits_of(context + tokens), dim=-1)
        n = len(tokens)
        rows.append(logprobs[-n - 1:-1].gather(1, torch.tensor(tokens)[:, None])[:, 0])
        assert len(rows[-1]) == n
    ints = lambda values: torch.tensor(values, dtype=torch.int32)  # noqa: E731
    begins = [0]
    for tokens in names:
        begins.append(begins[-1] + len(tokens))
    path = os.path.join(OUT, name + ".safetensors")
    save({"ids": ints(context), "name_ids": ints(sum(names, [])), "name_begins": ints(begins), "logprobs": torch.cat(rows).float(),
          "means": torch.stack([r.mean() for r in rows]).float(), **{k: ints([v]) for k, v in more.items()}}, path)
    print(name, "context", len(context), "names", len(names), "type", rows[0].dtype, "mean score",
          float(torch.stack([r.mean() for r in rows]).mean()), os.path.getsize(path), "bytes")


def text_model(name):
    folder = os.path.join(MODELS, name)
    config = AutoConfig.from_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32, attn_implementation="eager").double().eval()


@torch.no_grad()
def text(name, rows, seed):
    model = text_model(name)
    expected = expected_of(name)
    run = lambda ids: model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]  # noqa: E731
    check(name, run(expected["ids"].tolist()), expected["logits"])
    limit = model.config.vocab_size
    write(name, text_below(limit, rows, seed), names_below(limit, seed + 1), run, num_images=0)


@torch.no_grad()
def llava(name, rows, seed):
    """Two pictures in a context of `rows`."""
    model = LlavaForConditionalGeneration.from_pretrained(os.path.join(MODELS, name), dtype=torch.float32, attn_implementation="eager").double().eval()
    token, size = model.config.image_token_index, model.config.vision_config.image_size
    tokens = (size // model.config.vision_config.patch_size)**2
    expected = expected_of(name)
    check(name, model(input_ids=expected["ids"][None].long(), pixel_values=pictures(size, 1)[0]).logits[0], expected["logits"])
    words = text_below(token, rows - 2 * tokens, seed)
    context = words[:3] + [token] * tokens + words[3:-7] + [token] * tokens + words[-7:]
    pixels = torch.cat(pictures(size, 2))
    write(name, context, names_below(token, seed + 1),
          lambda ids: model(input_ids=torch.tensor([ids]), pixel_values=pixels, use_cache=False).logits[0], num_images=2)


@torch.no_grad()
def paligemma(name, rows, seed):
    """The context's rows see each other (token type 0), those of a name what is before them (token type 1)."""
    model = PaliGemmaForConditionalGeneration.from_pretrained(os.path.join(MODELS, name), dtype=torch.float32, attn_implementation="eager")
    model = model.double().eval()
    token, size = model.config.image_token_index, model.config.vision_config.image_size
    tokens = (size // model.config.vision_config.patch_size)**2
    pixels = pictures(size, 1)[0]

    def run(ids, prompt_rows):
        types = torch.tensor([[0] * prompt_rows + [1] * (len(ids) - prompt_rows)])
        ids = torch.tensor([ids])
        return model(input_ids=ids, pixel_values=pixels, token_type_ids=types, attention_mask=torch.ones_like(ids), use_cache=False).logits[0]

    expected = expected_of(name)
    check(name, run(expected["ids"].tolist(), int(expected["prompt_rows"])), expected["logits"])
    context = [token] * tokens + text_below(token, rows - tokens, seed)
    write(name, context, names_below(token, seed + 1), lambda ids: run(ids, rows), num_images=1, prompt_rows=rows)


class Flamingo:
    """A checkpoint openflamingo-*: the package's modules around a language model. Weights come from the file."""

    def __init__(self, name):
        folder = os.path.join(MODELS, name)
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
            config = json.load(f)
        state = load_file(os.path.join(folder, "model.safetensors"))
        vision = CLIPVisionConfig(**of.VISION)
        vision._attn_implementation = "eager"
        tower = CLIPVisionModel(vision)
        tower.load_state_dict({k: state[of.vision_name(k)] for k in tower.state_dict()})
        perceiver = of.PerceiverResampler(**of.PERCEIVER)
        perceiver.load_state_dict({k: state["perceiver." + k] for k in perceiver.state_dict()})
        text_config = config["text_config"]
        self.batched = text_config["model_type"] != "mosaic_gpt"
        if self.batched:
            text_config = AutoConfig.for_model(**text_config)
            text_config._attn_implementation = "eager"
            lang_encoder = AutoModelForCausalLM.from_config(text_config, dtype=torch.float32)
        else:
            lang_encoder = MosaicGpt(text_config)
        missing = lang_encoder.load_state_dict(
            {k.removeprefix("lang_encoder."): v for k, v in state.items() if k.startswith("lang_encoder.")}, strict=False)
        assert not missing.unexpected_keys and all(k.startswith("lm_head") for k in missing.missing_keys), missing
        if missing.missing_keys:
            lang_encoder.tie_weights()
        for part in (tower, perceiver, lang_encoder):
            part.double().eval()

        owner, attribute = {"llama": lambda m: (m.model, "layers"), "gpt_neox": lambda m: (m.gpt_neox, "layers")}.get(
            config["text_config"]["model_type"], lambda m: (m.transformer, "blocks"))(lang_encoder)
        self.layers = []
        for i, layer in enumerate(getattr(owner, attribute) if self.batched else owner[attribute]):
            block = None
            if (i + 1) % config["cross_attn_every_n_layers"] == 0:
                block = of.GatedCrossAttentionBlock(dim=32, dim_visual=16, **of.CROSS)
                block.load_state_dict({k: state[f"gated_cross_attn_layers.{i}.{k}"] for k in block.state_dict()})
                block.double().eval()
            self.layers.append(of.FlamingoLayer(block, layer if self.batched else of.UnbatchedBlock(layer)))
        replaced = torch.nn.ModuleList(self.layers if self.batched else [of.UnbatchedLayer(layer) for layer in self.layers])
        if self.batched:
            setattr(owner, attribute, replaced)
        else:
            owner[attribute] = replaced
        self.lang_encoder = lang_encoder
        self.media = []
        for pixels in pictures(of.VISION["image_size"], of.NUM_IMAGES):
            rows = tower(pixel_values=pixels).last_hidden_state[:, 1:]
            if config["vision_tokens_post_layernorm"]:
                rows = getattr(tower, "vision_model", tower).post_layernorm(rows)
            self.media.append(perceiver(rows[:, None, None]))

    def logits(self, ids):
        ids = torch.tensor([ids])
        count = int((ids == of.IMAGE).sum())
        seen = torch.cat(self.media[:max(1, count)], dim=1) if count else torch.zeros_like(self.media[0])
        for layer in self.layers:
            layer.condition_vis_x(seen)
            layer.condition_media_locations(ids == of.IMAGE)
            layer.condition_use_cached_media(False)
        return self.lang_encoder(input_ids=ids).logits[0] if self.batched else self.lang_encoder(ids[0])


@torch.no_grad()
def flamingo(name, rows, seed):
    """Two demonstrations and a query: <image> text <|endofchunk|> <image> text <|endofchunk|> <image> text."""
    model = Flamingo(name)
    expected = expected_of(name)
    for p in range(len(of.PROMPTS)):
        check(name, model.logits(expected[f"prompt_{p}.ids"].tolist()), expected[f"prompt_{p}.logits"])
    words = text_below(of.CHUNK, rows - 5, seed)
    third = len(words) // 3
    context = ([of.IMAGE] + words[:third] + [of.CHUNK, of.IMAGE] + words[third:2 * third] + [of.CHUNK, of.IMAGE] + words[2 * third:])
    assert len(context) == rows
    write(name, context, names_below(of.CHUNK, seed + 1), model.logits, num_images=3)


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    # Where the positions allow it, names begin shortly before row 256, where a block of attention ends.
    text("llama-llama3-tied", 252, 201)
    text("gpt2-defaults", 30, 211)
    llava("llava-new-spelling-sharded", 251, 221)
    llava("llava-bf16", 120, 226)
    paligemma("paligemma-gqa-new-spelling", 250, 231)
    paligemma("paligemma-untied", 40, 241)
    paligemma("paligemma-bf16", 252, 246)
    flamingo("openflamingo-mpt", 40, 251)
    flamingo("openflamingo-mosaic", 50, 261)
    flamingo("openflamingo-neox", 45, 271)
    flamingo("openflamingo-llama", 253, 281)
