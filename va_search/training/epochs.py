"""Sums over the batches of an epoch, and the mean of the predictions after several epochs."""

from __future__ import annotations

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
    """What a pass over training batches adds up."""

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
        """One epoch's predictions (frames, 2), clipped to the label range."""
        found = prediction.astype(np.float64)
        self._sum = found if self._sum is None else self._sum + found
        self.epochs += 1

    def value(self) -> NDArray[np.float32]:
        """(frames, 2) mean of what was added."""
        assert self._sum is not None
        return (self._sum / self.epochs).astype(np.float32)

    def tensors(self) -> dict[str, Tensor]:
        """What was added up so far, for a checkpoint; nothing before the first."""
        return {} if self._sum is None else {"sum": torch.from_numpy(self._sum)}

    def resume(self, epochs: int, tensors: dict[str, Tensor]) -> None:
        """Go on from `tensors`, in which so many epochs are added up."""
        self.epochs = epochs
        self._sum = tensors["sum"].numpy() if epochs else None
