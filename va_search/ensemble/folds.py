"""Folds of recordings for honest scores: what must not be torn apart stays together.

Conventions: the recordings of one subject, and those of one video, stay together in a fold, for a
model that has seen a subject's labels knows the subject. Where videos connect every subject with
every other (all watched the same clips) keeping both together leaves one group, and subjects alone
are kept together. Folds are made from names and counts only, with no random number, so they repeat.

Where members were trained without the clips that they are scored on, weights are chosen without
them, too: people are divided into parts, and stimuli are, and a fold is the recordings of one part
of people and one part of stimuli (a cell). What is judged there is chosen without the recordings
that share these people or these stimuli.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from va_search.data.grouping import kept_together
from va_search.data.store import Recording

FOLDS = 5
CROSSED = 3
"""Parts of people, and of stimuli, at most: of 3 times 3 cells a choice sees four, and one with
another cell left out sees one."""
Group = tuple[int, ...]
"""Indexes of recordings that are kept together."""


@dataclass(frozen=True)
class Folds:
    """`parts` hold indexes of recordings; no parts where judging out-of-fold is impossible, and
    then `reason` says why.

    `kept_together`: what never stands in two parts, in words. `groups`: the recordings (indexes,
    labelled ones) that are kept together, so what is independent of each other. `cells`: of each
    part, its number of people and its number of stimuli, where they are held apart both; a fit
    without a part sees no part that shares one of the two numbers with it. `stimuli_seen`: stimuli
    were to be held apart, and could not be: a fit has seen labels of those that it is judged on."""

    parts: tuple[Group, ...]
    kept_together: str
    reason: str | None = None
    groups: tuple[Group, ...] = ()
    cells: tuple[tuple[int, int], ...] = ()
    stimuli_seen: bool = False

    def left_out(self, without: Iterable[int]) -> list[int]:
        """Return the recordings (indexes) that a fit without these parts does not see: theirs, and
        those that share people or stimuli with them."""
        hidden = set(without)
        recordings: list[int] = []
        for part, indexes in enumerate(self.parts):
            if part in hidden or self._shares(part, hidden):
                recordings += indexes
        return recordings

    def judged(self, without: Iterable[int]) -> list[int]:
        """Return the parts that a fit without the parts `without` can still be judged on: they
        share nothing with those, and leave something to fit on when they are left out as well."""
        hidden = set(without)
        parts = [part for part in range(len(self.parts)) if part not in hidden]
        if not self.cells:
            return parts
        labelled = sum(map(len, self.parts))
        judged = []
        for part in parts:
            leaves_some = len(self.left_out(hidden | {part})) < labelled
            if leaves_some and not self._shares(part, hidden):
                judged.append(part)
        return judged

    @property
    def independent_parts(self) -> list[Group]:
        """Parts, those of the same people together."""
        if not self.cells:
            return list(self.parts)
        of_people: dict[int, Group] = {}
        for (people, _), part in zip(self.cells, self.parts, strict=True):
            of_people[people] = of_people.get(people, ()) + part
        return list(of_people.values())

    def _shares(self, part: int, parts: set[int]) -> bool:
        """Return True if the part has its people or its stimuli in common with one of these."""
        if not self.cells:
            return False
        people, stimuli = self.cells[part]
        return any(
            self.cells[index][0] == people or self.cells[index][1] == stimuli for index in parts
        )

    def within(self, recordings: Sequence[int]) -> Folds:
        """Return these folds with some of the recordings (indexes): those with labels of one target.

        Parts without any go; no part is left where fewer than two have some."""
        labelled = set(recordings)
        groups = _within(self.groups, labelled)
        if groups == self.groups:
            return self
        inside = [index for index, part in enumerate(self.parts) if labelled.intersection(part)]
        cells = tuple(self.cells[index] for index in inside) if self.cells else ()
        folds = replace(self, parts=_within(self.parts, labelled), groups=groups, cells=cells)
        if len(folds.parts) < 2 or len(folds.judged(())) < len(folds.parts):
            return replace(folds, parts=(), cells=(), reason=self.reason or ONE_PART)
        return folds


ONE_PART = "its labelled recordings are all in one fold: nothing is left to select on"
"""Why a target has no parts where others have some."""


def _within(sets: Sequence[Sequence[int]], indexes: set[int]) -> tuple[Group, ...]:
    """The part of each set that is among the indexes, without empty ones."""
    inside = []
    for members in sets:
        common = tuple(index for index in members if index in indexes)
        if common:
            inside.append(common)
    return tuple(inside)


def make_folds(
    recordings: Sequence[Recording],
    labelled: Sequence[int] | NDArray[np.intp],
    at_most: int = FOLDS,
    *,
    unseen_stimuli: bool = False,
) -> Folds:
    """At most `at_most` folds with about equally many labelled frames; one subject a fold when
    subjects are fewer.

    `labelled`: labelled frames (recording,) or, of several targets, (recording, targets), each of
    which is spread over the folds; recordings without any are in no fold. `unseen_stimuli`: members
    were trained without the stimuli that they are scored on, so that weights are chosen without
    them, where there are stimuli enough."""
    counts = np.asarray(labelled, dtype=np.int64).reshape(len(recordings), -1)
    used = np.flatnonzero(counts.any(axis=1)).tolist()
    groups, together = kept_together(recordings, used)
    if len(groups) < 2:
        labels = "the labelled recordings of one subject"
        if len(used) == 1:
            labels = "one labelled recording"
        reason = f"only {labels} in validation: nothing is left to select on"
        return Folds((), together, reason, tuple(groups))
    if unseen_stimuli and _share_stimuli(recordings, groups):
        folds = _without_shared_stimuli(recordings, used, counts, at_most)
        if folds is not None:
            return folds
    parts = _divided(recordings, groups, counts, min(at_most, len(groups)))
    folds = Folds(tuple(parts), together, None, tuple(groups))
    return replace(folds, stimuli_seen=unseen_stimuli and _share_stimuli(recordings, parts))


def _share_stimuli(recordings: Sequence[Recording], sets: Sequence[Group]) -> bool:
    """Return True if two of the sets have recordings of the same stimulus."""
    seen: set[str | None] = set()
    for indexes in sets:
        stimuli = {recordings[index].stimulus for index in indexes}
        if not seen.isdisjoint(stimuli):
            return True
        seen |= stimuli
    return False


def _without_shared_stimuli(
    recordings: Sequence[Recording], used: Sequence[int], counts: NDArray[np.int64], at_most: int
) -> Folds | None:
    """Return folds of which no two have people or stimuli in common or, where everybody is
    connected with everybody by what was watched, cells; None where there are too few stimuli."""
    both, together = kept_together(recordings, used, ("subject", "stimulus"))
    if len(both) >= 2:
        parts = _divided(recordings, both, counts, min(at_most, len(both)))
        return Folds(tuple(parts), together, None, tuple(both))
    people, _ = kept_together(recordings, used, ("subject",))
    stimuli, _ = kept_together(recordings, used, ("stimulus",))
    if len(stimuli) < 2:
        return None
    of_people = _divided(recordings, people, counts, min(CROSSED, len(people)))
    of_stimuli = _divided(recordings, stimuli, counts, min(CROSSED, len(stimuli)))
    parts, cells = [], []
    for row, some_people in enumerate(of_people):
        for column, some_stimuli in enumerate(of_stimuli):
            cell = tuple(sorted(set(some_people).intersection(some_stimuli)))
            if cell:
                parts.append(cell)
                cells.append((row, column))
    folds = Folds(tuple(parts), "subject or stimulus", None, tuple(people), tuple(cells))
    return folds if len(folds.judged(())) == len(parts) else None


def _divided(
    recordings: Sequence[Recording],
    groups: Sequence[Group],
    counts: NDArray[np.int64],
    number: int,
) -> list[Group]:
    """Return the groups divided into so many parts with about equally many labelled frames of each
    target; `counts` (recording, target)."""
    size = {group: counts[list(group)].sum(axis=0) for group in groups}  # (targets,) frames
    parts: list[list[int]] = [[] for _ in range(number)]
    total = np.maximum(counts.sum(axis=0), 1)
    load = np.zeros((number, counts.shape[1]), dtype=np.int64)
    for group in sorted(groups, key=lambda group: (-size[group].sum(), recordings[group[0]].name)):
        # The part with the least share of those targets that the group has labels of.
        shared = (load / total * (size[group] / total)).sum(axis=1)
        lightest = int(np.lexsort((load.sum(axis=1), shared))[0])
        parts[lightest] += group
        load[lightest] += size[group]
    return [tuple(sorted(part)) for part in parts]
