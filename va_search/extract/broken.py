"""Recordings that are broken: what is told of them, and how a store is made without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from va_search.data.draft import Draft
from va_search.data.problems import refuse
from va_search.extract.recording import Outcome
from va_search.extract.sources import Job


@dataclass(frozen=True)
class Broken:
    """What is wrong with recordings: with videos that can't be read, and what came of extracting
    the others."""

    jobs: Sequence[Job]
    unread: Mapping[Path, list[str]]
    outcomes: Sequence[Outcome]

    @property
    def problems(self) -> list[str]:
        """All of them, a video's once."""
        return [
            one
            for told in (*self.unread.values(), *(o.problems for o in self.outcomes))
            for one in told
        ]

    @property
    def can_go(self) -> bool:
        """Whether a store can be made without them: predictions of test recordings are asked for,
        and where a process died the recording need not be to blame."""
        died = any(outcome.died for outcome in self.outcomes)
        return not died and all(job.split != "test" for job in self.jobs if job.name in self._told)

    @property
    def _told(self) -> dict[str, Sequence[str]]:
        """Problems by recording."""
        told: dict[str, Sequence[str]] = {
            job.name: self.unread[job.video] for job in self.jobs if job.video in self.unread
        }
        return told | {outcome.name: outcome.problems for outcome in self.outcomes}

    def taken_out_of(self, draft: Draft) -> Draft:
        """The draft without them, which says so; InputError where nothing is left."""
        rest = [one for one in draft.recordings if one.name not in self._told]
        if not rest:
            refuse(self.problems)
        left = Draft(draft.to, draft.description, rest)
        left.left_out = sorted(self._told)
        left.remarks = draft.remarks + [
            f"recording {name!r} is left out: {problem.removeprefix(f'recording {name!r}: ').splitlines()[0]}"
            for name, problems in self._told.items()
            for problem in problems
        ]
        return left

    def advice(self, draft: Draft, *, adding: bool) -> str:
        """The way out of a refusal."""
        done = len(draft.recordings) - len(draft.missing())
        kept = f"{done} of {len(self.jobs)} recordings are extracted and kept in {draft.folder}; put the others right"
        if adding:  # to a store whose recordings are what they are
            return f"{kept}, and the same command goes on; to do without them, extract all into another store"
        if self.can_go:
            return f"{kept}, or add --leave-out-broken, and the same command goes on"
        return f"{kept}, and the same command goes on (test recordings, and those at which a process died, stay)"
