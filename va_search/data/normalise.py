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
shift 0 and scale 1.

A pass over a large store takes minutes: statistics are kept in the process, and those of many values
with the store (computed.py), for every process and machine that opens it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from va_search.data.computed import LEAST_VALUES, Computed, Facts
from va_search.data.manifest import feature_file
from va_search.data.medians import median_and_mad, widened
from va_search.data.store import FeatureSet, Fold, Recording, Store
from va_search.files import digest

SAMPLE = 200_000
BLOCK = 4_000_000
"""Values held in float64 at a time: 32 MB."""

MEANING = 1
"""Raised when the same values give other statistics: kept ones are then computed again."""

REMEMBERED = 40_000_000
"""Statistics kept by a process, at most: 320 MB."""

SETS_REMEMBERED = 2000

MOST_THREADS = 8

Column = NDArray[np.float64]
Table = NDArray[np.float64]
"""(groups, columns)"""

Ranges = tuple[tuple[int, int], ...]
"""Positions of frames in the store, from one up to another, ascending."""

Rows = dict[Ranges, tuple[Column, Column]]
"""Centre and spread of groups, by the frames they are measured on."""

_seen: dict[str, Rows] = {}
"""What this process knows, by a digest of the feature set's content and the method."""


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
    dtype = _precision(store, features)
    if not groups:
        columns = sum(store.feature_sets[name].dim for name in features)
        zeros = np.zeros(columns, dtype)
        return Normalisation.same_for_all(zeros, zeros + 1, _everyone(fold))
    ranges = [_joined(group.measured) for group in groups]
    statistics = statistics_of(store, features, ranges, robust=normalise_by == "median_mad")
    shift = np.concatenate([statistics[name][0] for name in features], axis=1)
    scale = np.concatenate([statistics[name][1] for name in features], axis=1)
    np.divide(1.0, scale, out=scale)
    rows: dict[str, int] = {}
    for row, group in enumerate(groups):
        rows |= {recording.name: row for recording in group.normalised}
    return Normalisation(shift.astype(dtype), scale.astype(dtype), rows)


def _precision(store: Store, features: Sequence[str]) -> type[np.floating]:
    """float64 where a feature set is kept in it, since float32 would round its offsets; float32
    otherwise."""
    wide = any(store.feature_sets[name].dtype == "float64" for name in features)
    return np.float64 if wide else np.float32


# Statistics, computed once ------------------------------------------------------------------------


def statistics_of(
    store: Store, features: Sequence[str], groups: Sequence[Ranges], *, robust: bool
) -> dict[str, tuple[Table, Table]]:
    """Centre and spread (groups, columns) of each feature set, over the frames of each group.

    What this process or the store has is read; the rest is computed. Where other processes compute
    some of it just now, this one begins with what is left, and waits for them at the end."""
    # Folds list the same groups in other orders: kept in one, they serve all folds.
    ascending = sorted(set(groups))
    rows: dict[str, Rows] = {}
    for wait in (False, True):
        for name in features:
            if name not in rows:
                of_set = _remembered(store, name, ascending, robust=robust, wait=wait)
                if of_set is not None:
                    rows[name] = of_set
    tables = {}
    for name in features:
        pairs = [rows[name][ranges] for ranges in groups]
        tables[name] = (
            np.stack([pair[0] for pair in pairs]),
            np.stack([pair[1] for pair in pairs]),
        )
    return tables


def _remembered(
    store: Store, name: str, groups: Sequence[Ranges], *, robust: bool, wait: bool
) -> Rows | None:
    """Centre and spread of groups of one feature set; None where another process computes them,
    unless this one is to `wait` for it."""
    feature_set = store.feature_sets[name]
    content = _content(store, name, robust=robust)
    known = _rows_of(content)
    if all(ranges in known for ranges in groups):
        return known
    frames = sum(stop - start for ranges in groups for start, stop in ranges)
    if frames * feature_set.dim < LEAST_VALUES:
        _compute(store, name, groups, known, robust=robust)
        return known
    kind, key = f"{'median' if robust else 'mean'}-{name}", digest([content, groups])
    kept = Computed(store)
    if _add_kept(kept.read(kind, key), groups, known):
        return known
    with kept.alone(kind, key, wait=wait) as is_ours:
        if not is_ours:
            return None
        # A process that was waited for has kept them.
        if _add_kept(kept.read(kind, key), groups, known):
            return known
        _compute(store, name, groups, known, robust=robust)
        centre = np.stack([known[ranges][0] for ranges in groups])
        spread = np.stack([known[ranges][1] for ranges in groups])
        kept.write(kind, key, None, {"centre": centre, "spread": spread})
    return known


