"""The columns of one feature set, audited in one pass: finite, constant, outliers, copies of a
label, and the hash of all values.

Conventions: an outlier is farther than 20 MAD (median absolute deviation) from its column's median,
over all recordings. Median and MAD are exact up to 32 million values a feature set; beyond that
they come from evenly spaced frames. A column whose MAD is 0 (half its values are equal) has no
outliers by this measure. A column is a label's copy where they correlate by more than `COPY`, over
all frames or within each recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from va_search.data.arrays import Floats, Values
from va_search.data.copies import FrameHashes
from va_search.data.problems import exact
from va_search.data.store import Store

OUTLIER = 20.0  # MAD
SAMPLED_VALUES = 32_000_000
CHUNK_VALUES = 4_000_000
SHOWN = 3
COPY = 0.9999
"""A correlation from which a feature is a label in other units: no measured signal follows an
annotation so closely."""
LEAST_LABELLED = 10
"""Labelled frames from which a correlation says something."""


def audit_columns(store: Store, name: str, frames: FrameHashes) -> ColumnAudit:
    """Audit feature set `name`: a sample for median and MAD, then every value once, chunk by chunk.

    The hashes of its values are added to `frames`.
    """
    values = store.features(name)
    dim = values.shape[1]
    audit = ColumnAudit(store, name, *_centre(values))
    frames.begin(dim)
    rows = max(1, CHUNK_VALUES // dim)
    # Chunks end with their recording, since lowest and highest values are kept by recording.
    for index, recording in enumerate(store.recordings):
        for start in range(recording.start, recording.stop, rows):
            block = values[start : min(start + rows, recording.stop)]
            frames.add(start, block)
            finite = audit.add(index, block)
            labels = store.annotations[start : start + len(block)]
            audit.copies.add(labels, finite, audit.median)
        audit.copies.end_recording()
    return audit


def _centre(values: Values) -> tuple[Floats, Floats]:
    """Median and MAD (dim,) of each column, over finite values of evenly spaced frames."""
    step = max(1, -(-values.size // SAMPLED_VALUES))
    sample = values[::step]
    middle = np.median
    if not np.isfinite(sample).all():
        middle, sample = np.nanmedian, np.where(np.isfinite(sample), sample, np.nan)
        sample[:, np.isnan(sample).all(axis=0)] = 0.0  # a column without a finite value
    median = middle(sample, axis=0)
    return median.astype(np.float64), middle(np.abs(sample - median), axis=0).astype(np.float64)


class ColumnAudit:
    """Per column of one feature set, (dim,) each: centre and spread, counts, and the worst outlier.

    `low` and `high` are (recordings, dim), over finite values; indexes of recordings are -1 where
    there is none.
    """

    def __init__(self, store: Store, name: str, median: Floats, mad: Floats) -> None:
        self.recordings = store.recordings
        self.feature_set = store.feature_sets[name]
        self.median, self.mad = median, mad
        dim = len(median)
        self.low = np.full((len(self.recordings), dim), np.inf)
        self.high = np.full((len(self.recordings), dim), -np.inf)
        self.nans = np.zeros(dim, np.int64)
        self.infinities = np.zeros(dim, np.int64)
        self.not_finite_in = np.full(dim, -1)
        self.outlying = np.zeros(dim, np.int64)
        self.distance = np.zeros(dim)  # of the worst outlier, in MAD
        self.outlier = np.zeros(dim)
        self.outlier_in = np.full(dim, -1)
        self.zero_frames = 0  # in which every column is 0
        self.copies = LabelCopies(dim, store.target_names)

    def add(self, index: int, block: Values) -> Values:
        """Count one chunk of recording `index`; return it with the median where it is not
        finite."""
        zeros = block[:, 0] == 0
        if zeros.any():
            self.zero_frames += int((~block[zeros].any(axis=1)).sum())
        finite = np.isfinite(block)
        if not finite.all():
            self.nans += np.isnan(block).sum(axis=0)
            self.infinities += np.isinf(block).sum(axis=0)
            is_new = (self.not_finite_in < 0) & ~finite.all(axis=0)
            self.not_finite_in[is_new] = index
            block = np.where(finite, block, self.median)
        # Extremes first: most chunks have no outlier, and distances cost a pass.
        low, high = block.min(axis=0).astype(np.float64), block.max(axis=0).astype(np.float64)
        self.low[index] = np.minimum(self.low[index], low)
        self.high[index] = np.maximum(self.high[index], high)
        reach = OUTLIER * self.mad
        if ((self.median - low > reach) | (high - self.median > reach)).any():
            self._add_outliers(index, block)
        return block

    def _add_outliers(self, index: int, block: Values) -> None:
        spread = self.mad > 0
        distance = np.abs(block - self.median)
        self.outlying += ((distance > OUTLIER * self.mad) & spread).sum(axis=0)
        # The farthest value of each column, kept if no earlier chunk has a farther one.
        rows, columns = distance.argmax(axis=0), np.arange(block.shape[1])
        farthest = np.zeros(block.shape[1])
        np.divide(distance[rows, columns], self.mad, out=farthest, where=spread)
        worse = farthest > self.distance
        self.distance[worse] = farthest[worse]
        self.outlier[worse] = block[rows, columns][worse]
        self.outlier_in[worse] = index

    def not_finite(self) -> Iterator[str]:
        """Columns with infinite values, or NaN where the feature set has no missing ones."""
        wrong = np.flatnonzero(self.infinities)
        if not self.feature_set.missing:
            wrong = np.flatnonzero(self.nans + self.infinities)
        for column in wrong[:SHOWN].tolist():
            recording = self.recordings[self.not_finite_in[column]].name
            yield (
                f"{self._column(column)}: {self.nans[column]} NaN and {self.infinities[column]} "
                f"infinite values, the first in recording {recording}"
            )
        yield from _more(wrong.size, "columns with values that are not finite")

    def lacking(self) -> Iterator[str]:
        """The missing values, and frames that are 0 in every column, which usually are missing."""
        frames = self.recordings[-1].stop if self.recordings else 0
        if self.feature_set.missing:
            share = float(self.nans.sum()) / max(1, frames * self.feature_set.dim)
            columns = np.count_nonzero(self.nans)
            yield (
                f"{self.nans.sum():,} values are missing ({share:.1%}), in {columns} of "
                f"{self.feature_set.dim} columns; a model gets 0 there, and a column that says so"
            )
        if self.feature_set.dim > 1 and 0 < self.zero_frames < frames:
            yield (
                f"{self.zero_frames:,} frames ({self.zero_frames / frames:.1%}) are 0 in every "
                "column, which usually means that nothing was found there (no face, no sound); "
                "write them as empty cells to have them kept as missing"
            )

    def dirt(self) -> Iterator[str]:
        """Columns that are a label or constant, recordings where the set is missing, outliers."""
        yield from self._label_copies()
        yield from self._empty()
        yield from self._constant()
        yield from self._missing()
        yield from self._outliers()

    def _column(self, index: int) -> str:
        """The column's name at the source, or its number."""
        names = self.feature_set.columns
        return f"column {names[index] if names else index}"

    def _label_copies(self) -> Iterator[str]:
        copies = self.copies.columns()
        for column, label, measure in copies[:SHOWN]:
            yield (
                f"{self._column(column)} is a copy of the label {label} ({measure}): a model that "
                "has it learns nothing else"
            )
        yield from _more(len(copies), "columns that are copies of a label")

    def _empty(self) -> Iterator[str]:
        empty = np.flatnonzero(self.nans == self.recordings[-1].stop)
        for column in empty[:SHOWN].tolist():
            yield f"{self._column(column)} has no value in any frame"
        yield from _more(empty.size, "columns without a value")

    def _constant(self) -> Iterator[str]:
        is_constant = self.low.min(axis=0) == self.high.max(axis=0)
        constant = np.flatnonzero(is_constant & (self.nans < self.recordings[-1].stop))
        if constant.size == self.feature_set.dim > 1:
            yield "every column is constant over all recordings"
            return
        for column in constant[:SHOWN].tolist():
            value = exact(self.low[0, column])
            yield f"{self._column(column)} is {value} in every frame of every recording"
        yield from _more(constant.size, "constant columns")

    def _missing(self) -> Iterator[str]:
        """Recordings in which no column moves: the feature set was missing there, or its sensor was
        dead."""
        if (self.low.min(axis=0) == self.high.max(axis=0)).all():
            return
        is_constant = (self.low == self.high).all(axis=1)
        names = []
        for recording, is_missing in zip(self.recordings, is_constant.tolist(), strict=True):
            if is_missing and recording.frames > 1:
                names.append(recording.name)
        if names:
            hidden = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            shown = ", ".join(names[:SHOWN]) + hidden
            yield f"missing or a dead sensor: no value changes in recording {shown}"

    def _outliers(self) -> Iterator[str]:
        """Columns with values beyond 20 MAD, the worst first."""
        columns = np.flatnonzero(self.outlying)
        columns = columns[np.argsort(-self.distance[columns])]
        for column in columns[:SHOWN].tolist():
            recording = self.recordings[self.outlier_in[column]].name
            yield (
                f"{self._column(column)}: {self.outlying[column]} values beyond {OUTLIER:g} MAD, "
                f"the worst {self.outlier[column]:g} in recording {recording} "
                f"(median {self.median[column]:g}, MAD {self.mad[column]:g})"
            )
        yield from _more(columns.size, f"columns with values beyond {OUTLIER:g} MAD")


