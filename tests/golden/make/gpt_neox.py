"""Makes the goldens gpt_neox-* of tests/models: python3 tests/golden/make/gpt_neox.py [repository]

Needs what models.py needs.
"""
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from models import as_written
from tiny_text import randomise, text_case, token_ids

SIZES = dict(vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=64)


@torch.no_grad()
def neox(name, seed, file_config, share, theta=10000.0, old_head=True, **options):
    config = GPTNeoXConfig(**SIZES, rope_parameters={"rope_type": "default", "rope_theta": theta, "partial_rotary_factor": share}, **options)
    config._attn_implementation = "eager"
    model = randomise(GPTNeoXForCausalLM(config), seed)
    ids = token_ids(config.vocab_size, 40, seed)
    state = model.state_dict()
    if old_head:  # As every released checkpoint has it.
        state = {k.replace("lm_head.", "embed_out."): v for k, v in state.items()}
    text_case(name, file_config(config), state, ids, model(input_ids=ids).logits)


if __name__ == "__main__":
    # Parallel residual and a quarter of each head rotated are the defaults of the class.
    neox("gpt_neox-defaults", 31, lambda c: {"model_type": "gpt_neox", **SIZES}, share=0.25)

    def old_keys(config):
        written = as_written(config)
        del written["rope_parameters"]
        return dict(written, rotary_pct=1.0, rotary_emb_base=500)
    neox("gpt_neox-sequential", 32, old_keys, share=1.0, theta=500.0, use_parallel_residual=False)
    neox("gpt_neox-new-keys", 33, as_written, share=0.5, old_head=False, use_parallel_residual=False, attention_bias=False, layer_norm_eps=1e-3)
