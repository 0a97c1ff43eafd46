"""The columns of one feature set, audited in one pass: finite, constant, outliers, and the hash of
all values.

Conventions: an outlier is farther than 20 MAD (median absolute deviation) from its column's median,
over all recordings. Median and MAD are exact up to 32 million values a feature set; beyond that
they come from evenly spaced frames. A column whose MAD is 0 (half its values are equal) has no
outliers by this measure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from va_search.data.copies import FrameHashes, LabelCopies
from va_search.data.problems import exact
from va_search.data.store import FeatureSet, Recording, Store

OUTLIER = 20.0  # MAD
SAMPLED_VALUES = 32_000_000
CHUNK_VALUES = 4_000_000
SHOWN = 3
Floats = NDArray[np.float64]


@dataclass
class ColumnFindings:
    """Per column of one feature set, (dim,) each: centre and spread, counts, and the worst outlier.

    `low` and `high` are (recordings, dim), over finite values.
    """

    feature_set: FeatureSet
    recordings: tuple[Recording, ...]
    median: Floats
    mad: Floats
    low: Floats
    high: Floats
    nans: NDArray[np.int64]
    infinities: NDArray[np.int64]
    first_bad: NDArray[np.int64]  # recording index, -1 where all is finite
    beyond: NDArray[np.int64]
    worst: Floats  # its distance in MAD
    worst_value: Floats
    worst_at: NDArray[np.int64]  # its recording index
    hash: str = ""
    labels: tuple[str, ...] = ()  # a text for each column that is a copy of a label

    def column(self, index: int) -> str:
        """The column's name at the source, or its number."""
        names = self.feature_set.columns
        return f"column {names[index]}" if names else f"column {index}"

    def not_finite(self) -> Iterator[str]:
        """Columns with NaN or infinite values."""
        bad = np.flatnonzero(self.nans + self.infinities)
        for index in bad[:SHOWN].tolist():
            recording = self.recordings[int(self.first_bad[index])].name
            yield (
                f"{self.column(index)}: {self.nans[index]} NaN and {self.infinities[index]} infinite values, the first "
                f"in recording {recording}"
            )
        yield from _others(bad.size, "columns with values that are not finite")

    def copies_of_labels(self) -> Iterator[str]:
        """Columns that are a label, in whatever unit."""
        yield from self.labels[:SHOWN]
        yield from _others(len(self.labels), "columns that are copies of a label")

    def constant(self) -> Iterator[str]:
        """Columns with one value everywhere."""
        constant = np.flatnonzero(self.low.min(axis=0) == self.high.max(axis=0))
        if constant.size == self.feature_set.dim > 1:
            yield "every column is constant over all recordings"
            return
        for index in constant[:SHOWN].tolist():
            yield f"{self.column(index)} is {exact(self.low[0, index])} in every frame of every recording"
        yield from _others(constant.size, "constant columns")

    def missing(self) -> Iterator[str]:
        """Recordings in which no column moves: the feature set was missing there, or its sensor was
        dead."""
        everywhere = self.low.min(axis=0) == self.high.max(axis=0)
        still = (self.low == self.high).all(axis=1)
        still &= np.array([recording.frames > 1 for recording in self.recordings])
        if everywhere.all() or not still.any():
            return
        names = [self.recordings[index].name for index in np.flatnonzero(still)[:SHOWN].tolist()]
        more = f" and {still.sum() - SHOWN} more" if still.sum() > SHOWN else ""
        yield f"missing or a dead sensor: no value changes in recording {', '.join(names)}{more}"

    def outliers(self) -> Iterator[str]:
        """Columns with values beyond 20 MAD, the worst first."""
        found = np.flatnonzero(self.beyond)
        found = found[np.argsort(-self.worst[found])]
        for index in found[:SHOWN].tolist():
            recording = self.recordings[int(self.worst_at[index])].name
            yield (
                f"{self.column(index)}: {self.beyond[index]} values beyond {OUTLIER:g} MAD, the worst "
                f"{self.worst_value[index]:g} in recording {recording} "
                f"(median {self.median[index]:g}, MAD {self.mad[index]:g})"
            )
        yield from _others(found.size, f"columns with values beyond {OUTLIER:g} MAD")


