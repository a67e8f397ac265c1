"""What is trained: the model with two helper heads that are dropped at export, and the loss of a batch of rows (rows.py).

The tower runs once a picture and its features serve all the picture's questions. Losses: the answers' tokens; on every
projected image token, what is in its cell; on the last token of a question, the cell asked about.
"""
import torch
import torch.nn.functional as F
from torch import nn

import rows
from model import CONFIG, MEAN, STD, rotations

TAP = 4                                                           # layers of the decoder before the head on questions
HEAD_WEIGHT = {"kind": 0.5, "color": 0.4, "cell": 0.1, "ordinal": 0.1, "count": 0.1, "background": 0.1}
ASK_WEIGHT = 0.3


def cells_of_tokens():
    side = int(rows.IMAGE_TOKENS ** 0.5)
    at = torch.arange(side) * 3 // side
    return (at[:, None] * 3 + at[None, :]).flatten()


class Trainee(nn.Module):
    """The model and the helper heads. forward gives the loss and its parts; every shape is fixed, nothing looks at values."""

    def __init__(self, model, tok, device, helpers=1.0):
        """helpers: weight of the losses of the helper heads."""
        super().__init__()
        self.helpers = helpers
        dim = CONFIG["text_config"]["hidden_size"]
        self.model, self.cell_heads, self.ask_head = model, nn.Linear(dim, sum(rows.HEADS.values())), nn.Linear(dim, 10)
        self.to(device)
        self.prefix = torch.tensor([rows.prefix(tok)], device=device)
        self.image_end = self.prefix.shape[1] + rows.IMAGE_TOKENS
        self.head_position = torch.arange(self.image_end, device=device)[None]
        self.cells = cells_of_tokens().to(device)
        n = self.image_end + rows.ROW
        self.causal = torch.ones(n, n, dtype=torch.bool, device=device).tril()
        self.mean, self.std = MEAN.to(device), STD.to(device)

    def pixels(self, images):
        """uint8 [b,96,96,3] -> normalised floats, each with a little gain, lightness and noise of its own."""
        x = images.permute(0, 3, 1, 2).float()
        b = x.shape[0]
        gain = 1 + 0.04 * (2 * torch.rand(b, 3, 1, 1, device=x.device) - 1)
        shift = 5 * (2 * torch.rand(b, 1, 1, 1, device=x.device) - 1)
        noise = 2.5 * torch.rand(b, 1, 1, 1, device=x.device) * torch.randn_like(x)
        plain = (torch.rand(b, 1, 1, 1, device=x.device) < 0.5).float()          # half stay as they are
        x = x + (1 - plain) * (x * (gain - 1) + shift + noise)
        return (x.clamp(0, 255) / 255.0 - self.mean) / self.std

    def forward(self, batch):
        lm, config = self.model.language_model, CONFIG["text_config"]
        ids, b = batch["ids"].long(), batch["ids"].shape[0]
        features = self.model.image_features(self.pixels(batch["image"]))
        cells = self.cell_heads(F.rms_norm(features.float(), features.shape[-1:])).float().split(list(rows.HEADS.values()), -1)
        labels = batch["cells"].long()[:, :, self.cells]
        side = sum(w * F.cross_entropy(x.flatten(0, 1), labels[:, i].flatten())
                   for i, (x, w) in enumerate(zip(cells, (HEAD_WEIGHT[k] for k in rows.HEADS))))

        embed = lm.model.embed_tokens
        x = torch.cat([embed(self.prefix).expand(b, -1, -1), features.to(embed.weight.dtype), embed(ids)], 1)
        positions = torch.cat([self.head_position.expand(b, -1), batch["position"].long()], 1)
        cos, sin = rotations(positions, config)
        turn = F.pad(batch["turn"].long(), (self.image_end, 0))
        mask = (((turn[:, None, :] == 0) | (turn[:, None, :] == turn[:, :, None])) & self.causal)[:, None]
        asked = None
        for i, layer in enumerate(lm.model.layers):
            x, _ = layer(x, cos, sin, mask)
            if i + 1 == TAP:
                tap = x[:, self.image_end:].float()
                asked = self.ask_head(F.rms_norm(tap, tap.shape[-1:])).float()
        target = batch["ask"].long()
        some = (target >= 0).float()
        ask = F.cross_entropy(asked.flatten(0, 1), target.flatten().clamp(min=0), reduction="none")
        ask = (ask * some.flatten()).sum() / some.sum().clamp(min=1)

        logits = lm.lm_head(lm.model.norm(x[:, self.image_end:-1])).float()      # each place tells the next token
        weight = batch["learn"][:, 1:].flatten()
        answer = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        answer = (answer * weight).sum() / weight.sum().clamp(min=1)
        return answer + self.helpers * (side + ASK_WEIGHT * ask), torch.stack([answer.detach(), side.detach(), ask.detach()])
