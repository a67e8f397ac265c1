"""Makes the goldens mpt-* and mosaic_gpt-* of tests/models: python3 tests/golden/make/mpt.py [repository]

Needs what models.py needs. transformers has MPT without norms on q and k and without biases; mosaic_gpt is computed here, by its formulas:

  q, k, v = thirds of x Wqkv^T, limited to +-clip; q = LN(q), k = LN(k) over all heads together
  scores = q k^T * scale + slope_h (j - i), causal
"""
import math

import torch
from torch import nn
from torch.nn import functional as F
from transformers import MptConfig, MptForCausalLM

from models import as_written
from tiny_text import randomise, text_case, token_ids


@torch.no_grad()
def mpt(name, seed, d_model, n_heads, n_layers=2, **attention):
    config = MptConfig(vocab_size=61, d_model=d_model, n_heads=n_heads, n_layers=n_layers, max_seq_len=64, attn_config=dict(alibi=True, **attention))
    config._attn_implementation = "eager"
    model = randomise(MptForCausalLM(config), seed)
    model.tie_weights()
    ids = token_ids(config.vocab_size, 50, seed)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("lm_head")}
    text_case(name, as_written(config), state, ids, model(input_ids=ids).logits)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.Wqkv = nn.Linear(c["d_model"], 3 * c["d_model"], bias=not c["no_bias"])
        self.out_proj = nn.Linear(c["d_model"], c["d_model"], bias=not c["no_bias"])
        if c["attn_qk_ln"]:
            self.q_ln = nn.LayerNorm(c["d_model"], bias=not c["no_bias"])
            self.k_ln = nn.LayerNorm(c["d_model"], bias=not c["no_bias"])

    def forward(self, x):
        c, heads, rows = self.c, self.c["n_heads"], x.shape[0]
        qkv = self.Wqkv(x)
        if c["attn_clip_qkv"]:
            qkv = qkv.clamp(-c["attn_clip_qkv"], c["attn_clip_qkv"])
        q, k, v = qkv.chunk(3, dim=-1)
        if c["attn_qk_ln"]:
            q, k = self.q_ln(q), self.k_ln(k)
        q, k, v = (t.view(rows, heads, -1).transpose(0, 1) for t in (q, k, v))
        scores = q @ k.transpose(1, 2) * (c["softmax_scale"] or q.shape[-1]**-0.5)
        distance = torch.arange(rows)[None, :] - torch.arange(rows)[:, None]
        scores = scores + torch.tensor(slopes(heads, c["alibi_bias_max"]))[:, None, None] * distance
        scores = scores.masked_fill(distance > 0, -math.inf)
        return self.out_proj((scores.softmax(-1) @ v).transpose(0, 1).reshape(rows, -1))


def slopes(heads, bias_max):
    n = 1 << max(0, (heads - 1).bit_length())
    powers = [2.0**(-(i * bias_max) / n) for i in range(1, n + 1)]
    return powers if n == heads else (powers[1::2] + powers[0::2])[:heads]


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        bias, size, inner = not c["no_bias"], c["d_model"], c["mlp_ratio"] * c["d_model"]
        self.ln_1 = nn.LayerNorm(size, bias=bias)
        self.attn = Attention(c)
        self.ln_2 = nn.LayerNorm(size, bias=bias)
        self.mlp = nn.ModuleDict({"mlp_up": nn.Linear(size, inner, bias=bias), "mlp_down": nn.Linear(inner, size, bias=bias)})

    def forward(self, x, **_):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp["mlp_down"](F.gelu(self.mlp["mlp_up"](self.ln_2(x))))


class MosaicGpt(nn.Module):
    """`x`: ids [rows]; returns logits [rows, V]."""

    def __init__(self, c):
        super().__init__()
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(c["vocab_size"], c["d_model"]),
            "blocks": nn.ModuleList(Block(c) for _ in range(c["n_layers"])),
            "ln_f": nn.LayerNorm(c["d_model"], bias=not c["no_bias"]),
        })

    def forward(self, ids):
        x = self.transformer["wte"](ids)
        for block in self.transformer["blocks"]:
            x = block(x)
        return self.transformer["ln_f"](x) @ self.transformer["wte"].weight.T


MOSAIC = {"model_type": "mosaic_gpt", "architectures": ["MosaicGPT"], "d_model": 32, "n_heads": 4, "n_layers": 2, "mlp_ratio": 2, "max_seq_len": 64,
          "vocab_size": 61, "alibi": True, "alibi_bias_max": 8, "attn_qk_ln": True, "attn_clip_qkv": None, "attn_impl": "triton", "no_bias": True,
          "low_precision_layernorm": True, "prefix_lm": False, "softmax_scale": None, "logit_scale": None, "embedding_fraction": 1}


@torch.no_grad()
def mosaic_gpt(name, seed, **changes):
    config = dict(MOSAIC, **changes)
    model = randomise(MosaicGpt(config), seed)
    ids = token_ids(config["vocab_size"], 50, seed)
    text_case(name, config, model.state_dict(), ids, model(ids[0])[None])


if __name__ == "__main__":
    mpt("mpt-twelve-heads", 41, d_model=48, n_heads=12, n_layers=1)  # Not a power of two.
    mpt("mpt-clip", 42, d_model=32, n_heads=4, clip_qkv=0.5, softmax_scale=0.6)
    mosaic_gpt("mosaic_gpt-qk-norm", 43)
    mosaic_gpt("mosaic_gpt-all", 44, n_heads=2, attn_clip_qkv=0.8, no_bias=False, softmax_scale=0.3, alibi_bias_max=4)
