"""What CCC(w) needs to know of the frames: moments over all of them, and additive statistics block
by block.

Conventions: one dimension at a time; M members, R blocks, one block per recording or, where memory
asks for it, per group of recordings. For p = sum of w_i p_i over the labelled frames

    CCC(w) = 2 w.c / (w' S w + v + (w.m - mu)^2)

depends on the frames only through the member means m, their population covariance S, the covariance
c with the annotation and the annotation's mean mu and variance v (all divide by n, as the
challenge's metric does). Counts, sums and cross-products add up over recordings, so a fold, a bag
or a bootstrap sample of recordings is a weighted sum of blocks and never reads a frame again.
`each` is always (block,): how many times a block counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble.calibrate import matching

Vector = NDArray[np.float64]
Indexes = NDArray[np.intp]
Groups = tuple[tuple[int, ...], ...]
AT_ONCE = 2**28
"""Bytes of bags' cross-products that are held at once."""


@dataclass(frozen=True)
class Moments:
    """Population moments of M members and the annotation over some frames: all that CCC(w)
    needs."""

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
        return (
            2.0 * float(weights @ self.with_label) / denominator
            if denominator > 0.0
            else float("nan")
        )

    def ccc_of_each(self) -> Vector:
        """(member,) CCC of every member alone."""
        denominator = (
            np.diag(self.covariance) + self.label_variance + (self.mean - self.label_mean) ** 2
        )
        each: Vector = np.full(len(denominator), np.nan)
        np.divide(2.0 * self.with_label, denominator, out=each, where=denominator > 0.0)
        return each

    def subset(self, members: Indexes) -> Moments:
        """The moments of some members, in the order of `members` (indexes)."""
        return Moments(
            frames=self.frames,
            mean=self.mean[members],
            covariance=self.covariance[np.ix_(members, members)],
            with_label=self.with_label[members],
            label_mean=self.label_mean,
            label_variance=self.label_variance,
        )


@dataclass(frozen=True)
class Statistics:
    """One block per recording, or group of recordings, of values relative to `shifts` and
    `label_shift`; additive."""

    counts: Vector  # (recording,) labelled frames
    sums: Vector  # (recording, member)
    products: Vector  # (recording, member, member)
    with_label: Vector  # (recording, member)
    label_sums: Vector  # (recording,)
    label_squares: Vector  # (recording,)
    shifts: Vector  # (member,)
    label_shift: float
    names: tuple[str, ...]  # (recording,) names of the recordings; of a group, its first one's
    labels: tuple[str, ...]  # (member,) names of the members
    # (recording,) which recordings, by their index in the split, each block is the sum of
    groups: Groups

    @property
    def recordings(self) -> int:
        """Number of blocks: of recordings, unless they are grouped."""
        return len(self.counts)

    @property
    def members(self) -> int:
        return len(self.shifts)

    def total(self, weights: Vector | None = None) -> Moments:
        """Moments over all recordings, or with each recording counted `weights` times (0 leaves it
        out)."""
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

    def matched(self, each: Vector | None = None) -> tuple[Statistics, Vector]:
        """The statistics of members scaled and shifted to the annotation's mean and variance;
        (member,) the scales.

        Mean and variance are those of the recordings that `each` counts. Where a member or the
        annotation does not vary there, the member keeps its scale."""
        moments = self.total(each)
        scale, _ = matching(
            moments.mean, np.diag(moments.covariance), moments.label_mean, moments.label_variance
        )
        matched = replace(
            self,
            sums=self.sums * scale,
            products=self.products * np.outer(scale, scale),
            with_label=self.with_label * scale,
            shifts=scale * (self.shifts - moments.mean) + moments.label_mean,
        )
        return matched, scale

    def only(self, recordings: Iterable[int]) -> Vector:
        """The `each` that counts these recordings (indexes in the split) once and no others.

        ValueError when a block holds some of them and others: blocks are made for given folds
        (`measure`'s `parts`)."""
        wanted = set(recordings)
        counted = [sum(index in wanted for index in group) for group in self.groups]
        cut = [
            group
            for group, inside in zip(self.groups, counted, strict=True)
            if inside not in (0, len(group))
        ]
        if cut:
            raise ValueError(
                f"whole blocks of recordings are needed, but {sorted(wanted)} cuts {cut[:3]}"
            )
        return np.array([float(inside > 0) for inside in counted])

    def without(self, recordings: Iterable[int]) -> Vector:
        """The `each` that leaves these recordings out; ValueError as in `only`."""
        return 1.0 - self.only(recordings)

    def grouped(self, parts: Sequence[Sequence[int]]) -> Statistics:
        """One block per part, the sum of its recordings; those in no part are left out. ValueError
        as in `only`."""
        chosen = np.stack([self.only(part) for part in parts])
        return replace(
            self,
            counts=chosen @ self.counts,
            sums=chosen @ self.sums,
            products=np.tensordot(chosen, self.products, axes=1),
            with_label=chosen @ self.with_label,
            label_sums=chosen @ self.label_sums,
            label_squares=chosen @ self.label_squares,
            names=tuple(self.names[int(np.flatnonzero(row)[0])] for row in chosen),
            groups=tuple(tuple(part) for part in parts),
        )

    def constant(self) -> list[int]:
        """Indexes of the members that predict one value in all labelled frames (to float32's
        precision)."""
        moments = self.total()
        smallest = (np.finfo(np.float32).eps * np.maximum(np.abs(moments.mean), 1e-30)) ** 2
        return np.flatnonzero(np.diag(moments.covariance) <= smallest).tolist()

    def pooled_ccc(self, weights: Vector) -> float:
        """CCC over all frames when recording r is predicted with `weights[r]`, (recording, member).

        This is the score of out-of-fold predictions, without making one of them.
        """
        offsets = (
            weights @ self.shifts - self.label_shift
        )  # (recording,) p = w.(x - shift) + offset, like y
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
