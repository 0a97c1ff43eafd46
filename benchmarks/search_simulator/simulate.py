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
        """A configuration to train, from the epochs it has; None where there is none now."""

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
        nonlocal arrivals
        seconds = pool.trainings[outcome.number].seconds
        before = float(seconds[outcome.epochs - 1]) if outcome.epochs else 0.0
        after = time + float(seconds[outcome.epochs]) - before
        arrivals += 1
        heapq.heappush(events, (after, arrivals, Outcome(outcome.number, outcome.epochs + 1)))

    def fill(time: float) -> None:
        while len(events) < CONCURRENT:
            outcome = strategy.next()
            if outcome is None:
                return
            begin(time, outcome)

    fill(0.0)
    while events:
        time, _, outcome = heapq.heappop(events)
        if CONCURRENT * time > budget:
            break
        is_last = outcome.epochs == pool.trainings[outcome.number].epochs
        if not is_last and strategy.goes_on(outcome):
            begin(time, outcome)
        else:
            strategy.ended(outcome)
            ended.append(Ended(CONCURRENT * time, outcome))
            fill(time)
    return ended


def latest(ended: list[Ended], spent: float) -> list[Outcome]:
    """Return the trials that had ended by then; of one that was gone on with, its last outcome."""
    by_number = {entry.outcome.number: entry.outcome for entry in ended if entry.spent <= spent}
    return list(by_number.values())
