"""Regressors (paper 3.4 and 4.2): linear layers of {512, 256} with ReLU and dropout, then tanh.

Conventions: output [batch, step, 2], valence first, each in (-1, 1).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Separate(nn.Module):
    """One regressor per dimension."""

    def __init__(self, size: int, head_sizes: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.valence = regressor(size, head_sizes, dropout, outputs=1)
        self.arousal = regressor(size, head_sizes, dropout, outputs=1)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, step, size] to [batch, step, 2]."""
        return torch.cat([self.valence(x), self.arousal(x)], dim=-1)


class Shared(nn.Module):
    """One regressor with two outputs."""

    def __init__(self, size: int, head_sizes: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.both = regressor(size, head_sizes, dropout, outputs=2)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, step, size] to [batch, step, 2]."""
        out: Tensor = self.both(x)
        return out


HEADS: dict[str, type[Separate] | type[Shared]] = {"separate": Separate, "shared": Shared}


def regressor(
    size: int, head_sizes: Sequence[int], dropout: float, *, outputs: int
) -> nn.Sequential:
    """[…, size] to […, outputs] in (-1, 1)."""
    layers: list[nn.Module] = []
    for wide in head_sizes:
        layers += [nn.Linear(size, wide), nn.ReLU(), nn.Dropout(dropout)]
        size = wide
    return nn.Sequential(*layers, nn.Linear(size, outputs), nn.Tanh())
