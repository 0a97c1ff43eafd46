"""Folds of recordings for honest scores: what must not be torn apart stays together.

Conventions: the recordings of one subject, and those of one video, stay together in a fold, for a
model that has seen a subject's labels knows the subject. Where videos connect every subject with
every other (all watched the same clips) keeping both together leaves one group, and subjects alone
are kept together. Folds are made from names and counts only, with no random number, so they repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


def make_folds(
    recordings: Sequence[Recording], labelled: Sequence[int], at_most: int = FOLDS
) -> Folds:
    """At most `at_most` folds with about equally many labelled frames; one subject a fold when
    subjects are fewer.

    `labelled`: labelled frames of each recording; recordings without any are in no fold.
    """
    used = [index for index, frames in enumerate(labelled) if frames > 0]
    groups, together = kept_together(recordings, used)
    if len(groups) < 2:
        labels = "the labelled recordings of one subject"
        if len(used) == 1:
            labels = "one labelled recording"
        reason = f"only {labels} in validation: nothing is left to select on"
        return Folds((), together, reason, tuple(groups))
    size = {group: sum(labelled[index] for index in group) for group in groups}
    parts: list[list[int]] = [[] for _ in range(min(at_most, len(groups)))]
    load = [0] * len(parts)
    for group in sorted(groups, key=lambda group: (-size[group], recordings[group[0]].name)):
        lightest = load.index(min(load))
        parts[lightest] += group
        load[lightest] += size[group]
    return Folds(tuple(tuple(sorted(part)) for part in parts), together, None, tuple(groups))
