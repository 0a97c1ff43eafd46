"""Sufficient statistics of members and annotation: all that CCC(w) needs to know of the frames.

Conventions: one target at a time; M members, B blocks, a block being one recording or, where
memory asks for it, a group of recordings. The CCC of p = Σ wᵢ pᵢ over the labelled frames,

    CCC(w) = 2 w·c / (wᵀ S w + v + (w·m − μ)²),

depends on the frames only through the member means m, their population covariance S, the covariance
c with the annotation and the annotation's mean μ and variance v (all divide by n, as the
challenge's metric does). Counts, sums and cross-products add up over recordings, so a fold, a bag
or a bootstrap sample of recordings is a weighted sum of blocks and never reads a frame again.
`times` is always (block,): how often each block counts; None counts each once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from va_search.metrics import ccc_from_moments

Vector = NDArray[np.float64]
Indexes = NDArray[np.intp]
Groups = tuple[tuple[int, ...], ...]
AT_ONCE = 2**28
"""Bytes of bags' cross-products that are held at once."""
SMALLEST = 1e-12
"""Variances below so much of the larger one are rounding."""


@dataclass(frozen=True)
class Moments:
    """Population moments of M members and the annotation over some frames."""

    frames: float
    mean: Vector  # (member,)
    covariance: Vector  # (member, member)
    with_label: Vector  # (member,) covariance with the annotation
    label_mean: float
    label_variance: float

    def ccc(self, weights: Vector) -> float:
        """CCC of the weighted sum of the members; NaN where the denominator is zero."""
        covariance = float(weights @ self.with_label)
        variance = float(weights @ self.covariance @ weights)
        bias = float(weights @ self.mean) - self.label_mean
        return float(ccc_from_moments(covariance, variance, self.label_variance, bias))

    def ccc_of_each(self) -> Vector:
        """(member,) CCC of every member alone."""
        variances = np.diag(self.covariance)
        bias = self.mean - self.label_mean
        return ccc_from_moments(self.with_label, variances, self.label_variance, bias)

    def subset(self, members: Indexes) -> Moments:
        """The moments of some members, in the order of `members` (indexes)."""
        return replace(
            self,
            mean=self.mean[members],
            covariance=self.covariance[np.ix_(members, members)],
            with_label=self.with_label[members],
        )


