"""Pictures of one object each, from digit scans that training never saw, for judging classification.

Usage: one_object.py OUT [--pictures 300]. Writes OUT/NNN.png, OUT/data.jsonl (a line for each picture: image, text =
the place, label, question, answer) and OUT/names.txt: the 128 names, "a red circle" to "a pink digit 9".
"""
import argparse
import json
import pathlib

import numpy as np
from PIL import Image

from scenes import BACKGROUNDS, COLORS, HELD_OUT_DIGITS, KINDS, POSITIONS, Scene, Thing, draw

FIRST_SEED = 7_000_000


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--pictures", type=int, default=300)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    names = [Thing(kind, color, 0).phrase for color in COLORS for kind in KINDS]
    (args.out / "names.txt").write_text("\n".join(names) + "\n")
    with open(args.out / "data.jsonl", "w") as lines:
        for i in range(args.pictures):
            rng = np.random.default_rng(FIRST_SEED + i)
            thing = Thing(KINDS[rng.integers(len(KINDS))], list(COLORS)[rng.integers(len(COLORS))], int(rng.integers(9)))
            scene = Scene(list(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))], (thing,))
            name = f"{i:03}.png"
            Image.fromarray(draw(scene, rng, HELD_OUT_DIGITS)).save(args.out / name)
            place = POSITIONS[thing.cell]
            lines.write(json.dumps({"image": name, "text": place, "label": thing.phrase,
                                    "question": f"What do you see at the {place}?",
                                    "answer": f"There is {thing.phrase}."}) + "\n")


if __name__ == "__main__":
    main()
