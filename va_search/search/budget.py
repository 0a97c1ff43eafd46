"""The budget of a study: trials, hours, GPU-hours, money, trials without a better one; and how much
of each is spent.

Conventions: what is spent counts over all runs of the study, and over all processes that search it
at once (spending.py). Trials count in the
order in which they were completed, whichever run that was; of two that share a time, the one with
the smaller id comes first. Better means above every earlier one. A trial without an objective
(train_val_mix) is not counted."""

from __future__ import annotations

import logging
import math
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import replace

from va_search.errors import VaSearchError, counted
from va_search.search.configurations import Space
from va_search.search.spending import (
    IN_WORDS,
    TRIALS,
    Account,
    Ledger,
    Run,
    Spent,
    accounts,
    idle_bounds,
    total,
)
from va_search.search.study import Study
from va_search.search.worth import Prospect, Worth

LOG = logging.getLogger(__name__)

NOTED_SECONDS = 5.0
"""So often what is spent is noted with the study, however many trials end meanwhile. A kill gives
back so much of it, at most."""

LOOK_SECONDS = 10.0
"""So often the spending of other processes is read."""

SHORT_TRIAL = 1.0
"""Seconds; of a shorter trial's time most passes before and after its training."""

LEAST_SHORT_TRIALS = 4
"""So many short trials tell how long others take."""


