"""Makes tests/golden/smollm2.json: python3 tests/golden/make/smollm2.py SmolLM2-135M-Instruct.Q4_1.gguf [repository]

Needs torch, transformers (5.x), tokenizers and gguf. The file's tensors are dequantised by the gguf package, the rows of q and k are put back into the
order of the Hugging Face layout, and transformers computes in float32 with eager attention. For 20 conversations: the ids of the rendered prompt, 64 greedy
tokens (the end of a turn does not stop them), and at each of these the gap between the two highest logits and the log-prob of the token. For a fixed text:
its ids and the mean negative log-likelihood of all but the first.
"""
import json
import os
import sys

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

PATH = sys.argv[1]
ROOT = sys.argv[2] if len(sys.argv) > 2 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..")
NEW_TOKENS = 64
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

CONVERSATIONS = [
    ["What is the capital of France?"],
    ["Explain what a hash table is in two sentences."],
    ["Write a haiku about the sea."],
    ["Translate 'good morning' into Spanish."],
    ["What is 17 + 25?"],
    ["Name three programming languages and say what each is good at."],
    ["Why is the sky blue?"],
    ["Write a short story about a robot who learns to paint."],
    ["What is KV caching?"],
    ["Give me a recipe for pancakes."],
    ["Who wrote Romeo and Juliet?", "William Shakespeare wrote it.", "When was it written?"],
    ["Summarise: The quick brown fox jumps over the lazy dog. The dog does not care."],
    ["List the planets of the solar system in order."],
    ["Write a Python function that reverses a string."],
    ["How do I boil an egg?"],
    ["What is the difference between a virus and a bacterium?"],
    ["Complete the sentence: The best thing about winter is"],
    ["Is 91 a prime number?"],
    ["Sag mir etwas über Berlin."],
    ["Hello!", "Hello! How can I help you today?", "Tell me a joke."],
]

TEXT = """The history of paper begins long before the printing press. In China, craftsmen of the Han dynasty pressed the bark of the mulberry tree, hemp and old
rags into thin sheets, dried them in the sun, and found that ink stayed where the brush had put it. The new material was light, cheap and could be folded.
Within a few centuries it had replaced bamboo strips and silk, and it travelled west along the roads that merchants used. In Samarkand the first mills were
driven by water; in Baghdad whole streets were filled with the shops of copyists and booksellers. When paper reached Europe in the twelfth century, people did
not trust it at first. Important documents, it was said, should be written on parchment, because paper would not last. But the demand for books grew, and the
price of sheepskin did not fall. By 1450, when Johannes Gutenberg began to print with movable type, paper mills stood on rivers from Spain to Germany.
A single copy of his Bible on parchment took the skins of about 170 calves; the same book on paper needed only rags and patience. Today most paper is made of
wood, and although we read more and more on screens, the world still uses over 400 million tonnes of it every year."""


def unpermute(rows, heads):
    """Within a head, row 2 i + a of the file is row a * hd / 2 + i of the Hugging Face layout."""
    hd = rows.shape[0] // heads
    return rows.reshape(heads, hd // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def value(reader, key):
    return reader.fields[key].contents()


def load(reader):
    heads, kv_heads = value(reader, "llama.attention.head_count"), value(reader, "llama.attention.head_count_kv")
    tensors = {t.name: torch.from_numpy(np.array(dequantize(t.data, t.tensor_type), dtype=np.float32)) for t in reader.tensors}
    config = LlamaConfig(vocab_size=tensors["token_embd.weight"].shape[0], hidden_size=value(reader, "llama.embedding_length"),
                         intermediate_size=value(reader, "llama.feed_forward_length"), num_hidden_layers=value(reader, "llama.block_count"),
                         num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=value(reader, "llama.context_length"),
                         rms_norm_eps=float(value(reader, "llama.attention.layer_norm_rms_epsilon")), tie_word_embeddings=True,
                         rope_parameters={"rope_type": "default", "rope_theta": float(value(reader, "llama.rope.freq_base"))})
    state = {"model.embed_tokens.weight": tensors["token_embd.weight"], "model.norm.weight": tensors["output_norm.weight"]}
    parts = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
             "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
             "ffn_down": "mlp.down_proj"}
    for layer in range(config.num_hidden_layers):
        for ours, theirs in parts.items():
            tensor = tensors[f"blk.{layer}.{ours}.weight"]
            if ours in ("attn_q", "attn_k"):
                tensor = unpermute(tensor, heads if ours == "attn_q" else kv_heads)
            state[f"model.layers.{layer}.{theirs}.weight"] = tensor
    model = LlamaForCausalLM._from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unexpected, (missing, unexpected)
    model.tie_weights()
    return model


def tokenizer(reader):
    tokens, types = value(reader, "tokenizer.ggml.tokens"), value(reader, "tokenizer.ggml.token_type")
    merges = [tuple(m.split(" ")) for m in value(reader, "tokenizer.ggml.merges")]
    result = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    result.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    result.decoder = decoders.ByteLevel()
    result.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, kind in zip(tokens, types) if kind == 3])
    return result


def render(turns):
    text = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
    for i, turn in enumerate(turns):
        text += f"<|im_start|>{'assistant' if i % 2 else 'user'}\n{turn}<|im_end|>\n"
    return text + "<|im_start|>assistant\n"


@torch.no_grad()
def answer(model, ids):
    cache, row, out = None, torch.tensor([ids]), {"tokens": [], "gaps": [], "logprobs": []}
    for _ in range(NEW_TOKENS):
        result = model(row, past_key_values=cache, use_cache=True)
        cache, logits = result.past_key_values, result.logits[0, -1].double()
        top = torch.topk(logits, 2)
        out["tokens"].append(int(top.indices[0]))
        out["gaps"].append(round(float(top.values[0] - top.values[1]), 6))
        out["logprobs"].append(round(float(torch.log_softmax(logits, -1)[top.indices[0]]), 6))
        row = torch.tensor([[out["tokens"][-1]]])
    return out


@torch.no_grad()
def main():
    torch.set_num_threads(2)
    reader = GGUFReader(PATH)
    model, encode = load(reader), tokenizer(reader)
    prompts = []
    for turns in CONVERSATIONS:
        ids = encode.encode(render(turns), add_special_tokens=False).ids
        prompts.append({"turns": turns, "ids": ids, **answer(model, ids)})
        print(repr(encode.decode(prompts[-1]["tokens"])), flush=True)
    ids = encode.encode(TEXT, add_special_tokens=False).ids
    logprobs = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
    nll = float(-logprobs[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].mean())
    out = {"prompts": prompts, "text": {"text": TEXT, "ids": ids, "mean_nll": nll}}
    print(len(ids), nll)
    with open(os.path.join(ROOT, "tests", "golden", "smollm2.json"), "w", encoding="utf-8") as f:
        f.write(json.dumps(out, separators=(",", ":")).replace('{"turns"', '\n{"turns"') + "\n")


if __name__ == "__main__":
    main()
