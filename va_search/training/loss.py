"""The CCC loss (paper 3.5): the sum over targets of weight * (1 - CCC) over a batch's labelled frames;
the paper's alpha and beta are the weights of valence and arousal.

Where frames have weights w (frame_weights.py), the CCC is that of weighted moments, with W = sum w,
m(x) = sum w x / W and s(x, y) = sum w (x - m(x)) (y - m(y)) / W:
2 s(p, y) / (s(p, p) + s(y, y) + (m(p) - m(y))^2).

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


FACTS = ("mask", "recording", "weight")
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

    def forward(self, prediction: Tensor, label: Tensor, **facts: Tensor | None) -> Tensor:
        """Scalar loss; `facts` may hold more than the code takes, and no `weight`."""
        taken = {name: facts.get(name) for name in self.facts}
        loss: Tensor = self.code(prediction, label, **taken)
        return loss


@dataclass(frozen=True)
class CccLoss:
    """The loss with a weight for each target, in their order."""

    target_weights: tuple[float, ...]

    def __call__(self, prediction: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        """Scalar from [..., target] predictions, labels (NaN: unlabelled) and weights of labels."""
        return ccc_loss(prediction, label, self.target_weights, weight)


def ccc_loss(
    prediction: Tensor,
    label: Tensor,
    target_weights: Sequence[float] | None = None,
    frame_weights: Tensor | None = None,
) -> Tensor:
    """Scalar float32 loss from [..., target] predictions and labels (NaN unlabelled), computed in
    float32; every target weighs 1 where no weights are given, and so does every label without
    [..., target] `frame_weights` (above 0 where labelled).

    A target with fewer than two labelled frames adds 0 and has no gradient.
    """
    targets = label.shape[-1]
    p = prediction.float().reshape(-1, targets)
    y = label.reshape(-1, targets)
    labelled = ~torch.isnan(y)
    mask = labelled.float()  # [frame, target]
    y = torch.where(labelled, y, 0.0)
    p = torch.where(labelled, p, 0.0)  # a masked prediction, even NaN, has no part and no gradient
    w = mask
    if frame_weights is not None:
        w = torch.where(labelled, frame_weights.reshape(-1, targets), 0.0)
        # by the largest of them, so that their sum is 1 or more, as that of a mask is
        w = w / w.amax(dim=0).clamp(min=1e-30)
    n = w.sum(dim=0).clamp(min=1.0)  # [target]
    mean_p, mean_y = (w * p).sum(dim=0) / n, (w * y).sum(dim=0) / n
    dp, dy = (p - mean_p) * mask, (y - mean_y) * mask
    covariance = (w * dp * dy).sum(dim=0) / n
    denominator = (w * dp * dp).sum(dim=0) / n + (w * dy * dy).sum(dim=0) / n
    denominator = denominator + (mean_p - mean_y) ** 2
    distance = 1.0 - 2.0 * covariance / denominator.clamp(min=1e-8)  # [target]
    weights = torch.tensor(target_weights or [1.0] * targets, device=p.device)
    return (torch.where(mask.sum(dim=0) >= LEAST, distance, 0.0) * weights).sum()