def _others(count: int, what: str) -> Iterator[str]:
    if count > SHOWN:
        yield f"{count - SHOWN} more {what}"


def read_columns(store: Store, name: str, frames: FrameHashes | None = None) -> ColumnFindings:
    """Audit feature set `name`: a sample for median and MAD, then every value once, chunk by chunk.

    The hashes of its values are added to `frames`.
    """
    feature_set = store.feature_sets[name]
    values = store.features(name)
    dim, count = feature_set.dim, len(store.recordings)
    median, mad = _centre(values)
    found = ColumnFindings(
        feature_set, store.recordings, median, mad,
        low=np.full((count, dim), np.inf), high=np.full((count, dim), -np.inf),
        nans=np.zeros(dim, np.int64), infinities=np.zeros(dim, np.int64), first_bad=np.full(dim, -1),
        beyond=np.zeros(dim, np.int64),
        worst=np.zeros(dim), worst_value=np.zeros(dim), worst_at=np.zeros(dim, np.int64),
    )  # fmt: skip
    sha = hashlib.sha256(f"{dim}:{values.dtype}".encode())
    rows = max(1, CHUNK_VALUES // dim)
    copies = LabelCopies(store, dim)
    if frames is not None:
        frames.begin(dim)
    for index, recording in enumerate(store.recordings):
        for start in range(recording.start, recording.stop, rows):
            block = values[start : min(start + rows, recording.stop)]
            sha.update(np.ascontiguousarray(block).data)
            if frames is not None:
                frames.add(start, block)
            block = _add(found, index, block)
            copies.add(index, start, block, median)
    found.hash = sha.hexdigest()
    found.labels = tuple(
        f"{found.column(column)} is a copy of the label {label} ({how}): a model that has it learns nothing else"
        for column, label, how in copies.found()
    )
    return found


def _centre(values: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Median and MAD of each column, over finite values of evenly spaced frames."""
    step = max(1, -(-values.size // SAMPLED_VALUES))
    sample = values[::step]
    middle = np.median
    if not np.isfinite(sample).all():
        middle, sample = np.nanmedian, np.where(np.isfinite(sample), sample, np.nan)
        sample[:, np.isnan(sample).all(axis=0)] = 0.0  # a column without a finite value
    median = middle(sample, axis=0)
    return median.astype(np.float64), middle(np.abs(sample - median), axis=0).astype(np.float64)


def _add(found: ColumnFindings, index: int, block: NDArray[np.floating]) -> NDArray[np.floating]:
    """Count one chunk of recording `index`; the chunk with the median where it is not finite."""
    bad = ~np.isfinite(block)
    if bad.any():
        found.nans += np.isnan(block).sum(axis=0)
        found.infinities += np.isinf(block).sum(axis=0)
        found.first_bad = np.where((found.first_bad < 0) & bad.any(axis=0), index, found.first_bad)
        block = np.where(bad, found.median, block)
    found.low[index] = np.minimum(found.low[index], block.min(axis=0))
    found.high[index] = np.maximum(found.high[index], block.max(axis=0))
    extremes = np.stack([block.min(axis=0), block.max(axis=0)]).astype(np.float64)
    if not (np.abs(extremes - found.median) > OUTLIER * found.mad).any():
        return block
    distance = np.abs(block - found.median)
    beyond = (distance > OUTLIER * found.mad) & (found.mad > 0)
    found.beyond += beyond.sum(axis=0)
    row, columns = distance.argmax(axis=0), np.arange(block.shape[1])
    far = np.divide(
        distance[row, columns], found.mad, out=np.zeros(block.shape[1]), where=found.mad > 0
    )
    worse = far > found.worst
    found.worst = np.where(worse, far, found.worst)
    found.worst_value = np.where(worse, block[row, columns], found.worst_value)
    found.worst_at = np.where(worse, index, found.worst_at)
    return block
