"""Normalisation: the shift and scale of each column, and the frames they are measured on.

Conventions: a normalised value is (x - shift) * scale, then clipped by the trial if it asks for
that. Statistics use features only, never labels, and never a frame of another side (training,
validation, test) than the recording being normalised, with one exception by design: "train" applies
the training recordings' statistics to all.

    none        shift 0, scale 1
    train       from all training recordings of the fold
    recording   from the recording's own frames
    subject     from all frames of the recording's subject on the same side

A trial may look at its features in several views at once: each feature set then comes as so many
copies, each normalised in its own way (`side_by_side`).

mean_std: mean and population standard deviation, accumulated in float64. median_mad: median and
1.4826 times the median absolute deviation, so that it equals the standard deviation of normal data;
exact up to SAMPLE frames, beyond that from SAMPLE evenly strided ones. Where half of the values are
equal the MAD is 0 and the standard deviation takes its place; a constant column gets scale 1, never
an infinite one. Missing values (NaN) are left out of all of these; a column without any value gets
shift 0 and scale 1."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from va_search.data.store import FeatureSet, Fold, Recording, Store

SAMPLE = 200_000
BLOCK = 4_000_000
"""Values held in float64 at a time: 32 MB."""

REMEMBERED = 20_000
"""Statistics kept by a process: of so many feature sets times groups, at most."""

Column = NDArray[np.float64]

_seen: dict[tuple[str, tuple[tuple[int, int], ...], bool], tuple[Column, Column]] = {}


@dataclass(frozen=True)
class Normalisation:
    """`shift` and `scale` (groups, columns) float32, float64 where a feature set is kept in it;
    `group` maps a recording's name to its row."""

    shift: NDArray[np.floating]
    scale: NDArray[np.floating]
    group: dict[str, int]

    @classmethod
    def same_for_all(
        cls,
        shift: NDArray[np.floating],
        scale: NDArray[np.floating],
        recordings: Sequence[Recording],
    ) -> Normalisation:
        """One row, (columns,) each, for every recording."""
        return cls(shift[None, :], scale[None, :], {recording.name: 0 for recording in recordings})


def input_columns(feature_set: FeatureSet, views: int) -> int:
    """Columns that a feature set has in a model's input: those of each view, and where values are
    missing one for the share of values that are there."""
    return views * feature_set.dim + int(feature_set.missing)


def columns_of_view(dims: Sequence[int], views: int, view: int) -> NDArray[np.int64]:
    """Numbers of one view's columns among those of all views, in the order of the feature sets.

    `dims` are the feature sets' columns. Of each set all views come before the next set, so that
    what belongs to one modality stays together."""
    columns: list[NDArray[np.int64]] = []
    start = 0
    for dim in dims:
        columns.append(start + view * dim + np.arange(dim))
        start += views * dim
    return np.concatenate(columns)


def side_by_side(views: Sequence[Normalisation], dims: Sequence[int]) -> Normalisation:
    """Several normalisations of the same recordings as one, whose columns are those of
    `columns_of_view`."""
    if len(views) == 1:
        return views[0]
    # recordings that share their statistics in every view share a row
    rows: dict[tuple[int, ...], int] = {}
    group: dict[str, int] = {}
    for recording in views[0].group:
        sources = tuple(view.group[recording] for view in views)
        group[recording] = rows.setdefault(sources, len(rows))
    shape = (len(rows), len(views) * sum(dims))
    shift = np.empty(shape, views[0].shift.dtype)
    scale = np.empty(shape, views[0].scale.dtype)
    sources_of_rows = np.array(list(rows), dtype=np.int64).reshape(len(rows), len(views))
    for number, view in enumerate(views):
        columns = columns_of_view(dims, len(views), number)
        shift[:, columns] = view.shift[sources_of_rows[:, number]]
        scale[:, columns] = view.scale[sources_of_rows[:, number]]
    return Normalisation(shift, scale, group)


@dataclass(frozen=True)
class NormalisedGroup:
    """Recordings that are normalised by the same statistics, those of the frames of `measured`."""

    measured: Sequence[Recording]
    normalised: Sequence[Recording]


def by_none(fold: Fold) -> list[NormalisedGroup]:
    """Return no group: features stay as they are."""
    return []


