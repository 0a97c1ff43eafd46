"""Learning-rate schedules, all from `torch.optim.lr_scheduler`.

Conventions: `warmup_cosine` and `one_cycle` move after every batch, the others after every epoch. E
is the number of epochs, e the epoch from 0, f `schedule_factor`:

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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim import lr_scheduler as torch_schedules

from va_search.training.settings import TrialSettings

Builder = Callable[[Optimizer, TrialSettings, int], "torch_schedules.LRScheduler"]


def _constant(
    optimiser: Optimizer, settings: TrialSettings, batches: int
) -> torch_schedules.LRScheduler:
    return torch_schedules.LambdaLR(optimiser, lambda _: 1.0)


def _step(
    optimiser: Optimizer, settings: TrialSettings, batches: int
) -> torch_schedules.LRScheduler:
    return torch_schedules.StepLR(optimiser, settings.schedule_epochs, settings.schedule_factor)


def _cosine(
    optimiser: Optimizer, settings: TrialSettings, batches: int
) -> torch_schedules.LRScheduler:
    return torch_schedules.CosineAnnealingLR(optimiser, settings.epochs)


def _exponential(
    optimiser: Optimizer, settings: TrialSettings, batches: int
) -> torch_schedules.LRScheduler:
    return torch_schedules.ExponentialLR(optimiser, settings.schedule_factor)


def _linear(
    optimiser: Optimizer, settings: TrialSettings, batches: int
) -> torch_schedules.LRScheduler:
    return torch_schedules.LinearLR(
        optimiser, start_factor=1.0, end_factor=0.0, total_iters=settings.epochs
    )


def _warmup_cosine(
    optimiser: Optimizer, settings: TrialSettings, batches: int
) -> torch_schedules.LRScheduler:
    total = settings.epochs * batches
    warm = settings.warmup * total

    def factor(batch: int) -> float:
        if batch < warm:
            return (batch + 1) / (warm + 1)
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (batch - warm) / max(1.0, total - warm))))

    return torch_schedules.LambdaLR(optimiser, factor)


def _one_cycle(
    optimiser: Optimizer, settings: TrialSettings, batches: int
) -> torch_schedules.LRScheduler:
    total = settings.epochs * batches + 1  # torch itself takes the first step on construction
    share = settings.warmup
    if abs(share * total - 1.0) < 1e-6:
        share *= 1.5  # torch divides by share * total - 1
    return torch_schedules.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=total, pct_start=share
    )


def _plateau(
    optimiser: Optimizer, settings: TrialSettings, batches: int
) -> torch_schedules.LRScheduler:
    return torch_schedules.ReduceLROnPlateau(
        optimiser, mode="max", factor=settings.schedule_factor, patience=settings.schedule_epochs
    )


SCHEDULES: dict[str, Builder] = {
    "constant": _constant,
    "step": _step,
    "cosine": _cosine,
    "exponential": _exponential,
    "linear": _linear,
    "warmup_cosine": _warmup_cosine,
    "one_cycle": _one_cycle,
    "plateau": _plateau,
}
BY_BATCH = ("warmup_cosine", "one_cycle")


@dataclass
class Schedule:
    """A schedule being followed; `batches` is how many an epoch has, with or without an optimiser
    step."""

    optimiser: Optimizer
    settings: TrialSettings
    batches: int

    def __post_init__(self) -> None:
        self._inner = SCHEDULES[self.settings.schedule](self.optimiser, self.settings, self.batches)
        self._owed = 0

    @property
    def learning_rate(self) -> float:
        return float(self.optimiser.param_groups[0]["lr"])

    def state(self) -> dict[str, Any]:
        """Where the schedule stands, as JSON; the optimiser's groups go with it."""
        inner = {
            name: value for name, value in self._inner.state_dict().items() if _is_finite(value)
        }
        return {"owed": self._owed, "inner": inner}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._inner.load_state_dict(dict(state["inner"]))
        self._owed = int(state["owed"])

    def after_batch(self, *, learned: bool) -> None:
        """Call once per batch; one that had no label to learn from still counts."""
        if self.settings.schedule not in BY_BATCH:
            return
        self._owed += 1
        while learned and self._owed:  # torch wants an optimiser step before the first of these
            self._inner.step()
            self._owed -= 1

    def after_epoch(self, score: float | None) -> None:
        """Call once per epoch with the validation score; None where there is none (plateau needs
        one)."""
        if isinstance(self._inner, torch_schedules.ReduceLROnPlateau):
            assert score is not None
            self._inner.step(score)
        elif self.settings.schedule not in BY_BATCH:
            self._inner.step()


def _is_finite(value: Any) -> bool:
    """False for infinities, which JSON has not and which a new schedule has where they mean
    anything."""
    return not isinstance(value, float) or math.isfinite(value)
