"""The trials of a study that is searched by several processes, as one of them sees those of the
others.

What others ask for joins this process's own list: it is claimed by who trains it, so here it waits
until it is complete or has failed, and the sampler then learns from it. A trial whose process was
killed is claimed by nobody and trained here. All processes propose from the same seed; so they walk
the same order, each taking what is not taken, and come apart as far as their samplers learn in
another order."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from va_search.errors import InputError
from va_search.files import checked_name, read_json
from va_search.locks import is_on_one_machine
from va_search.search.earlier_runs import EarlierRuns
from va_search.search.proposals import AskedTrial
from va_search.search.searchers import Searchers
from va_search.search.study import Study
from va_search.trial import Trial, TrialState

LOOK_SECONDS = 2.0
"""So often the others' trials are looked at."""

PAUSE_SECONDS = 0.5
"""So long nothing is asked for after all that is left turned out to be claimed by others."""


class SharedSearch:
    """The others' trials, for the scheduler of this process."""

    def __init__(
        self, study: Study, searchers: Searchers, earlier_runs: EarlierRuns, *, joined: bool
    ) -> None:
        """`joined`: others search the study already. What failed before is then not tried again:
        the one that came first does."""
        self._study, self.searchers, self._earlier_runs = study, searchers, earlier_runs
        self._failures_before = {} if joined else self._failure_times()
        self._looked = 0.0
        self._asks_again = 0.0

    @property
    def leads(self) -> bool:
        """True where this process counts the hours."""
        return self.searchers.leads

    @property
    def pauses(self) -> bool:
        """True while there is no use in asking again."""
        return time.monotonic() < self._asks_again

    def pause(self) -> None:
        """Ask for nothing for a moment."""
        self._asks_again = time.monotonic() + PAUSE_SECONDS

    @contextmanager
    def turn(self) -> Iterator[list[AskedTrial]]:
        """Context in which no other process draws a trial; yields what others asked for since."""
        with self.searchers.turn():
            yield self._earlier_runs.asked_since()

    def is_due(self) -> bool:
        """Return True where the others' trials are to be looked at again."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return False
        self._looked = time.monotonic()
        return True

    def failed_elsewhere(self, trial: str) -> Trial | None:
        """Return the failure of a trial in another process, while this one searches; None where
        there is none."""
        path = self._failure(trial)
        with suppress(OSError, InputError, ValueError):
            if path.stat().st_mtime_ns != self._failures_before.get(trial):
                record = Trial.from_json(read_json(path))
                return record if record.state is TrialState.FAILED else None
        return None

    def look_afresh(self, trial: str) -> None:
        """Have the next look at a trial's folder ask the file server: NFS remembers for up to a
        minute that a file is not there, unless its folder changes."""
        folder = self._study.bank.folder(self._study.name, trial)
        if is_on_one_machine(self._study.home.root):
            return
        for path in (folder.parent.parent, folder.parent, folder):
            with suppress(OSError):
                os.utime(path)

    def _failure(self, trial: str) -> Path:
        return self._study.folder / "failures" / f"{checked_name(trial, 'trial')}.json"

    def _failure_times(self) -> dict[str, int]:
        times = {}
        for path in (self._study.folder / "failures").glob("[!.]*.json"):
            with suppress(FileNotFoundError):
                times[path.stem] = path.stat().st_mtime_ns
        return times