def _content(store: Store, name: str, *, robust: bool) -> str:
    """Digest of all that the statistics of a feature set's groups depend on."""
    feature_set = store.feature_sets[name]
    seal = store.files.get(feature_file(name))
    of_set = [feature_set.hash, feature_set.dim, feature_set.dtype, feature_set.missing]
    return digest([MEANING, of_set, seal and seal.sha256, robust, SAMPLE, BLOCK])


def _rows_of(content: str) -> Rows:
    """Return what this process knows of a content, to be added to; it forgets all where that has
    become too much."""
    values = 0
    for rows in list(_seen.values()):
        centre, spread = next(iter(rows.values()), (np.empty(0), np.empty(0)))
        values += len(rows) * (len(centre) + len(spread))
    if values > REMEMBERED or len(_seen) > SETS_REMEMBERED:
        _seen.clear()  # another thread of a model server may do so at any time
    return _seen.setdefault(content, {})


def _add_kept(facts: Facts | None, groups: Sequence[Ranges], known: Rows) -> bool:
    """Add kept statistics of these groups to what is known; False where there are none."""
    if facts is None:
        return False
    centre, spread = facts.arrays["centre"], facts.arrays["spread"]
    known |= {ranges: (centre[row], spread[row]) for row, ranges in enumerate(groups)}
    return True


def _compute(
    store: Store, name: str, groups: Sequence[Ranges], known: Rows, *, robust: bool
) -> None:
    """Add centre and spread of the groups that are not yet known, several at once."""
    values, missing = store.features(name), store.feature_sets[name].missing
    unknown = [ranges for ranges in groups if ranges not in known]

    def measure(ranges: Ranges) -> tuple[Column, Column]:
        return centre_and_spread(values, ranges, robust=robust, missing=missing)

    threads = min(len(unknown), threads_allowed())
    if threads <= 1:
        measured = [measure(ranges) for ranges in unknown]
    else:
        # NumPy lets other threads run while it sorts and sums.
        with ThreadPoolExecutor(threads) as pool:
            measured = list(pool.map(measure, unknown))
    known |= dict(zip(unknown, measured, strict=True))


def threads_allowed() -> int:
    """Threads that may compute at once: as many as OMP_NUM_THREADS says, which Ray sets for its
    workers, else as there are cores."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    cores = int(said) if said.isdecimal() else len(os.sched_getaffinity(0))
    return max(1, min(cores, MOST_THREADS))


def _joined(recordings: Sequence[Recording]) -> Ranges:
    """Ranges of store positions, neighbours joined into one."""
    ranges: list[tuple[int, int]] = []
    for recording in sorted(recordings, key=lambda r: r.start):
        if ranges and ranges[-1][1] == recording.start:
            ranges[-1] = (ranges[-1][0], recording.stop)
        else:
            ranges.append((recording.start, recording.stop))
    return tuple(ranges)


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
    median, mad = median_and_mad(values, sample_rows(ranges), missing=missing)
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
        offset = widened(block).astype(np.float64)
        offset -= origin
        total += offset.sum(axis=0)
        squares_of_block = np.einsum("fc,fc->c", offset, offset)
        squares += squares_of_block
        constant &= squares_of_block == 0
        # The square of a tiny offset is 0 too.
        still = np.flatnonzero(constant)
        constant[still] = ~offset[:, still].any(axis=0)
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
    for narrow in _blocks(values, ranges):
        block = widened(narrow)
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


def sample_rows(ranges: Sequence[tuple[int, int]], most: int = SAMPLE) -> NDArray[np.int64]:
    """Positions of all frames in `ranges`, or of `most` evenly strided ones when there are more."""
    rows = np.concatenate([np.arange(start, stop) for start, stop in ranges])
    if len(rows) <= most:
        return rows
    return rows[np.arange(most) * len(rows) // most]