@dataclass(frozen=True)
class Statistics:
    """Additive statistics block by block, of values relative to `shifts` and `label_shift`."""

    counts: Vector  # (block,) labelled frames
    sums: Vector  # (block, member)
    products: Vector  # (block, member, member)
    with_label: Vector  # (block, member)
    label_sums: Vector  # (block,)
    label_squares: Vector  # (block,)
    shifts: Vector  # (member,)
    label_shift: float
    names: tuple[str, ...]  # (block,) names of the recordings; of a group, its first one's
    labels: tuple[str, ...]  # (member,) names of the members
    # (block,) which recordings, by their index in the split, each block is the sum of
    groups: Groups

    @property
    def recordings(self) -> int:
        """Number of blocks: of recordings, unless they are grouped."""
        return len(self.counts)

    @property
    def members(self) -> int:
        return len(self.shifts)

    def total(self, times: Vector | None = None) -> Moments:
        """Moments over all recordings, or with each block counted `times` times."""
        if times is None:
            times = np.ones(self.recordings)
        return self._moments(times, np.tensordot(times, self.products, axes=1))

    def totals(self, times: Vector) -> Iterator[Moments]:
        """`total` for every row of `times` (bag, block), many rows in one matrix product."""
        at_once = max(1, AT_ONCE // (8 * self.members**2))
        flat = self.products.reshape(self.recordings, -1)
        for low in range(0, len(times), at_once):
            rows = times[low : low + at_once]
            for row, products in zip(rows, rows @ flat, strict=True):
                yield self._moments(row, products.reshape(self.members, self.members))

    def _moments(self, times: Vector, products: Vector) -> Moments:
        frames = float(times @ self.counts)
        if not frames > 0.0:
            raise ValueError(f"at least one labelled frame is needed, but got {frames:g}")
        mean = times @ self.sums / frames
        label_mean = float(times @ self.label_sums) / frames
        return Moments(
            frames=frames,
            mean=mean + self.shifts,
            covariance=products / frames - np.outer(mean, mean),
            with_label=times @ self.with_label / frames - mean * label_mean,
            label_mean=label_mean + self.label_shift,
            label_variance=float(times @ self.label_squares) / frames - label_mean**2,
        )

    def subset(self, members: Indexes) -> Statistics:
        """The statistics of some members, in the order of `members` (indexes)."""
        if np.array_equal(members, np.arange(self.members)):
            return self  # without a copy
        return replace(
            self,
            sums=self.sums[:, members],
            products=self.products[:, members[:, None], members],
            with_label=self.with_label[:, members],
            shifts=self.shifts[members],
            labels=tuple(self.labels[member] for member in members.tolist()),
        )

    def matched(self, times: Vector | None = None) -> tuple[Statistics, Vector]:
        """The statistics of members scaled and shifted to the annotation's mean and variance, and
        the scales (member,).

        Mean and variance are those of the blocks that `times` counts. Where a member or the
        annotation does not vary there, the member keeps its scale."""
        moments = self.total(times)
        variances = np.diag(moments.covariance)
        scale, _ = matching(moments.mean, variances, moments.label_mean, moments.label_variance)
        matched = replace(
            self,
            sums=self.sums * scale,
            products=self.products * np.outer(scale, scale),
            with_label=self.with_label * scale,
            shifts=scale * (self.shifts - moments.mean) + moments.label_mean,
        )
        return matched, scale

    def only(self, recordings: Iterable[int]) -> Vector:
        """The `times` that count these recordings (indexes in the split) once and no others.

        ValueError when a block holds some of them and others: blocks are made for given folds
        (`measure`'s `parts`)."""
        wanted = set(recordings)
        times = np.zeros(len(self.groups))
        for block, group in enumerate(self.groups):
            inside = len(wanted.intersection(group))
            if inside not in (0, len(group)):
                raise ValueError(
                    f"whole blocks of recordings are needed, but {sorted(wanted)} cuts {group}"
                )
            times[block] = inside > 0
        return times

    def without(self, recordings: Iterable[int]) -> Vector:
        """The `times` that leave these recordings out; ValueError as in `only`."""
        return 1.0 - self.only(recordings)

    def grouped(self, parts: Sequence[Sequence[int]]) -> Statistics:
        """One block per part, the sum of its recordings; those in no part are left out.

        ValueError as in `only`."""
        times = np.stack([self.only(part) for part in parts])  # (part, block)
        first_blocks = np.argmax(times > 0.0, axis=1).tolist()
        return replace(
            self,
            counts=times @ self.counts,
            sums=times @ self.sums,
            products=np.tensordot(times, self.products, axes=1),
            with_label=times @ self.with_label,
            label_sums=times @ self.label_sums,
            label_squares=times @ self.label_squares,
            names=tuple(self.names[block] for block in first_blocks),
            groups=tuple(tuple(part) for part in parts),
        )

    def constant(self) -> list[int]:
        """Indexes of the members that predict one value in all labelled frames (to float32's
        precision)."""
        moments = self.total()
        smallest = (np.finfo(np.float32).eps * np.maximum(np.abs(moments.mean), 1e-30)) ** 2
        return np.flatnonzero(np.diag(moments.covariance) <= smallest).tolist()


def matching(
    mean: Vector, variance: Vector, label_mean: Vector | float, label_variance: Vector | float
) -> tuple[Vector, Vector]:
    """(scale, offset), of any shape, that give predictions the annotation's mean and variance.

    An average of models varies less than the annotation, and the CCC punishes that. For predictions
    p with correlation r to the annotation y, CCC(s·p + o) is highest at s = sd(y) / sd(p) and
    o = mean(y) − s·mean(p), where it is r (Lin 1989; for r > 0). A prediction or an annotation
    without variance can't be matched and is left alone: (1, 0)."""
    # Without variance on one side there is nothing to match.
    possible = (variance > SMALLEST * label_variance) & (label_variance > SMALLEST * variance)
    ratio = np.ones(np.broadcast(variance, label_variance).shape)
    np.divide(label_variance, variance, out=ratio, where=possible)
    scale = np.sqrt(ratio)
    offset: Vector = np.where(possible, label_mean - scale * mean, 0.0)
    return scale, offset
