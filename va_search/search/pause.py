"""The pause of a search that its machine fails: it waits until the cause is gone, or its patience.

Conventions: seconds are those of a clock that only goes forward, and that stands still while the
machine sleeps. Between two looks at the cause lie growing pauses. The patience is for all pauses
between two completed trials, so that a cause which comes back at once is not waited for again and
again; a trial that is completed restores it. While the search is paused nothing new begins, and
what runs goes on if it can."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from va_search.search.failures import ADVICE, Outage

FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 2.0, 60.0
"""Between two looks at the cause; each time twice as long."""

NEVER = frozenset({"memory"})
"""Kinds of failures that waiting does not mend: a trial that needs more memory than there is, all by
itself, needs it later as well."""


@dataclass(frozen=True)
class PauseState:
    """A pause for a watcher: `reason` and `advice` in words, `since` the time of day, `seconds` it
    has lasted, and `seconds_left` before the search gives up."""

    reason: str
    advice: str
    since: str
    seconds: float
    seconds_left: float


class Pause:
    """Counts the pauses of one search, and what they cost. `patience` in seconds; 0: none."""

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.times = 0
        self.outage: Outage | None = None
        """The failure that the search is paused for; None while it is not."""
        self._patience = patience
        self._clock = clock
        self._problem = ""
        self._since = ""
        self._began = self._next_look = 0.0
        self._looks = 0  # since a trial was completed
        self._lost = 0.0  # by the pauses that are over
        self._waited = 0.0  # by those of them since a trial was completed

    @property
    def is_on(self) -> bool:
        """True while nothing new may begin."""
        return self.outage is not None

    @property
    def seconds(self) -> float:
        """Seconds that all pauses took so far."""
        return self._lost + self._lasts

    @property
    def _lasts(self) -> float:
        return self._clock() - self._began if self.is_on else 0.0

    @property
    def state(self) -> PauseState | None:
        """The pause as it is now; None while there is none."""
        if self.outage is None:
            return None
        left = max(0.0, self._patience - self._waited - self._lasts)
        return PauseState(self._problem, ADVICE[self.outage.kind], self._since, self._lasts, left)

    @property
    def reason_to_end(self) -> str | None:
        """The reason to give up once the patience is at an end; None before. From then on the pause
        does not end any more."""
        if self.outage is None:
            return None
        is_patient = self.outage.kind not in NEVER
        if is_patient and self._waited + self._lasts < self._patience:
            return None
        advice = ADVICE[self.outage.kind]
        waited = ""
        if is_patient and self._patience > 0:
            minutes = self._patience / 60
            waited = f"The search waited {minutes:.3g} min for it to go away (--patience). "
        return (
            f"{self._problem}\n{waited}This is the machine's failure and not the trials': none is "
            f"counted as failed, and all keep their checkpoints. {advice[0].upper()}{advice[1:]}; "
            "then the same command goes on from there."
        )

    def begin(self, outage: Outage) -> None:
        """Pause; a search that is paused already stays so, for its first cause."""
        if self.is_on:
            return
        self.outage, self._problem = outage, outage.reason
        self._began = self._clock()
        self._since = datetime.now().strftime("%H:%M:%S")
        self.times += 1
        self._plan_look()

    def _plan_look(self) -> None:
        pause = FIRST_LOOK_SECONDS * 2**self._looks
        self._next_look = self._clock() + min(pause, LONGEST_LOOK_SECONDS)
        self._looks = min(self._looks + 1, 10)

    @property
    def look_is_due(self) -> bool:
        """True when it is time to look whether the cause is gone."""
        return self.is_on and self.reason_to_end is None and self._clock() >= self._next_look

    def looked(self, problem: str) -> None:
        """Note that the cause is still there, in its newest words."""
        if self.is_on:
            self._problem = problem
            self._plan_look()

    def end(self) -> float | None:
        """Go on, and return the seconds that the pause took; None where there is none to end, or it
        came too late."""
        if not self.is_on or self.reason_to_end is not None:
            return None
        lasted = self._lasts
        self._lost += lasted
        self._waited += lasted
        self.outage = None
        return lasted

    def restore_patience(self) -> None:
        """A trial was completed: whatever fails next is another matter."""
        if not self.is_on:
            self._waited = 0.0
            self._looks = 0