def by_train(fold: Fold) -> list[NormalisedGroup]:
    """Return one group, measured on the training recordings."""
    return [NormalisedGroup(fold.train, _everyone(fold))]


def by_recording(fold: Fold) -> list[NormalisedGroup]:
    """Return a group for each recording."""
    return [NormalisedGroup([recording], [recording]) for recording in _everyone(fold)]


def by_subject(fold: Fold) -> list[NormalisedGroup]:
    """Return a group for each subject of a side: training, validation and test apart."""
    groups: dict[tuple[int, str], list[Recording]] = {}
    for side, recordings in enumerate((fold.train, fold.validation, fold.test)):
        for recording in recordings:
            groups.setdefault((side, recording.subject), []).append(recording)
    return [NormalisedGroup(recordings, recordings) for recordings in groups.values()]


def _everyone(fold: Fold) -> tuple[Recording, ...]:
    return (*fold.train, *fold.validation, *fold.test)


def normalisation(
    store: Store,
    features: Sequence[str],
    fold: Fold,
    *,
    grouped: Callable[[Fold], list[NormalisedGroup]],
    normalise_by: str = "mean_std",
) -> Normalisation:
    """Statistics for every recording of the fold, `grouped` by one of the functions above; columns
    are those of `features`, one set after another."""
    groups = grouped(fold)
    if not groups:
        columns = sum(store.feature_sets[name].dim for name in features)
        zeros = np.zeros(columns, _precision(store, features))
        return Normalisation.same_for_all(zeros, zeros + 1, _everyone(fold))
    shifts: list[NDArray[np.floating]] = []
    scales: list[NDArray[np.floating]] = []
    rows: dict[str, int] = {}
    for row, group in enumerate(groups):
        shift, scale = _statistics(store, features, group.measured, normalise_by)
        shifts.append(shift)
        scales.append(scale)
        rows |= {recording.name: row for recording in group.normalised}
    return Normalisation(np.stack(shifts), np.stack(scales), rows)


