"""The strategies that are compared: the package's own samplers and rungs where it has them.

A proposal is mapped to the nearest recorded configuration that is left (`pool.Nearest`), and the
sampler is told of that one. TPE and early stopping see the trials' scores as a search does."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Search:
    """A search to be simulated: its pool, sampler and seed, and the numbers of the configurations
    that come before any proposal."""

    pool: Pool
    sampler: str
    seed: int
    portfolio: Sequence[int] = ()


class Proposed:
    """Trials that a sampler proposes, each trained to its end."""

    def __init__(self, search: Search) -> None:
        self.pool = search.pool
        self.nearest = Nearest(search.pool.space, search.pool.configurations)
        self.sampler = Sampler(search.pool.space, search.sampler, search.seed)
        self._portfolio = list(search.portfolio)

    def next(self) -> Outcome | None:
        if not self.nearest.left:
            return None
        # An entry of the portfolio may be gone, or not recorded here.
        while self._portfolio:
            number = self._portfolio.pop(0)
            if self.nearest.take_number(number):
                return Outcome(number, 0)
        number = self.nearest.take(self.proposal())
        return Outcome(number, 0)

    def proposal(self) -> Configuration:
        """Return the sampler's next configuration."""
        asked, proposed = self.sampler.ask()
        # Nothing is told of the proposal itself: its values are those of the recorded neighbour.
        self.sampler.tell(asked, {})
        return proposed

    def goes_on(self, outcome: Outcome) -> bool:
        return True

    def ended(self, outcome: Outcome) -> None:
        self.tell(outcome, self.pool.score(outcome))

    def tell(self, outcome: Outcome, value: float) -> None:
        """Tell the sampler of a recorded configuration and its value."""
        configuration = self.pool.configurations[outcome.number]
        self.sampler.add(configuration, {str(outcome.number): (value,)})


class Gp(Proposed):
    """Proposals of a Gaussian process over the settings that all configurations share."""

    def __init__(self, search: Search) -> None:
        super().__init__(search)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.sampler.study.sampler = optuna.samplers.GPSampler(seed=search.seed)


class Grid(Proposed):
    """The space in grid order, of a range of floats its two ends."""

    def __init__(self, search: Search) -> None:
        super().__init__(search)
        self._grid = search.pool.space.combinations()

    def proposal(self) -> Configuration:
        return next(self._grid)


class Halved(Proposed):
    """Trials stopped early by successive halving, as the package does it."""

    def __init__(self, search: Search) -> None:
        super().__init__(search)
        self._rungs = Rungs(GRACE_EPOCHS, REDUCTION_FACTOR, (SCORE,))

    def goes_on(self, outcome: Outcome) -> bool:
        best = {SCORE: self.pool.score(outcome)}
        return not self._rungs.behind(str(outcome.number), outcome.epochs, best)


