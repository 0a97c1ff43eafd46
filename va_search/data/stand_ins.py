"""Values that stand in for missing ones: the last that was there, or the mean of the recording.

Conventions: columns are those of several feature sets, one set after another; frames are positions
in the store. A value stands in from its own key (a column and a frame) up to the next key of
the table, so that a look-up is a binary search, and a segment that begins inside a hole sees what
came before it. Values are as in the store, before any normalisation; NaN where a column has none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from va_search.data.segments import stretches
from va_search.data.store import FeatureSet, Recording, Store

BLOCK = 4_000_000
"""Values looked at together."""

Part = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
"""Columns, frames and values (entries,) of a part of a table."""


@dataclass(frozen=True)
class StandIns:
    """A table of values: `key` (entries,) is column * frames of the store + frame, sorted;
    `value` (entries,) stands in from there to the next key."""

    key: NDArray[np.int64]
    value: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        how: str,
        store: Store,
        feature_sets: Sequence[FeatureSet],
        recordings: Sequence[Recording],
    ) -> StandIns:
        """Read the values of some recordings: `how` is "last" or "mean"."""
        parts_of: Callable[..., list[Part]] = {"last": _last, "mean": _mean}[how]
        keys: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
        values: list[NDArray[np.float64]] = [np.zeros(0)]
        first_column = 0
        for feature_set in feature_sets:
            if feature_set.missing:
                for column, frame, value in parts_of(store.features(feature_set.name), recordings):
                    keys.append((first_column + column) * store.frames + frame)
                    values.append(value)
            first_column += feature_set.dim
        key, value = np.concatenate(keys), np.concatenate(values)
        order = np.argsort(key)
        return cls(key[order], value[order])


def _last(values: NDArray[np.floating], recordings: Sequence[Recording]) -> list[Part]:
    """An entry for each hole: the value before it in its stretch between gaps; for a hole at a
    stretch's start the first that comes."""
    parts: list[Part] = []
    for recording in recordings:
        for start, stop in stretches(recording):
            columns = max(1, BLOCK // (stop - start))
            for first in range(0, values.shape[1], columns):
                block = values[start:stop, first : first + columns]
                missing = np.isnan(block)
                begins = missing.copy()
                begins[1:] &= ~missing[:-1]
                column, frame = np.nonzero(begins.T)
                # the row of the value: the one before, or the first that is there (0, NaN: none is)
                first_present = (~missing).argmax(axis=0)
                row = np.where(frame == 0, first_present[column], frame - 1)
                value = block[row, column].astype(np.float64)
                parts.append((first + column, start + frame, value))
    return parts


def _mean(values: NDArray[np.floating], recordings: Sequence[Recording]) -> list[Part]:
    """An entry for each column of each recording: the mean of the values that are there."""
    parts: list[Part] = []
    columns = np.arange(values.shape[1])
    rows = max(1, BLOCK // values.shape[1])
    for recording in recordings:
        total, count = np.zeros(len(columns)), np.zeros(len(columns))
        for start in range(recording.start, recording.stop, rows):
            block = values[start : min(start + rows, recording.stop)]
            total += np.nansum(block, axis=0, dtype=np.float64)
            count += (~np.isnan(block)).sum(axis=0)
        mean = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        parts.append((columns, np.full(len(columns), recording.start), mean))
    return parts
