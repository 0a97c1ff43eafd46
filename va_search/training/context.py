"""Context across segments: sums of a model's output over the segments of some recordings, so that a
row's summary is that of its whole recording (models/summary.py).

Conventions: a segment's sum [size] is that of the fusion's output over its steps that count for it,
where each step of a recording counts once. Sums are detached: a gradient goes through a row's own
part of its summary only. They are as old as the segment's last pass through the model:

- predictions make two passes, of which the first collects the sums. They are exact.
- training collects them before each epoch, in evaluation mode and without a gradient, and each
  batch then renews those of its own segments.
- where a segment's earlier ones have always just been through the model (a running mean, an encoder
  that carries its state, recordings without gaps), the sums travel as the state does, in one pass.
- recordings of one segment need no sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from va_search.data.segments import Ranges
from va_search.models.estimator import States
from va_search.models.summary import OtherSegments
from va_search.training.batches import Batch, Indexes, Steps
from va_search.training.features import to_device
from va_search.trial_settings import TrialSettings


class SegmentSums:
    """The sums of all `segments` of the steps' recordings, zero before a segment's first pass.

    `needed` is False where each recording is one segment, or the model has no context;
    `two_passes` is True where the sums must be collected before the model is used."""

    def __init__(
        self,
        model: nn.Module,
        settings: TrialSettings,
        steps: Steps,
        segments: Ranges,
        device: torch.device,
    ) -> None:
        start, length = segments[:, 0], segments[:, 1] - segments[:, 0]
        # a step counts for the last segment that begins at or before it
        self._counted = np.minimum(length, settings.stride or settings.segment_length)
        recording = steps.recording[start]
        self._running = settings.context == "running"
        # [segment] the segments [from, to) of its recording, and the steps that lie before it in all
        self._from = np.searchsorted(recording, recording, side="left")
        self._to = np.searchsorted(recording, recording, side="right")
        self._before = np.cumsum(self._counted) - self._counted
        several = bool((self._to - self._from > 1).any())
        self.needed = settings.context != "none" and several
        # segments of a stretch follow one another: a recording with a gap has several stretches
        gaps = bool((np.diff(steps.recording[steps.stretches[:, 0]]) == 0).any())
        travel = self._running and settings.carries_state and not gaps
        self.two_passes = self.needed and not travel
        self._device = device
        self._sums = torch.empty(0)
        if self.needed:
            fusion: Any = model.context
            self._sums = torch.zeros(len(segments), fusion.size, device=device)

    def others(self, batch: Batch) -> OtherSegments | None:
        """The other segments of the recordings of a batch's rows, or those before; None where each
        row is a whole recording."""
        if not self.needed:
            return None
        rows = batch.segments
        until = rows + 1 if self._running else self._to[rows]
        indexes: list[Indexes] = []
        for row, start, stop in zip(rows, self._from[rows], until, strict=True):
            segment = np.arange(start, stop)
            indexes.append(segment[segment != row])
        row = np.repeat(np.arange(len(rows)), [len(part) for part in indexes])
        other = self._sums[self._tensor(np.concatenate(indexes))]
        total = self._sums.new_zeros(len(rows), self._sums.shape[1])
        total.index_add_(0, self._tensor(row), other)
        return OtherSegments(
            total, self._tensor(self._steps(rows)), self._tensor(self._counted[rows])
        )

    def _steps(self, rows: Indexes) -> Indexes:
        """(rows,) steps of the other segments, each once."""
        before = self._before[rows] - self._before[self._from[rows]]
        if self._running:
            return before
        last = self._to[rows] - 1
        steps = self._before[last] + self._counted[last] - self._before[self._from[rows]]
        return steps - self._counted[rows]

    def renew(self, batch: Batch, states: States) -> None:
        """Take the sums of a batch's segments from the states behind it."""
        if self.needed:
            self._sums[self._tensor(batch.segments)] = states[-1][0][0]

    def _tensor(self, values: Indexes) -> Tensor:
        return to_device(torch.from_numpy(values), self._device)
