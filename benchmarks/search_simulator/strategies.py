"""The strategies that are compared: the package's own samplers and rungs where it has them.

A proposal is mapped to the nearest recorded configuration that is left (`pool.Nearest`), and the
sampler is told of that one. TPE and early stopping see the trials' scores as a search does."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from search_simulator.pool import Nearest, Outcome, Pool
from va_search.ensemble.credit import Contest
from va_search.search.configurations import Configuration
from va_search.search.early_stopping import Rungs
from va_search.search.outcomes import GROWTH, TIE
from va_search.search.sampler import Sampler
from va_search.trial import SCORE

GRACE_EPOCHS, REDUCTION_FACTOR = 5, 3


class Proposed:
    """Trials that a sampler proposes, each trained to its end; `first` are numbers of
    configurations that come before any proposal."""

    def __init__(self, pool: Pool, sampler: str, seed: int, first: Sequence[int] = ()) -> None:
        self.pool = pool
        self.nearest = Nearest(pool.space, pool.configurations)
        self.sampler = Sampler(pool.space, sampler, seed)
        self._first = list(first)

    def next(self) -> Outcome | None:
        if not self.nearest.left:
            return None
        while self._first:
            number = self._first.pop(0)
            if self.nearest.take_number(number):
                return Outcome(number, 0)
        return Outcome(self.nearest.take(self.proposal()), 0)

    def proposal(self) -> Configuration:
        """The sampler's next configuration; its values are told of the recorded one."""
        asked, proposed = self.sampler.ask()
        self.sampler.tell(asked, {})
        return proposed

    def goes_on(self, outcome: Outcome) -> bool:
        return True

    def ended(self, outcome: Outcome) -> None:
        self.tell(outcome, self.pool.score(outcome))

    def tell(self, outcome: Outcome, value: float) -> None:
        configuration = self.pool.configurations[outcome.number]
        self.sampler.add(configuration, {str(outcome.number): (value,)})


class Gp(Proposed):
    """Proposals of a Gaussian process over the settings that all configurations share."""

    def __init__(self, pool: Pool, seed: int, first: Sequence[int] = ()) -> None:
        super().__init__(pool, "tpe", seed, first)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.sampler.study.sampler = optuna.samplers.GPSampler(seed=seed)


class Grid(Proposed):
    """The space in grid order, of a range of floats its two ends."""

    def __init__(self, pool: Pool, seed: int) -> None:
        super().__init__(pool, "random", seed)
        self._grid = pool.space.combinations()

    def proposal(self) -> Configuration:
        return next(self._grid)


class Halved(Proposed):
    """Trials stopped early by successive halving, as the package does it."""

    def __init__(
        self,
        pool: Pool,
        sampler: str,
        seed: int,
        first: Sequence[int] = (),
        factor: int = REDUCTION_FACTOR,
    ) -> None:
        super().__init__(pool, sampler, seed, first)
        self._rungs = Rungs(GRACE_EPOCHS, factor, (SCORE,))

    def goes_on(self, outcome: Outcome) -> bool:
        best = {SCORE: self.pool.score(outcome)}
        return not self._rungs.behind(str(outcome.number), outcome.epochs, best)


