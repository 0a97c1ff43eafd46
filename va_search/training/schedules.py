"""Learning-rate schedules, all from `torch.optim.lr_scheduler`.

Conventions: `warmup_cosine` and `one_cycle` move after every batch, the others after every epoch. E
is the number of epochs, e the epoch from 0, f `schedule_factor`. The functions that build them take
the optimiser, E, and the batches of an epoch, then their options by keyword:

    constant        1
    step            f every `schedule_epochs` epochs (StepLR)
    cosine          half a cosine from 1 down to 0 at E, so that the last epoch still learns
    exponential     f ** e
    linear          1 - e / E
    warmup_cosine   linear from 0 over the first `warmup` share of all batches, then half a cosine to 0
    one_cycle       OneCycleLR: up to the learning rate over the `warmup` share, then down
    plateau         times f after more than `schedule_epochs` epochs without a better score
"""

from __future__ import annotations

import math
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)

from va_search.models.menu import SCHEDULES
from va_search.trial_settings import TrialSettings


def constant(optimiser: Optimizer, epochs: int, batches: int) -> LRScheduler:
    """Build `constant`."""
    return LambdaLR(optimiser, lambda _: 1.0)


def step(
    optimiser: Optimizer,
    epochs: int,
    batches: int,
    *,
    schedule_epochs: int,
    schedule_factor: float,
) -> LRScheduler:
    """Build `step`."""
    return StepLR(optimiser, schedule_epochs, schedule_factor)


def cosine(optimiser: Optimizer, epochs: int, batches: int) -> LRScheduler:
    """Build `cosine`."""
    return CosineAnnealingLR(optimiser, epochs)


def exponential(
    optimiser: Optimizer, epochs: int, batches: int, *, schedule_factor: float
) -> LRScheduler:
    """Build `exponential`."""
    return ExponentialLR(optimiser, schedule_factor)


def linear(optimiser: Optimizer, epochs: int, batches: int) -> LRScheduler:
    """Build `linear`."""
    return LinearLR(optimiser, start_factor=1.0, end_factor=0.0, total_iters=epochs)


def warmup_cosine(optimiser: Optimizer, epochs: int, batches: int, *, warmup: float) -> LRScheduler:
    """Build `warmup_cosine`."""
    total = epochs * batches
    warm = warmup * total

    def factor(batch: int) -> float:
        if batch < warm:
            return (batch + 1) / (warm + 1)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (batch - warm) / max(1.0, total - warm))))

    return LambdaLR(optimiser, factor)


def one_cycle(optimiser: Optimizer, epochs: int, batches: int, *, warmup: float) -> LRScheduler:
    """Build `one_cycle`."""
    total = epochs * batches + 1  # torch itself takes the first step on construction
    if abs(warmup * total - 1.0) < 1e-6:
        warmup *= 1.5  # torch divides by warmup * total - 1
    highest = optimiser.param_groups[0]["lr"]
    return OneCycleLR(optimiser, highest, total_steps=total, pct_start=warmup)


def plateau(
    optimiser: Optimizer,
    epochs: int,
    batches: int,
    *,
    schedule_epochs: int,
    schedule_factor: float,
) -> LRScheduler:
    """Build `plateau`."""
    return ReduceLROnPlateau(
        optimiser, mode="max", factor=schedule_factor, patience=schedule_epochs
    )


class Schedule:
    """A schedule being followed; `batches` is how many an epoch has, with or without an optimiser
    step."""

    def __init__(self, optimiser: Optimizer, settings: TrialSettings, batches: int) -> None:
        entry = SCHEDULES[settings.schedule]
        options = settings.arguments(SCHEDULES)
        self.optimiser = optimiser
        self._by_batch = entry.by_batch
        self._inner = entry.load()(optimiser, settings.epochs, batches, **options)
        self._owed = 0

    @property
    def learning_rate(self) -> float:
        return float(self.optimiser.param_groups[0]["lr"])

    def state(self) -> dict[str, Any]:
        """The schedule's position, as JSON; the optimiser's groups go with it.

        JSON has no infinities: a new schedule has them where they mean anything.
        """
        inner = {
            name: value
            for name, value in self._inner.state_dict().items()
            if not isinstance(value, float) or math.isfinite(value)
        }
        return {"owed": self._owed, "inner": inner}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._inner.load_state_dict(dict(state["inner"]))
        self._owed = int(state["owed"])

    def after_batch(self, *, learned: bool) -> None:
        """Call once per batch; one that had no label to learn from still counts."""
        if not self._by_batch:
            return
        self._owed += 1
        while learned and self._owed:  # torch wants an optimiser step before the first of these
            self._inner.step()
            self._owed -= 1

    def after_epoch(self, score: float | None) -> None:
        """Call once per epoch with the validation score; None where there is none (plateau needs
        one)."""
        if isinstance(self._inner, ReduceLROnPlateau):
            assert score is not None
            self._inner.step(score)
        elif not self._by_batch:
            self._inner.step()