class Improvement:
    """The objectives of a study's finished trials, by time."""

    def __init__(self) -> None:
        self._finished: list[tuple[str, str, float]] = []
        self._best: tuple[str, str, float] | None = None
        self.since_best = 0

    @property
    def best(self) -> float | None:
        """The best objective; None while there is none."""
        return None if self._best is None else self._best[2]

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
    """Limits of what a study may spend, and what its runs have spent of it, this one among them."""

    def __init__(
        self,
        study: Study,
        space: Space,
        spent: float,
        prospect: Prospect | None = None,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        """`spent`: seconds of the study's earlier runs. `prospect`: estimates what the ensemble may
        gain. `leads`: tells whether this process is the one of several whose time the study counts."""
        self._study = study
        self._leads = leads
        self._limits = space.budget
        self._objective = space.objective
        self._started = self._accrued_at = self._noted_at = time.monotonic()
        self._ledger = Ledger(study.folder / "spent")
        self._others = self._ledger.runs()
        self._looked_at = self._started
        # Runs of versions that kept no ledger, of which only the seconds are known.
        self._before = max(0.0, spent - total(self._others).seconds)
        self._noted = 0.0
        self._tasks = 0
        self._gpus = self._cores = 0.0
        self._gpu_seconds = self._core_seconds = 0.0
        self.trials = space.budget_trials
        self.planned = planned_trials(space)
        self.improvement = Improvement()
        self.worth = Worth(study.folder, space.budget.worth, prospect)

    # --- What is spent ----------------------------------------------------------------------------

    @property
    def elapsed(self) -> float:
        """Seconds since this run began."""
        return time.monotonic() - self._started

    def take_devices(self, gpus: float, cores: float) -> list[str]:
        """Note the GPUs and cores that each task takes from now on; return sentences on bounds that
        mean nothing with these."""
        self.accrue(self._tasks)
        self._gpus, self._cores = gpus, cores
        return idle_bounds(self._limits, gpus)

    def accrue(self, tasks: int) -> None:
        """Count the device time since the last call; from now on so many tasks run. Called whenever
        their number changes, and now and then; what is spent is then kept with the study."""
        now = time.monotonic()
        seconds = self._tasks * (now - self._accrued_at)
        self._gpu_seconds += seconds * self._gpus
        self._core_seconds += seconds * self._cores
        self._tasks, self._accrued_at = tasks, now
        if self._study.exists() and not self._leads():
            self._noted = self.elapsed  # whoever leads counts it, and should it end, not this one
        if now - self._noted_at >= NOTED_SECONDS:
            self.note_time()

    @property
    def spent(self) -> Spent:
        """The spending of the whole study until now."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._others, self._looked_at = self._ledger.runs(), now
        of_runs = total([*self._others, self._run()])
        return replace(of_runs, seconds=self._before + of_runs.seconds)

    def _run(self) -> Run:
        elapsed = self.elapsed
        return Run(time.time() - elapsed, elapsed, self._gpu_seconds, self._core_seconds)

    def note_time(self) -> None:
        """Keep what is spent so far with the study, so that a kill gives none of it back to the
        budget: in this process's own file, and in the study's seconds where it leads."""
        elapsed = self.elapsed
        self._noted_at = time.monotonic()
        if not self._study.exists():  # a home that is away is not made anew
            return
        try:
            self._ledger.note(self._run())
            if self._leads():
                self._study.spend(elapsed - self._noted)
        except (OSError, VaSearchError) as error:
            # A full disk: noted the next time, and no reason to hide another error.
            LOG.warning("the time of study %s is not noted: %s", self._study.name, error)
            return
        self._noted = elapsed

    def accounts(self, trials: int) -> list[Account]:
        """Return the study's accounts, of which so many trials are over."""
        return accounts(self._limits, self.spent, trials, self.planned)

    # --- When it is over --------------------------------------------------------------------------

    @property
    def exhausted(self) -> str | None:
        """The reason for which no further trial may begin, however many are left; None while one
        may. Trials are bounded by those that were handed out, not here."""
        for account in self.accounts(0):
            if account.name != TRIALS and account.is_exhausted:
                words = IN_WORDS[account.name]
                verb = "are" if words.endswith("s") else "is"
                more = "them" if words.endswith("s") else "it"
                return (
                    f"the budget's {words} {verb} spent; with more of {more}, search again goes on"
                )
        most = self._limits.no_improvement
        since_best = self.improvement.since_best
        if most is not None and since_best >= most:
            trials = counted(since_best, "trial")
            return f"no better {self._objective} in {trials} (budget.no_improvement)"
        return self.worth.reached

    def seconds_left(
        self, settled: float, seconds: Sequence[float], concurrent: int
    ) -> float | None:
        """Return an estimate for the whole search; None while nothing tells.

        `settled`: trials that are complete or have failed, and the parts that are done of those that
        run; `seconds`: what trials of this run took, or seem to take.
        The bounds in time, device time and money are no estimates, but they end what would take
        longer."""
        concurrent = max(1, concurrent)
        within = self._seconds_within(concurrent)
        if self.planned is None:
            return None if math.isinf(within) else within  # nothing but these ends it
        if not seconds:
            return None
        mean = sum(seconds) / len(seconds)
        to_come = max(0.0, self.planned - settled)
        if mean < SHORT_TRIAL:
            # What passes between such trials is most of their time, and only the clock tells it.
            if len(seconds) < LEAST_SHORT_TRIALS:
                return None
            return min(within, to_come * self.elapsed / len(seconds))
        return min(within, to_come * mean / min(concurrent, max(1, to_come)))

    def _seconds_within(self, concurrent: int) -> float:
        """Return the seconds until an account is exhausted with so many tasks at a time; infinite
        where none has a bound."""
        per_second = Spent(1.0, concurrent * self._gpus, concurrent * self._cores)
        pace = {account.name: account.spent for account in accounts(self._limits, per_second, 0)}
        within = math.inf
        for account in self.accounts(0):
            spent_per_second = pace[account.name]
            if account.name != TRIALS and account.left is not None and spent_per_second:
                within = min(within, account.left / spent_per_second)
        return within


def planned_trials(space: Space) -> int | None:
    """Return the number of trials of a whole search; None where only time bounds it."""
    bounds = [
        bound for bound in (space.budget_trials, space.number_of_trials()) if bound is not None
    ]
    return min(bounds) if bounds else None
