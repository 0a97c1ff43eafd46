"""An excerpt of a large store: the first frames of some recordings of each side of a fold, on which
the speed of a training is measured without reading the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from va_search.data.store import Fold, Recording, Store

LEAST_RECORDINGS = 3
"""Recordings of a side, at least, where there are so many."""
LEAST_STEPS = 8
"""Model steps of a recording, at least, where it has so many."""


@dataclass(frozen=True)
class Excerpt(Store):
    """A store some of whose recordings are left out, and the others cut short; `all_frames` are
    those of its files."""

    all_frames: int = 0

    @property
    def frames(self) -> int:
        """Frames of the store's files, which arrays of all frames have."""
        return self.all_frames


def excerpt(store: Store, fold: str | int, *, frames: int, frame_step: int) -> tuple[Store, float]:
    """Return an excerpt of about so many `frames` of a fold, and how many times as many frames the
    fold has; the store itself, and 1, where it has no more.

    A side (training, validation, test) has its share of the frames. Each recording keeps some steps
    of `frame_step` frames, so that there are several of them."""
    divided = store.fold(fold)
    sides = _read_sides(divided)
    whole = sum(recording.frames for side in sides for recording in side)
    if whole <= frames:
        return store, 1.0
    shortened: dict[str, Recording] = {}
    for side in sides:
        own = sum(recording.frames for recording in side)
        number = max(LEAST_RECORDINGS, round(math.sqrt(len(side))))
        chosen = _spread(side, number)
        most = max(LEAST_STEPS * frame_step, frames * own // whole // len(chosen))
        for recording in chosen:
            shortened[recording.name] = _cut_short(recording, most)
    content = {field.name: getattr(store, field.name) for field in fields(Store)}
    content["recordings"] = tuple(shortened.values())
    total = sum(recording.frames for recording in shortened.values())
    return Excerpt(**content, all_frames=store.frames), whole / total


def _read_sides(fold: Fold) -> list[tuple[Recording, ...]]:
    """The sides that an epoch reads, without empty ones: test only where nothing is validated."""
    judged = fold.validation or fold.test
    return [side for side in (fold.train, judged) if side]


def _spread(recordings: Sequence[Recording], number: int) -> list[Recording]:
    """`number` recordings, evenly spaced among all from the shortest to the longest."""
    ordered = sorted(recordings, key=lambda recording: (recording.frames, recording.name))
    if len(ordered) <= number:
        return ordered
    return [ordered[(2 * index + 1) * len(ordered) // (2 * number)] for index in range(number)]


def _cut_short(recording: Recording, frames: int) -> Recording:
    """The first frames of a recording."""
    if recording.frames <= frames:
        return recording
    return replace(
        recording, frames=frames, gaps=tuple(gap for gap in recording.gaps if gap < frames)
    )
