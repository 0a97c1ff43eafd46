"""Fusion of modalities (paper 3.2.3): before the encoder, or behind one encoder each.

Conventions: the input [batch, step, feature] holds the columns of one modality after another,
`dims` many each; the state is one encoder state per encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from va_search.models.encoders import ENCODERS, Sizes, State

States = tuple[State, ...]


class Early(nn.Module):
    """Formula 1: all columns through one linear layer to `width`, then one encoder."""

    def __init__(self, dims: Sequence[int], encoder: str, sizes: Sizes) -> None:
        super().__init__()
        self.affine = nn.Linear(sum(dims), sizes.width)
        self.encoder = ENCODERS[encoder](sizes)
        self.size = self.encoder.size

    def forward(self, x: Tensor, mask: Tensor, states: States | None) -> tuple[Tensor, States]:
        """[batch, step, feature] to [batch, step, size]."""
        y, state = self.encoder(self.affine(x), mask, None if states is None else states[0])
        return y, (state,)


class Late(nn.Module):
    """Formula 2: per modality a linear layer to `width` and an encoder of its own; their outputs
    side by side."""

    def __init__(self, dims: Sequence[int], encoder: str, sizes: Sizes) -> None:
        super().__init__()
        self.dims = list(dims)
        self.affines = nn.ModuleList(nn.Linear(dim, sizes.width) for dim in dims)
        encoders = [ENCODERS[encoder](sizes) for _ in dims]
        self.encoders = nn.ModuleList(encoders)
        self.size = sum(one.size for one in encoders)

    def forward(self, x: Tensor, mask: Tensor, states: States | None) -> tuple[Tensor, States]:
        """[batch, step, feature] to [batch, step, size]."""
        outputs, carried = [], []
        for index, part in enumerate(torch.split(x, self.dims, dim=-1)):
            state = None if states is None else states[index]
            y, state = self.encoders[index](self.affines[index](part), mask, state)
            outputs.append(y)
            carried.append(state)
        return torch.cat(outputs, dim=-1), tuple(carried)


FUSIONS: dict[str, type[Early] | type[Late]] = {"early": Early, "late": Late}
