"""The whole model: fusion of modalities with its encoders, then heads.

Conventions: the input [batch, step, feature] holds the columns of one modality after another, mask
[batch, step] is True where a step is real, predictions [batch, step, target] are the store's targets
in its order, each in (-1, 1). A fusion's state is one encoder state per encoder. Output at masked steps has no meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from va_search.models.encoders import State
from va_search.targets import AFFECT

States = tuple[State, ...]
NewEncoder = Callable[[], Any]  # a module with a `size`


class Early(nn.Module):
    """Formula 1 of the paper (3.2.3): all columns through one linear layer, then one encoder.

    `dims` are the columns of each modality, `width` the encoder's input.
    """

    def __init__(self, dims: Sequence[int], width: int, new_encoder: NewEncoder) -> None:
        super().__init__()
        self.affine = nn.Linear(sum(dims), width)
        self.encoder = new_encoder()
        self.size = self.encoder.size

    def forward(self, x: Tensor, mask: Tensor, states: States | None) -> tuple[Tensor, States]:
        """[batch, step, feature] to [batch, step, size]."""
        y, state = self.encoder(self.affine(x), mask, None if states is None else states[0])
        return y, (state,)


class Late(nn.Module):
    """Formula 2: per modality a linear layer and an encoder of its own; outputs side by side."""

    def __init__(self, dims: Sequence[int], width: int, new_encoder: NewEncoder) -> None:
        super().__init__()
        self.dims = list(dims)
        self.affines = nn.ModuleList(nn.Linear(dim, width) for dim in dims)
        encoders = [new_encoder() for _ in dims]
        self.encoders = nn.ModuleList(encoders)
        self.size = sum(encoder.size for encoder in encoders)

    def forward(self, x: Tensor, mask: Tensor, states: States | None) -> tuple[Tensor, States]:
        """[batch, step, feature] to [batch, step, size]."""
        outputs: list[Tensor] = []
        carried: list[State] = []
        for index, part in enumerate(torch.split(x, self.dims, dim=-1)):
            state = None if states is None else states[index]
            y, state = self.encoders[index](self.affines[index](part), mask, state)
            outputs.append(y)
            carried.append(state)
        return torch.cat(outputs, dim=-1), tuple(carried)


class Separate(nn.Module):
    """One regressor per target; `size` is the width of the fusion's output.

    `parts` are the regressors' names among its modules, in the order of the targets."""

    def __init__(
        self,
        size: int,
        *,
        head_sizes: Sequence[int],
        head_dropout: float,
        target_names: Sequence[str] = AFFECT,
    ) -> None:
        super().__init__()
        self.parts = [regressor_name(target) for target in target_names]
        for part in self.parts:
            self.add_module(part, regressor(size, head_sizes, head_dropout, outputs=1))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, step, size] to [batch, step, target]."""
        outputs = [self.get_submodule(part)(x) for part in self.parts]
        return torch.cat(outputs, dim=-1)


class Shared(nn.Module):
    """One regressor with an output per target."""

    def __init__(
        self,
        size: int,
        *,
        head_sizes: Sequence[int],
        head_dropout: float,
        target_names: Sequence[str] = AFFECT,
    ) -> None:
        super().__init__()
        self.both = regressor(size, head_sizes, head_dropout, outputs=len(target_names))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, step, size] to [batch, step, target]."""
        output: Tensor = self.both(x)
        return output


class Binned(nn.Module):
    """One classifier for all targets: how likely each of `bins` values is, evenly spaced from -1 to
    1. A target is predicted as the expected value.

    In training, `log_bins` are the logarithms of the last call's probabilities [batch, step, target,
    bin], for a loss that takes them; None in evaluation."""

    def __init__(
        self,
        size: int,
        *,
        head_sizes: Sequence[int],
        head_dropout: float,
        bins: int,
        target_names: Sequence[str] = AFFECT,
    ) -> None:
        super().__init__()
        self.shape = (len(target_names), bins)
        layers = regressor(size, head_sizes, head_dropout, outputs=len(target_names) * bins)
        self.both = layers[:-1]  # without the tanh of a regressor
        self.register_buffer("values", torch.linspace(-1.0, 1.0, bins), persistent=False)
        self.values: Tensor
        self.log_bins: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """[batch, step, size] to [batch, step, target] in [-1, 1]."""
        logits: Tensor = self.both(x).float().unflatten(-1, self.shape)
        log_bins = logits.log_softmax(dim=-1)
        self.log_bins = log_bins if self.training else None
        return (log_bins.exp() * self.values).sum(dim=-1)


def regressor_name(target: str) -> str:
    """Return the name of a target's regressor among the modules of `Separate`: the target's own for
    valence and arousal, as weights files always had it, and for others one that no attribute of a
    torch module has."""
    return target if target in AFFECT else f"target_{target}"


def regressor(
    size: int, head_sizes: Sequence[int], dropout: float, *, outputs: int
) -> nn.Sequential:
    """Linear layers with ReLU and dropout, then tanh (paper 3.4, 4.2): […, size] to […, outputs] in
    (-1, 1)."""
    layers: list[nn.Module] = []
    for head_size in head_sizes:
        layers += [nn.Linear(size, head_size), nn.ReLU(), nn.Dropout(dropout)]
        size = head_size
    return nn.Sequential(*layers, nn.Linear(size, outputs), nn.Tanh())


class Estimator(nn.Module):
    """Frame-level targets from features: a fusion, then heads of its size."""

    def __init__(self, context: nn.Module, heads: nn.Module) -> None:
        super().__init__()
        self.context = context
        self.heads = heads

    def forward(
        self, x: Tensor, mask: Tensor, states: States | None = None
    ) -> tuple[Tensor, States]:
        """[batch, step, feature] to [batch, step, target], and the states to carry on with."""
        y, states = self.context(x, mask, states)
        return self.heads(y), states


def carry(states: States, rows: int) -> States:
    """States for the next segment: cut off from the past's gradient, only the first `rows` rows."""
    carried: list[State] = []
    for state in states:
        carried.append(tuple(part[:, :rows].detach().contiguous() for part in state))
    return tuple(carried)
