"""Epochs: sums over their batches, their random numbers, and those that a trial's predictions are
made of.

Conventions: a trial's random numbers come from its seed and the epoch's number, nothing else. The
rules of the setting `keep`: each target's best epoch on validation (`best`), the last one (`last`),
the mean of the predictions of the last five (`mean_last_5`), or a moving average of the weights
over the optimiser's steps (`ema`). With the last three no epoch is chosen on validation, and an
epoch's CCCs are those of what would be kept if the training ended with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from va_search.errors import JobError
from va_search.models.estimator import Estimator
from va_search.trial import Best, Epoch

EPOCHS_KEPT = {"last": 1, "mean_last_5": 5, "ema": 1}
"""The number of last epochs whose weights are kept, by rule."""


class Diverged(JobError):
    """Loss or predictions became NaN or infinite."""


@dataclass
class Sums:
    """Sums over the training batches of an epoch."""

    loss: float | Tensor = 0.0  # stays on the device until the epoch's end
    batches: int = 0
    frames: int = 0
    inside: float = 0.0
    seconds: float = 1e-9


class MeanOfEpochs:
    """The mean of the predictions after each epoch from `first_and_last[0]` to `first_and_last[1]`
    (paper 4.7), added up in float64."""

    def __init__(self, first_and_last: tuple[int, int]) -> None:
        self.range = range(first_and_last[0], first_and_last[1] + 1)
        self.epochs = 0
        self._sum: NDArray[np.float64] | None = None

    def __contains__(self, epoch: int) -> bool:
        return epoch in self.range

    def add(self, prediction: NDArray[np.float32]) -> None:
        """One epoch's predictions (frames, targets), clipped to their ranges."""
        values = prediction.astype(np.float64)
        self._sum = values if self._sum is None else self._sum + values
        self.epochs += 1

    def value(self) -> NDArray[np.float32]:
        """(frames, targets) mean of the predictions that were added."""
        assert self._sum is not None
        return (self._sum / self.epochs).astype(np.float32)

    def tensors(self) -> dict[str, Tensor]:
        """The sum so far, for a checkpoint; nothing before the first epoch."""
        return {} if self._sum is None else {"sum": torch.from_numpy(self._sum)}

    def resume(self, epochs: int, tensors: dict[str, Tensor]) -> None:
        """Go on from `tensors`, in which so many epochs are added up."""
        self.epochs = epochs
        self._sum = tensors["sum"].numpy() if epochs else None


def mean_of(predictions: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The mean of predictions (frames, targets), added up in float64; of a single one itself."""
    mean: NDArray[np.float64] = np.mean(list(predictions), axis=0, dtype=np.float64)
    return mean.astype(np.float32)


@dataclass
class KeptEpochs:
    """The epochs that predictions are made of by a rule: `states` has the model's weights after
    each of them, on the CPU, and `best` each target's CCC and epoch (of several the last)."""

    keep: str
    best: dict[str, Best] = field(default_factory=dict)
    states: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    def add(self, epoch: Epoch, model: Estimator) -> None:
        """Keep the model as it is after an epoch, if the rule wants it, and forget those that it
        wants no longer."""
        better = False
        for target, value in epoch.cccs.items():
            if value is None:
                continue
            if self.keep != "best" or target not in self.best or value > self.best[target].ccc:
                self.best[target] = Best(value, epoch.epoch)
                better = True
        if self.keep == "best" and not better:
            return
        self.states[epoch.epoch] = {
            name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()
        }
        if self.keep == "best":
            wanted = {best.epoch for best in self.best.values()}
        else:
            wanted = set(list(self.states)[-EPOCHS_KEPT[self.keep] :])
        self.states = {number: self.states[number] for number in self.states if number in wanted}

    def epochs_of(self, target: str) -> tuple[int, ...]:
        """The epochs whose predictions are averaged for a target."""
        if self.keep != "best":
            return tuple(self.states)
        best = self.best[target].epoch
        assert best is not None
        return (best,)


class MovingAverage:
    """An exponential moving average of a model's weights, which `average`, a model of the same
    shape, has as its own.

    After t optimiser steps the weights after step s count decay ** (t - s), divided by the sum of
    these: without that the first ones would be pulled to zero. Buffers are the model's."""

    def __init__(self, model: Estimator, average: Estimator, decay: float) -> None:
        self.model, self.average, self.decay = model, average, decay
        self.steps = 0

    @torch.no_grad()
    def after_step(self, *_: object) -> None:
        """Take the weights in; a hook for after an optimiser's step."""
        self.steps += 1
        share = (1 - self.decay) / (1 - self.decay**self.steps)
        weights = zip(self.average.parameters(), self.model.parameters(), strict=True)
        for average, value in weights:
            average.lerp_(value, share)
        buffers = zip(self.average.buffers(), self.model.buffers(), strict=True)
        for copied, current in buffers:
            copied.data = current.clone()


def last_gain(history: Sequence[Epoch]) -> int:
    """The last epoch after which some target was better than ever before; 0 where there is none."""
    highest: dict[str, float] = {}
    last = 0
    for epoch in history:
        for target, value in epoch.cccs.items():
            if value is not None and (target not in highest or value > highest[target]):
                highest[target], last = value, epoch.epoch
    return last


@contextmanager
def seeded(device: torch.device, seed: int, epoch: int) -> Iterator[None]:
    """torch's global generators at a state that only the seed and epoch decide; as before
    afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(epoch_seed(seed, epoch))
        yield


def epoch_seed(seed: int, epoch: int) -> int:
    """63 bits that stand for a trial's seed and an epoch; epoch 0 is the model's initialisation."""
    state = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))
