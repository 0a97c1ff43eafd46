"""The whole model: fusion of modalities with its encoders (fusions.py), then heads.

Conventions: the input [batch, step, feature] holds the columns of one modality after another, mask
[batch, step] is True where a step is real, predictions [batch, step, target] are the store's targets
in its order, each in (-1, 1). A fusion's state is one encoder state per encoder. Output at masked
steps has no meaning. With context the heads get a summary of the fusion's output over the recording
beside each step, and the last of the states is the row's own part of it: ([1, row, size],).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from va_search.models.encoders import State
from va_search.models.noise import UnitDropout
from va_search.models.summary import OtherSegments, Summary, counted, own_sum
from va_search.targets import AFFECT

States = tuple[State, ...]


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

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """[batch, step, size] to [batch, step, target]; `beside` as in `regress`."""
        outputs = [regress(self.get_submodule(part), x, beside) for part in self.parts]
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

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """[batch, step, size] to [batch, step, target]; `beside` as in `regress`."""
        return regress(self.both, x, beside)


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
        layers += [nn.Linear(size, head_size), nn.ReLU(), UnitDropout(dropout)]
        size = head_size
    return nn.Sequential(*layers, nn.Linear(size, outputs), nn.Tanh())


def regress(layers: Any, x: Tensor, beside: Tensor | None) -> Tensor:
    """Put x [batch, step, …] through a regressor, and with it the columns of `beside` [batch, step
    or 1, …], as if the two were one tensor."""
    if beside is None:
        output: Tensor = layers(x)
        return output
    # one is not copied beside the other, and what is equal at all steps is multiplied once
    for_x, for_beside = layers[0].weight.split([x.shape[-1], beside.shape[-1]], dim=1)
    y = linear(x, for_x) + linear(beside, for_beside, layers[0].bias)
    for layer in list(layers)[1:]:
        y = layer(y)
    return y


class Estimator(nn.Module):
    """Frame-level targets from features: a fusion, then heads of its size, or of twice its size
    where there is a summary.

    The fusion is called `context` since the first weights were saved; the setting of that name
    chooses the summary.
    """

    def __init__(
        self, context: nn.Module, heads: nn.Module, summary: Summary | None = None
    ) -> None:
        super().__init__()
        self.context = context
        self.heads = heads
        self.summary = summary

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        states: States | None = None,
        other_segments: OtherSegments | None = None,
    ) -> tuple[Tensor, States]:
        """[batch, step, feature] to [batch, step, target], and the states to carry on with.

        `other_segments` are the recordings' other segments; None: each row is a whole recording. The
        gradient goes through the row's own part of a summary.
        """
        y, states = self.encoded(x, mask, states, other_segments)
        return self.predicted(y, mask, other_segments), states

    def encoded(
        self,
        x: Tensor,
        mask: Tensor,
        states: States | None = None,
        other_segments: OtherSegments | None = None,
    ) -> tuple[Tensor, States]:
        """[batch, step, feature] to the fusion's output [batch, step, size], and the states."""
        if self.summary is None:
            y, states = self.context(x, mask, states)
            return y, states
        y, states = self.context(x, mask, None if states is None else states[:-1])
        part = own_sum(y.detach(), counted(mask, other_segments))
        return y, (*states, (part[None],))

    def predicted(self, y: Tensor, mask: Tensor, other_segments: OtherSegments | None) -> Tensor:
        """The fusion's output to predictions [batch, step, target]."""
        if self.summary is None:
            prediction: Tensor = self.heads(y)
            return prediction
        beside = self.summary(y, mask, other_segments)
        if isinstance(self.heads, (Separate, Shared)):
            prediction = self.heads(y, beside)
        else:  # a class of a user's own
            prediction = self.heads(torch.cat([y, beside.expand_as(y).to(y.dtype)], dim=-1))
        return prediction


def carry(states: States, rows: int) -> States:
    """States for the next segment: cut off from the past's gradient, only the first `rows` rows."""
    carried: list[State] = []
    for state in states:
        carried.append(tuple(part[:, :rows].detach().contiguous() for part in state))
    return tuple(carried)