class Promoted(Proposed):
    """Successive halving that can go back: every trial pauses at a rung; whenever a core is free,
    the best paused trial that belongs to the best third of its rung is gone on with, else a new one
    begins (ASHA's promotion variant, Li et al. 2020)."""

    def __init__(self, pool: Pool, sampler: str, seed: int, first: Sequence[int] = ()) -> None:
        super().__init__(pool, sampler, seed, first)
        self._reached: dict[int, dict[int, float]] = {}
        self._promoted: dict[int, set[int]] = {}
        self._told: set[int] = set()

    def goes_on(self, outcome: Outcome) -> bool:
        if outcome.epochs not in (GRACE_EPOCHS, GRACE_EPOCHS * REDUCTION_FACTOR):
            return True
        self._reached.setdefault(outcome.epochs, {})[outcome.number] = self.pool.score(outcome)
        return False

    def next(self) -> Outcome | None:
        for rung in sorted(self._reached, reverse=True):
            reached = self._reached[rung]
            promoted = self._promoted.setdefault(rung, set())
            ranked = sorted(reached, key=lambda number: -reached[number])
            for number in ranked[: len(ranked) // REDUCTION_FACTOR]:
                if number not in promoted:
                    promoted.add(number)
                    return Outcome(number, rung)
        return super().next()

    def ended(self, outcome: Outcome) -> None:
        if outcome.number in self._told:
            self.sampler.retell({str(outcome.number): (self.pool.score(outcome),)})
        else:
            self._told.add(outcome.number)
            super().ended(outcome)


class Extrapolated(Proposed):
    """Trials stopped where the study's own finished curves say that they won't be good: a least
    squares line from the score after an epoch to the final one, over the finished trials with as
    many epochs; stopped when the expected final score plus two standard deviations of the line's
    residuals is below the best third of the finished ones."""

    FEWEST = 5

    def __init__(self, pool: Pool, sampler: str, seed: int, first: Sequence[int] = ()) -> None:
        super().__init__(pool, sampler, seed, first)
        self._finished: list[NDArray[np.float64]] = []

    def goes_on(self, outcome: Outcome) -> bool:
        epochs = outcome.epochs
        curves = [curve for curve in self._finished if len(curve) > epochs]
        if epochs < GRACE_EPOCHS or epochs % 2 == 0 or len(curves) < self.FEWEST:
            return True
        partial = np.array([curve[epochs - 1] for curve in curves])
        final = np.array([curve[-1] for curve in curves])
        slope, offset = np.polyfit(partial, final, 1)
        residuals = final - (slope * partial + offset)
        spread = float(np.sqrt((residuals**2).sum() / max(1, len(curves) - 2)))
        expected = slope * self.pool.score(outcome) + offset
        threshold = np.quantile([curve[-1] for curve in self._finished], 2 / 3)
        return bool(expected + 2 * spread >= threshold)

    def ended(self, outcome: Outcome) -> None:
        super().ended(outcome)
        training = self.pool.trainings[outcome.number]
        if outcome.epochs == training.epochs:
            self._finished.append(training.scores)


class CheapFirst(Proposed):
    """The families whose trainings are cheap before all others, at random, then the sampler."""

    TRIALS = 8

    def __init__(self, pool: Pool, sampler: str, seed: int) -> None:
        cheap = [
            number
            for number, configuration in pool.configurations.items()
            if configuration["family"] == "ridge"
        ]
        drawn = random.Random(seed).sample(cheap, self.TRIALS)  # noqa: S311
        super().__init__(pool, sampler, seed, drawn)


class CostAware(Proposed):
    """Of several proposals the one that is expected to cost least, by the trials of its kind."""

    CHOICES = 3

    def __init__(self, pool: Pool, sampler: str, seed: int, first: Sequence[int] = ()) -> None:
        super().__init__(pool, sampler, seed, first)
        self._seconds: dict[str, list[float]] = {}

    def proposal(self) -> Configuration:
        proposals = [super(CostAware, self).proposal() for _ in range(self.CHOICES)]
        return min(proposals, key=self._expected)

    def _expected(self, configuration: Configuration) -> float:
        seconds = self._seconds.get(kind_of(configuration))
        return float(np.mean(seconds)) if seconds else 0.0

    def ended(self, outcome: Outcome) -> None:
        super().ended(outcome)
        kind = kind_of(self.pool.configurations[outcome.number])
        self._seconds.setdefault(kind, []).append(self.pool.seconds(outcome.number))


class ByCredit(Proposed):
    """Objective `ensemble`: the sampler is told what each trial adds to an ensemble of all."""

    def __init__(self, pool: Pool, sampler: str, seed: int, first: Sequence[int] = ()) -> None:
        super().__init__(pool, sampler, seed, first)
        self._outcomes: list[Outcome] = []
        self._due = 3.0
        self._contests = [
            Contest(
                PoolBank(pool),  # type: ignore[arg-type]
                "",
                target,
                pool.recordings,
                np.ascontiguousarray(pool.validation[:, column]),
            )
            for column, target in enumerate(pool.space.targets)
        ]

    def ended(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        for contest in self._contests:
            contest.enter([name_of(outcome)])
        if len(self._outcomes) < 3:
            self.tell(outcome, self.pool.score(outcome))
            return
        if len(self._outcomes) >= self._due:
            self._due = len(self._outcomes) * GROWTH
            values = {str(other.number): (self._value(other),) for other in self._outcomes}
            self.sampler.retell(values)
        self.tell(outcome, self._value(outcome))

    def _value(self, outcome: Outcome) -> float:
        credits = [contest.credit(name_of(outcome)) for contest in self._contests]
        return max(float(np.mean(credits)), 0.0) + TIE * self.pool.score(outcome)


class PoolBank:
    """The recorded predictions, as a bank gives them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def column(
        self, study: str, trial: str, split: str, target: str, **_: Any
    ) -> NDArray[np.float32]:
        outcome = Outcome(int(study), int(trial))
        column = self._pool.space.targets.index(target)
        return np.ascontiguousarray(self._pool.predictions(outcome, split)[:, column])


def name_of(outcome: Outcome) -> tuple[str, str]:
    """A study and a trial that stand for an outcome."""
    return str(outcome.number), str(outcome.epochs)


def kind_of(configuration: Configuration) -> str:
    """The family, of a network with its encoder."""
    return str(configuration.get("encoder", configuration["family"]))
