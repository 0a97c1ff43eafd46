"""Labels and frames of recordings as amounts that folds are balanced by.

Conventions: arrays are by recording, in the order of the recordings they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from va_search.data.arrays import Floats, Indexes
from va_search.data.store import Recording, Store

BINS = 10
FRAMES_WEIGHT = 2.0


@dataclass(frozen=True)
class Labels:
    """Of each recording: histograms (recording, target, bin) of labelled frames, (recording, target,
    3) of their count, sum and sum of squares, and `labelled` (recording,) the frames with a label
    for any target."""

    histograms: Floats
    moments: Floats
    labelled: Indexes
    target_names: tuple[str, ...]

    @classmethod
    def of(cls, store: Store, recordings: Sequence[Recording]) -> Labels:
        """Of these recordings alone; no other frame's label is looked at."""
        histograms = np.zeros((len(recordings), len(store.targets), BINS))
        moments = np.zeros((len(recordings), len(store.targets), 3))
        labelled = np.zeros(len(recordings), np.int64)
        for index, recording in enumerate(recordings):
            annotations = store.annotations[recording.span]
            labelled[index] = (~np.isnan(annotations)).any(axis=1).sum()
            for column, target in enumerate(store.targets):
                values = annotations[:, column].astype(np.float64)
                labels = values[~np.isnan(values)]
                histogram, _ = np.histogram(labels, bins=BINS, range=target.range)
                histograms[index, column] = histogram
                moments[index, column] = len(labels), labels.sum(), np.square(labels).sum()
        return cls(histograms, moments, labelled, store.target_names)


def amounts_of(
    recordings: Sequence[Recording], labels: Labels, groups: Sequence[tuple[int, ...]], parts: int
) -> Floats:
    """(group, 1 + 2 bins): frames in units of a fold's, weighted, and labelled frames by bin in
    units of a fold's."""
    lengths = np.array([recording.frames for recording in recordings], dtype=np.float64)
    frames = np.array([[lengths[list(group)].sum()] for group in groups])
    bins = np.array([labels.histograms[list(group)].sum(axis=0) for group in groups])
    # Both kinds of amounts are in units of a fold's share, so that they can be weighed.
    labelled = np.maximum(bins.sum(axis=(0, 2)), 1.0)[:, None]  # of each target
    frames = frames * parts / frames.sum() * FRAMES_WEIGHT
    bins = bins * parts / labelled
    return np.concatenate([frames, bins.reshape(len(groups), -1)], axis=1)
