"""Features that are labels: correlations of each column of one feature set with each label.

Conventions: a column is a label's copy where |r| is at least `COPY`, over all labelled frames or
within each recording. Correlations do not change when both sides are centred: features at their
column's median, labels at their mean, so that float32 holds what differs. All columns are compared
in the type of the chunks, float32 for most; the few that may be copies are read once more, in
float64, and nothing is said of the others."""

from __future__ import annotations

import numpy as np

from va_search.data.arrays import Flags, Floats, Indexes, Values
from va_search.data.store import Store

COPY = 0.9999
"""A correlation from which a feature is a label in other units: no measured signal follows an
annotation so closely."""
SUSPECT = 0.99
"""A correlation in float32 from which it is computed in float64."""
STILL, NEARLY_STILL = 1e-12, 1e-3
"""Shares of the mean square from which a variance is more than rounding, in float64 and float32."""
LEAST_LABELLED = 10
"""Labelled frames from which a correlation says something."""


class LabelCopies:
    """Correlations of one feature set's columns with each label, over the frames labelled for that
    target; `centre` (dim,) are the columns' medians.

    `add` chunks, `end_recording`, and `confirm` when all were added; then ask for `columns`."""

    def __init__(self, store: Store, centre: Floats) -> None:
        self._store, self._centre = store, centre
        self._narrow_centre = centre.astype(np.float32)
        labels = store.annotations.astype(np.float64)
        counts = np.maximum((~np.isnan(labels)).sum(axis=0), 1)
        self._labels = labels - np.nansum(labels, axis=0) / counts
        self._narrow_labels = self._labels.astype(np.float32)
        self._is_labelled: Flags = np.asarray((~np.isnan(labels)).any(axis=1))
        self._all = _Correlations(len(centre), labels.shape[1], NEARLY_STILL)
        self._confirmed: list[tuple[int, str, str]] = []

    def add(self, start: int, block: Values) -> None:
        """Count frames from `start` on of a recording, features (n, dim), all finite."""
        labelled = self._is_labelled[start : start + len(block)]
        if not labelled.any():
            return
        if not labelled.all():
            block = block[labelled]
        is_narrow = block.dtype == np.float32
        labels = self._narrow_labels if is_narrow else self._labels
        centre = self._narrow_centre if is_narrow else self._centre
        self._all.single.add(block - centre, labels[start : start + len(labelled)][labelled])

    def end_recording(self) -> None:
        """Take the recording whose frames were added into account."""
        self._all.end_recording()

    def confirm(self, values: Values) -> None:
        """Compare the columns that may be copies in float64; `values` (frames, dim) are all."""
        suspects = self._all.suspects()
        if not suspects.size:
            return
        exactly = _Correlations(suspects.size, self._labels.shape[1], STILL)
        for recording in self._store.recordings:
            labelled = self._is_labelled[recording.span]
            block = values[recording.span][labelled][:, suspects].astype(np.float64)
            centre = self._centre[suspects]
            block = np.where(np.isfinite(block), block, centre) - centre
            exactly.single.add(block, self._labels[recording.span][labelled])
            exactly.end_recording()
        for row, label, measure in exactly.copies():
            name = self._store.target_names[label]
            self._confirmed.append((int(suspects[row]), name, measure))

    def columns(self) -> list[tuple[int, str, str]]:
        """(column, label, measure) of each column that is a copy of a label."""
        return self._confirmed