def _more(count: int, what: str) -> Iterator[str]:
    if count > SHOWN:
        yield f"{count - SHOWN} more {what}"


class LabelCopies:
    """Correlation of each column of one feature set with each label, over the frames labelled for
    that target.

    `weakest` (dim, targets) is the smallest |r| of a recording with enough labelled frames, so that
    a copy in units of each recording is found too; `compared` (targets,) counts these recordings.
    """

    def __init__(self, dim: int, target_names: Sequence[str]) -> None:
        self.target_names = tuple(target_names)
        targets = len(self.target_names)
        self.pooled, self.single = _Sums(dim, targets), _Sums(dim, targets)
        self.weakest = np.ones((dim, targets))
        self.compared = np.zeros(targets, np.int64)

    def add(self, labels: Values, block: Values, centre: Floats) -> None:
        """Count frames of a recording: labels (n, targets), features (n, dim), less their `centre`
        (dim,)."""
        labelled = ~np.isnan(labels).all(axis=1)
        if labelled.any():
            self.single.add(block[labelled] - centre, labels[labelled].astype(np.float64))

    def end_recording(self) -> None:
        """Take the recording whose frames were added into account."""
        enough = self.single.count >= LEAST_LABELLED
        if enough.any():
            strength = np.where(enough, np.abs(self.single.correlation()), np.nan)
            self.weakest = np.fmin(self.weakest, strength)  # NaN tells nothing
            self.compared += enough
        self.pooled.merge(self.single)
        self.single = _Sums(*self.weakest.shape)

    def columns(self) -> list[tuple[int, str, str]]:
        """(column, label, measure) of each column that is a copy of a label."""
        enough = self.pooled.count >= LEAST_LABELLED
        if not enough.any():
            return []
        pooled = np.where(enough, self.pooled.correlation(), np.nan)
        # In other units in each recording, a copy has r = 1 there and any r over all.
        is_copy = np.abs(pooled) >= COPY
        in_each = ~np.isnan(pooled) & (self.weakest >= COPY) & (self.compared >= 2)
        copies = []
        for column, label in np.argwhere(is_copy | in_each).tolist():
            measure = "|r| = 1 within each recording"
            if is_copy[column, label]:
                measure = f"r = {pooled[column, label]:.5f}"
            copies.append((column, self.target_names[label], measure))
        return copies


