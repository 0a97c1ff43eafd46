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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble.moments import Indexes, Moments, Vector
from va_search.errors import InputError

__all__ = ["Moments", "Statistics", "Vector", "measure"]
ROWS = 8192
"""Frames per matrix product: 64 MiB of float64 for a thousand members."""
AT_ONCE = 2**28
"""Bytes of bags' cross-products that are held at once."""


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
    names: tuple[str, ...]  # (recording,) or of the first recording of a block of several
    labels: tuple[str, ...]  # (member,) names of the members

    @property
    def recordings(self) -> int:
        return len(self.counts)

    @property
    def members(self) -> int:
        return len(self.shifts)

    def total(self, weights: Vector | None = None) -> Moments:
        """Moments over all recordings, or with each recording counted `weights` times (0 leaves it out)."""
        each = np.ones(self.recordings) if weights is None else weights
        return self._moments(each, np.tensordot(each, self.products, axes=1))

    def _moments(self, each: Vector, products: Vector) -> Moments:
        n = float(each @ self.counts)
        if not n > 0.0:
            raise ValueError(f"at least one labelled frame is needed, but got {n:g}")
        mean = each @ self.sums / n
        label_mean = float(each @ self.label_sums) / n
        return Moments(
            frames=n,
            mean=mean + self.shifts,
            covariance=products / n - np.outer(mean, mean),
            with_label=each @ self.with_label / n - mean * label_mean,
            label_mean=label_mean + self.label_shift,
            label_variance=float(each @ self.label_squares) / n - label_mean**2,
        )

    def totals(self, weights: Vector) -> Iterator[Moments]:
        """`total` for every row of `weights` (bag, recording), many rows in one matrix product."""
        at_once = max(1, AT_ONCE // (8 * self.members**2))
        flat = self.products.reshape(self.recordings, -1)
        for low in range(0, len(weights), at_once):
            rows = weights[low : low + at_once]
            for each, products in zip(rows, rows @ flat, strict=True):
                yield self._moments(each, products.reshape(self.members, self.members))

    def subset(self, members: Indexes) -> Statistics:
        """The statistics of some members, in the order of `members` (indexes)."""
        return replace(
            self,
            sums=self.sums[:, members],
            products=self.products[:, members[:, None], members],
            with_label=self.with_label[:, members],
            shifts=self.shifts[members],
            labels=tuple(self.labels[member] for member in members.tolist()),
        )

    def grouped(self, parts: Sequence[Sequence[int]]) -> Statistics:
        """One block per part, the sum of its recordings' blocks; recordings in no part are left out."""
        chosen = np.zeros((len(parts), self.recordings))
        for index, part in enumerate(parts):
            chosen[index, list(part)] = 1.0
        return replace(
            self,
            counts=chosen @ self.counts,
            sums=chosen @ self.sums,
            products=np.tensordot(chosen, self.products, axes=1),
            with_label=chosen @ self.with_label,
            label_sums=chosen @ self.label_sums,
            label_squares=chosen @ self.label_squares,
            names=tuple(self.names[part[0]] for part in parts),
        )

    def constant(self) -> list[int]:
        """Indexes of the members that predict one value in all labelled frames (to float32's precision)."""
        moments = self.total()
        smallest = (np.finfo(np.float32).eps * np.maximum(np.abs(moments.mean), 1e-30)) ** 2
        return np.flatnonzero(np.diag(moments.covariance) <= smallest).tolist()

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
    blocks = _empty([name for name, _ in recordings], members, shifts, label_shift)
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


def _empty(names: Sequence[str], labels: Sequence[str], shifts: Vector, label_shift: float) -> Statistics:
    recordings, members = len(names), len(shifts)
    return Statistics(
        counts=np.zeros(recordings),
        sums=np.zeros((recordings, members)),
        products=np.zeros((recordings, members, members)),
        with_label=np.zeros((recordings, members)),
        label_sums=np.zeros(recordings),
        label_squares=np.zeros(recordings),
        shifts=shifts,
        label_shift=label_shift,
        names=tuple(names),
        labels=tuple(labels),
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
