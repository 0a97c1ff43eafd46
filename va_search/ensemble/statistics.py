"""Sufficient statistics of members and annotation: all that CCC(w) needs to know of the frames.

Conventions: one target at a time; M members, B blocks, a block being one recording or a group of
recordings. The CCC of p = Σ wᵢ pᵢ over the labelled frames,

    CCC(w) = 2 w·c / (wᵀ S w + v + (w·m − μ)²),

depends on the frames only through the member means m, their population covariance S, the covariance
c with the annotation and the annotation's mean μ and variance v (all divide by n, as the
challenge's metric does). Counts, sums and products add up over recordings, so a fold, a bag or a
bootstrap sample of recordings is a weighted sum of blocks and never reads a frame again.

What concerns each member alone (`MemberSums`) grows with M and is always there. Products of two
members grow with M² and are made for the members that need them (pairs.py, on_demand.py).
`times` is always (block,): how often each block counts; None counts each once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble.pairs import Pairs, PairsAtHand
from va_search.metrics import ccc_from_moments

Vector = NDArray[np.float64]
Indexes = NDArray[np.intp]
Groups = tuple[tuple[int, ...], ...]
AT_ONCE = 2**28
"""Bytes of bags' products that are held at once."""
SMALLEST = 1e-12
"""Variances below so much of the larger one are rounding."""


@dataclass(frozen=True)
class SingleMoments:
    """Population moments of each of M members alone, and of the annotation, over some frames."""

    frames: float
    mean: Vector  # (member,)
    variance: Vector  # (member,)
    with_label: Vector  # (member,) covariance with the annotation
    label_mean: float
    label_variance: float

    def ccc_of_each(self) -> Vector:
        """(member,) CCC of every member alone."""
        bias = self.mean - self.label_mean
        return ccc_from_moments(self.with_label, self.variance, self.label_variance, bias)


@dataclass(frozen=True)
class Moments:
    """Population moments of M members and the annotation over some frames."""

    frames: float
    mean: Vector  # (member,)
    covariance: Vector  # (member, member)
    with_label: Vector  # (member,) covariance with the annotation
    label_mean: float
    label_variance: float

    @property
    def alone(self) -> SingleMoments:
        """The moments of each member alone."""
        return SingleMoments(
            self.frames,
            self.mean,
            np.diag(self.covariance),
            self.with_label,
            self.label_mean,
            self.label_variance,
        )

    def ccc(self, weights: Vector) -> float:
        """CCC of the weighted sum of the members; NaN where the denominator is zero."""
        covariance = float(weights @ self.with_label)
        variance = float(weights @ self.covariance @ weights)
        bias = float(weights @ self.mean) - self.label_mean
        return float(ccc_from_moments(covariance, variance, self.label_variance, bias))

    def ccc_of_each(self) -> Vector:
        """(member,) CCC of every member alone."""
        return self.alone.ccc_of_each()

    def subset(self, members: Indexes) -> Moments:
        """The moments of some members, in the order of `members` (indexes)."""
        return replace(
            self,
            mean=self.mean[members],
            covariance=self.covariance[np.ix_(members, members)],
            with_label=self.with_label[members],
        )


@dataclass(frozen=True)
class MemberSums:
    """Additive statistics of each member alone and of the annotation, block by block, of values
    relative to `shifts` and `label_shift`."""

    counts: Vector  # (block,) labelled frames
    sums: Vector  # (block, member)
    squares: Vector  # (block, member)
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

    def alone(self, times: Vector | None = None) -> SingleMoments:
        """Moments of each member alone over all recordings, or with each block counted `times`
        times."""
        times = self._each_once(times)
        frames = float(times @ self.counts)
        if not frames > 0.0:
            raise ValueError(f"at least one labelled frame is needed, but got {frames:g}")
        mean = times @ self.sums / frames
        label_mean = float(times @ self.label_sums) / frames
        return SingleMoments(
            frames=frames,
            mean=mean + self.shifts,
            variance=times @ self.squares / frames - mean**2,
            with_label=times @ self.with_label / frames - mean * label_mean,
            label_mean=label_mean + self.label_shift,
            label_variance=float(times @ self.label_squares) / frames - label_mean**2,
        )

    def _each_once(self, times: Vector | None) -> Vector:
        return np.ones(self.recordings) if times is None else times

    def of_members(self, members: Indexes) -> MemberSums:
        """The sums of some members, in the order of `members` (indexes)."""
        return replace(self, **self._of_members(members))

    def _of_members(self, members: Indexes) -> dict[str, Any]:
        return {
            # Of one order in memory, so that equal sums add up to the last digit.
            "sums": self.sums.take(members, axis=1),
            "squares": self.squares.take(members, axis=1),
            "with_label": self.with_label.take(members, axis=1),
            "shifts": self.shifts[members],
            "labels": tuple(self.labels[member] for member in members.tolist()),
        }

    def only(self, recordings: Iterable[int]) -> Vector:
        """The `times` that count these recordings (indexes in the split) once and no others.

        ValueError when a block holds some of them and others: blocks are made for given folds
        (`measure`'s `groups`)."""
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

    def constant(self) -> list[int]:
        """Indexes of the members that predict one value in all labelled frames (to float32's
        precision)."""
        moments = self.alone()
        smallest = (np.finfo(np.float32).eps * np.maximum(np.abs(moments.mean), 1e-30)) ** 2
        return np.flatnonzero(moments.variance <= smallest).tolist()


