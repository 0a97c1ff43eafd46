"""Recordings as rows of a table: the input of an ensemble served by MLflow.

    recording            the recording that a row is a frame of; its rows in the order of time, other recordings' between
                         them or not
    <set>.<column>       one number per column of every feature set that members need; <column> is its name at the
                         source, or its number from 0 where the feature set has no names
    subject              optional: who is in it; without it every recording is a subject of its own
    frames_per_second    optional where nothing is smoothed or delayed, or the study's recordings all had one rate
    gap                  optional: true where time jumps before the row (nothing is carried across)

Conventions: predictions have the rows of the input in its order. Normalisation by recording or
subject uses the rows that come together, so a table has whole recordings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from va_search.data.store import FeatureSet, MemoryStore, Recording
from va_search.errors import InputError, counted
from va_search.targets import Target

if TYPE_CHECKING:
    import pandas as pd

RECORDING, SUBJECT, RATE, GAP = "recording", "subject", "frames_per_second", "gap"
MOST = 20
"""Problems told in one error."""


def columns_of(feature_set: FeatureSet) -> list[str]:
    """The names of a feature set's columns in the table, in the order of the model's input."""
    names: Iterable[Any] = feature_set.columns or range(feature_set.dim)
    return [f"{feature_set.name}.{name}" for name in names]


def to_store(
    frame: pd.DataFrame,
    feature_sets: Sequence[FeatureSet],
    *,
    targets: Sequence[Target],
    frames_per_second: float | None,
) -> tuple[MemoryStore, NDArray[np.int64]]:
    """The rows as a store, and the row of the table that each of its frames is.

    `frames_per_second` stands in where the table has none; None: it must have them. InputError with
    every problem: missing columns, rows without a recording, values that are no finite numbers, a
    recording of two subjects or rates."""
    _refuse_missing(frame, feature_sets, frames_per_second)
    table = _Table.of(frame)
    arrays = {feature_set.name: table.values(feature_set) for feature_set in feature_sets}
    recordings = table.recordings(frames_per_second)
    if table.problems:
        surplus = len(table.problems) - MOST
        summary = [f"… and {surplus} more problems"] if surplus > 0 else []
        raise InputError(*table.problems[:MOST], *summary)
    store = MemoryStore.of("the table", feature_sets, arrays, recordings, targets)
    return store, table.order


def _refuse_missing(
    frame: pd.DataFrame, feature_sets: Sequence[FeatureSet], rate: float | None
) -> None:
    problems = []
    if RECORDING not in frame:
        problems.append(f"the table: column {RECORDING!r} is missing")
    if rate is None and RATE not in frame:
        problems.append(
            f"the table: column {RATE!r} is missing; the ensemble smooths or delays by seconds"
        )
    for feature_set in feature_sets:
        missing = [name for name in columns_of(feature_set) if name not in frame]
        if missing:
            names = ", ".join(map(repr, missing[:3])) + (", …" if len(missing) > 3 else "")
            problems.append(
                f"the table: {len(missing)} of {feature_set.dim} columns of {feature_set.name!r} "
                f"are missing: {names}"
            )
    if problems:
        raise InputError(*problems)


@dataclass
class _Table:
    """A table being read: names of its recordings in the order in which they first appear, the rows
    in that order, each recording's number of rows, and the problems so far."""

    frame: pd.DataFrame
    names: list[str]
    order: NDArray[np.int64]
    counts: list[int]
    problems: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, frame: pd.DataFrame) -> _Table:
        """The table with its rows in order; InputError for rows without a recording."""
        import pandas as pd

        unnamed = np.flatnonzero(frame[RECORDING].isna().to_numpy())
        if len(unnamed):
            raise InputError(
                f"the table: {counted(len(unnamed), 'row')} without {RECORDING}, the first is row "
                f"{unnamed[0]} (from 0)"
            )
        # Sorted by recording; rows of one keep their order, whatever stood between them.
        numbers, names = pd.factorize(frame[RECORDING].astype(str))
        order = np.argsort(numbers, kind="stable")
        counts = np.bincount(numbers, minlength=len(names))
        return cls(frame, list(names), order, counts.tolist())

    def values(self, feature_set: FeatureSet) -> NDArray[np.floating]:
        """(frames, dim) of one feature set in the store's order, in float64 where the model's store
        kept it so, else float32; NaN where missing, if the models know missing values of it. A
        problem where other values are no finite numbers."""
        columns = columns_of(feature_set)
        precision = np.float64 if feature_set.dtype == "float64" else np.float32
        try:
            numbers = self.frame[columns].to_numpy(dtype=np.float64, na_value=np.nan)
        except (TypeError, ValueError) as error:
            self.problems.append(
                f"the table: columns of {feature_set.name!r} are not all numbers ({error})"
            )
            return np.zeros((len(self.frame), feature_set.dim), precision)
        # A number too large for float32 becomes infinite, which is told below.
        with np.errstate(over="ignore"):
            values = numbers.astype(precision)
        wrong = np.isinf(values) if feature_set.missing else ~np.isfinite(values)
        if wrong.any():
            missing = "" if feature_set.missing else "missing or "
            row, column = np.argwhere(wrong)[0]
            count = int(wrong.sum())
            self.problems.append(
                f"the table: {counted(count, 'value')} of {feature_set.name!r} "
                f"{'is' if count == 1 else 'are'} {missing}no finite {np.dtype(precision)}, the "
                f"first in column {columns[column]!r} of recording "
                f"{str(self.frame[RECORDING].iloc[row])!r}, row {row} (from 0)"
            )
        return np.ascontiguousarray(values[self.order])

    def recordings(self, default_rate: float | None) -> list[Recording]:
        """The recordings in the store's order; problems of those of two subjects or rates, or
        without a rate where there is no default."""
        gaps = np.zeros(len(self.frame), dtype=bool)
        if GAP in self.frame:
            gaps = self.frame[GAP].fillna(False).to_numpy(dtype=bool)
        recordings: list[Recording] = []
        start = 0
        for name, frames in zip(self.names, self.counts, strict=True):
            rows = self.order[start : start + frames]
            subject = self._single(rows, SUBJECT, name) or name
            rate = self._single(rows, RATE, name)
            if rate is None and RATE in self.frame and default_rate is None:
                self.problems.append(f"the table: recording {name!r} has no {RATE}")
            if rate is not None and not (np.isfinite(rate) and rate > 0):
                self.problems.append(
                    f"the table: recording {name!r}: {RATE} is {rate}, expected above 0"
                )
            if rate is None:
                rate = default_rate or 1.0
            # Nothing comes before a recording's first row that time could jump from.
            jumps = tuple((np.flatnonzero(gaps[rows][1:]) + 1).tolist())
            recordings.append(
                Recording(name, str(subject), name, "test", None, start, frames, float(rate), jumps)
            )
            start += frames
        return recordings

    def _single(self, rows: NDArray[np.int64], column: str, name: str) -> Any:
        """The value a recording has in an optional column, None where it has none; a problem when
        it has two."""
        if column not in self.frame:
            return None
        values = self.frame[column].iloc[rows].dropna().unique()
        if len(values) > 1:
            self.problems.append(
                f"the table: recording {name!r} has {len(values)} values of {column}, expected one"
            )
        return values[0] if len(values) else None