class _Sums:
    """Sums of x, y, x², y² and xy over the frames labelled for each target: their number `count`
    (targets,), y and yy (targets,), x, xx and xy (dim, targets)."""

    def __init__(self, dim: int, targets: int) -> None:
        self.count = np.zeros(targets, np.int64)
        self.y, self.yy = np.zeros(targets), np.zeros(targets)
        self.x, self.xx = np.zeros((dim, targets)), np.zeros((dim, targets))
        self.xy = np.zeros((dim, targets))

    def add(self, x: Floats, y: Floats) -> None:
        """Count frames: x (n, dim), y (n, targets), NaN where there is no label."""
        labelled = ~np.isnan(y)
        if labelled.all():
            # The usual case: one pass over x serves all targets.
            self._add(slice(None), x, y)
            return
        for target in np.flatnonzero(labelled.any(axis=0)).tolist():
            rows = labelled[:, target]
            self._add(slice(target, target + 1), x[rows], y[rows, target : target + 1])

    def _add(self, targets: slice, x: Floats, y: Floats) -> None:
        self.count[targets] += len(x)
        self.x[:, targets] += x.sum(axis=0)[:, None]
        self.y[targets] += y.sum(axis=0)
        self.xx[:, targets] += np.einsum("fc,fc->c", x, x)[:, None]
        self.yy[targets] += np.einsum("fc,fc->c", y, y)
        self.xy[:, targets] += x.T @ y

    def merge(self, other: _Sums) -> None:
        """Count the frames of other sums too."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def correlation(self) -> Floats:
        """(dim, targets) r, NaN where a column or a label does not vary."""
        count = np.maximum(self.count, 1)
        covariance = self.xy / count - self.x * self.y / count**2
        spread_x = np.maximum(self.xx / count - (self.x / count) ** 2, 0.0)
        spread_y = np.maximum(self.yy / count - (self.y / count) ** 2, 0.0)
        # Rounding leaves a little spread of a constant: it counts as none.
        still_x = spread_x <= 1e-12 * self.xx / count
        still_y = spread_y <= 1e-12 * self.yy / count
        scale = np.sqrt(spread_x * spread_y)
        is_constant = still_x | still_y | (scale == 0)
        return np.where(is_constant, np.nan, covariance / np.where(is_constant, 1.0, scale))