@dataclass(frozen=True)
class Statistics(MemberSums):
    """The sums of each member alone, and the products of every two."""

    pairs: Pairs

    @classmethod
    def of(cls, sums: MemberSums, pairs: Pairs) -> Statistics:
        """Put sums and products of the same members and blocks together."""
        of_each = {field.name: getattr(sums, field.name) for field in fields(MemberSums)}
        return cls(**of_each, pairs=pairs)

    @property
    def products(self) -> Vector:
        """(block, member, member) products, all of them: for few members."""
        return self.pairs.of_blocks()

    def total(self, times: Vector | None = None) -> Moments:
        """Moments over all recordings, or with each block counted `times` times."""
        times = self._each_once(times)
        return self._moments(times, self.pairs.total(times))

    def totals(self, times: Vector) -> Iterator[Moments]:
        """`total` for every row of `times` (bag, block), many rows in one matrix product."""
        at_once = max(1, AT_ONCE // (8 * self.members**2))
        flat = self.products.reshape(self.recordings, -1)
        for low in range(0, len(times), at_once):
            rows = times[low : low + at_once]
            for row, products in zip(rows, rows @ flat, strict=True):
                yield self._moments(row, products.reshape(self.members, self.members))

    def _moments(self, times: Vector, products: Vector) -> Moments:
        alone = self.alone(times)
        mean = alone.mean - self.shifts
        products /= alone.frames
        products -= np.outer(mean, mean)
        return Moments(
            frames=alone.frames,
            mean=alone.mean,
            covariance=products,
            with_label=alone.with_label,
            label_mean=alone.label_mean,
            label_variance=alone.label_variance,
        )

    def rows(self, members: Indexes, times: Vector | None = None) -> Vector:
        """(len(members), member) covariances of some members with all, without those of the
        others."""
        times = self._each_once(times)
        frames = float(times @ self.counts)
        mean = times @ self.sums / frames
        return self.pairs.rows(members, times) / frames - np.outer(mean[members], mean)

    def ccc(self, weights: Vector, times: Vector | None = None) -> float:
        """CCC of the weighted sum of the members, from the products of those with weight."""
        used = np.flatnonzero(weights)
        return self.subset(used).total(times).ccc(weights[used])

    def subset(self, members: Indexes) -> Statistics:
        """The statistics of some members, in the order of `members` (indexes)."""
        if np.array_equal(members, np.arange(self.members)):
            return self  # without a copy
        return replace(self, **self._of_members(members), pairs=self.pairs.subset(members))

    def matched(self, times: Vector | None = None) -> tuple[Statistics, Vector]:
        """The statistics of members scaled and shifted to the annotation's mean and variance, and
        the scales (member,).

        Mean and variance are those of the blocks that `times` counts. Where a member or the
        annotation does not vary there, the member keeps its scale."""
        moments = self.alone(times)
        scale, _ = matching(
            moments.mean, moments.variance, moments.label_mean, moments.label_variance
        )
        matched = replace(
            self,
            sums=self.sums * scale,
            squares=self.squares * scale**2,
            with_label=self.with_label * scale,
            shifts=scale * (self.shifts - moments.mean) + moments.label_mean,
            pairs=self.pairs.scaled(scale),
        )
        return matched, scale

    def grouped(self, parts: Sequence[Sequence[int]]) -> Statistics:
        """One block per part, the sum of its recordings; those in no part are left out.

        For few members, whose products are all made. ValueError as in `only`."""
        times = np.stack([self.only(part) for part in parts])  # (part, block)
        first_blocks = np.argmax(times > 0.0, axis=1).tolist()
        return replace(
            self,
            counts=times @ self.counts,
            sums=times @ self.sums,
            squares=times @ self.squares,
            with_label=times @ self.with_label,
            label_sums=times @ self.label_sums,
            label_squares=times @ self.label_squares,
            names=tuple(self.names[block] for block in first_blocks),
            groups=tuple(tuple(part) for part in parts),
            pairs=PairsAtHand(np.tensordot(times, self.products, axes=1)),
        )

    def of_recordings(self, recordings: Indexes) -> Statistics:
        """The statistics of some blocks, each a recording, numbered anew from 0; for few members."""
        return replace(
            self,
            counts=self.counts[recordings],
            sums=self.sums[recordings],
            squares=self.squares[recordings],
            with_label=self.with_label[recordings],
            label_sums=self.label_sums[recordings],
            label_squares=self.label_squares[recordings],
            names=tuple(self.names[block] for block in recordings.tolist()),
            groups=tuple((index,) for index in range(len(recordings))),
            pairs=PairsAtHand(self.products[recordings]),
        )


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
