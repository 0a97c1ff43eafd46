"""Losses: the sum over targets of weight * cost over a batch's labelled frames. The cost is 1 - CCC
(paper 3.5; the paper's alpha and beta are the weights of valence and arousal), or that with a share
of another one.

Conventions: predictions and labels are [row, step, target] in [-1, 1], whatever the targets' own
ranges, and NaN in a label means unlabelled: the frame is left out of that target. Sums are float32.
Variances and covariance are population ones (divide by n), as in the official metric; with n - 1 in
the variances only, a perfect prediction would have a CCC of .9375 at n = 16. A target with fewer than
`LEAST` labelled frames costs nothing and has no gradient."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

LEAST = 2
"""Labelled frames below which a target of a batch contributes nothing."""


FACTS = ("mask", "recording", "weight", "log_bins")
"""Facts of a batch that a loss gets by keyword where its call has such a parameter: see
`features.BatchInputs`, and for heads that have them `estimator.Binned`."""


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
class WeightedLoss:
    """Sums each target's cost by `target_weights`, in the targets' order; `loss_smoothness` is the
    weight of a prediction's roughness beside its cost."""

    target_weights: tuple[float, ...]
    loss_smoothness: float = 0.0

    def weighted(self, costs: Tensor, prediction: Tensor, label: Tensor) -> Tensor:
        """Return the weighted sum of the costs [target], roughness included."""
        if self.loss_smoothness:
            costs = costs + self.loss_smoothness * roughness(prediction, label)
        weights = torch.tensor(self.target_weights, device=costs.device)
        return (costs * weights).sum()


