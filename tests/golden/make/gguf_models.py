"""Makes tests/golden/gguf/: python3 tests/golden/make/gguf_models.py [repository]

Needs torch, transformers (5.x), safetensors and gguf. For every case a tiny random Llama in one GGUF file and, beside it, <case>.safetensors with the ids
and the logits that transformers computes in float32 (eager attention) from the values that the gguf package dequantises, the rows of q and k put back in the
order of the Hugging Face layout. Types that the package cannot quantise to get random blocks. The tokenizer is byte-level: the 256 bytes, 41 merges, 3 controls.
"""
import os
import sys

import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from gguf import GGUFWriter, dequantize, quantize
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

ROOT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
OUT = os.path.join(ROOT, "tests", "golden", "gguf")
SCALE = 0.2  # Of the weights.
TEMPLATE = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


# --- Blocks

def f16(values):
    return np.asarray(values, dtype=np.float16).view(np.uint8)


def random_blocks(rng, kind, rows, cols):
    """Random bytes with factors that give values of about SCALE."""
    count = rows * cols // 256
    if kind in (T.Q4_K, T.Q5_K):
        top = 15 if kind == T.Q4_K else 31
        d = rng.uniform(0.5, 1.5, count) * SCALE / (63 * top / 2)
        blocks = rng.integers(0, 256, (count, 144 if kind == T.Q4_K else 176), dtype=np.uint8)
        blocks[:, 0:2] = f16(d).reshape(count, 2)
        blocks[:, 2:4] = f16(d * top / 2).reshape(count, 2)
    else:
        assert kind == T.Q6_K
        blocks = rng.integers(0, 256, (count, 210), dtype=np.uint8)
        blocks[:, 208:] = f16(rng.uniform(0.5, 1.5, count) * SCALE / (127 * 32 / 2)).reshape(count, 2)
    return blocks.reshape(rows, -1)


def stored(rng, kind, shape):
    """Random data as the file keeps it, and its values. Rows of q and k are random, so they need no permutation here."""
    if kind in (T.Q4_K, T.Q5_K, T.Q6_K):
        data = random_blocks(rng, kind, *shape)
    else:
        values = (rng.standard_normal(shape) * SCALE).astype(np.float32)
        data = values if kind == T.F32 else values.astype(np.float16) if kind == T.F16 else quantize(values, kind)
    return data, np.array(dequantize(data, kind), dtype=np.float32).reshape(shape)


