"""Writes tests/golden/rouge.json: 500 pairs of texts and their ROUGE-L.

Reference: the package `rouge` 1.0.1 (PyPI), "rouge-l", candidate first. Where it raises (a text without a
sentence) the scores are 0. Run from the checkout's root: python tests/golden/make/rouge.py
"""
import importlib.metadata
import json
import pathlib
import random
import sys

sys.path.pop(0)  # This folder, where a script has the package's name.
from rouge import Rouge

PAIRS = 500
WORDS = ("a the cat dog sits on Mat mat red green, blue; (ring) left-most it's 7 42 3,5 is and there of image shows "
         "naïve café Straße 猫 画像 слово Ωmega 🙂 e\u0301 <0x0A> </s> \"quoted\" what? no! - — ...").split()
SPACES = [" "] * 24 + ["  ", "\n", "\t", " \n ", "\r\n", "\u00a0", "\u3000", "\u2003", "\x1f", "\u200b", "\u180e"]
ENDS = [".", ". ", ".", ".\n", "..", "...", " . ", ". . ", "", ".\u00a0."]
EDGES = ["", ".", "...", " ", " . ", "a", "a.", ".a", "a b", "b a", "a. a. a.", "a a a", "A", "a b c d e",
         "e d c b a", "a c e. b d.", "\n", "\u3000.", "the cat", "the. cat", "a.b.c", "x y a b. a b x y"]


def sentence(rng, vocabulary):
    words = rng.choices(vocabulary, k=rng.choice([0, 1, 1, 2, 3, 5, 8, 13, 21]))
    if words and rng.random() < 0.2:
        words += [words[-1]] * rng.randint(1, 3)
    text = "".join(word + rng.choice(SPACES) for word in words)
    return text if rng.random() < 0.3 else text.strip()


def text(rng, vocabulary):
    body = "".join(sentence(rng, vocabulary) + rng.choice(ENDS) for _ in range(rng.randint(0, 6)))
    return rng.choice(["", "", "", ".", " ", "\n"]) + body


def changed(rng, source, vocabulary):
    """The text with some words left out, doubled, replaced or moved."""
    words = source.split(" ")
    for _ in range(rng.randint(0, 6)):
        at = rng.randrange(len(words))
        kind = rng.randrange(4)
        if kind == 0 and len(words) > 1:
            del words[at]
        elif kind == 1:
            words.insert(at, words[at])
        elif kind == 2:
            words[at] = rng.choice(vocabulary)
        else:
            words.insert(rng.randrange(len(words)), words.pop(at))
    return " ".join(words)


def score(candidate, reference):
    try:
        return Rouge(metrics=["rouge-l"]).get_scores(candidate, reference)[0]["rouge-l"]
    except ValueError:
        return {"r": 0.0, "p": 0.0, "f": 0.0}


def main():
    assert importlib.metadata.version("rouge") == "1.0.1"
    rng = random.Random(5)
    pairs = [(c, rng.choice(EDGES)) for c in EDGES] + [(c, c) for c in EDGES]
    while len(pairs) < PAIRS:
        vocabulary = rng.sample(WORDS, rng.randint(2, len(WORDS)))
        reference = text(rng, vocabulary)
        pairs.append((changed(rng, reference, vocabulary) if rng.random() < 0.5 else text(rng, vocabulary),
                      reference))
    rows = [{"candidate": c, "reference": r, **score(c, r)} for c, r in pairs]
    lines = ",\n".join(json.dumps(row, ensure_ascii=True) for row in rows)
    pathlib.Path("tests/golden/rouge.json").write_text(f"[\n{lines}\n]\n")
    nonzero = sum(0 < row["f"] < 0.999 for row in rows)
    print(f"{len(rows)} pairs, {nonzero} strictly between 0 and 1")


main()
