"""The CCC loss (paper 3.5): the sum over targets of weight * (1 - CCC) over a batch's labelled frames;
the paper's alpha and beta are the weights of valence and arousal.

Conventions: variances and covariance are population ones (divide by n), as in the official metric;
NaN in a label means unlabelled and the frame is left out of that target. With n - 1 in the
variances only, a perfect prediction would have a CCC of .9375 at n = 16."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

LEAST = 2
"""Labelled frames below which a target of a batch contributes nothing."""


FACTS = ("mask", "recording")
"""Facts of a batch that a loss gets by keyword where its call has such a parameter: see
`features.BatchInputs`."""


class TrialLoss(nn.Module):
    """The loss that a trial chose: `code` is called with predictions [batch, step, target], labels
    (NaN: unlabelled) and those `FACTS` that it takes."""

    def __init__(self, code: Any) -> None:
        super().__init__()
        self.code = code
        call = code.forward if isinstance(code, nn.Module) else code
        taken = inspect.signature(call).parameters
        self.facts = tuple(name for name in FACTS if name in taken)

    def forward(self, prediction: Tensor, label: Tensor, **facts: Tensor) -> Tensor:
        """Scalar loss; `facts` may hold more than the code takes."""
        loss: Tensor = self.code(prediction, label, **{name: facts[name] for name in self.facts})
        return loss


@dataclass(frozen=True)
class CccLoss:
    """The loss with a weight for each target, in their order."""

    target_weights: tuple[float, ...]

    def __call__(self, prediction: Tensor, label: Tensor) -> Tensor:
        """Scalar from [..., target] predictions and labels (NaN: unlabelled)."""
        return ccc_loss(prediction, label, self.target_weights)


def ccc_loss(
    prediction: Tensor, label: Tensor, target_weights: Sequence[float] | None = None
) -> Tensor:
    """Scalar float32 loss from [..., target] predictions and labels (NaN unlabelled), computed in
    float32; every target weighs 1 where no weights are given.

    A target with fewer than two labelled frames adds 0 and has no gradient.
    """
    targets = label.shape[-1]
    p = prediction.float().reshape(-1, targets)
    y = label.reshape(-1, targets)
    labelled = ~torch.isnan(y)
    mask = labelled.float()  # [frame, target]
    y = torch.where(labelled, y, 0.0)
    p = torch.where(labelled, p, 0.0)  # a masked prediction, even NaN, has no part and no gradient
    n = mask.sum(dim=0).clamp(min=1.0)  # [target]
    mean_p, mean_y = p.sum(dim=0) / n, y.sum(dim=0) / n
    dp, dy = (p - mean_p) * mask, (y - mean_y) * mask
    covariance = (dp * dy).sum(dim=0) / n
    denominator = (dp * dp).sum(dim=0) / n + (dy * dy).sum(dim=0) / n + (mean_p - mean_y) ** 2
    distance = 1.0 - 2.0 * covariance / denominator.clamp(min=1e-8)  # [target]
    weights = torch.tensor(target_weights or [1.0] * targets, device=p.device)
    return (torch.where(mask.sum(dim=0) >= LEAST, distance, 0.0) * weights).sum()