def unpermute(rows, heads):
    """Within a head, row 2 i + a of the file is row a * hd / 2 + i of the Hugging Face layout."""
    hd = rows.shape[0] // heads
    return rows.reshape(heads, hd // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


# --- Files

def byte_alphabet():
    visible = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    hidden = [b for b in range(256) if b not in visible]
    return [chr(b) for b in visible] + [chr(256 + i) for i in range(len(hidden))]


MERGES = ["t h", "i n", "a n", "e r", "o n", "th e", "r e", "a t", "e n", "o r", "e s", "i s", "i t", "o u", "a r", "in g", "an d", "e d", "a l", "o f",
          "t o", "s t", "l e", "h e", "a s", "n t", "l l", "o m", "u r", "y ou", "c h", "f or", "w h", "i c", "b e", "s e", "m e", "w it", "wit h", "i d", "u t"]


def write_tokenizer(writer):
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + byte_alphabet() + [m.replace(" ", "") for m in MERGES]
    assert len(set(tokens)) == 300, len(set(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * 297)
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


class Case:
    def __init__(self, name, kinds, hidden=32, heads=4, kv=2, hd=None, ffn=64, layers=2, tied=False, bias=False, factor=None, divisors=False):
        self.name, self.hidden, self.heads, self.kv, self.ffn, self.layers = name, hidden, heads, kv, ffn, layers
        self.kinds = kinds if isinstance(kinds, dict) else {"": kinds}
        self.hd, self.explicit = hd or hidden // heads, hd is not None
        self.tied, self.bias, self.factor, self.divisors = tied, bias, factor, divisors

    def kind(self, part):
        return self.kinds.get(part, self.kinds.get(""))


def tensors_of(case):
    """(GGUF name, Hugging Face name, kind, shape, heads to permute or 0)."""
    d, q, kv = case.hidden, case.heads * case.hd, case.kv * case.hd
    out = [("token_embd.weight", "model.embed_tokens.weight", case.kind("embed"), (300, d), 0), ("output_norm.weight", "model.norm.weight", T.F32, (d,), 0)]
    if not case.tied:
        out.append(("output.weight", "lm_head.weight", case.kind("head"), (300, d), 0))
    for i in range(case.layers):
        ours, theirs = f"blk.{i}.", f"model.layers.{i}."
        for name, hf, shape, heads in (("attn_q", "self_attn.q_proj", (q, d), case.heads), ("attn_k", "self_attn.k_proj", (kv, d), case.kv),
                                       ("attn_v", "self_attn.v_proj", (kv, d), 0), ("attn_output", "self_attn.o_proj", (d, q), 0),
                                       ("ffn_gate", "mlp.gate_proj", (case.ffn, d), 0), ("ffn_up", "mlp.up_proj", (case.ffn, d), 0),
                                       ("ffn_down", "mlp.down_proj", (d, case.ffn), 0)):
            out.append((f"{ours}{name}.weight", f"{theirs}{hf}.weight", case.kind(name), shape, heads))
            if case.bias and "attn" in name:
                out.append((f"{ours}{name}.bias", f"{theirs}{hf}.bias", T.F32, shape[:1], heads))
        out.append((f"{ours}attn_norm.weight", f"{theirs}input_layernorm.weight", T.F32, (d,), 0))
        out.append((f"{ours}ffn_norm.weight", f"{theirs}post_attention_layernorm.weight", T.F32, (d,), 0))
    return out


@torch.no_grad()
def make(case):
    rng = np.random.default_rng(sum(map(ord, case.name)))
    path = os.path.join(OUT, case.name + ".gguf")
    writer = GGUFWriter(path, "llama")
    writer.add_name(case.name)
    writer.add_quantization_version(2)
    writer.add_context_length(128)
    writer.add_embedding_length(case.hidden)
    writer.add_block_count(case.layers)
    writer.add_feed_forward_length(case.ffn)
    writer.add_head_count(case.heads)
    if case.kv != case.heads:
        writer.add_head_count_kv(case.kv)
    if case.explicit:
        writer.add_key_length(case.hd)
        writer.add_value_length(case.hd)
    writer.add_rope_dimension_count(case.hd)
    writer.add_rope_freq_base(5000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(300)
    rope = {"rope_type": "default", "rope_theta": 5000.0}
    if case.factor:
        writer.add_string("llama.rope.scaling.type", "linear")
        writer.add_float32("llama.rope.scaling.factor", case.factor)
        rope = {"rope_type": "linear", "rope_theta": 5000.0, "factor": case.factor}
    write_tokenizer(writer)

    state = {}
    for name, hf, kind, shape, heads in tensors_of(case):
        if kind == T.F32 and len(shape) == 1:
            values = rng.standard_normal(shape).astype(np.float32) * 0.1 + (0 if "bias" in name else 1)
            data, values = values.astype(np.float32), values.astype(np.float32)
        else:
            data, values = stored(rng, kind, shape)
        writer.add_tensor(name, data, raw_dtype=kind)
        state[hf] = torch.from_numpy(unpermute(values, heads) if heads else values)
    divisors = np.array([1, 1, 2.5, 4, 8, 8, 8, 8][: case.hd // 2] + [8] * max(0, case.hd // 2 - 8), dtype=np.float32)
    if case.divisors:
        writer.add_tensor("rope_freqs.weight", divisors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    config = LlamaConfig(vocab_size=300, hidden_size=case.hidden, intermediate_size=case.ffn, num_hidden_layers=case.layers, num_attention_heads=case.heads,
                         num_key_value_heads=case.kv, head_dim=case.hd, max_position_embeddings=128, rms_norm_eps=1e-5, tie_word_embeddings=case.tied,
                         attention_bias=case.bias, rope_parameters=rope)
    model = LlamaForCausalLM._from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert set(missing) <= ({"lm_head.weight"} if case.tied else set()) and not unexpected, (missing, unexpected)
    model.tie_weights()
    if case.divisors:
        model.model.rotary_emb.inv_freq /= torch.from_numpy(divisors)
    ids = torch.from_numpy(rng.integers(0, 300, (1, 20)))
    logits = model(ids).logits[0]
    save_file({"ids": ids[0].to(torch.int32), "logits": logits.contiguous()}, os.path.join(OUT, case.name + ".safetensors"))
    print(f"{case.name:12} {os.path.getsize(path):7} bytes, logits within {logits.abs().max():.2f}")


# Rows of 32: o and down of the types in blocks of 256 must be of another type where these do not divide their rows.
K = {"hidden": 256, "heads": 4, "kv": 2, "hd": 32, "ffn": 64, "layers": 1}
CASES = [
    Case("f32", T.F32, bias=True),
    Case("f16", T.F16, kv=4, factor=2.0),
    Case("bf16", T.BF16, hd=16, divisors=True),
    Case("q8_0", T.Q8_0, hidden=64, tied=True),
    Case("q4_0", T.Q4_0, hidden=64, kv=1),
    Case("q4_1", {"": T.Q4_1, "embed": T.Q8_0}, hidden=96, heads=3, kv=1, tied=True),
    Case("q5_0", T.Q5_0, hidden=64, bias=True),
    Case("q5_1", T.Q5_1, hidden=64, tied=True, divisors=True),
    Case("q4_k", {"": T.Q4_K, "attn_output": T.Q5_0, "ffn_down": T.Q5_0}, tied=True, **K),
    Case("q5_k", {"": T.Q5_K, "attn_output": T.Q8_0, "ffn_down": T.Q8_0}, tied=True, **K),
    Case("q6_k", {"": T.Q6_K, "attn_output": T.F16, "ffn_down": T.F16}, tied=True, **(K | {"hd": 16})),
    # As the usual mixtures: v and down of a finer type than their neighbours; gate and up differ too.
    Case("mixed", {"": T.Q4_K, "attn_v": T.Q6_K, "attn_output": T.Q5_0, "ffn_up": T.Q5_K, "ffn_down": T.Q8_0, "embed": T.Q6_K}, tied=True, bias=True,
         **(K | {"layers": 2, "hd": 16, "ffn": 32})),
    # The same with types that need no blocks.
    Case("mixed_plain", {"": T.F32, "attn_v": T.F16, "attn_output": T.BF16, "ffn_up": T.BF16, "ffn_down": T.F16, "embed": T.F16, "head": T.BF16}, bias=True),
]

if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    for one in CASES:
        make(one)
