"""The CCC loss (paper 3.5): L = alpha * (1 - CCC_valence) + beta * (1 - CCC_arousal) over a batch's
labelled frames.

Conventions: variances and covariance are population ones (divide by n), as in the official metric;
NaN in a label means unlabelled and the frame is left out of that dimension. With n - 1 in the
variances only, a perfect prediction would have a CCC of .9375 at n = 16."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEAST = 2
"""Labelled frames below which a dimension of a batch contributes nothing."""


@dataclass(frozen=True)
class CccLoss:
    """The loss with the weights of a trial: alpha is `loss_valence`, beta `loss_arousal`."""

    loss_valence: float
    loss_arousal: float

    def __call__(self, prediction: Tensor, label: Tensor) -> Tensor:
        """Scalar from [..., 2] predictions and labels (NaN: unlabelled)."""
        return ccc_loss(prediction, label, alpha=self.loss_valence, beta=self.loss_arousal)


def ccc_loss(prediction: Tensor, label: Tensor, *, alpha: float = 1.0, beta: float = 1.0) -> Tensor:
    """Scalar float32 loss from [..., 2] predictions and labels (NaN unlabelled), computed in
    float32.

    A dimension with fewer than two labelled frames adds 0 and has no gradient.
    """
    p = prediction.float().reshape(-1, 2)
    y = label.reshape(-1, 2)
    labelled = ~torch.isnan(y)
    mask = labelled.float()  # [frame, 2]
    y = torch.where(labelled, y, 0.0)
    p = torch.where(labelled, p, 0.0)  # a masked prediction, even NaN, has no part and no gradient
    n = mask.sum(dim=0).clamp(min=1.0)  # [2]
    mean_p, mean_y = p.sum(dim=0) / n, y.sum(dim=0) / n
    dp, dy = (p - mean_p) * mask, (y - mean_y) * mask
    covariance = (dp * dy).sum(dim=0) / n
    denominator = (dp * dp).sum(dim=0) / n + (dy * dy).sum(dim=0) / n + (mean_p - mean_y) ** 2
    distance = 1.0 - 2.0 * covariance / denominator.clamp(min=1e-8)  # [2]
    weights = torch.tensor([alpha, beta], device=p.device)
    return (torch.where(mask.sum(dim=0) >= LEAST, distance, 0.0) * weights).sum()
