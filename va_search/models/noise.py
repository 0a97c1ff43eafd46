"""Dropout's noise as torch draws it, in half of the time.

On a CPU drawing the noise of dropout takes more time than the layers between, where these are small.
torch draws it number by number; the same numbers, to the last bit, come out of its uniform numbers
in float64, of which it draws many at a time. Where that is not so (on Intel's processors MKL draws
it, fast) torch's own is taken: the same trial is what it was on every machine."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional


class UnitDropout(nn.Dropout):
    """As `torch.nn.Dropout`, bit for bit."""

    def forward(self, x: Tensor) -> Tensor:
        """x with a share of its values set to zero in training, the others scaled up."""
        plain = x.device.type == "cpu" and x.dtype == torch.float32 and x.dim() > 1
        if self.training and plain and 0.0 < self.p < 1.0:
            # drawn in the order of memory
            if x.is_contiguous():
                return x * noise(x.shape, self.p)
            steps_first = x.transpose(0, 1)
            if steps_first.is_contiguous():
                return x * noise(steps_first.shape, self.p).transpose(0, 1)
        return functional.dropout(x, self.p, self.training)


def noise(shape: torch.Size, share: float, generator: torch.Generator | None = None) -> Tensor:
    """float32 on the CPU: 0 for a share of the values, else 1 / (1 - share)."""
    if uniform_is_the_same():
        uniform = torch.rand(shape, dtype=torch.float64, generator=generator)
        return (uniform < 1 - share).float().div_(1 - share)
    return torch.empty(shape).bernoulli_(1 - share, generator=generator).div_(1 - share)


@cache
def uniform_is_the_same() -> bool:
    """True where uniform numbers give what `bernoulli_` draws on this machine."""
    for size, kept in ((3, 0.5), (1000, 0.7), (40_000, 0.9)):
        drawn = torch.empty(size).bernoulli_(kept, generator=torch.Generator().manual_seed(size))
        again = torch.Generator().manual_seed(size)
        uniform = torch.rand(size, dtype=torch.float64, generator=again)
        if not torch.equal(drawn, (uniform < kept).float()):
            return False
    return True
