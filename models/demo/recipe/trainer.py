"""One training step as fixed tensor work: plain calls, or a CUDA graph. Gradients that are not finite count as zero."""
import math

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from model import CONFIG
from muon import Adam, Muon

CLIP = 1.0
ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class Trainer:
    """trainee: its parameters are trained in place. Rates are peaks, of the decoder; the tower's are 0.7 of them. decay: of the mean weights,
    which are what is exported."""

    def __init__(self, trainee, device, bf16, muon_rate, adam_rate, decay):
        self.trainee, self.device, self.bf16 = trainee, device, bf16
        self.decay, self.steps, self.rate_scale = decay, 0, 1.0
        unused = [m for m in (trainee.model.vision_tower.vision_model.post_layernorm,
                              *trainee.model.vision_tower.vision_model.encoder.layers[CONFIG["vision_feature_layer"] + 1:])]
        for module in unused:                                     # not run, as vision_feature_layer is -2
            module.requires_grad_(False)
        named = [(n, p) for n, p in trainee.named_parameters() if p.requires_grad]
        self.params = [p for _, p in named]
        for p in self.params:
            p.grad = torch.zeros_like(p)
        self.optimisers = []                                      # (optimiser, peak rate)
        for tower, factor in ((True, 0.7), (False, 1.0)):
            part = [(n, p) for n, p in named if n.startswith(("model.vision_tower", "model.multi_modal_projector")) == tower]
            hidden = [p for n, p in part if p.dim() == 2 and not any(k in n for k in ("embed", "lm_head", "head"))]
            names = {id(p) for p in hidden}
            rest = [p for _, p in part if id(p) not in names]
            self.optimisers.append((Muon(hidden, torch.zeros((), device=device)), muon_rate * factor))
            self.optimisers.append((Adam(rest, torch.zeros((), device=device)), adam_rate * factor))
        self.mean = [p.detach().clone() for p in self.params]
        self.parts = torch.zeros(4, device=device)                # sums of losses, and of steps whose gradient was not finite
        self.batch, self.graph = None, None
        self.good = None

    def set_rates(self, progress, warmup):
        scale = self.rate_scale * min(1.0, (self.steps + 1) / warmup) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))
        for optimiser, peak in self.optimisers:
            rate = peak * scale
            optimiser.rate.fill_(optimiser.corrected(rate, self.steps + 1) if isinstance(optimiser, Adam) else rate)

    def work(self):
        torch._foreach_zero_([p.grad for p in self.params])
        kind = self.device.split(":")[0]
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=self.bf16):
            loss, parts = self.trainee(self.batch)
        loss.backward()
        with torch.no_grad():
            grads = [p.grad for p in self.params]
            norm = torch.stack(torch._foreach_norm(grads)).norm()
            fine = torch.isfinite(norm) & torch.isfinite(loss.detach())
            scale = (CLIP / (norm + 1e-6)).clamp(max=1.0)
            for g in grads:                                       # a step that is not finite becomes one without a gradient
                torch.where(fine, g * scale, torch.zeros_like(g), out=g)
            for optimiser, _ in self.optimisers:
                optimiser.step()
            torch._foreach_lerp_(self.mean, self.params, 1 - self.decay)
            self.parts[:3] += torch.where(fine, parts.float(), torch.zeros_like(parts, dtype=torch.float32))
            self.parts[3] += 1 - fine.float()

    def load(self, buffers):
        """Copies a batch to the device. Returns the event after which the buffers are free, or None."""
        if self.batch is None:
            self.batch = {k: torch.empty(v.shape, dtype=v.dtype, device=self.device) for k, v in buffers.items()}
        for k, v in buffers.items():
            self.batch[k].copy_(v, non_blocking=True)
        if self.device.startswith("cuda"):
            event = torch.cuda.Event()
            event.record()
            return event
        return None

    def step(self, progress, warmup=100):
        self.set_rates(progress, warmup)
        if self.graph is not None:
            self.graph.replay()
        else:
            with sdpa_kernel(ATTENTION):
                self.work()
        self.steps += 1

    def capture(self):
        """Turns the step into a CUDA graph; a failure leaves plain steps. Takes a few steps on the loaded batch."""
        try:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream), sdpa_kernel(ATTENTION):
                for _ in range(3):
                    self.set_rates(0.0, 100)
                    self.work()
                    self.steps += 1
            torch.cuda.current_stream().wait_stream(stream)
            torch.cuda.synchronize()
            self.keep()
            graph = torch.cuda.CUDAGraph()
            with sdpa_kernel(ATTENTION), torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                self.work()
            graph.replay()
            torch.cuda.synchronize()
            self.steps += 1
            self.graph = graph
            sums = self.parts.tolist()
            print("step captured as a CUDA graph, sums of losses", sums, flush=True)
            if not all(math.isfinite(x) for x in sums) or sums[3] > 0:
                raise RuntimeError("the captured step is not finite")
        except Exception as e:
            print("no CUDA graph, plain steps instead:", repr(e)[:500], flush=True)
            self.graph = None
            torch.cuda.synchronize()
            torch.cuda.manual_seed(1)
            if self.good is not None:
                self.restore()
        self.parts.zero_()

    def state_tensors(self):
        return [p.data for p in self.params] + self.mean + [t for o, _ in self.optimisers for t in o.state()]

    def keep(self):
        """Remembers weights and momenta, to go back to when the training breaks down."""
        if self.good is None:
            self.good = [t.clone() for t in self.state_tensors()]
        else:
            torch._foreach_copy_(self.good, self.state_tensors())

    def restore(self):
        torch._foreach_copy_(self.state_tensors(), self.good)

    @torch.no_grad()
    def exported(self):
        """The model's tensors with the mean weights, on the CPU."""
        mean = {id(p): m for p, m in zip(self.params, self.mean)}
        own = dict(self.trainee.model.named_parameters())
        return {k: mean.get(id(own[k]), v).detach().float().cpu().clone() for k, v in self.trainee.model.state_dict().items()}