@dataclass(frozen=True)
class CccLoss(WeightedLoss):
    """1 - CCC of each target over all labelled frames of a batch."""

    def __call__(self, prediction: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
        """Scalar from [..., step, target] predictions, labels and weights of labels."""
        return self.weighted(ccc_distances(prediction, label, weight), prediction, label)


@dataclass(frozen=True)
class CccMseLoss(WeightedLoss):
    """1 - CCC with a share of the mean squared error, which also pulls where the CCC is flat."""

    mse_share: float = 0.5

    def __call__(self, prediction: Tensor, label: Tensor) -> Tensor:
        """Scalar from [..., step, target] predictions and labels."""
        concordance = (1.0 - self.mse_share) * ccc_distances(prediction, label)
        costs = concordance + self.mse_share * squared_errors(prediction, label)
        return self.weighted(costs, prediction, label)


@dataclass(frozen=True)
class CccRecordingLoss(WeightedLoss):
    """1 - CCC over the batch with a share of 1 - CCC within its recordings, on average: the one is
    above all about differences between recordings, the other about the course of each."""

    recording_share: float = 0.5

    def __call__(self, prediction: Tensor, label: Tensor, *, recording: Tensor) -> Tensor:
        """Scalar from [row, step, target] predictions and labels, and each row's recording [row]."""
        concordance = (1.0 - self.recording_share) * ccc_distances(prediction, label)
        within = recording_distances(prediction, label, recording)
        return self.weighted(concordance + self.recording_share * within, prediction, label)


@dataclass(frozen=True)
class CccBinnedLoss(WeightedLoss):
    """1 - CCC with a share of the cross entropy between the label's bin and the bins' probabilities,
    for heads that have them. It is 1 where all bins are equally likely."""

    cross_entropy_share: float = 0.5

    def __call__(self, prediction: Tensor, label: Tensor, *, log_bins: Tensor) -> Tensor:
        """Scalar from [row, step, target] predictions and labels, and the logarithms of the bins'
        probabilities [row, step, target, bin]."""
        concordance = (1.0 - self.cross_entropy_share) * ccc_distances(prediction, label)
        entropy = self.cross_entropy_share * cross_entropies(log_bins, label)
        return self.weighted(concordance + entropy, prediction, label)


def ccc_loss(
    prediction: Tensor,
    label: Tensor,
    target_weights: Sequence[float] | None = None,
    frame_weights: Tensor | None = None,
) -> Tensor:
    """Scalar loss from [..., target] predictions and labels; every target weighs 1 where no weights
    are given, and so does every label without [..., target] `frame_weights` (above 0 where
    labelled)."""
    weights = tuple(target_weights or [1.0] * label.shape[-1])
    return CccLoss(weights)(prediction, label, frame_weights)


def ccc_distances(prediction: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """[target] 1 - CCC over all labelled frames of [..., target] predictions and labels, which count
    by their `weight`, all alike where it is None."""
    p, y, mask = (values.flatten(end_dim=-2)[None] for values in labelled(prediction, label))
    if weight is not None:
        weight = torch.where(mask > 0, weight.flatten(end_dim=-2)[None], 0.0)
        # by the largest of them, so that their sum is 1 or more, as that of a mask is
        weight = weight / weight.amax(dim=1, keepdim=True).clamp(min=1e-30)
    distance, _ = distances(p, y, mask, weight, total=lambda values: values.sum(dim=1))
    return distance[0]


def recording_distances(prediction: Tensor, label: Tensor, recording: Tensor) -> Tensor:
    """[target] mean of 1 - CCC within each recording, over those with labels enough; predictions and
    labels [row, step, target], the recording of each row [row]."""
    same = (recording[:, None] == recording).float()  # [row, row]
    distance, enough = distances(
        *labelled(prediction, label), total=lambda values: same @ values.sum(dim=1)
    )
    # a recording counts once, however many rows of it there are
    share = enough / same.sum(dim=1, keepdim=True)
    return (distance * share).sum(dim=0) / share.sum(dim=0).clamp(min=1e-8)


def distances(
    p: Tensor,
    y: Tensor,
    mask: Tensor,
    weight: Tensor | None = None,
    *,
    total: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """[row, target] 1 - CCC over the frames that `total` sums up for a row, from [row, step, target] to
    [row, target], and True where these are enough; 0 where they are not. `mask` as in `labelled`;
    frames count by their `weight`, which is 0 where the mask is."""
    frames = total(mask)
    w = mask if weight is None else weight
    n = total(w).clamp(min=1.0)
    mean_p, mean_y = total(w * p) / n, total(w * y) / n
    dp, dy = (p - mean_p[:, None]) * mask, (y - mean_y[:, None]) * mask
    covariance = total(w * dp * dy) / n
    denominator = total(w * dp * dp) / n + total(w * dy * dy) / n + (mean_p - mean_y) ** 2
    distance = 1.0 - 2.0 * covariance / denominator.clamp(min=1e-8)
    enough = frames >= LEAST
    return torch.where(enough, distance, 0.0), enough


def squared_errors(prediction: Tensor, label: Tensor) -> Tensor:
    """[target] mean squared error over all labelled frames of [..., target] predictions and
    labels."""
    p, y, mask = (values.flatten(end_dim=-2) for values in labelled(prediction, label))
    frames = mask.sum(dim=0)
    error = ((p - y) ** 2).sum(dim=0) / frames.clamp(min=1.0)
    return torch.where(frames >= LEAST, error, 0.0)


def cross_entropies(log_bins: Tensor, label: Tensor) -> Tensor:
    """[target] mean cross entropy over all labelled frames, in units of log(bins); log_bins [row, step,
    target, bin] of evenly spaced values from -1 to 1, labels [row, step, target]. A label between
    two of the values belongs to both, so that its expected value is the label."""
    known = ~torch.isnan(label)
    bins = log_bins.shape[-1]
    position = (torch.where(known, label, 0.0).clamp(-1.0, 1.0) + 1.0) / 2.0 * (bins - 1)
    below = position.floor().clamp(max=bins - 2)
    upper = position - below  # the share of the value above
    index = below.long()[..., None]
    likely = (1.0 - upper) * log_bins.gather(-1, index)[..., 0]
    likely = likely + upper * log_bins.gather(-1, index + 1)[..., 0]
    entropy = torch.where(known, -likely, 0.0).flatten(end_dim=-2).sum(dim=0)
    frames = known.flatten(end_dim=-2).sum(dim=0)
    mean = entropy / frames.clamp(min=1) / math.log(bins)
    return torch.where(frames >= LEAST, mean, 0.0)


def roughness(prediction: Tensor, label: Tensor) -> Tensor:
    """[target] share of the predictions' variance that lies between neighbouring steps (von Neumann
    1941): mean squared difference of neighbours / (2 * variance), over labelled frames of [..., step,
    target]. 0 is a constant, 1 white noise, whatever the predictions' spread."""
    p, _, mask = labelled(prediction, label)
    both = mask[..., 1:, :] * mask[..., :-1, :]
    jumps = (p[..., 1:, :] - p[..., :-1, :]) ** 2 * both
    jump = jumps.flatten(end_dim=-2).sum(dim=0) / both.flatten(end_dim=-2).sum(dim=0).clamp(min=1.0)
    # the variance of all labelled frames of a target
    p, mask = p.flatten(end_dim=-2), mask.flatten(end_dim=-2)
    frames = mask.sum(dim=0)
    n = frames.clamp(min=1.0)
    variance = (((p - p.sum(dim=0) / n) * mask) ** 2).sum(dim=0) / n
    return torch.where(frames >= LEAST, jump / (2.0 * variance).clamp(min=1e-8), 0.0)


def labelled(prediction: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions and labels as float32, both 0 where unlabelled, and a mask that is 1 where labelled
    and 0 elsewhere. A prediction without a label, even NaN, has no part and no gradient."""
    known = ~torch.isnan(label)
    p = torch.where(known, prediction.float(), 0.0)
    return p, torch.where(known, label, 0.0), known.float()
