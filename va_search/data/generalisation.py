"""Whom a score generalises to: were the people who are scored, and the clips that they watched, in
training as well? And how much of the labels' variance telling recordings, or clips, apart explains.

Conventions: a clip is a recording's `stimulus`. Clips are spoken of only where every recording that
is scored or trained on has one. Nothing here reads features, and no label of the test split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from va_search.data.arrays import Values
from va_search.data.store import MIX, Recording, Store
from va_search.errors import counted


@dataclass(frozen=True)
class SeenCounts:
    """Of `recordings` that are scored and the `people` in them: how many training has seen.

    `of_seen_people`: recordings of a person who is in training, too; `of_seen_clips`: those of a
    clip that is; `people_of_seen_clips`: people with such a recording. The last two are None where
    clips are not known."""

    recordings: int
    people: int
    of_seen_people: int
    of_seen_clips: int | None
    people_of_seen_clips: int | None

    @classmethod
    def of(cls, parts: Iterable[tuple[Collection[Recording], Collection[Recording]]]) -> SeenCounts:
        """Count over pairs (scored, trained on), one of each fold."""
        scored: list[Recording] = []
        of_seen_people = 0
        of_seen_clips = 0
        clips_known = True
        people_of_seen_clips: set[str] = set()
        for judged, train in parts:
            scored += judged
            subjects = {recording.subject for recording in train}
            clips = {recording.stimulus for recording in train}
            clips_known &= None not in clips
            for recording in judged:
                clips_known &= recording.stimulus is not None
                of_seen_people += recording.subject in subjects
                if recording.stimulus in clips:
                    of_seen_clips += 1
                    people_of_seen_clips.add(recording.subject)
        return cls(
            recordings=len(scored),
            people=len({recording.subject for recording in scored}),
            of_seen_people=of_seen_people,
            of_seen_clips=of_seen_clips if clips_known else None,
            people_of_seen_clips=len(people_of_seen_clips) if clips_known else None,
        )

    @property
    def text(self) -> str:
        """Whom the score generalises to: `unseen people, seen clips`; without clips `unseen people`."""
        parts = [self._part("people", self.of_seen_people)]
        if self.of_seen_clips is not None:
            parts.append(self._part("clips", self.of_seen_clips))
        return ", ".join(parts)

    def _part(self, noun: str, seen: int) -> str:
        if seen == 0:
            return f"unseen {noun}"
        if seen == self.recordings:
            return f"seen {noun}"
        return f"partly seen {noun} ({seen} of {counted(self.recordings, 'recording')})"


def generalises_to(store: Store, keys: Iterable[str | int]) -> str | None:
    """Return whom a score on the validation recordings of these folds, each predicted by what its
    fold trained, generalises to; None where none of them validates."""
    counts = seen_in(store, [key for key in keys if key != MIX])
    return counts.text if counts.recordings else None


def seen_in(store: Store, keys: Iterable[str | int]) -> SeenCounts:
    """Count what the validation recordings of the folds with these `keys` share with what these
    folds train on."""
    folds = [store.fold(key) for key in keys]
    return SeenCounts.of((fold.validation, fold.train) for fold in folds)


def scores_unseen_clips(store: Store, keys: Iterable[str | int]) -> bool:
    """Return True if no validation recording of these folds is of a clip that its fold trains on."""
    counts = seen_in(store, [key for key in keys if key != MIX])
    return counts.recordings > 0 and counts.of_seen_clips == 0


@dataclass(frozen=True)
class VarianceShares:
    """Eta squared of one target: the share of the variance of all labelled frames that lies between
    the means of recordings, and between those of clips (None where some recording has no clip);
    None where the labels do not vary. `labelled`: frames."""

    target: str
    labelled: int
    between_recordings: float | None
    between_clips: float | None


def variance_shares(store: Store) -> tuple[VarianceShares, ...]:
    """Shares of each target over the labelled frames of train and validation."""
    recordings = store.labelled
    clips_known = all(recording.stimulus is not None for recording in recordings)
    shares = []
    for column, name in enumerate(store.target_names):
        labels = [store.annotations[recording.span, column] for recording in recordings]
        names = [recording.name for recording in recordings]
        clips = [recording.stimulus for recording in recordings]
        row = VarianceShares(
            target=name,
            labelled=sum(int((~np.isnan(values)).sum()) for values in labels),
            between_recordings=eta_squared(labels, names),
            between_clips=eta_squared(labels, clips) if clips_known else None,
        )
        shares.append(row)
    return tuple(shares)


def eta_squared(labels: Sequence[Values], groups: Sequence[Hashable]) -> float | None:
    """Return the share of the variance of all labels that lies between the means of groups.

    `labels`: (frames,) of each recording, NaN unlabelled; `groups`: of each recording. None where
    there are no labels, or all are the same."""
    of_group: dict[Hashable, list[Values]] = defaultdict(list)
    for values, group in zip(labels, groups, strict=True):
        of_group[group].append(values[~np.isnan(values)].astype(np.float64))
    together = [np.concatenate(parts) for parts in of_group.values()]
    everything = np.concatenate(together) if together else np.zeros(0)
    if not everything.size or everything.min() == everything.max():
        return None
    mean = everything.mean()
    between = sum(len(part) * (part.mean() - mean) ** 2 for part in together if len(part))
    return float(between / np.square(everything - mean).sum())