def _statistics(
    store: Store, features: Sequence[str], recordings: Sequence[Recording], normalise_by: str
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Shift and scale (columns,) of all feature sets, from these recordings' frames."""
    ranges = _joined(recordings)
    parts = [
        _remembered(store, name, ranges, robust=normalise_by == "median_mad") for name in features
    ]
    centre, spread = (np.concatenate(pair) for pair in zip(*parts, strict=True))
    dtype = _precision(store, features)
    return centre.astype(dtype), (1.0 / spread).astype(dtype)


def _precision(store: Store, features: Sequence[str]) -> type[np.floating]:
    """float64 where a feature set is kept in it, since float32 would round its offsets; float32
    otherwise."""
    wide = any(store.feature_sets[name].dtype == "float64" for name in features)
    return np.float64 if wide else np.float32


def _remembered(
    store: Store, name: str, ranges: list[tuple[int, int]], *, robust: bool
) -> tuple[Column, Column]:
    """A pass over a large store takes longer than an epoch on a GPU: a process makes it once for
    all its trials."""
    key = (store.feature_sets[name].hash, tuple(ranges), robust)
    statistics = _seen.get(key)
    if statistics is None:
        if len(_seen) >= REMEMBERED:
            _seen.clear()  # another thread of a model server may do so at any time
        statistics = _seen[key] = centre_and_spread(
            store.features(name),
            ranges,
            robust=robust,
            missing=store.feature_sets[name].missing,
        )
    return statistics


def _joined(recordings: Sequence[Recording]) -> list[tuple[int, int]]:
    """Ranges of store positions, neighbours joined into one."""
    ranges: list[tuple[int, int]] = []
    for recording in sorted(recordings, key=lambda r: r.start):
        if ranges and ranges[-1][1] == recording.start:
            ranges[-1] = (ranges[-1][0], recording.stop)
        else:
            ranges.append((recording.start, recording.stop))
    return ranges


def centre_and_spread(
    values: NDArray[np.floating],
    ranges: Sequence[tuple[int, int]],
    *,
    robust: bool,
    missing: bool = False,
) -> tuple[Column, Column]:
    """Centre and spread (columns,) float64 of the rows in `ranges` of (frames, columns); spread 1
    where constant. With `missing`, NaN are left out."""
    moments = _moments_of_present if missing else _moments
    mean, deviation, constant = moments(values, ranges)
    if not robust:
        return mean, np.where(constant, 1.0, deviation)
    median, mad = _robust(values, ranges, missing=missing)
    spread = np.where(mad > 0, 1.4826 * mad, deviation)
    return median, np.where(constant, 1.0, spread)


def _moments(
    values: NDArray[np.floating], ranges: Sequence[tuple[int, int]]
) -> tuple[Column, Column, NDArray[np.bool_]]:
    """Mean, population standard deviation and True for constant columns, in one pass.

    Sums are of x - (first row), so that a large offset costs no digits.
    """
    origin = values[ranges[0][0]].astype(np.float64)
    total, squares = np.zeros_like(origin), np.zeros_like(origin)
    constant = np.ones(origin.shape, dtype=bool)
    frames = 0
    for block in _blocks(values, ranges):
        offset = block.astype(np.float64) - origin
        total += offset.sum(axis=0)
        squares += np.einsum("fc,fc->c", offset, offset)
        constant &= ~offset.any(axis=0)
        frames += len(block)
    mean = total / frames
    variance = np.maximum(squares / frames - mean**2, 0.0)
    smallest = np.finfo(np.float64 if values.dtype == np.float64 else np.float32).tiny
    return origin + mean, np.sqrt(variance), constant | (variance < smallest)


def _moments_of_present(
    values: NDArray[np.floating], ranges: Sequence[tuple[int, int]]
) -> tuple[Column, Column, NDArray[np.bool_]]:
    """As `_moments`, over the values that are not NaN; mean 0 and constant where there is none."""
    columns = values.shape[1]
    origin = np.full(columns, np.nan)
    count, total, squares = np.zeros(columns), np.zeros(columns), np.zeros(columns)
    constant = np.ones(columns, dtype=bool)
    for block in _blocks(values, ranges):
        present = ~np.isnan(block)
        # The first value of a column may come blocks later than that of another.
        new = np.flatnonzero(np.isnan(origin) & present.any(axis=0))
        origin[new] = block[present[:, new].argmax(axis=0), new]
        offset = np.where(present, block.astype(np.float64) - origin, 0.0)
        count += present.sum(axis=0)
        total += offset.sum(axis=0)
        squares += np.einsum("fc,fc->c", offset, offset)
        constant &= ~offset.any(axis=0)
    mean = total / np.maximum(count, 1)
    variance = np.maximum(squares / np.maximum(count, 1) - mean**2, 0.0)
    smallest = np.finfo(np.float64 if values.dtype == np.float64 else np.float32).tiny
    origin = np.where(count > 0, origin, 0.0)
    return origin + mean, np.sqrt(variance), constant | (variance < smallest)


def _blocks(
    values: NDArray[np.floating], ranges: Sequence[tuple[int, int]]
) -> Iterator[NDArray[np.floating]]:
    rows = max(1, BLOCK // max(1, values.shape[1]))
    for start, stop in ranges:
        for row in range(start, stop, rows):
            yield values[row : min(row + rows, stop)]


def _robust(
    values: NDArray[np.floating], ranges: Sequence[tuple[int, int]], *, missing: bool
) -> tuple[Column, Column]:
    """Median and median absolute deviation (columns,), a few columns at a time so that memory stays
    flat; with `missing` of the values that are not NaN, 0 where there is none."""
    rows = sample_rows(ranges)
    step = max(1, BLOCK // len(rows))
    medians, mads = [], []
    for column in range(0, values.shape[1], step):
        block = values[rows, column : column + step].astype(np.float64)
        middle = np.median
        if missing:
            middle = np.nanmedian
            block[:, np.isnan(block).all(axis=0)] = 0.0
        median = middle(block, axis=0)
        medians.append(median)
        mads.append(middle(np.abs(block - median), axis=0))
    return np.concatenate(medians), np.concatenate(mads)


def sample_rows(ranges: Sequence[tuple[int, int]], most: int = SAMPLE) -> NDArray[np.int64]:
    """Positions of all frames in `ranges`, or of `most` evenly strided ones when there are more."""
    rows = np.concatenate([np.arange(start, stop) for start, stop in ranges])
    if len(rows) <= most:
        return rows
    return rows[np.arange(most) * len(rows) // most]
