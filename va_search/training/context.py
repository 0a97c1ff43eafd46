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
    `two_passes` is True where the sums must be collected before the model is used. `size` is that of
    a sum."""

    def __init__(
        self,
        model: nn.Module,
        settings: TrialSettings,
        steps: Steps,
        segments: Ranges,
        device: torch.device,
    ) -> None:
        self._device = device
        running = settings.context == "running"
        recording = steps.recording[segments[:, 0]]
        # a step counts for the last segment that begins at or before it
        stride = settings.stride or settings.segment_length
        self._counted = np.minimum(segments[:, 1] - segments[:, 0], stride)
        # the segments [from, until) of which a segment's summary is, its own among them, and the
        # steps that count for the others of these
        self._from = np.searchsorted(recording, recording, side="left")
        self._until = np.searchsorted(recording, recording, side="right")
        several = bool((self._until - self._from > 1).any())
        if running:
            self._until = np.arange(1, len(segments) + 1)
        until_now = np.concatenate([[0], np.cumsum(self._counted)])
        self._steps = until_now[self._until] - until_now[self._from] - self._counted

        self.needed = settings.context != "none" and several
        # segments of a stretch follow one another: a recording with a gap has several stretches
        gaps = bool((np.diff(steps.recording[steps.stretches[:, 0]]) == 0).any())
        travel = running and settings.carries_state and not gaps
        self.two_passes = self.needed and not travel
        self._sums = torch.empty(0)
        self.size = 0
        if self.needed:
            fusion: Any = model.context
            self.size = int(fusion.size)
            self._sums = torch.zeros(len(segments), self.size, device=device)

    def other_segments(self, batch: Batch) -> OtherSegments | None:
        """The other segments of the recordings of a batch's rows, or those before; None where each
        row is a whole recording."""
        if not self.needed:
            return None
        rows = batch.segments
        number = self._until[rows] - self._from[rows]
        # the segments of each row's summary one row after another, its own left out
        row = np.repeat(np.arange(len(rows)), number)
        segment = np.arange(len(row)) - np.repeat(np.cumsum(number) - number, number)
        segment += self._from[rows][row]
        others = segment != rows[row]
        added = self._sums[self._tensor(segment[others])]
        sums = torch.zeros(len(rows), self.size, device=self._device)
        sums.index_add_(0, self._tensor(row[others]), added)
        steps, counted = self._tensor(self._steps[rows]), self._tensor(self._counted[rows])
        return OtherSegments(sums, steps, counted)

    def renew(self, batch: Batch, states: States) -> None:
        """Take the sums of a batch's segments from the states behind it."""
        if self.needed:
            self._sums[self._tensor(batch.segments)] = states[-1][0][0]

    def _tensor(self, values: Indexes) -> Tensor:
        return to_device(torch.from_numpy(values), self._device)
