"""Goldens of the tokenizer: small vocabularies and the ids that the reference libraries give.

Run: python tests/golden/make/tokenizer.py   (tokenizers 0.23, sentencepiece 0.2)
Writes tests/golden/tokenizer/: strings.json (2,000 strings), for each kind a vocabulary (<name>.json, a
tokenizer.json, or <name>.model) and <name>.ids.json: the ids of the first strings, the start of the SHA-256 of
every string's ids (written as decimal numbers with spaces between; four characters of base64), and decoded
texts. The flags depend on the string's index: bit 0 turns add_special_tokens on, bit 1 turns
encode_special_tokens on (untrusted text). The kinds plain_* have the model of another kind and a few tokens
more: what GGUF files and vocab.json with merges.txt can say.
With "demo" it writes demo.ids.json alone. With --smollm2 FILE it writes smollm2_gguf.ids.json from the vocabulary of that GGUF file, too (gguf 0.19).
"""
import base64
import hashlib
import json
import os
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

import tokenizer_pieces

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
OUT = os.path.join(ROOT, "tests", "golden", "tokenizer")

CORPUS = [
    "The red circle is left of the blue square, and the triangle isn't where you'd think it is.",
    "A harbour town wakes slowly: gulls, ropes, engines; then the market opens at 7:30 sharp.",
    "She said they've seen 12 boats, 345 crates and 6789 fish. We'll count them again, I'm sure.",
    "int main(int argc, char** argv) {\n    return argc > 1 ? 0 : 1;\n}\n\n\tif (x == y) { z += 10; }",
    "Grüße aus Köln, déjà vu à Paris, señor, Łódź, İstanbul, Αθήνα και Σπάρτη, Привет мир.",
    "生活的真谛是什么？今天天气很好。東京は日本の首都です。한국어 문장입니다.",
    "Hello hello HELLO hello   spaces    run  wild\n\n\nnewlines\r\n\r\ntabs\t\tend ",
    "1234567890 3.14159 2,718 ½ ⅷ ² ٣ १२३ IV",
    "'s 't 're 've 'm 'll 'd 'S 'T 'RE 'VE 'M 'LL 'D it's we're IT'S WE'RE",
] * 4

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")

ADDED = [
    AddedToken("<|im_start|>", special=True, normalized=False),
    AddedToken("<|im_end|>", special=True, normalized=False),
    AddedToken("<image>", special=True, normalized=False),
    AddedToken("<mask>", special=True, normalized=False, lstrip=True),
    AddedToken("<r>", special=False, normalized=False, rstrip=True),
    AddedToken("<both>", special=False, normalized=False, lstrip=True, rstrip=True),
    AddedToken("word", special=False, normalized=False, single_word=True),
    AddedToken("<image>s", special=False, normalized=False),
    AddedToken("Ünorm", special=False, normalized=True),
    AddedToken("two words", special=False, normalized=True),
    AddedToken("<norm>", special=True, normalized=True),
    AddedToken("    ", special=False, normalized=True),
]


def pick(rng, items):
    return items[rng.randrange(len(items))]


PARTS = [
    "hello", "Hello", "world", "word", "swordfish", "the", " the", "circle", "isn't", "IT'S", "we'Re",
    "'s", "'S", "'\u017f", "'ll", "'l", "'", "x", "A", "ab", "don't", "_", "__init__", "word_", "é", "e\u0301",
    "ü", "u\u0308", "Ünorm", "U\u0308norm", "ñ", "Å", "A\u030a", "q\u0323\u0307", "q\u0307\u0323", "한", "\u1112\u1161\u11ab",
    "생활", "生活的真谛", "東京", "は", "です", "Привет", "Σίσυφος", "ปี", "ird", "שלום", "مرحبا", "हिन्दी",
    "😀", "👨\u200d👩\u200d👧\u200d👦", "🏳️\u200d🌈", "🇩🇪", "👍🏽", "☃", "½", "ⅷ", "²", "٣", "१२", "𝟘", "Ⓐ",
    "0", "1", "12", "123", "1234", "3.14", "1,000", "7:30", "2026-11-25", "0x1F",
    " ", "  ", "   ", "    ", "     ", "\n", "\n\n", "\r\n", "\r", "\t", "\t\t", " \n", "\n ", " \n \n x",
    "\u00a0", "\u2003", "\u3000", "\u2028", "\u0085", "\u200b", "\u200d", "\ufeff", "\ufffd", "▁", "▁▁", "Ġ", "Ċ",
    "\x00", "\x01", "\x07", "\x1b[0m", "\x7f", "\u0080", "\u0300", "\u0301\u0301",
    ".", ",", "!", "?", "...", "?!", "(", ")", "{", "}", "[INST]", "[/INST]", "<<SYS>>", "<", ">", "=>", "//", "#",
    "<s>", "</s>", "<unk>", "<image>", "<image>s", "<pad>", "<|im_start|>", "<|im_end|>", "<mask>", "<r>",
    "<both>", "two words", "two  words", "<norm>", "<im", "age>", "<|im_", "<0x0A>", "<0xE4>", "USER: ", " ASSISTANT:",
    "<bos>", "<eos>", "<loc0001>", "<loc00", "<seg002>", "<|endoftext|>", "<|endofchunk|>", "<start_of_turn>",
    "\n\n\n", "       ", " " * 16, " " * 25, "\t\t\t", "<table>", "<mask>s",
]


