"""Makes the goldens gpt2-* of tests/models: python3 tests/golden/make/gpt2.py [repository]

Needs what models.py needs.
"""
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from models import as_written
from tiny_text import randomise, text_case, token_ids

CONV1D = ("c_attn", "c_proj", "c_fc")


@torch.no_grad()
def gpt2(name, seed, file_config, prefix, buffers, **options):
    config = GPT2Config(vocab_size=61, n_positions=48, n_embd=24, n_layer=3, n_head=3, bos_token_id=60, eos_token_id=60, **options)
    config._attn_implementation = "eager"
    model = randomise(GPT2LMHeadModel(config), seed, CONV1D)
    model.tie_weights()
    ids = token_ids(config.vocab_size, 40, seed)
    logits = model(input_ids=ids).logits
    state = {k if prefix else k.removeprefix("transformer."): v for k, v in model.state_dict().items() if not k.startswith("lm_head")}
    if buffers:  # The mask that files of the first release carry.
        for i in range(config.n_layer):
            state[f"h.{i}.attn.bias"] = torch.tril(torch.ones(1, 1, 4, 4))
    text_case(name, file_config(config), state, ids, logits)


if __name__ == "__main__":
    # Every optional key absent, names without prefix: the form of the first release.
    sizes = {"vocab_size": 61, "n_positions": 48, "n_embd": 24, "n_layer": 3, "n_head": 3}
    gpt2("gpt2-defaults", 21, lambda c: {"model_type": "gpt2", "n_ctx": 48, **sizes}, prefix=False, buffers=True)
    gpt2("gpt2-inverse-layers", 22, as_written, prefix=True, buffers=False, scale_attn_by_inverse_layer_idx=True, n_inner=40,
         activation_function="gelu", layer_norm_epsilon=1e-3)
    gpt2("gpt2-unscaled", 23, as_written, prefix=True, buffers=False, scale_attn_weights=False)
