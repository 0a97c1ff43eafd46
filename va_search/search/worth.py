"""The worth of going on: CCC that the ensemble of a study's trials is expected to gain in a further
hour of searching.

Conventions: an estimate is made anew each time the study has grown by `GROWTH`, but not before
`REST` times the seconds that the last one took; so it costs a search at most two hundredths of its
time, unless the budget goes by it. An hour is one of searching, with the trials per hour that the
study had so far. The last estimate stands in studies/<study>/worth.json, and is that of a search
that resumes until the study has grown."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

from va_search.errors import InputError, JobError
from va_search.files import read_json, write_json
from va_search.search.outcomes import GROWTH

LOG = logging.getLogger(__name__)

FEWEST = 24
"""Of fewer trials nothing is estimated: ensembles still gained more then than was estimated
(benchmarks/worth.py)."""
REST = 50
HOUR = 3600.0


@dataclass(frozen=True)
class Gain:
    """CCC that the ensemble is expected to gain in a further hour, with a low and a high value of
    it (8 of 10 random orders of the trials lie between); `score` is what the ensemble of all
    `trials` has, out-of-fold."""

    expected: float
    low: float
    high: float
    score: float
    trials: int

    @property
    def text(self) -> str:
        """The gain in words."""
        return (
            f"about {self.expected:.4f} CCC (.1 to .9 quantile: {self.low:.4f} to {self.high:.4f}) "
            "in a further hour"
        )


Prospect = Callable[[Sequence[tuple[str, str]], float], Gain | None]
"""Estimates the gain of the ensemble of trials, given as (study, trial), by so many more of them;
None where they are too few or not validated."""


class Worth:
    """Estimates of one study, and whether the `limit` of its budget is reached."""

    def __init__(self, folder: Path, limit: float | None, prospect: Prospect | None) -> None:
        self._file = folder / "worth.json"
        self._limit = limit
        self._prospect = prospect
        self._due = float(FEWEST)
        self._not_before = 0.0
        self._noted = last_gain(folder)
        self.gain: Gain | None = None

    def is_due(self, trials: int) -> bool:
        """Return False where `consider` would do nothing with so many trials; cheap to ask for each
        of them."""
        return self._noted is not None or (self._prospect is not None and trials >= self._due)

    def consider(self, trials: Sequence[tuple[str, str]], seconds: float) -> None:
        """Estimate anew if it is time to: these trials are complete after so many seconds of
        searching."""
        if self._noted is not None and self._noted.trials <= len(trials):
            # To read all trials again for what is known already may take minutes.
            self.gain, self._due = self._noted, max(FEWEST, self._noted.trials * GROWTH)
        self._noted = None
        began = time.monotonic()
        is_time = self._limit is not None or began >= self._not_before
        if self._prospect is None or len(trials) < self._due or not is_time or seconds <= 0:
            return
        self._due = len(trials) * GROWTH
        try:
            gain = self._prospect(trials, len(trials) * HOUR / seconds)
        except (InputError, ValueError, OSError) as error:
            # An estimate is no reason to end a search.
            LOG.warning("the worth of a further hour can't be estimated: %s", error)
            return
        self._not_before = time.monotonic() + REST * (time.monotonic() - began)
        if gain is not None:
            self.gain = gain
            with suppress(OSError, JobError):  # a full disk: noted the next time
                write_json(self._file, asdict(gain))

    @property
    def reached(self) -> str | None:
        """The reason for which the study is over; None while a further hour is worth it."""
        if self.gain is None or self._limit is None or self.gain.expected >= self._limit:
            return None
        return (
            f"the ensemble would gain {self.gain.text}, less than budget.worth {self._limit:g}; "
            "with a lower one, search again goes on"
        )


def last_gain(folder: Path) -> Gain | None:
    """Return the estimate that a search noted last in a study's folder; None where there is none."""
    with suppress(InputError, TypeError):
        gain = Gain(**read_json(folder / "worth.json"))
        if all(math.isfinite(number) for number in astuple(gain)):
            return gain
    return None