def make_strings():
    rng = random.Random(20261125)
    strings = ["", " ", "  ", "   ", "a", "\n", "<s>", "</s>", "<image>", " Hello", "Hello ", "Hi  Hello",
               "Hi   Hello", "生活的真谛是", "But ird and ปี   ird   ด", "<s> Hello<s>how", " <s> Hello<s> how",
               "This is a test", "\n\na", "  a", "a 12", "<mask>", "a <mask> b", "  <both>  x", "<r>   y", "word",
               "sword word words word."]
    strings += [line for line in CORPUS[:9]]
    while len(strings) < 1700:
        strings.append("".join(pick(rng, PARTS) for _ in range(1 + rng.randrange(9))))
    ranges = [(0x20, 0x7f), (0x20, 0x7f), (0xa0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700),
              (0x900, 0xe80), (0x1100, 0x1200), (0x1e00, 0x2070), (0x2100, 0x2c00), (0x3000, 0x3200),
              (0x4e00, 0x9fff), (0xac00, 0xd7a4), (0xfb00, 0xfe00), (0x1d400, 0x1d800), (0x1f300, 0x1f650)]
    while len(strings) < 2000:
        text = ""
        for _ in range(1 + rng.randrange(12)):
            low, high = pick(rng, ranges)
            text += chr(rng.randrange(low, high))
        strings.append(text)
    return strings


def trained(pre=None, normalizer=None, alphabet=None, vocab_size=600, specials=("<unk>", "<s>", "</s>"),
            limit=1000, **bpe):
    tok = Tokenizer(models.BPE(**bpe))
    if pre is not None:
        tok.pre_tokenizer = pre
    if normalizer is not None:
        tok.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=list(specials), show_progress=False,
                                  initial_alphabet=alphabet or [], limit_alphabet=limit, max_token_length=12)
    tok.train_from_iterator(CORPUS, trainer)
    return tok


def sentencepiece(normalizer, pre, decoder, bos, unk="<unk>"):
    """A byte-fallback BPE: words of the corpus trained apart, then used as one text."""
    base = trained(pre=pre_tokenizers.Metaspace(prepend_scheme="always"), unk_token=unk, vocab_size=400)
    data = json.loads(base.to_str())["model"]
    old = sorted(data["vocab"], key=data["vocab"].get)
    names = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)]
    # Not every character of the corpus has a token: the rest goes through the bytes.
    dropped = {t for t in old if len(t) == 1 and ord(t) > 0x2fff}
    names += [t for t in old if t not in names and not (set(t) & dropped)]
    vocab = {t: i for i, t in enumerate(names)}
    merges = [tuple(m) for m in data["merges"] if m[0] in vocab and m[1] in vocab and m[0] + m[1] in vocab]
    for n in (2, 4, 8):  # Runs of spaces.
        vocab["▁" * n] = vocab.get("▁" * n, len(vocab))
        merges.append(("▁" * (n // 2), "▁" * (n // 2)))
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token=unk, fuse_unk=True, byte_fallback=True))
    if normalizer is not None:
        tok.normalizer = normalizer
    if pre is not None:
        tok.pre_tokenizer = pre
    tok.decoder = decoder
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    tok.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tok.token_to_id(bos))])
    return tok


