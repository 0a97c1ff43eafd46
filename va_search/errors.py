"""Every error the tool raises on purpose, as one tree; the command line maps it to exit codes.

VaSearchError          1   the job failed
├── InputError         2   what the user gave is wrong (all problems at once)
├── JobError           1   the job could not be finished
├── TimeIsUp           3   the wall time of `--stop-after` is spent, state saved
└── Interrupted      130   stopped by the user, state saved
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VaSearchError(Exception):
    """Root of the tree; `exit_code` is what a script sees."""

    exit_code = 1


class InputError(VaSearchError):
    """Wrong input. Each problem says where, what was found, what was expected and what is allowed."""

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


def unknown_name(what: str, name: object, known: Iterable[str]) -> str:
    """Message for a name that is on no menu: answers with the known ones and the nearest."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {name!r}{hint} (known: {', '.join(names) or 'none'})"
