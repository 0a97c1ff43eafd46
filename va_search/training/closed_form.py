"""Trials whose model is set after one look at all training steps: by one solution (ClosedForm), or
grown (Boosted).

Conventions: the training people are divided into `GROUPS`, in the order of their names, so that a
model can choose its options on people left out. An epoch's loss is the mean over the targets of
1 - CCC on the training steps looked at. Everything else is as in `Fit`: there is one epoch, which is
kept."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from va_search.models.menu import MOST_STEPS
from va_search.models.trees import BINS
from va_search.training.batches import Batch, independent
from va_search.training.epochs import Sums
from va_search.training.fit import Fit, scaled_up
from va_search.trial import Epoch

GROUPS = 5

TIMED_ITERATIONS = 10
"""Trees a target that are grown to estimate the time of all."""

TIMED_COLUMNS = 1000
"""Columns of the steps of which they are grown: time grows with them."""


class OneLook(Fit):
    """See `Fit`. The model has `described` (steps to features)."""

    def run_epoch(self) -> Epoch:
        """Look at every training step once, and set the model."""
        began = perf_counter()
        sums = Sums()
        for batch in self._batches():
            clock = perf_counter()
            self.take(batch)
            sums.frames += self.data.frames_in(batch)
            sums.inside += perf_counter() - clock
            sums.seconds += perf_counter() - clock
        sums.loss, sums.batches = self.solve(), 1
        # No gradient, so that this changes nothing: schedules expect a step before an epoch's end.
        self.optimiser.step()
        return self.end_epoch(sums, self.schedule.learning_rate, began)

    def take(self, batch: Batch) -> None:
        """Describe the steps of a batch, and keep what `solve` needs of them."""
        raise NotImplementedError

    def solve(self) -> float:
        """Set the model from all that was taken; return the loss."""
        raise NotImplementedError

    def _batches(self) -> Iterator[Batch]:
        return independent(self.data.learnable, self.settings.batch_size)

    @cached_property
    def _subject_of_recording(self) -> NDArray[np.int64]:
        """(recordings,) the number of each training recording's subject, in the order of names."""
        names = [recording.subject for recording in self.data.train.recordings]
        number: NDArray[np.int64] = np.unique(names, return_inverse=True)[1]
        return number

    def seconds_per_epoch(self, budget: float, times: float = 1.0) -> float:
        """Estimated seconds of the one epoch, from about `budget` seconds of real batches: training
        and validation steps are described alike, and the solution takes no time beside them."""
        data = self.data

        def described() -> Iterator[int]:
            for batch in self._batches():
                self.take(batch)
                yield data.frames_in(batch)

        training = sum(data.frames_in(batch) for batch in self._batches())
        predicted = int(data.validation.count.sum() if self.measured is not None else 0)
        return times * scaled_up(described(), training + predicted, budget)


class ClosedForm(OneLook):
    """See `OneLook`. The model has `sums_of` (sums of its features, which add up) and `solve` (the
    sums of each group to weights)."""

    @cached_property
    def _groups(self) -> list[Tensor | None]:
        return [None] * GROUPS

    def take(self, batch: Batch) -> None:
        """Add the sums of a batch's labelled steps to those of their people's groups."""
        model: Any = self.model
        inputs = self.data.gather.inputs(self.data.train, self.data.segments[batch.segments])
        features = model.described(inputs.x, inputs.mask)
        group_of_row = self._subject_of_recording[inputs.recording.cpu().numpy()] % GROUPS
        for group in np.unique(group_of_row).tolist():
            rows = torch.from_numpy(np.flatnonzero(group_of_row == group)).to(self.device)
            mask = inputs.mask[rows]
            added = model.sums_of(features[rows][mask], inputs.label[rows][mask])
            total = self._groups[group]
            self._groups[group] = added if total is None else total + added

    def solve(self) -> float:
        """See `OneLook`."""
        model: Any = self.model
        present = [total for total in self._groups if total is not None]
        loss: float = model.solve(torch.stack(present))
        return loss


class Boosted(OneLook):
    """See `OneLook`. The model has `grow` (steps, labels and weights to trees). Of more than
    `MOST_STEPS` training steps every second, third, … of a segment is taken: neighbours are alike."""

    @cached_property
    def _taken(self) -> list[tuple[NDArray[Any], ...]]:
        """Of each batch features, labels, their people's half and, where labels weigh differently,
        weights."""
        return []

    @cached_property
    def _every(self) -> int:
        """Of so many steps one is taken."""
        segments = self.data.segments[self.data.learnable]
        steps = int((segments[:, 1] - segments[:, 0]).sum())
        return max(1, -(-steps // MOST_STEPS))

    def take(self, batch: Batch) -> None:
        """Keep the labelled steps of a batch."""
        model: Any = self.model
        inputs = self.data.gather.inputs(self.data.train, self.data.segments[batch.segments])
        features = model.described(inputs.x, inputs.mask)[:, :: self._every]
        label = inputs.label[:, :: self._every]
        labelled = ~label.isnan().all(dim=-1)
        half = self._subject_of_recording[inputs.recording.cpu().numpy()] % 2 == 1
        segment = labelled.nonzero()[:, 0].cpu().numpy()
        taken = [features[labelled].cpu().numpy(), label[labelled].cpu().numpy(), half[segment]]
        if inputs.weight is not None:
            weight = inputs.weight[:, :: self._every]
            taken.append(weight[labelled].cpu().numpy())
        self._taken.append(tuple(taken))

    def solve(self) -> float:
        """See `OneLook`."""
        features, label, half, *weight = (
            np.concatenate(arrays) for arrays in zip(*self._taken, strict=True)
        )
        self._taken.clear()
        model: Any = self.model
        loss: float = model.grow(
            features,
            label,
            weight[0] if weight else None,
            half=half,
            seed=self.settings.seed,
            threads=torch.get_num_threads(),
        )
        return loss

    def seconds_per_epoch(self, budget: float, times: float = 1.0) -> float:
        """As `OneLook`, and the seconds of growing: those of a few trees from the steps of the
        batches that were described. The leaves of a tree are split after a look at all bins of a
        column, which takes as long as so many steps do."""
        describing = super().seconds_per_epoch(budget / 2, times)
        model: Any = self.model
        steps = sum(len(taken[0]) for taken in self._taken)
        segments = self.data.segments[self.data.learnable]
        expected = times * int((segments[:, 1] - segments[:, 0]).sum())
        expected /= max(1, math.ceil(expected / MOST_STEPS))
        bins = BINS * model.leaves
        columns = self._taken[0][0].shape[1]
        apart = -(-columns // TIMED_COLUMNS)
        self._taken[:] = [(taken[0][:, ::apart], *taken[1:]) for taken in self._taken]
        growth = (expected + bins) / (steps + bins) * columns / self._taken[0][0].shape[1]
        all_iterations = model.iterations
        model.iterations = min(TIMED_ITERATIONS, all_iterations)
        model.booster(seed=0, steps=0)  # the first of a process imports scikit-learn
        began = perf_counter()
        self.solve()
        seconds_per_tree = (perf_counter() - began) / model.iterations
        model.iterations = all_iterations
        growing: float = seconds_per_tree * all_iterations * growth
        return describing + growing
