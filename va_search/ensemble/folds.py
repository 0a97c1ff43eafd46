"""Folds of recordings for honest scores: what must not be torn apart stays together.

Conventions: the recordings of one subject, and those of one video, stay together in a fold, for a
model that has seen a subject's labels knows the subject. Where videos connect every subject with
every other (all watched the same clips) keeping both together leaves one group, and subjects alone
are kept together. Folds are made from names and counts only, with no random number, so they repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from va_search.data.grouping import kept_together
from va_search.data.store import Recording

FOLDS = 5


@dataclass(frozen=True)
class Folds:
    """`parts` hold indexes of recordings; no parts where judging out-of-fold is impossible, and
    then `reason` says why.

    `kept_together`: what never stands in two parts, in words. `groups`: the recordings (indexes,
    labelled ones) that are kept together, so what is independent of each other."""

    parts: tuple[tuple[int, ...], ...]
    kept_together: str
    reason: str | None = None
    groups: tuple[tuple[int, ...], ...] = ()

    def within(self, recordings: Sequence[int]) -> Folds:
        """Return these folds with some of the recordings (indexes): those with labels of one target.

        Parts without any go; no part is left where fewer than two have some."""
        labelled = set(recordings)
        parts, groups = _within(self.parts, labelled), _within(self.groups, labelled)
        if groups == self.groups:
            return self
        if len(parts) < 2:
            return replace(self, parts=(), reason=self.reason or ONE_PART, groups=groups)
        return replace(self, parts=parts, groups=groups)


ONE_PART = "its labelled recordings are all in one fold: nothing is left to select on"
"""Why a target has no parts where others have some."""


def _within(sets: Sequence[Sequence[int]], indexes: set[int]) -> tuple[tuple[int, ...], ...]:
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
) -> Folds:
    """At most `at_most` folds with about equally many labelled frames; one subject a fold when
    subjects are fewer.

    `labelled`: labelled frames (recording,) or, of several targets, (recording, targets), each of
    which is spread over the folds; recordings without any are in no fold.
    """
    counts = np.asarray(labelled, dtype=np.int64).reshape(len(recordings), -1)
    used = np.flatnonzero(counts.any(axis=1)).tolist()
    groups, together = kept_together(recordings, used)
    if len(groups) < 2:
        labels = "the labelled recordings of one subject"
        if len(used) == 1:
            labels = "one labelled recording"
        reason = f"only {labels} in validation: nothing is left to select on"
        return Folds((), together, reason, tuple(groups))
    size = {group: counts[list(group)].sum(axis=0) for group in groups}  # (targets,) frames
    parts: list[list[int]] = [[] for _ in range(min(at_most, len(groups)))]
    total = np.maximum(counts.sum(axis=0), 1)
    load = np.zeros((len(parts), counts.shape[1]), dtype=np.int64)
    for group in sorted(groups, key=lambda group: (-size[group].sum(), recordings[group[0]].name)):
        # The part with the least share of those targets that the group has labels of.
        shared = (load / total * (size[group] / total)).sum(axis=1)
        lightest = int(np.lexsort((load.sum(axis=1), shared))[0])
        parts[lightest] += group
        load[lightest] += size[group]
    return Folds(tuple(tuple(sorted(part)) for part in parts), together, None, tuple(groups))
