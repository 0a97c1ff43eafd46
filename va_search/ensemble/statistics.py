"""Sufficient statistics of predictions and annotations for the CCC, one block per recording, added at will.

Conventions: one dimension at a time; M members, R recordings. For p = sum of w_i p_i over the labelled frames

    CCC(w) = 2 w.c / (w' S w + v + (w.m - mu)^2)

depends on the frames only through the member means m, their population covariance S, the covariance c with the
annotation and the annotation's mean mu and variance v (all divide by n, as the challenge's metric does). Counts,
sums and cross-products add up over recordings, so a fold, a bag or a bootstrap sample of recordings is a weighted
sum of blocks and never reads a frame again. Every member is shifted by a constant (its mean over the first labelled
stretch) and accumulated in float64: without it an offset of 1000 destroys the covariance's digits.
Unlabelled frames (NaN annotation) are left out; a NaN or infinite prediction is refused by the member's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from va_search.errors import InputError

Vector = NDArray[np.float64]
ROWS = 8192
"""Frames per matrix product: 64 MiB of float64 for a thousand members."""


@dataclass(frozen=True)
class Moments:
    """Population moments of M members and the annotation over some frames: all that CCC(w) needs."""

    frames: float
    mean: Vector  # (member,)
    covariance: Vector  # (member, member)
    with_label: Vector  # (member,) covariance with the annotation
    label_mean: float
    label_variance: float

    def ccc(self, weights: Vector) -> float:
        """CCC of the weighted sum of the members; NaN where the denominator is zero."""
        variance = float(weights @ self.covariance @ weights)
        bias = float(weights @ self.mean) - self.label_mean
        denominator = variance + self.label_variance + bias**2
        return 2.0 * float(weights @ self.with_label) / denominator if denominator > 0.0 else float("nan")

    def ccc_of_each(self) -> Vector:
        """(member,) CCC of every member alone."""
        denominator = np.diag(self.covariance) + self.label_variance + (self.mean - self.label_mean) ** 2
        each: Vector = np.full(len(denominator), np.nan)
        np.divide(2.0 * self.with_label, denominator, out=each, where=denominator > 0.0)
        return each


@dataclass(frozen=True)
class Statistics:
    """One block per recording, of values relative to `shifts` and `label_shift`; additive."""

    counts: Vector  # (recording,) labelled frames
    sums: Vector  # (recording, member)
    products: Vector  # (recording, member, member)
    with_label: Vector  # (recording, member)
    label_sums: Vector  # (recording,)
    label_squares: Vector  # (recording,)
    shifts: Vector  # (member,)
    label_shift: float

    @property
    def recordings(self) -> int:
        return len(self.counts)

    @property
    def members(self) -> int:
        return len(self.shifts)

    def total(self, weights: Vector | None = None) -> Moments:
        """Moments over all recordings, or with each recording counted `weights` times (0 leaves it out)."""
        each = np.ones(self.recordings) if weights is None else weights
        n = float(each @ self.counts)
        if not n > 0.0:
            raise ValueError(f"at least one labelled frame is needed, but got {n:g}")
        mean = each @ self.sums / n
        label_mean = float(each @ self.label_sums) / n
        return Moments(
            frames=n,
            mean=mean + self.shifts,
            covariance=np.tensordot(each, self.products, axes=1) / n - np.outer(mean, mean),
            with_label=each @ self.with_label / n - mean * label_mean,
            label_mean=label_mean + self.label_shift,
            label_variance=float(each @ self.label_squares) / n - label_mean**2,
        )

    def pooled_ccc(self, weights: Vector) -> float:
        """CCC over all frames when recording r is predicted with `weights[r]`, (recording, member).

        This is the score of out-of-fold predictions, without making one of them.
        """
        offsets = weights @ self.shifts - self.label_shift  # (recording,) p = w.(x - shift) + offset, like y
        sums = np.einsum("rm,rm->r", weights, self.sums)
        squares = np.einsum("rm,rmk,rk->r", weights, self.products, weights, optimize=True)
        with_label = np.einsum("rm,rm->r", weights, self.with_label)
        n = float(self.counts.sum())
        total = float((sums + self.counts * offsets).sum())
        total_squares = float((squares + 2 * offsets * sums + self.counts * offsets**2).sum())
        total_with_label = float((with_label + offsets * self.label_sums).sum())
        mean, label_mean = total / n, float(self.label_sums.sum()) / n
        one = Moments(
            frames=n,
            mean=np.array([mean]),
            covariance=np.array([[total_squares / n - mean**2]]),
            with_label=np.array([total_with_label / n - mean * label_mean]),
            label_mean=label_mean,
            label_variance=float(self.label_squares.sum()) / n - label_mean**2,
        )
        return one.ccc(np.ones(1))


def measure(
    predictions: Sequence[NDArray[np.floating]],
    annotation: NDArray[np.floating],
    recordings: Sequence[tuple[str, int]],
    members: Sequence[str],
) -> Statistics:
    """Statistics in one pass over the frames.

    `predictions`: one (frames,) array per member, mapped or not, read once and in order. `annotation`: (frames,),
    NaN unlabelled. `recordings`: name and number of frames of each, in the order of the rows. `members`: names for
    the message of the InputError raised when a labelled frame's prediction is NaN or infinite, naming all of them.
    """
    if any(len(p) != len(annotation) for p in predictions) or sum(n for _, n in recordings) != len(annotation):
        raise ValueError(
            f"lengths must agree, but got annotation {len(annotation)}, recordings {sum(n for _, n in recordings)}, "
            f"predictions {sorted({len(p) for p in predictions})}"
        )
    shifts, label_shift = _shifts(predictions, annotation)
    blocks = _empty(len(recordings), shifts, label_shift)
    start = 0
    for index, (_, frames) in enumerate(recordings):
        for low in range(start, start + frames, ROWS):
            _add(blocks, index, predictions, annotation, slice(low, min(low + ROWS, start + frames)))
        start += frames
    _refuse_non_finite(blocks, recordings, members)
    return blocks


def _shifts(predictions: Sequence[NDArray[np.floating]], annotation: NDArray[np.floating]) -> tuple[Vector, float]:
    """Each member's mean over the first labelled frames; 0 for one that is not finite there (refused later)."""
    rows = np.flatnonzero(~np.isnan(annotation))[:ROWS]
    if not rows.size:
        return np.zeros(len(predictions)), 0.0
    with np.errstate(invalid="ignore"):
        shifts = np.array([p[rows].astype(np.float64).mean() for p in predictions])
    return np.where(np.isfinite(shifts), shifts, 0.0), float(annotation[rows].astype(np.float64).mean())


