"""ClosedForm: a trial whose model is set by one solution, after one look at all training steps.

Conventions: the training people are divided into `GROUPS`, in the order of their names, so that a
model can choose its options on people left out. An epoch's loss is the mean over the targets of
1 - CCC on the training steps. Everything else is as in `Fit`: there is one epoch, which is kept."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from va_search.training.batches import Batch, independent
from va_search.training.epochs import Sums
from va_search.training.fit import Fit, scaled_up
from va_search.trial import Epoch

GROUPS = 5


class ClosedForm(Fit):
    """See `Fit`. The model has `described` (steps to features), `sums_of` (their sums, which add up)
    and `solve` (the sums of each group to weights)."""

    def run_epoch(self) -> Epoch:
        """Look at every training step once, and set the model's weights."""
        began = perf_counter()
        model: Any = self.model
        sums = Sums()
        groups: list[Tensor | None] = [None] * GROUPS
        for batch in self._batches():
            clock = perf_counter()
            for group, added in self._sums_by_group(batch):
                total = groups[group]
                groups[group] = added if total is None else total + added
            sums.frames += self.data.frames_in(batch)
            sums.inside += perf_counter() - clock
            sums.seconds += perf_counter() - clock
        present = [total for total in groups if total is not None]
        sums.loss, sums.batches = model.solve(torch.stack(present)), 1
        # No gradient, so that this changes nothing: schedules expect a step before an epoch's end.
        self.optimiser.step()
        return self.end_epoch(sums, self.schedule.learning_rate, began)

    def _batches(self) -> Iterator[Batch]:
        return independent(self.data.learnable, self.settings.batch_size)

    def _sums_by_group(self, batch: Batch) -> list[tuple[int, Tensor]]:
        """The groups of people in a batch, each with the sums of its labelled steps."""
        model: Any = self.model
        inputs = self.data.gather.inputs(self.data.train, self.data.segments[batch.segments])
        features = model.described(inputs.x, inputs.mask)
        group_of_row = self._group_of_recording[inputs.recording.cpu().numpy()]
        sums: list[tuple[int, Tensor]] = []
        for group in np.unique(group_of_row).tolist():
            rows = torch.from_numpy(np.flatnonzero(group_of_row == group)).to(self.device)
            mask = inputs.mask[rows]
            sums.append((group, model.sums_of(features[rows][mask], inputs.label[rows][mask])))
        return sums

    @cached_property
    def _group_of_recording(self) -> NDArray[np.int64]:
        """(recordings,) the group of each training recording's subject."""
        recordings = self.data.train.recordings
        subjects = sorted({recording.subject for recording in recordings})
        place = {subject: number % GROUPS for number, subject in enumerate(subjects)}
        return np.array([place[recording.subject] for recording in recordings], dtype=np.int64)

    def seconds_per_epoch(self, budget: float) -> float:
        """Estimated seconds of the one epoch, from about `budget` seconds of real batches: training
        and validation steps are described alike, and the solution takes no time beside them."""
        data = self.data

        def described() -> Iterator[int]:
            for batch in self._batches():
                self._sums_by_group(batch)
                yield data.frames_in(batch)

        training = sum(data.frames_in(batch) for batch in self._batches())
        predicted = int(data.validation.count.sum() if self.measured is not None else 0)
        return scaled_up(described(), training + predicted, budget)
