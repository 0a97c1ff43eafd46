"""One streaming pass over the frames: the sufficient statistics of members and annotation.

Conventions: `Moments` and `Statistics` say what they are and need. The pass reads every mapped
column once, in row blocks, and holds one block in float64 beside the result: ROWS * M * 8 bytes.
Every member is shifted by a constant (its mean over the first labelled stretch) and accumulated in
float64: without it an offset of 1000 destroys the covariance's digits. Products are BLAS's
symmetric rank-k updates. A block per recording takes R * M^2 * 8 bytes; where that is over the
budget recordings are summed in groups, as small as memory allows and never across two folds.
Unlabelled frames (NaN annotation) are left out; a NaN or infinite prediction is refused by the
member's name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble.moments import Groups, Indexes, Moments, Statistics, Vector
from va_search.errors import InputError

__all__ = ["BUDGET", "Moments", "Statistics", "Vector", "groups_within", "measure"]

Column = NDArray[np.floating]
ROWS = 8192
"""Frames read at a time: 64 MiB of float64 for a thousand members."""
BUDGET = 2 * 2**30
"""Bytes that the blocks of one dimension may take."""


def measure(
    predictions: Sequence[Column],
    annotation: Column,
    recordings: Sequence[tuple[str, int]],
    members: Sequence[str],
    *,
    parts: Sequence[Sequence[int]] = (),
    budget: int = BUDGET,
    known: Statistics | None = None,
) -> Statistics:
    """Statistics in one pass over the frames.

    `predictions`: one (frames,) array per member, mapped or not, read once and in order.
    `annotation`: (frames,), NaN unlabelled. `recordings`: name and number of frames of each, in the
    order of the rows. `members`: their names, each once. `parts`: the folds, as indexes of
    recordings, that no block may straddle; `budget`: see `groups_within`. `known`: statistics of
    some of these members on the same frames, found by their names; only the rows and columns of the
    others are then computed. InputError when a labelled frame's prediction is NaN or infinite,
    naming all such members, and as `groups_within`."""
    if any(len(p) != len(annotation) for p in predictions) or sum(n for _, n in recordings) != len(
        annotation
    ):
        raise ValueError(
            f"lengths must agree, but got annotation {len(annotation)}, recordings {sum(n for _, n in recordings)}, "
            f"predictions {sorted({len(p) for p in predictions})}"
        )
    groups = groups_within(budget, [frames for _, frames in recordings], len(members), parts)
    have = set() if known is None else set(known.labels)
    new = [index for index, member in enumerate(members) if member not in have]
    old = [index for index, member in enumerate(members) if member in have]
    stretch = _first_labelled(annotation)
    shifts = np.zeros(len(members))
    shifts[new] = [_shift(predictions[member], stretch) for member in new]
    label_shift = _shift(annotation, stretch) if known is None else known.label_shift
    blocks = _empty(groups, [name for name, _ in recordings], members, shifts, label_shift)
    if known is not None and old:
        _adopt(blocks, known if known.groups == groups else known.grouped(groups), old)
    read = _Pass(blocks, new, old)
    with np.errstate(invalid="ignore", over="ignore"):
        for rows in _row_blocks(annotation, recordings, groups):
            read.add(predictions, annotation, rows)
    read.mirror()
    _refuse_non_finite(blocks, recordings)
    return blocks


def groups_within(
    budget: int, frames: Sequence[int], members: int, parts: Sequence[Sequence[int]] = ()
) -> Groups:
    """Which recordings are summed in one block: each is alone where that fits into `budget` bytes,
    else groups.

    Groups are halves of halves of the `parts` (recordings in no part make one more part), as small
    as fits, so that the groups of more members are unions of the groups of fewer. InputError when
    one block per part is too much."""
    most = budget // (8 * members**2)
    if len(frames) <= most:
        return tuple((index,) for index in range(len(frames)))
    inside = {index for part in parts for index in part}
    rest = [index for index in range(len(frames)) if index not in inside]
    groups = [sorted(part) for part in (*parts, rest) if part]
    if len(groups) > most:
        raise InputError(
            f"{members} members: statistics of {len(groups)} folds take "
            f"{len(groups) * members**2 * 8 / 2**30:.1f} GiB, "
            f"the limit is {budget / 2**30:.1f} GiB; ensemble fewer trials (fewer studies at once)"
        )
    while len(halves := [half for group in groups for half in _halved(group)]) <= most and len(
        halves
    ) > len(groups):
        groups = halves
    return tuple(tuple(group) for group in sorted(groups))


def _halved(group: list[int]) -> list[list[int]]:
    middle = (len(group) + 1) // 2
    return [half for half in (group[:middle], group[middle:]) if half]


@dataclass(frozen=True)
class _Rows:
    """Labelled frames that are read together: where they stand, and which block each stretch of
    them belongs to."""

    at: slice | Indexes
    size: int
    stretches: list[tuple[int, int, int]]  # block, from, to; within the rows


def _row_blocks(
    annotation: Column, recordings: Sequence[tuple[str, int]], groups: Groups
) -> Iterator[_Rows]:
    block_of = np.empty(len(recordings), dtype=np.intp)
    for block, group in enumerate(groups):
        block_of[list(group)] = block
    labelled = np.flatnonzero(~np.isnan(annotation))
    blocks = np.repeat(block_of, [frames for _, frames in recordings])[labelled]
    high = 0
    while high < len(labelled):
        low, high = high, min(high + ROWS, len(labelled))
        edges = [0, *(np.flatnonzero(np.diff(blocks[low:high])) + 1).tolist(), high - low]
        if (
            high < len(labelled) and edges[-2] > ROWS // 2
        ):  # end with a block: a product for each piece costs time
            edges.pop()
            high = low + edges[-1]
        rows, of_rows = labelled[low:high], blocks[low:high]
        stretches = [(int(of_rows[a]), a, b) for a, b in pairwise(edges)]
        first, last = int(rows[0]), int(rows[-1])
        whole = last - first + 1 == len(rows)  # a slice of a mapped column is read without a copy
        yield _Rows(slice(first, last + 1) if whole else rows, len(rows), stretches)


class _Pass:
    """Adds up the members at `new` (indexes), alone and with those at `old`, whose own products are
    there already."""

    def __init__(self, blocks: Statistics, new: list[int], old: list[int]) -> None:
        self.blocks = blocks
        self.new = np.array(new, dtype=np.intp)
        self.old = np.array(old, dtype=np.intp)
        self.order = np.concatenate([self.new, self.old])
        self.values = np.empty((len(self.order), ROWS))  # (member, frame)
        self.products = np.empty((len(new), len(self.order)))

    def add(self, predictions: Sequence[Column], annotation: Column, rows: _Rows) -> None:
        blocks = self.blocks
        y = np.subtract(annotation[rows.at], blocks.label_shift, dtype=np.float64)
        x = self.values[:, : rows.size]
        for at, member in enumerate(self.order.tolist()):
            np.subtract(
                predictions[member][rows.at], blocks.shifts[member], out=x[at], dtype=np.float64
            )
        for block, low, high in rows.stretches:
            self._add(block, x[:, low:high], y[low:high])

    def _add(self, block: int, x: Vector, y: Vector) -> None:
        blocks, fresh = self.blocks, x[: len(self.new)]
        blocks.counts[block] += len(y)
        blocks.label_sums[block] += y.sum()
        blocks.label_squares[block] += y @ y
        blocks.with_label[block, self.new] += fresh @ y
        blocks.sums[block, self.new] += fresh.sum(axis=1)
        np.matmul(fresh, x.T, out=self.products)  # BLAS's syrk where all are new: half of the work
        if len(self.old):
            blocks.products[block][self.new[:, None], self.order] += self.products
        else:
            blocks.products[block] += self.products

    def mirror(self) -> None:
        """Fill the products of old members with new ones from those of new ones with old."""
        for products in self.blocks.products if len(self.old) else ():
            products[self.old[:, None], self.new] = products[self.new[:, None], self.old].T


def _empty(
    groups: Groups, names: Sequence[str], labels: Sequence[str], shifts: Vector, label_shift: float
) -> Statistics:
    blocks, members = len(groups), len(labels)
    return Statistics(
        counts=np.zeros(blocks),
        sums=np.zeros((blocks, members)),
        products=np.zeros((blocks, members, members)),
        with_label=np.zeros((blocks, members)),
        label_sums=np.zeros(blocks),
        label_squares=np.zeros(blocks),
        shifts=shifts,
        label_shift=label_shift,
        names=tuple(names[group[0]] for group in groups),
        labels=tuple(labels),
        groups=groups,
    )


def _adopt(blocks: Statistics, known: Statistics, members: Sequence[int]) -> None:
    """Copy what is known of `members` (indexes in `blocks`), block by block to hold nothing
    twice."""
    place = {label: index for index, label in enumerate(known.labels)}
    here = np.array(members, dtype=np.intp)
    there = np.array([place[blocks.labels[member]] for member in members], dtype=np.intp)
    blocks.shifts[here] = known.shifts[there]
    blocks.sums[:, here] = known.sums[:, there]
    blocks.with_label[:, here] = known.with_label[:, there]
    for ours, theirs in zip(blocks.products, known.products, strict=True):
        ours[here[:, None], here] = theirs[there[:, None], there]


def _first_labelled(annotation: Column) -> Indexes:
    return np.flatnonzero(~np.isnan(annotation))[:ROWS]


def _shift(values: Column, rows: Indexes) -> float:
    """Mean over `rows`; 0 where it is not finite (refused later)."""
    with np.errstate(invalid="ignore", over="ignore"):
        shift = float(values[rows].astype(np.float64).mean()) if rows.size else 0.0
    return shift if np.isfinite(shift) else 0.0


def _refuse_non_finite(blocks: Statistics, recordings: Sequence[tuple[str, int]]) -> None:
    bad = ~np.isfinite(blocks.sums) | ~np.isfinite(np.diagonal(blocks.products, axis1=1, axis2=2))
    problems = []
    for member in np.flatnonzero(bad.any(axis=0)).tolist():
        where = [
            ", ".join(recordings[index][0] for index in blocks.groups[block])
            for block in np.flatnonzero(bad[:, member]).tolist()
        ]
        problems.append(
            f"member {blocks.labels[member]}: NaN or infinite predictions in {len(where)} recordings "
            f"({', '.join(where[:3])}{', …' if len(where) > 3 else ''}); expected finite numbers"
        )
    if problems:
        raise InputError(*problems)
