"""What the scripts of the goldens of tiny text decoders share (gpt2.py, mpt.py, gpt_neox.py, openflamingo.py)."""
import torch

from models import write_case


@torch.no_grad()
def randomise(module, seed, inputs_first=()):
    """Seeded weights that keep activations of order one. Matrices whose name contains one of `inputs_first` are stored [in, out]."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in module.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if p.dim() == 1:
            p.data = 1 + 0.2 * noise if name.endswith("weight") else 0.2 * noise  # The former: of norms.
        elif any(n in name for n in ("wte", "wpe", "embed_in", "embed_tokens", "latents", "position_embedding")):
            p.data = 0.7 * noise
        else:
            inputs = p.shape[0] if any(n in name for n in inputs_first) else p[0].numel()
            p.data = noise / inputs**0.5
    return module.eval()


def token_ids(vocab, rows, seed):
    return torch.randint(0, vocab, (1, rows), generator=torch.Generator().manual_seed(seed))


def text_case(name, config, state, ids, logits):
    write_case(name, config, {k: v.clone() for k, v in state.items()}, {"ids": ids[0].to(torch.int32), "logits": logits[0]})