def _empty(recordings: int, shifts: Vector, label_shift: float) -> Statistics:
    members = len(shifts)
    return Statistics(
        counts=np.zeros(recordings),
        sums=np.zeros((recordings, members)),
        products=np.zeros((recordings, members, members)),
        with_label=np.zeros((recordings, members)),
        label_sums=np.zeros(recordings),
        label_squares=np.zeros(recordings),
        shifts=shifts,
        label_shift=label_shift,
    )


def _add(
    blocks: Statistics,
    index: int,
    predictions: Sequence[NDArray[np.floating]],
    annotation: NDArray[np.floating],
    rows: slice,
) -> None:
    labelled = ~np.isnan(annotation[rows])
    y = annotation[rows][labelled].astype(np.float64) - blocks.label_shift
    x = np.empty((len(predictions), len(y)))  # (member, frame)
    for member, prediction in enumerate(predictions):
        x[member] = prediction[rows][labelled]
    with np.errstate(invalid="ignore", over="ignore"):
        x -= blocks.shifts[:, None]
        blocks.counts[index] += len(y)
        blocks.sums[index] += x.sum(axis=1)
        blocks.products[index] += x @ x.T
        blocks.with_label[index] += x @ y
    blocks.label_sums[index] += y.sum()
    blocks.label_squares[index] += y @ y


def _refuse_non_finite(blocks: Statistics, recordings: Sequence[tuple[str, int]], members: Sequence[str]) -> None:
    bad = ~np.isfinite(blocks.sums) | ~np.isfinite(np.diagonal(blocks.products, axis1=1, axis2=2))
    problems = []
    for member in np.flatnonzero(bad.any(axis=0)).tolist():
        where = [recordings[index][0] for index in np.flatnonzero(bad[:, member]).tolist()]
        problems.append(
            f"member {members[member]}: NaN or infinite predictions in {len(where)} recordings "
            f"({', '.join(where[:3])}{', …' if len(where) > 3 else ''}); expected finite numbers"
        )
    if problems:
        raise InputError(*problems)
