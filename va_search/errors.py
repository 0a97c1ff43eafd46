"""Errors that va-search raises on purpose, as one tree; the command line maps it to exit codes.

VaSearchError          1   the job failed
├── InputError         2   what the user gave is wrong (all problems at once)
├── JobError           1   the job could not be finished
├── TimeIsUp           3   the wall time of `--stop-after` is spent, state saved
└── Interrupted      130   stopped by the user, state saved
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection, Iterable

LOG = logging.getLogger(__name__)

WARNED: set[str] = set()
"""Warnings that this process has told: each is told once."""


class VaSearchError(Exception):
    """Root of the tree; `exit_code` is what a script sees."""

    exit_code = 1


class InputError(VaSearchError):
    """Wrong input. Each problem says where, what was found, what was expected and what is
    allowed."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class JobError(VaSearchError):
    """The input was fine and the job failed all the same (disk full, every trial failed)."""


class Interrupted(VaSearchError):
    """The user stopped the job; what was finished is saved and the message says how to go on."""

    exit_code = 130


class TimeIsUp(VaSearchError):
    """The job may take no longer; what was finished is saved and the message says how to go on."""

    exit_code = 3


def warn_once(warning: object) -> None:
    """Tell a warning that this process has not told yet."""
    if str(warning) not in WARNED:
        WARNED.add(str(warning))
        LOG.warning("%s", warning)


def unknown_name(what: str, name: object, known: Iterable[str], *, meant: str | None = None) -> str:
    """Message for a name that is on no menu, with the known ones and the nearest of them, or the
    one that is surely `meant`."""
    names = sorted(known)
    near = meant or nearest_name(str(name), names)
    hint = "" if near is None else f"; did you mean {near!r}?"
    return f"unknown {what} {name!r}{hint} (known: {', '.join(names) or 'none'})"


def nearest_name(
    name: str, known: Collection[str], *, alike: float = 0.6, most: int | None = None
) -> str | None:
    """Return the known name that is most like `name`, alike by at least `alike` (0..1); None
    without one, and where more than `most` are known."""
    if most is not None and len(known) > most:
        return None
    near = difflib.get_close_matches(name, known, n=1, cutoff=alike)
    return near[0] if near else None


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 trial`, `2 trials`, `1,000 trials`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