class _Correlations:
    """Correlations of columns with labels: over all recordings, and the weakest within one.

    `weakest` (dim, targets) is the smallest |r| of a recording with enough labelled frames, so that
    a copy in units of each recording is found too; `compared` (targets,) counts these recordings."""

    def __init__(self, dim: int, targets: int, still: float) -> None:
        self._still = still
        self.pooled, self.single = _Sums(dim, targets), _Sums(dim, targets)
        self.weakest = np.ones((dim, targets))
        self.compared = np.zeros(targets, np.int64)

    def end_recording(self) -> None:
        """Take the recording whose frames were added to `single` into account."""
        enough = self.single.count >= LEAST_LABELLED
        if enough.any():
            strength = np.where(enough, np.abs(self.single.correlation(self._still)), np.nan)
            self.weakest = np.fmin(self.weakest, strength)  # NaN tells nothing
            self.compared += enough
        self.pooled.merge(self.single)
        self.single = _Sums(*self.weakest.shape)

    def suspects(self) -> Indexes:
        """Columns that are copies of a label, or may be."""
        enough = self.pooled.count >= LEAST_LABELLED
        is_apart = np.abs(self.pooled.correlation(self._still)) < SUSPECT
        in_each = (self.weakest >= SUSPECT) & (self.compared >= 2)
        return np.flatnonzero((enough & (~is_apart | in_each)).any(axis=1))

    def copies(self) -> list[tuple[int, int, str]]:
        """(column, target, measure) of each column that is a copy of a label."""
        enough = self.pooled.count >= LEAST_LABELLED
        pooled = np.where(enough, self.pooled.correlation(self._still), np.nan)
        # In other units in each recording, a copy has r = 1 there and any r over all.
        is_copy = np.abs(pooled) >= COPY
        in_each = ~np.isnan(pooled) & (self.weakest >= COPY) & (self.compared >= 2)
        copies = []
        for column, target in np.argwhere(is_copy | in_each).tolist():
            measure = "|r| = 1 within each recording"
            if is_copy[column, target]:
                measure = f"r = {pooled[column, target]:.5f}"
            copies.append((column, target, measure))
        return copies


class _Sums:
    """Sums of x, y, x², y² and xy over the frames labelled for each target: their number `count`
    (targets,), y and yy (targets,), x, xx and xy (dim, targets)."""

    def __init__(self, dim: int, targets: int) -> None:
        self.count = np.zeros(targets, np.int64)
        self.y, self.yy = np.zeros(targets), np.zeros(targets)
        self.x, self.xx = np.zeros((dim, targets)), np.zeros((dim, targets))
        self.xy = np.zeros((dim, targets))

    def add(self, x: Values, y: Values) -> None:
        """Count frames: x (n, dim), y (n, targets), NaN where there is no label."""
        labelled = ~np.isnan(y)
        if labelled.all():
            # The usual case: one pass over x serves all targets.
            self._add(slice(None), x, y)
            return
        for target in np.flatnonzero(labelled.any(axis=0)).tolist():
            rows = labelled[:, target]
            self._add(slice(target, target + 1), x[rows], y[rows, target : target + 1])

    def _add(self, targets: slice, x: Values, y: Values) -> None:
        self.count[targets] += len(x)
        self.x[:, targets] += x.sum(axis=0)[:, None]
        self.y[targets] += y.sum(axis=0)
        self.xx[:, targets] += np.einsum("fc,fc->c", x, x)[:, None]
        self.yy[targets] += np.einsum("fc,fc->c", y, y)
        self.xy[:, targets] += (y.T @ x).T  # this way round it is twice as fast

    def merge(self, other: _Sums) -> None:
        """Count the frames of other sums too."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def correlation(self, still: float) -> Floats:
        """(dim, targets) r, NaN where a column or a label does not vary: by a `still` share of its
        mean square, which is rounding. NaN, too, where squares are beyond the type."""
        count = np.maximum(self.count, 1)
        covariance = self.xy / count - self.x * self.y / count**2
        spread_x = np.maximum(self.xx / count - (self.x / count) ** 2, 0.0)
        spread_y = np.maximum(self.yy / count - (self.y / count) ** 2, 0.0)
        still_x = spread_x <= still * self.xx / count
        still_y = spread_y <= still * self.yy / count
        scale = np.sqrt(spread_x * spread_y)
        is_constant = still_x | still_y | (scale == 0) | ~np.isfinite(self.xx)
        return np.where(is_constant, np.nan, covariance / np.where(is_constant, 1.0, scale))
