"""The budget of a study: how many trials, hours, and trials without a better one; and the time that
is spent.

Conventions: hours count whenever a search of the study runs, over all its runs. Trials count in the
order in which they were completed, whichever run that was; of two that share a time, the one with
the smaller id comes first. Better means above every earlier one. A trial without an objective
(train_val_mix) is not counted."""

from __future__ import annotations

import logging
import math
import time
from bisect import bisect_left, insort
from collections.abc import Sequence

from va_search.errors import JobError, counted
from va_search.search.configurations import Space
from va_search.search.study import Study

LOG = logging.getLogger(__name__)

TIME_SPENT = "the budget's hours are spent; with more of them, search again goes on"


class Improvement:
    """The objectives of a study's finished trials, by time."""

    def __init__(self) -> None:
        self._finished: list[tuple[str, str, float]] = []
        self._best: tuple[str, str, float] | None = None
        self.since_best = 0

    def add(self, finished_at: str, trial: str, value: float | None) -> None:
        """Count a finished trial; `since_best` then is the number of trials completed after the
        best one."""
        if value is None:
            return
        finished = (finished_at, trial, value)
        insort(self._finished, finished)
        if self._best is None or value > self._best[2]:
            self._best = finished
        elif value == self._best[2]:
            # Of equally good ones the earliest is the best: what came later brought nothing.
            self._best = min(self._best, finished)
        self.since_best = len(self._finished) - 1 - bisect_left(self._finished, self._best)


class StudyBudget:
    """Limits of what a study may spend, and the time that this run has taken of it."""

    def __init__(self, study: Study, space: Space, spent: float) -> None:
        """`spent`: seconds of the study's earlier runs."""
        self._study = study
        self._limits = space.budget
        self._objective = space.objective
        self._spent = spent
        self._started = time.monotonic()
        self._noted = 0.0
        self.trials = space.budget_trials
        self.planned = planned_trials(space)
        self.improvement = Improvement()

    @property
    def elapsed(self) -> float:
        """Seconds since this run began."""
        return time.monotonic() - self._started

    @property
    def is_out_of_time(self) -> bool:
        """True once the hours of the budget are spent."""
        hours = self._limits.hours
        return hours is not None and self._spent + self.elapsed >= hours * 3600

    @property
    def exhausted(self) -> str | None:
        """The reason for which no further trial may begin, however many are left; None while one
        may."""
        if self.is_out_of_time:
            return TIME_SPENT
        most = self._limits.no_improvement
        since_best = self.improvement.since_best
        if most is not None and since_best >= most:
            trials = counted(since_best, "trial")
            return f"no better {self._objective} in {trials} (budget.no_improvement)"
        return None

    def note_time(self) -> None:
        """Keep the time this run took so far with the study, so that a kill gives none of it back
        to the budget."""
        elapsed = self.elapsed
        try:
            self._study.spend(elapsed - self._noted)
        except (OSError, JobError) as error:
            # A full disk: noted the next time, and no reason to hide another error.
            LOG.warning("the time of study %s is not noted: %s", self._study.name, error)
            return
        self._noted = elapsed

    def leave_time(self) -> None:
        """Take the time of this run so far as noted: by another process that searches the study."""
        self._noted = self.elapsed

    def seconds_left(self, settled: int, seconds: Sequence[float], concurrent: int) -> float | None:
        """Return an estimate for the whole search; None while nothing tells.

        `settled`: trials that are complete or have failed; `seconds`: what trials of this run took.
        The hours of the budget are no estimate, but they end what would take longer."""
        hours = self._limits.hours
        within = math.inf
        if hours is not None:
            within = max(0.0, hours * 3600 - self._spent - self.elapsed)
        if self.planned is None:
            return None if hours is None else within  # nothing but time ends it
        if not seconds:
            return None
        mean = sum(seconds) / len(seconds)
        to_come = max(0, self.planned - settled)
        return min(within, to_come * mean / min(concurrent, max(1, to_come)))


def planned_trials(space: Space) -> int | None:
    """Return the number of trials of a whole search; None where only time bounds it."""
    bounds = [
        bound for bound in (space.budget_trials, space.number_of_trials()) if bound is not None
    ]
    return min(bounds) if bounds else None
