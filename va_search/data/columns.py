"""The columns of one feature set, audited in one pass: finite, constant, outliers, copies of a
label, and the hash of all values.

Conventions: an outlier is farther than 20 MAD (median absolute deviation) from its column's median,
over all recordings. Median and MAD are exact up to 8 million values a feature set; beyond that
they come from evenly spaced frames. A column whose MAD is 0 (half its values are equal) has no
outliers by this measure. A column is a label's copy where they correlate by more than `COPY`, over
all frames or within each recording (label_copies.py).

All that is asked of a value is asked while it lies in the processor's cache: chunks are small, and
float16 is widened once for all questions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from va_search.data.arrays import Floats, Values
from va_search.data.copies import FrameHashes
from va_search.data.label_copies import LabelCopies
from va_search.data.medians import median_and_mad, widened
from va_search.data.problems import exact
from va_search.data.store import Store

OUTLIER = 20.0  # MAD
SAMPLED_VALUES = 8_000_000
CHUNK_VALUES = 200_000
SHOWN = 3


def audit_columns(store: Store, name: str, frames: FrameHashes) -> ColumnAudit:
    """Audit feature set `name`: a sample for median and MAD, then every value once, chunk by chunk.

    The hashes of its frames are set in `frames`."""
    values = store.features(name)
    dim = values.shape[1]
    audit = ColumnAudit(store, name, *_centre(values))
    sha = hashlib.sha256(f"{dim}:{values.dtype}".encode())
    rows = max(1, CHUNK_VALUES // dim)
    # Chunks end with their recording, since lowest and highest values are kept by recording.
    for index, recording in enumerate(store.recordings):
        for start in range(recording.start, recording.stop, rows):
            block = values[start : min(start + rows, recording.stop)]
            sha.update(np.ascontiguousarray(block).data)
            frames.add(start, block)
            finite = audit.add(index, widened(block))
            audit.copies.add(start, finite)
        audit.copies.end_recording()
    audit.hash = sha.hexdigest()
    audit.copies.confirm(values)
    return audit


def _centre(values: Values) -> tuple[Floats, Floats]:
    """Median and MAD (dim,) of each column, over the values of evenly spaced frames that are not
    NaN; 0 where infinities leave none."""
    step = max(1, -(-values.size // SAMPLED_VALUES))
    rows = np.arange(0, len(values), step)
    median, mad = median_and_mad(values, rows, missing=True)
    is_lost = ~np.isfinite(median) | ~np.isfinite(mad)
    median[is_lost], mad[is_lost] = 0.0, 0.0
    return median, mad


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
        self.hash = ""  # of all values, as the import makes it
        self.copies = LabelCopies(store, median)

    def add(self, index: int, block: Values) -> Values:
        """Count one chunk of recording `index`, not float16; return it with the median where it is
        not finite."""
        zeros = block[:, 0] == 0
        if zeros.any():
            self.zero_frames += int((~block[zeros].any(axis=1)).sum())
        # Extremes first: they tell of NaN and infinities, and most chunks have no outlier.
        low, high = block.min(axis=0), block.max(axis=0)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            block = self._add_not_finite(index, block)
            low, high = block.min(axis=0), block.max(axis=0)
        low, high = low.astype(np.float64), high.astype(np.float64)
        self.low[index] = np.minimum(self.low[index], low)
        self.high[index] = np.maximum(self.high[index], high)
        reach = OUTLIER * self.mad
        if ((self.median - low > reach) | (high - self.median > reach)).any():
            self._add_outliers(index, block)
        return block

    def _add_not_finite(self, index: int, block: Values) -> Values:
        """Count the values of a chunk that are not finite; return it with the median there."""
        finite = np.isfinite(block)
        self.nans += np.isnan(block).sum(axis=0)
        self.infinities += np.isinf(block).sum(axis=0)
        is_new = (self.not_finite_in < 0) & ~finite.all(axis=0)
        self.not_finite_in[is_new] = index
        return np.where(finite, block, self.median)

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
