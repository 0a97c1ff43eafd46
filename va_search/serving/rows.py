"""Recordings as rows of a table: what an ensemble served by MLflow takes and gives.

    recording            which recording a row is a frame of; its rows in the order of time, other recordings' between
                         them or not
    <set>.<column>       one number per column of every feature set that members need; <column> is its name at the
                         source, or its number from 0 where the feature set has no names
    subject              optional: who is in it; without it every recording is a subject of its own
    frames_per_second    optional where nothing is smoothed or delayed, or the study's recordings all had one rate
    gap                  optional: true where time jumps before the row (nothing is carried across)

Conventions: predictions have the rows of the input in its order. Normalisation by recording or
subject uses the rows that are given together, so a recording is given whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from va_search.data.store import FeatureSet, MemoryStore, Recording, Store
from va_search.errors import InputError, counted

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
    label_range: tuple[float, float],
    frames_per_second: float | None,
) -> tuple[MemoryStore, NDArray[np.int64]]:
    """The rows as a store, and the row of the table that each of its frames is.

    `frames_per_second` stands in where the table has none; None: it must have them. InputError with
    every problem: missing columns, rows without a recording, values that are no finite numbers, a
    recording of two subjects or rates."""
    _refuse_missing(frame, feature_sets, frames_per_second)
    names, order = _recordings(frame)
    problems: list[str] = []
    arrays = {one.name: _values(frame, one, names, order, problems) for one in feature_sets}
    recordings = _laid_out(frame, names, order, frames_per_second, problems)
    if problems:
        more = [f"… and {len(problems) - MOST} more problems"] if len(problems) > MOST else []
        raise InputError(*problems[:MOST], *more)
    return MemoryStore.of("the table", feature_sets, arrays, recordings, label_range), order


def from_store(store: Store, split: str, feature_sets: Sequence[FeatureSet]) -> pd.DataFrame:
    """The recordings of a split as a table that `to_store` reads, columns named as these feature
    sets name them."""
    import pandas as pd

    tables = []
    for one in store.split(split):
        about = {RECORDING: one.name, SUBJECT: one.subject, RATE: one.frames_per_second}
        table: dict[str, Any] = {**about, GAP: np.isin(np.arange(one.frames), one.gaps)}
        for feature_set in feature_sets:
            values = store.features(feature_set.name)[one.start : one.stop].astype(
                _precision(feature_set)
            )
            table |= dict(zip(columns_of(feature_set), values.T, strict=True))
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=[RECORDING])


def _refuse_missing(
    frame: pd.DataFrame, feature_sets: Sequence[FeatureSet], rate: float | None
) -> None:
    problems = [] if RECORDING in frame else [f"the table: column {RECORDING!r} is missing"]
    if rate is None and RATE not in frame:
        problems.append(
            f"the table: column {RATE!r} is missing; the ensemble smooths or delays by seconds"
        )
    for one in feature_sets:
        missing = [name for name in columns_of(one) if name not in frame]
        if missing:
            some = ", ".join(map(repr, missing[:3])) + (", …" if len(missing) > 3 else "")
            problems.append(
                f"the table: {len(missing)} of {one.dim} columns of {one.name!r} are missing: {some}"
            )
    if problems:
        raise InputError(*problems)


def _recordings(frame: pd.DataFrame) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """(rows,) recordings' names, and the rows in the order of recordings as they first appear."""
    without = np.flatnonzero(frame[RECORDING].isna().to_numpy())
    if len(without):
        raise InputError(
            f"the table: {counted(len(without), 'row')} without {RECORDING}, the first is row {without[0]} (from 0)"
        )
    names = frame[RECORDING].astype(str).to_numpy(dtype=object)
    number = {name: index for index, name in enumerate(dict.fromkeys(names))}
    which = np.array([number[name] for name in names], dtype=np.int64)
    return names, np.argsort(which, kind="stable")


def _values(
    frame: pd.DataFrame,
    feature_set: FeatureSet,
    names: NDArray[np.object_],
    order: NDArray[np.int64],
    problems: list[str],
) -> NDArray[np.floating]:
    """(frames, dim) of one feature set in the store's order."""
    columns, precision = columns_of(feature_set), _precision(feature_set)
    try:
        with np.errstate(over="ignore"):
            values = frame[columns].to_numpy(dtype=np.float64, na_value=np.nan).astype(precision)
    except (TypeError, ValueError) as error:
        problems.append(f"the table: columns of {feature_set.name!r} are not all numbers ({error})")
        return np.zeros((len(frame), feature_set.dim), precision)
    wrong = ~np.isfinite(values)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        number, are = int(wrong.sum()), "is" if wrong.sum() == 1 else "are"
        problems.append(
            f"the table: {counted(number, 'value')} of {feature_set.name!r} {are} missing or no finite "
            f"{np.dtype(precision)}, the first in column {columns[column]!r} of recording {names[row]!r}, "
            f"row {row} (from 0)"
        )
    return np.ascontiguousarray(values[order])


def _precision(feature_set: FeatureSet) -> type[np.floating]:
    """float64 for a set that the model's store kept in it, float32 otherwise."""
    return np.float64 if feature_set.dtype == "float64" else np.float32


def _laid_out(
    frame: pd.DataFrame,
    names: NDArray[np.object_],
    order: NDArray[np.int64],
    rate: float | None,
    problems: list[str],
) -> list[Recording]:
    gaps = (
        frame[GAP].fillna(False).to_numpy(dtype=bool)
        if GAP in frame
        else np.zeros(len(frame), dtype=bool)
    )
    recordings: list[Recording] = []
    start = 0
    for name, frames in Counter(
        names.tolist()
    ).items():  # as they first appear, as `order` has them
        rows = order[start : start + frames]
        part = frame.iloc[rows]
        subject = _one(part, SUBJECT, name, problems) if SUBJECT in frame else name
        found = _one(part, RATE, name, problems) if RATE in frame else None
        if found is not None and not (np.isfinite(found) and found > 0):
            problems.append(f"the table: recording {name!r}: {RATE} is {found}, expected above 0")
        if found is None and RATE in frame and rate is None:
            problems.append(f"the table: recording {name!r} has no {RATE}")
        inside = tuple((np.flatnonzero(gaps[rows][1:]) + 1).tolist())
        known = float(found if found is not None else rate or 1.0)
        recordings.append(
            Recording(
                name, str(subject or name), name, "test", None, start, len(rows), known, inside
            )
        )
        start += len(rows)
    return recordings


def _one(part: pd.DataFrame, column: str, name: str, problems: list[str]) -> Any:
    """The value a recording has in a column, None where it is empty; a problem when it has two."""
    values = part[column].dropna().unique()
    if len(values) > 1:
        problems.append(
            f"the table: recording {name!r} has {len(values)} values of {column}, expected one"
        )
    return values[0] if len(values) else None