def byte_level(pre, normalizer=None, decoder=None):
    tok = trained(pre=pre, normalizer=normalizer, alphabet=pre_tokenizers.ByteLevel.alphabet(),
                  vocab_size=700, specials=["<|endoftext|>"])
    tok.decoder = decoder or decoders.ByteLevel()
    return tok


def neox():
    """As OpenFlamingo's: NFC, and runs of 24 to 2 spaces found in the normalised text."""
    tok = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), normalizer=normalizers.NFC())
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<|endoftext|>", "<|padding|>")])
    tok.add_tokens([AddedToken(" " * n, special=False, normalized=True) for n in range(24, 1, -1)])
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False)
                            for t in ("<|endofchunk|>", "<image>", "<PAD>")])
    return tok


def paligemma(decoder):
    """Gemma's chain; runs of newlines and spaces and tags are added tokens, locations and segments behind."""
    base = sentencepiece(normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"),
                         decoder, "<s>")
    data = json.loads(base.to_str())
    names = {"<unk>": "<unk>", "<s>": "<bos>", "</s>": "<eos>"}
    vocab = {names.get(t, t): i for t, i in data["model"]["vocab"].items()}
    runs = ["\n" * n for n in (1, 2, 3)] + ["▁" * n for n in (2, 3, 4, 8)] + ["<table>", "<mask>"]
    for run in runs:
        vocab.setdefault(run, len(vocab))
    model = {**data["model"], "vocab": vocab}
    added = [{"id": vocab[t], "content": t, "special": True} for t in names.values()]
    added += [{"id": vocab[t], "content": t, "special": False} for t in runs]
    more = ["<image>"] + ["<loc%04d>" % i for i in range(4)] + ["<seg%03d>" % i for i in range(4)]
    added += [{"id": len(vocab) + i, "content": t, "special": t == "<image>"} for i, t in enumerate(more)]
    for token in added:
        token.update(single_word=False, lstrip=False, rstrip=False, normalized=False)
    added.sort(key=lambda token: token["id"])
    bos = vocab["<bos>"]
    post = {"type": "TemplateProcessing", "pair": [], "single": [
        {"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"<bos>": {"id": "<bos>", "ids": [bos], "tokens": ["<bos>"]}}}
    return Tokenizer.from_str(json.dumps({**data, "model": model, "added_tokens": added, "post_processor": post}))


PLAIN = [("<|im_start|>", True), ("<|im_end|>", True), ("<image>", True), ("<image>s", False)]


def plain(tok, bos=None):
    """The same model with tokens that need no flags."""
    data = json.loads(tok.to_str())
    vocab = data["model"]["vocab"]
    first = max(vocab.values()) + 1
    added = [("<|endoftext|>", True, vocab["<|endoftext|>"])]
    added += [(content, special, first + i) for i, (content, special) in enumerate(PLAIN)]
    data["added_tokens"] = [dict(id=id, content=content, special=special, single_word=False, lstrip=False,
                                 rstrip=False, normalized=False) for content, special, id in added]
    data["post_processor"] = None
    result = Tokenizer.from_str(json.dumps(data))
    if bos is not None:
        result.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, result.token_to_id(bos))])
    return result


def from_gguf(path):
    """SmolLM2's vocabulary as a GGUF file has it."""
    from gguf import GGUFReader
    fields = GGUFReader(path).fields
    tokens, merges, types = (fields["tokenizer.ggml." + key].contents() for key in ("tokens", "merges", "token_type"))
    tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)},
                               merges=[tuple(m.split(" ")) for m in merges]))
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                                 pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False)
                            for t, kind in zip(tokens, types) if kind == 3])
    return tok


