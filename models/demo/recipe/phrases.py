"""How a newcomer asks about a scene: other words than scenes.ASK, small letters, no question mark, things named with their
colour or without, "the 4" for "the digit 4". The answers have the forms of scenes.py.
"""
from scenes import COLORS, KINDS, NUMBERS, POSITIONS, SHAPES, describe

DESCRIBE = ("What's in the picture?", "What is in the image?", "Describe the picture.", "Describe this image.", "What can you see?", "What is shown here?",
            "What is this?", "What's in this image?", "Which objects are in the picture?", "What objects are there?", "What do you see in the picture?",
            "Tell me what you see.", "Please describe the image.", "What does the picture show?", "Which objects do you see?")
COUNT = ("How many things are there?", "How many objects are in the image?", "Count the objects.", "How many things do you see?", "How many are there?",
         "How many objects do you see?", "How many objects?")
BACKGROUND = ("What colour is the background?", "Which color is the background?", "What is the color of the background?", "What color does the background have?",
              "Background color?", "Which colour does the background have?")
AT = ("What's at the {}?", "Which object is at the {}?", "What is in the {}?", "What can you see at the {}?", "What do you see in the {}?", "Is there anything at the {}?",
      "What is on the {}?")
COLOR = ("What colour is the {}?", "Which colour is the {}?", "What is the color of the {}?", "What color does the {} have?", "What's the color of the {}?",
         "What color is the {}?")
WHERE = ("Where's the {}?", "Where is the {}?", "Find the {}.", "Where can you see the {}?", "Where do you see the {}?", "In which place is the {}?", "Show me the {}.")
DIGIT = ("What number is shown?", "Which number is in the picture?", "What is the digit?", "Which number do you see?", "What digit is it?", "What digit is in the image?",
         "What is the number?", "Which digit is there?", "What digit is shown?")
THERE = ("Is there {}?", "Do you see {}?", "Can you see {}?", "Is there {} in the picture?", "Is there {} in the image?", "Do you see {} here?", "Does the picture show {}?")
IS = ("Is the {} {}?", "Does the {} look {}?")
ANY = ("Are there any {}?", "Are there {}?", "Do you see any {}?", "Can you see any {}?", "Are there any {} in the picture?")
WHICH = ("What is {}?", "Which object is {}?", "What is the {} thing?", "Which thing is {}?", "What's {}?")
HOW_MANY = ("How many {} are there?", "How many {} do you see?", "How many {} can you see?", "How many {} are in the picture?")

PLACES = {"center": ("middle", "centre", "center of the picture"), "top center": ("top middle", "top centre"), "bottom center": ("bottom middle", "bottom centre"),
          "middle left": ("center left", "left in the middle"), "middle right": ("center right", "right in the middle")}


def _one(rng, options):
    return options[int(rng.integers(len(options)))]


def _name(kind, rng):
    return _one(rng, (f"digit {kind}", kind, f"number {kind}")) if kind.isdigit() else kind


def _phrase(noun, color=None):
    words = f"{color} {noun}" if color else noun
    return ("an " if words[0] in "aeiou8" else "a ") + words


def _place(cell, rng):
    name = POSITIONS[cell]
    if " " in name and "center" not in name and "middle" not in name:
        return _one(rng, (name, name + " corner"))
    return _one(rng, (name, *PLACES.get(name, ())))


def _sum(count):
    return "There is one." if count == 1 else f"There are {NUMBERS[count] if count else 'none'}."


def _spelled(question, rng):
    """As typed in a hurry, at times."""
    u = rng.random()
    if u < 0.15:
        question = question[0].lower() + question[1:]
    if u < 0.08 or u > 0.92:
        question = question.rstrip("?.")
    return question


def loosely(scene, rng):
    """As scenes.asked(): a list of (kind, question, answer, cell), with the kinds "is" and "how many" more."""
    things, out = scene.things, []

    def add(kind, question, answer, cell=-1):
        out.append((kind, _spelled(question, rng), answer, cell))

    def hits(kind=None, color=None):
        return [t.cell for t in things if kind in (None, t.kind) and color in (None, t.color)]

    def cell_of(found):
        return 9 if not found else found[0] if len(found) == 1 else -1

    if len(things) <= 4:
        add("describe", _one(rng, DESCRIBE), describe(scene))
        add("count", _one(rng, COUNT), _sum(len(things)))
    add("background", _one(rng, BACKGROUND), f"The background is {scene.background}.")

    cell = int(rng.integers(9)) if rng.random() < 0.3 else _one(rng, things).cell
    there = [t for t in things if t.cell == cell]
    add("at", _one(rng, AT).format(_place(cell, rng)), f"There is {there[0].phrase}." if there else "There is nothing there.", cell)

    thing = _one(rng, things)
    name = _name(thing.kind, rng)
    alone = len(hits(thing.kind)) == 1
    digits = [t for t in things if t.is_digit]
    if thing.is_digit and len(digits) == 1 and rng.random() < 0.3:
        name = _one(rng, ("digit", "number"))
    if alone:
        add("color", _one(rng, COLOR).format(name), f"The {thing.noun} is {thing.color}.", thing.cell)
        color = thing.color if rng.random() < 0.5 else _one(rng, list(COLORS))
        if len(hits(color=thing.color)) == 1:
            add("color", _one(rng, WHICH).format(thing.color), f"The {thing.noun} is {thing.color}.", thing.cell)
        add("is", _one(rng, IS).format(name, color), "Yes." if color == thing.color else "No.", thing.cell)
    if len(hits(thing.kind, thing.color)) == 1:
        said = f"{thing.color} {name}" if not alone or rng.random() < 0.5 else name
        add("where", _one(rng, WHERE).format(said), f"It is at the {POSITIONS[thing.cell]}.", thing.cell)
    if len(digits) == 1:
        add("digit", _one(rng, DIGIT), f"It is the digit {digits[0].kind}.", digits[0].cell)

    probe = _one(rng, things)
    kind = probe.kind if rng.random() < 0.55 else _one(rng, KINDS)
    color = None if rng.random() < 0.6 else probe.color if rng.random() < 0.6 else _one(rng, list(COLORS))
    found = hits(kind, color)
    add("yesno", _one(rng, THERE).format(_phrase(_name(kind, rng), color)), "Yes." if found else "No.", cell_of(found))

    which = rng.random()
    if which < 0.2:
        words, found = _one(rng, ("digits", "numbers")), [t.cell for t in digits]
    elif which < 0.4:
        words, found = "shapes", [t.cell for t in things if not t.is_digit]
    elif which < 0.7:
        shape = probe.kind if not probe.is_digit and rng.random() < 0.6 else _one(rng, SHAPES)
        words, found = shape + ("es" if shape.endswith("ss") else "s"), hits(shape)
    else:
        color = probe.color if rng.random() < 0.6 else _one(rng, list(COLORS))
        words, found = f"{color} {_one(rng, ('objects', 'things'))}", hits(color=color)
    if len(found) <= 4:
        add("how many", _one(rng, HOW_MANY).format(words), _sum(len(found)))
    if rng.random() < 0.4:
        add("yesno", _one(rng, ANY).format(words), "Yes." if found else "No.", cell_of(found))
    return out