class Promoted(Proposed):
    """Successive halving that can go back: every trial pauses at a rung; whenever a core is free,
    the best paused trial that belongs to the best third of its rung is gone on with, else a new one
    begins (ASHA's promotion variant, Li et al. 2020)."""

    def __init__(self, search: Search) -> None:
        super().__init__(search)
        self._reached: dict[int, dict[int, float]] = {}
        self._promoted: dict[int, set[int]] = {}
        self._told: set[int] = set()

    def goes_on(self, outcome: Outcome) -> bool:
        if outcome.epochs not in (GRACE_EPOCHS, GRACE_EPOCHS * REDUCTION_FACTOR):
            return True
        # Paused until it is promoted, if ever.
        rung = self._reached.setdefault(outcome.epochs, {})
        rung[outcome.number] = self.pool.score(outcome)
        return False

    def next(self) -> Outcome | None:
        # The highest rung first: its trials are nearest to their end.
        for rung in sorted(self._reached, reverse=True):
            reached = self._reached[rung]
            promoted = self._promoted.setdefault(rung, set())
            ranked = sorted(reached, key=lambda number: -reached[number])
            best_third = ranked[: len(ranked) // REDUCTION_FACTOR]
            for number in best_third:
                if number not in promoted:
                    promoted.add(number)
                    return Outcome(number, rung)
        return super().next()

    def ended(self, outcome: Outcome) -> None:
        # A pause ends a trial for the sampler, which hears anew of one that was promoted.
        if outcome.number in self._told:
            score = self.pool.score(outcome)
            self.sampler.retell({str(outcome.number): (score,)})
        else:
            self._told.add(outcome.number)
            super().ended(outcome)


class Extrapolated(Proposed):
    """Trials stopped where the study's own finished curves say that they won't be good: a least
    squares line from the score after an epoch to the final one, over the finished trials with as
    many epochs; stopped when the expected final score plus two standard deviations of the line's
    residuals is below the best third of the finished ones."""

    FEWEST = 5

    def __init__(self, search: Search) -> None:
        super().__init__(search)
        self._finished: list[NDArray[np.float64]] = []

    def goes_on(self, outcome: Outcome) -> bool:
        epochs = outcome.epochs
        # Looked at after every second epoch from the grace period on.
        if epochs < GRACE_EPOCHS or epochs % 2 == 0:
            return True
        # Curves of trials as short as this one's part say nothing of what follows.
        curves = [curve for curve in self._finished if len(curve) > epochs]
        if len(curves) < self.FEWEST:
            return True
        # A line from the score after so many epochs to the final one, and its residuals' spread.
        partial = np.array([curve[epochs - 1] for curve in curves])
        final = np.array([curve[-1] for curve in curves])
        slope, offset = np.polyfit(partial, final, 1)
        residuals = final - (slope * partial + offset)
        freedom = max(1, len(curves) - 2)
        spread = float(np.sqrt((residuals**2).sum() / freedom))
        expected = slope * self.pool.score(outcome) + offset
        finals = [curve[-1] for curve in self._finished]
        threshold = np.quantile(finals, 2 / 3)
        return bool(expected + 2 * spread >= threshold)

    def ended(self, outcome: Outcome) -> None:
        super().ended(outcome)
        training = self.pool.trainings[outcome.number]
        if outcome.epochs == training.epochs:
            self._finished.append(training.scores)


class CheapFirst(Proposed):
    """The families whose trainings are cheap before all others, at random, then the sampler."""

    TRIALS = 8

    def __init__(self, search: Search) -> None:
        cheap: list[int] = []
        for number, configuration in search.pool.configurations.items():
            if configuration["family"] == "ridge":
                cheap.append(number)
        drawn = random.Random(search.seed).sample(cheap, self.TRIALS)  # noqa: S311
        super().__init__(replace(search, portfolio=drawn))


class CostAware(Proposed):
    """Of several proposals the one that is expected to cost least, by the trials of its kind."""

    CHOICES = 3

    def __init__(self, search: Search) -> None:
        super().__init__(search)
        self._seconds: dict[str, list[float]] = {}

    def proposal(self) -> Configuration:
        proposals: list[Configuration] = []
        for _ in range(self.CHOICES):
            proposals.append(super().proposal())
        return min(proposals, key=self._expected)

    def _expected(self, configuration: Configuration) -> float:
        """Return the mean core-seconds of the trials of its kind; 0 where there is none yet."""
        seconds = self._seconds.get(kind_of(configuration))
        if not seconds:
            return 0.0
        return float(np.mean(seconds))

    def ended(self, outcome: Outcome) -> None:
        super().ended(outcome)
        kind = kind_of(self.pool.configurations[outcome.number])
        seconds = self._seconds.setdefault(kind, [])
        seconds.append(self.pool.seconds(outcome.number))


class ByCredit(Proposed):
    """Objective `ensemble`: the sampler is told what each trial adds to an ensemble of all."""

    def __init__(self, search: Search) -> None:
        super().__init__(search)
        self._outcomes: list[Outcome] = []
        self._due = 3.0
        self._contests: list[Contest] = []
        bank: Any = PoolBank(self.pool)
        for column, target in enumerate(self.pool.space.targets):
            annotation = np.ascontiguousarray(self.pool.validation[:, column])
            contest = Contest(bank, "", target, self.pool.recordings, annotation)
            self._contests.append(contest)

    def ended(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        for contest in self._contests:
            contest.enter([name_of(outcome)])
        # With fewer there is no ensemble to speak of.
        if len(self._outcomes) < 3:
            self.tell(outcome, self.pool.score(outcome))
            return
        # Every trial's value changes as the ensemble grows: told anew when it has grown enough.
        if len(self._outcomes) >= self._due:
            self._due = len(self._outcomes) * GROWTH
            values: dict[str, tuple[float, ...]] = {}
            for earlier in self._outcomes:
                values[str(earlier.number)] = (self._value(earlier),)
            self.sampler.retell(values)
        self.tell(outcome, self._value(outcome))

    def _value(self, outcome: Outcome) -> float:
        """Return an outcome's credit, mean over targets; ties go by the score."""
        credits = [contest.credit(name_of(outcome)) for contest in self._contests]
        credit = max(float(np.mean(credits)), 0.0)
        return credit + TIE * self.pool.score(outcome)


class PoolBank:
    """The recorded predictions, as a bank gives them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def column(
        self, study: str, trial: str, split: str, target: str, **_: Any
    ) -> NDArray[np.float32]:
        outcome = Outcome(int(study), int(trial))
        column = self._pool.space.targets.index(target)
        predictions = self._pool.predictions(outcome, split)
        return np.ascontiguousarray(predictions[:, column])


def name_of(outcome: Outcome) -> tuple[str, str]:
    """Return a study and a trial that stand for an outcome."""
    return str(outcome.number), str(outcome.epochs)


def kind_of(configuration: Configuration) -> str:
    """Return the family; of a network its encoder."""
    return str(configuration.get("encoder", configuration["family"]))
