"""Epochs: sums over their batches, their random numbers, and the mean of the predictions after
several.

Conventions: a trial's random numbers come from its seed and the epoch's number, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from va_search.errors import JobError


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