def build():
    llama_decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                       decoders.Strip(" ", 1, 0)])
    gemma_decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    legacy = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    byte = pre_tokenizers.ByteLevel
    toks = {
        "llama_legacy": sentencepiece(legacy, None, llama_decoder, "<s>"),
        "llama_metaspace": sentencepiece(None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False),
                                         llama_decoder, "<s>"),
        "metaspace_split": sentencepiece(None, pre_tokenizers.Metaspace(prepend_scheme="always", split=True),
                                         decoders.Metaspace(), "<s>"),
        "gemma": sentencepiece(normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"),
                               gemma_decoder, "<s>"),
        "gpt2": byte_level(byte(add_prefix_space=False)),
        "smollm2": byte_level(pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), byte(add_prefix_space=False)])),
        "llama3": byte_level(pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(LLAMA3), "isolated"), byte(add_prefix_space=False, use_regex=False)])),
        "neox_nfc": byte_level(byte(add_prefix_space=True), normalizer=normalizers.NFC()),
    }
    for tok in toks.values():
        tok.add_tokens(ADDED)
    toks["neox"] = neox()
    toks["paligemma"] = paligemma(gemma_decoder)
    toks["llama3"].post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|im_start|> $A <|im_end|>", special_tokens=[
            (t, toks["llama3"].token_to_id(t)) for t in ("<|im_start|>", "<|im_end|>")])])
    ignoring = json.loads(toks["llama3"].to_str())
    ignoring["model"]["ignore_merges"] = True
    toks["llama3"] = Tokenizer.from_str(json.dumps(ignoring))
    return toks


def write(name, value):
    with open(os.path.join(OUT, name), "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")



def line(ids):
    return " ".join(map(str, ids))


def digest(ids):
    return base64.b64encode(hashlib.sha256(line(ids).encode()).digest()[:3]).decode()


def write_ids(name, rows, decoded):
    write(name + ".ids.json", {"ids": [line(row) for row in rows[:100]], "decoded": decoded,
                               "digests": "".join(map(digest, rows))})


def goldens(name, tok, strings):
    rows = []
    for i, text in enumerate(strings):
        tok.encode_special_tokens = bool(i & 2)
        rows.append(tok.encode(text, add_special_tokens=bool(i & 1)).ids)
    rng = random.Random(7)
    size = tok.get_vocab_size()
    decoded = []
    for i in range(90):
        # Whole texts, and random ids with runs of bytes that are no text.
        ids = list(rows[rng.randrange(len(rows))]) if i % 3 == 0 else [
            rng.randrange(size + 2) for _ in range(1 + rng.randrange(10))]
        skip = bool(i & 1)
        decoded.append([ids, skip, tok.decode(ids, skip_special_tokens=skip)])
    write_ids(name, rows, decoded)


def goldens_of_pieces(name, model, strings):
    """Texts of whole rows only: runs of bytes that are no text are replaced in another way here."""
    with open(os.path.join(OUT, name + ".model"), "wb") as f:
        f.write(model)
    reference = tokenizer_pieces.Reference(model)
    rows = [reference.ids(text, bool(i & 1), not i & 2) for i, text in enumerate(strings)]
    unknown = reference.processor.unk_id()
    marks = {reference.processor.piece_to_id(mark) for mark in ("▁", "▁▁", "▁▁▁")}
    whole = [row for row in rows[200:] if unknown not in row and len(marks & set(row[:3])) < 1][:60]
    write_ids(name, rows, [[row, True, reference.text(row)] for row in whole])


def main():
    os.makedirs(OUT, exist_ok=True)
    strings = make_strings()
    assert len(strings) == 2000
    demo = Tokenizer.from_file(os.path.join(ROOT, "models", "demo", "tokenizer.json"))
    goldens("demo", demo, strings)
    if sys.argv[1:] == ["demo"]:
        return
    write("strings.json", strings)
    toks = build()
    for name, tok in toks.items():
        data = json.loads(tok.to_str())
        if name == "gpt2":  # The older form of the merges.
            data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
        write(name + ".json", data)
        goldens(name, Tokenizer.from_str(json.dumps(data)), strings)
    goldens("plain_gpt2", plain(toks["gpt2"]), strings)
    goldens("plain_smollm2", plain(toks["smollm2"]), strings)
    goldens("plain_llama3", plain(toks["llama3"], bos="<|im_start|>"), strings)
    for name, model in tokenizer_pieces.build(CORPUS).items():
        goldens_of_pieces(name, model, strings)
    if "--smollm2" in sys.argv:
        goldens("smollm2_gguf", from_gguf(sys.argv[sys.argv.index("--smollm2") + 1]), strings)


if __name__ == "__main__":
    main()
