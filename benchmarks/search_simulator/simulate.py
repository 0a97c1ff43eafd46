"""One search replayed: trials side by side, each costing what it cost when it was recorded.

Conventions: times are core-seconds of a core; `CONCURRENT` cores work side by side. A strategy says
which configuration begins next and, after each epoch, whether a trial goes on; it sees what a
search sees: scores of the people who validate, and seconds."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Protocol

from search_simulator.pool import Outcome, Pool

CONCURRENT = 2


class Strategy(Protocol):
    """Decides what a search does."""

    def next(self) -> Outcome | None:
        """Return a configuration to train, from the epochs it has; None where there is none now."""

    def goes_on(self, outcome: Outcome) -> bool:
        """Hear of a trial after an epoch that is not its last; False to stop it there."""

    def ended(self, outcome: Outcome) -> None:
        """Hear of a trial that ended, stopped or trained to its end."""


@dataclass(frozen=True)
class Ended:
    """A trial that ended, and the core-seconds that all cores had spent by then."""

    spent: float
    outcome: Outcome


def replay(pool: Pool, strategy: Strategy, budget: float) -> list[Ended]:
    """Run a strategy until so many core-seconds are spent; return what had ended by then, in order.

    Trials that run at the end are not counted."""
    ended: list[Ended] = []
    # (time, order of arrival, the trial after the epoch that ends then)
    events: list[tuple[float, int, Outcome]] = []
    arrivals = 0

    def begin(time: float, outcome: Outcome) -> None:
        """Train an outcome's next epoch on a free core from this time on."""
        nonlocal arrivals
        seconds = pool.trainings[outcome.number].seconds
        spent = 0.0
        if outcome.epochs > 0:
            spent = float(seconds[outcome.epochs - 1])
        end = time + float(seconds[outcome.epochs]) - spent
        arrivals += 1
        trained = Outcome(outcome.number, outcome.epochs + 1)
        heapq.heappush(events, (end, arrivals, trained))

    def fill(time: float) -> None:
        """Begin trials on the cores that are free, as long as the strategy has some."""
        while len(events) < CONCURRENT:
            outcome = strategy.next()
            if outcome is None:
                return
            begin(time, outcome)

    fill(0.0)
    while events:
        time, _, outcome = heapq.heappop(events)
        # All cores are paid for until this moment, busy or not.
        spent = CONCURRENT * time
        if spent > budget:
            break
        # The strategy is asked after each epoch but the last; a trial that ended frees its core.
        is_last = outcome.epochs == pool.trainings[outcome.number].epochs
        if not is_last and strategy.goes_on(outcome):
            begin(time, outcome)
        else:
            strategy.ended(outcome)
            ended.append(Ended(spent, outcome))
            fill(time)
    return ended


def latest(ended: list[Ended], spent: float) -> list[Outcome]:
    """Return the trials that had ended by then; of one that was gone on with, its last outcome."""
    # Later outcomes of a number replace its earlier ones.
    by_number: dict[int, Outcome] = {}
    for trial in ended:
        if trial.spent <= spent:
            by_number[trial.outcome.number] = trial.outcome
    return list(by_number.values())
