"""SentencePiece models for the goldens of the tokenizer, trained on a small text, and the ids that the
`sentencepiece` library gives. Used by tokenizer.py.  (sentencepiece 0.2)"""
import os
import re
import tempfile

import sentencepiece
from sentencepiece import sentencepiece_model_pb2


def train(corpus, **options):
    with tempfile.TemporaryDirectory() as folder:
        prefix = os.path.join(folder, "m")
        defaults = dict(model_type="bpe", vocab_size=800, character_coverage=0.98, hard_vocab_limit=False,
                        normalization_rule_name="identity", byte_fallback=True, remove_extra_whitespaces=False,
                        split_digits=True, allow_whitespace_only_pieces=True, minloglevel=2)
        lines = [line for text in corpus for line in text.split("\n")]
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_prefix=prefix,
                                                 **{**defaults, **options})
        with open(prefix + ".model", "rb") as f:
            return f.read()


def with_unused_and_equals(model, every):
    """Marks every n-th longer piece as UNUSED: it may arise and is split again. Three pieces share a score."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    longer = [p for p in proto.pieces if p.type == 1 and len(p.piece) > 1]
    for piece in longer[::every]:
        piece.type = 5
    for piece in proto.pieces:
        piece.score = float(int(piece.score) // 3)
    return proto.SerializeToString()


def build(corpus):
    """Name to bytes of a tokenizer.model."""
    return {
        # Llama: dummy prefix, nothing removed, bytes.
        "pieces_llama": train(corpus, control_symbols=["<image>", "<|im_start|>"],
                              user_defined_symbols=["two▁words", "IT'S", "▁▁▁", "\n\n"]),
        # Gemma: no dummy prefix; runs of spaces and newlines are user-defined.
        "pieces_gemma": train(corpus, add_dummy_prefix=False, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
                              eos_piece="<eos>", bos_piece="<bos>", control_symbols=["<start_of_turn>", "<image>"],
                              user_defined_symbols=["\n", "\n\n", "\n\n\n", "▁▁", "▁▁▁", "▁▁▁▁", "<loc0001>"]),
        # The trainer's own defaults for spaces, no bytes, pieces that are split again, equal scores.
        "pieces_trimmed": with_unused_and_equals(train(corpus, remove_extra_whitespaces=True, byte_fallback=False,
                                                        user_defined_symbols=["word"]), 5),
    }


class Reference:
    """Ids as the library gives them. It never finds control pieces in a text; in trusted text they are cut out
    first and the library sees what is between them."""

    def __init__(self, model):
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        proto = sentencepiece_model_pb2.ModelProto.FromString(model)
        special = [p.piece for p in proto.pieces if p.type in (2, 3)]
        self.special = re.compile("(" + "|".join(map(re.escape, sorted(special, key=len, reverse=True))) + ")")

    def ids(self, text, add_special_tokens, trusted):
        ids = [self.processor.bos_id()] if add_special_tokens else []
        for i, part in enumerate(self.special.split(text) if trusted else [text]):
            ids += [self.processor.piece_to_id(part)] if i % 2 else self.processor.encode(part)
        return ids

    def text(self, ids):
        """Of models that trim, the library drops all spaces at the front; prefixd one, as it streams."""
        return self.processor.decode(ids)
