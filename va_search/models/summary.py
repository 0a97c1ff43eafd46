"""Context beyond the segment: a mean of the encoder's output over the recording, beside each step.

Conventions: y [row, step, size] is a fusion's output, mask [row, step] True where a step is real.
Each row is a segment of some recording; the stretches of a recording between gaps are one
recording. Where segments overlap, a step counts once: for the last segment that begins at or before
it, so that a row's first `counted` steps count for it. A summary is a function of y, mask and what
is known of the other segments (None: each row is a whole recording). It returns float32, whatever y
is: [row, step, size], or [row, 1, size] where all steps have the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class OtherSegments(NamedTuple):
    """The segments of the rows' recordings that are not in the row itself: `sum` [row, size] of y
    over their steps that count, without a gradient, and `steps` [row], how many these are. `counted`
    [row]: so many steps of the row itself count for it."""

    sum: Tensor
    steps: Tensor
    counted: Tensor


Summary = Callable[[Tensor, Tensor, OtherSegments | None], Tensor]


def recording_mean(y: Tensor, mask: Tensor, other_segments: OtherSegments | None) -> Tensor:
    """Return the mean over all steps of the recording; the other segments are all it has."""
    counts = counted(mask, other_segments)
    total, steps = own_sum(y, counts), counts.sum(dim=1)
    if other_segments is not None:
        total, steps = total + other_segments.sum, steps + other_segments.steps
    return (total / steps[:, None])[:, None]


def running_mean(y: Tensor, mask: Tensor, other_segments: OtherSegments | None) -> Tensor:
    """Return at each step the mean over the recording's steps up to and with that one; the other
    segments are those before."""
    total = y.float().cumsum(dim=1)
    steps = torch.arange(1, y.shape[1] + 1, device=y.device)[:, None]
    if other_segments is None:
        return total / steps
    return (total + other_segments.sum[:, None]) / (steps + other_segments.steps[:, None, None])


def counted(mask: Tensor, other_segments: OtherSegments | None) -> Tensor:
    """Return [row, step], True at the steps that count for their row."""
    if other_segments is None:
        return mask
    return mask & (
        torch.arange(mask.shape[1], device=mask.device) < other_segments.counted[:, None]
    )


def own_sum(y: Tensor, counts: Tensor) -> Tensor:
    """Return [row, size], the sum of y over the steps of each row that count."""
    return (y.float() * counts[..., None]).sum(dim=1)


SUMMARIES: dict[str, Summary] = {"recording": recording_mean, "running": running_mean}
"""By the value of the setting `context`."""
