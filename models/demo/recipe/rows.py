"""Questions and answers as token rows of fixed length, in numpy: what a training picture is asked.

A row is the prefix "<s>USER: ", 144 image tokens and ROW text tokens. Only the text part is stored: the rest is the same
in every row.
"""
import numpy as np

import bpe
import phrases
import scenes

IMAGE, PAD, IMAGE_TOKENS = 566, 567, 144
ROW = 196                # text tokens of a row; with the prefix (4) and the image 344, a multiple of 8
HEADS = {"kind": 17, "color": 9, "cell": 9, "ordinal": 10, "count": 10, "background": 4}
FIELDS = {"image": (np.uint8, (scenes.CANVAS, scenes.CANVAS, 3)), "cells": (np.int8, (len(HEADS), 9)), "ids": (np.int16, (ROW,)),
          "learn": (np.float32, (ROW,)), "turn": (np.int8, (ROW,)), "position": (np.int16, (ROW,)), "ask": (np.int8, (ROW,))}


def build_tokenizer(seed=1):
    rng, texts = np.random.default_rng(seed), []
    for _ in range(4000):
        s = scenes.sample_scene(rng)
        for _, q, a in scenes.questions(s, rng):
            texts += ["USER:", q, "\n" + q, "ASSISTANT:", a]
    for n in scenes.class_names():
        texts += [n] * 20
    pieces, merges = bpe.train(texts, IMAGE)
    assert len(pieces) == IMAGE, "the added tokens follow the pieces"
    return pieces, merges, bpe.Tokenizer(pieces, merges, ["<image>", "<pad>"])


def with_image(ids):
    at = ids.index(IMAGE)
    return ids[:at] + [IMAGE] * IMAGE_TOKENS + ids[at + 1:]


def prompt(tok, question):
    return with_image(tok.encode("USER: <image>\n" + question + " ASSISTANT:"))


def prefix(tok):
    """The tokens before the image."""
    ids = tok.encode("USER: <image>\n")
    return ids[:ids.index(IMAGE)]


def conversation(tok, qa):
    """One image, several turns: 'USER: <image>\\n{q} ASSISTANT: {a}</s>USER: {q} ...'. Returns ids."""
    ids = []
    for i, (_, q, a) in enumerate(qa):
        ids += prompt(tok, q) if i == 0 else tok.encode("USER: " + q + " ASSISTANT:", bos=False)
        ids += tok.encode(a, bos=False) + [bpe.EOS]
    return ids


def cell_labels(scene):
    """What each of the 9 cells holds: kind and colour (last class = nothing), its index, which object in reading order
    (0 = none), scene facts: [heads][9]."""
    rows = {"kind": [16] * 9, "color": [8] * 9, "cell": list(range(9)), "ordinal": [0] * 9, "count": [len(scene.things)] * 9,
            "background": [list(scenes.BACKGROUNDS).index(scene.background)] * 9}
    for i, t in enumerate(scene.things):
        rows["kind"][t.cell], rows["color"][t.cell] = scenes.KINDS.index(t.kind), list(scenes.COLORS).index(t.color)
        rows["ordinal"][t.cell] = i + 1
    return [rows[k] for k in HEADS]


SHARE = {"describe": 0.5, "count": 0.4, "background": 0.3}        # of the pictures that are asked this; the rest is asked always


def choose(scene, rng):
    """The questions of a training picture, shuffled: once in the words of scenes.ASK, twice in others; more than fill a row."""
    out = []
    for ask in (scenes.asked, phrases.loosely, phrases.loosely):
        out += [x for x in ask(scene, rng) if rng.random() < SHARE.get(x[0], 1) and x not in out]
    return [out[k] for k in rng.permutation(len(out))]


def fill_row(tok, qa, turns, at, fields):
    """Writes the text part of picture `at`. turns: one conversation; else several first turns, each of which sees the
    image and itself only (turn number 1.. each, 0 = seen by all later ones)."""
    ids, learn, turn, position, ask = (fields[k][at] for k in ("ids", "learn", "turn", "position", "ask"))
    ids[:], learn[:], turn[:], position[:], ask[:] = PAD, 0, 0, 0, -1
    start = len(prefix_cache(tok)) + IMAGE_TOKENS
    n = 0
    for i, (_, q, a, cell) in enumerate(qa):
        head = tok.encode(("USER: " if turns and n else "\n") + q + " ASSISTANT:", bos=False)
        tail = tok.encode(a, bos=False) + [bpe.EOS]
        end = n + len(head) + len(tail)
        if end > ROW:
            continue
        ids[n:end] = head + tail
        learn[n + len(head):end] = len(tail) ** -0.5               # short answers count more per token
        turn[n:end] = 0 if turns else i + 1
        position[n:end] = np.arange(end - n) + start + (n if turns else 0)
        ask[n + len(head) - 1] = cell
        n = end
    turn[n:] = 127                                                 # padding is seen by padding only


_prefixes = {}


def prefix_cache(tok):
    if id(tok) not in _prefixes:
        _prefixes[id(tok)] = prefix(tok)
    return _prefixes[id(tok)]


def sample_training_scene(rng, progress):
    """progress 0..1 of the training: few things at first; some crowded scenes, fewer of them at the end."""
    u = rng.random()
    if u < (0.3 if progress < 0.8 else 0.1):
        return scenes.sample_scene(rng, 9, digits=0.6)
    return scenes.sample_scene(rng, 2 if progress < 1 / 3 and u < 0.65 else 4, digits=0.5)


def fill(tok, rng, progress, fields):
    """Draws and writes all pictures of a chunk; fields: arrays as in FIELDS with a leading dimension."""
    for at in range(len(fields["ids"])):
        scene = sample_training_scene(rng, progress)
        fields["image"][at] = scenes.photograph(scene, rng)
        fields["cells"][at] = cell_labels(scene)
        fill_row(tok, choose(scene, rng), at % 4 == 0, at, fields)
