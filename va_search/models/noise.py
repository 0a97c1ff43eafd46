"""Dropout's noise, cheap on a CPU and the same on every CPU.

On a CPU torch draws dropout's noise number by number, which takes more time than the layers between
where these are small. Here 64 random bits serve four values: 16 bits each are compared with the
share that is dropped, which is thereby rounded to a multiple of 1/65,536 (at most 65,535 of them).
The values that stay are scaled by the rounded share, so that the expected value is exact."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 2**16
"""Values of 16 bits: a dropped share is a multiple of one in so many."""
VALUES_A_DRAW = 4
"""Values that one draw of 64 bits serves."""


class UnitDropout(nn.Dropout):
    """As `torch.nn.Dropout`, with noise as `noise` draws it on a CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """x with a share of its values set to zero in training, the others scaled up."""
        return dropped(x, self.p) if self.training else x


def dropped(x: Tensor, share: float) -> Tensor:
    """x with a share of its values set to zero, the others scaled up."""
    if share == 0.0:
        return x
    if x.device.type != "cpu":
        return functional.dropout(x, share)
    return x * noise(x.shape, share, dtype=x.dtype)


def noise(
    shape: torch.Size,
    share: float,
    generator: torch.Generator | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Noise on the CPU: 0 for a share (0 to 1) of the values, else 1 / (1 - share).

    The values depend on the generator (None: torch's global one), the share and the number of
    values, which are drawn in the order of the last axis first."""
    dropped_levels = min(round(share * LEVELS), LEVELS - 1)
    values = shape.numel()
    bits = torch.empty(-(-values // VALUES_A_DRAW), dtype=torch.int64)
    bits.random_(torch.iinfo(torch.int64).min, None, generator=generator)
    # 16 bits as a signed number: each value from -32,768 to 32,767 is equally likely
    levels = bits.view(torch.int16)[:values].view(shape)
    stays = torch.empty(shape, dtype=dtype)
    torch.ge(levels, dropped_levels - LEVELS // 2, out=stays)
    return stays.mul_(LEVELS / (LEVELS - dropped_levels))


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, share: float = 0.0) -> Tensor:
    """Attention over [..., head, step, size] with a share of its weights dropped; mask [..., step,
    step] or what broadcasts to it, True where a step may be attended, None: everywhere.

    On a CPU torch's own attention with dropout is slow: there it is written out."""
    if share == 0.0 or q.device.type != "cpu":
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=share)
    weights = attention_weights(q, k, mask)
    return dropped(weights, share) @ v


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None) -> Tensor:
    """[..., step, step] weights that each step gives the others, which sum to 1."""
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    if mask is not None:
        # added rather than filled in, which costs the gradient nothing
        scores = scores + torch.zeros(mask.shape, dtype=q.dtype).masked_fill_(~mask, -torch.inf)
    weights: Tensor = scores.softmax(dim=-1)
    return weights
