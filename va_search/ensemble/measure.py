"""One streaming pass over the frames: the sufficient statistics of members and annotation.

Conventions: the pass reads every mapped column once, in row blocks, and holds one row block in
float64 beside the result: ROWS * M * 8 bytes. Every member is shifted by a constant (its mean over
the first labelled rows) and accumulated in float64: without it an offset of 1000 destroys the
covariance's digits. Products are BLAS's symmetric rank-k updates. A block per recording takes
B * M² * 8 bytes; where that is over the budget recordings are summed in groups, as small as memory
allows and never across two folds. Unlabelled frames (NaN annotation) are left out; a NaN or
infinite prediction is refused by the member's name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble.statistics import Groups, Indexes, Statistics, Vector
from va_search.errors import InputError

Column = NDArray[np.floating]
ROWS = 8192
"""Frames read at a time: 64 MiB of float64 for a thousand members."""
BUDGET = 2 * 2**30
"""Bytes that the blocks of one target may take."""
NAMED = 3
"""Recordings that an error names."""


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
    some of these members on the same frames, matched by their names; only the rows and columns of
    the others are then computed. InputError when a labelled frame's prediction is NaN or infinite,
    naming all such members, and as `groups_within`."""
    _check_lengths(predictions, annotation, recordings)
    names, frames = zip(*recordings, strict=True)
    groups = groups_within(budget, frames, len(members), parts)
    # Members that are known already are only multiplied with new ones.
    is_known = np.isin(members, () if known is None else known.labels)
    new, old = np.flatnonzero(~is_known), np.flatnonzero(is_known)

    # Sums are relative to shifts, so what is known keeps its shifts.
    first_rows = np.flatnonzero(~np.isnan(annotation))[:ROWS]
    label_shift = _shift(annotation, first_rows) if known is None else known.label_shift
    blocks = _empty(groups, names, members, label_shift)
    for member in new.tolist():
        blocks.shifts[member] = _shift(predictions[member], first_rows)
    if known is not None and len(old):
        _adopt(blocks, known if known.groups == groups else known.grouped(groups), old)

    # One pass over the labelled frames; overflow and NaN are refused by name afterwards.
    accumulator = _Accumulator(blocks, new, old)
    with np.errstate(invalid="ignore", over="ignore"):
        for rows in _row_blocks(annotation, frames, groups):
            accumulator.add(predictions, annotation, rows)
    accumulator.mirror()
    _refuse_non_finite(blocks, recordings)
    return blocks


def groups_within(
    budget: int, frames: Sequence[int], members: int, parts: Sequence[Sequence[int]] = ()
) -> Groups:
    """The recordings of each block: single ones where that fits into `budget` bytes, else groups.

    Groups are halves of halves of the `parts` (recordings in no part make one more part), as small
    as fits, so that the groups of more members are unions of the groups of fewer. InputError when
    one block per part is too much."""
    most = budget // (8 * members**2)
    if len(frames) <= most:
        return tuple((index,) for index in range(len(frames)))
    remaining = set(range(len(frames))).difference(*parts)
    groups = [sorted(part) for part in (*parts, remaining) if part]
    if len(groups) > most:
        size = len(groups) * members**2 * 8
        raise InputError(
            f"{members} members: statistics of {len(groups)} folds take {size / 2**30:.1f} GiB, "
            f"the limit is {budget / 2**30:.1f} GiB; ensemble fewer trials (fewer studies at once)"
        )
    # Halve all groups as often as there is room for twice as many.
    halves = _halved(groups)
    while len(groups) < len(halves) <= most:
        groups, halves = halves, _halved(halves)
    return tuple(tuple(group) for group in sorted(groups))


def _halved(groups: Sequence[list[int]]) -> list[list[int]]:
    halves = []
    for group in groups:
        middle = (len(group) + 1) // 2
        halves.append(group[:middle])
        if len(group) > 1:
            halves.append(group[middle:])
    return halves


@dataclass(frozen=True)
class _Rows:
    """Labelled frames that are read together, and the block of each stretch of them."""

    frames: slice | Indexes
    size: int
    stretches: list[tuple[int, int, int]]  # block, from, to; within the rows


def _row_blocks(annotation: Column, frames: Sequence[int], groups: Groups) -> Iterator[_Rows]:
    """Labelled frames in order, about `ROWS` at a time."""
    block_of = np.empty(len(frames), dtype=np.intp)
    for block, group in enumerate(groups):
        block_of[list(group)] = block
    # (labelled frame,) its row and its block
    labelled = np.flatnonzero(~np.isnan(annotation))
    blocks = np.repeat(block_of, frames)[labelled]
    high = 0
    while high < len(labelled):
        low, high = high, min(high + ROWS, len(labelled))
        changes = np.flatnonzero(np.diff(blocks[low:high])) + 1
        edges = [0, *changes.tolist(), high - low]
        # End with a block where one ends in the second half: a product for each piece costs time.
        if high < len(labelled) and edges[-2] > ROWS // 2:
            edges.pop()
            high = low + edges[-1]
        rows = labelled[low:high]
        stretches = [(int(blocks[low + a]), a, b) for a, b in pairwise(edges)]
        size, start, stop = len(rows), int(rows[0]), int(rows[-1]) + 1
        if stop - start == size:
            # A slice of a mapped column is read without a copy.
            yield _Rows(slice(start, stop), size, stretches)
        else:
            yield _Rows(rows, size, stretches)


class _Accumulator:
    """Adds up the members `new` (indexes), alone and with those that are `old`, whose own products
    are in the blocks already."""

    def __init__(self, blocks: Statistics, new: Indexes, old: Indexes) -> None:
        self.blocks = blocks
        self.new = new
        self.old = old
        self.order = np.concatenate([new, old])
        self.values = np.empty((len(self.order), ROWS))  # (member, frame)
        self.products = np.empty((len(new), len(self.order)))

    def add(self, predictions: Sequence[Column], annotation: Column, rows: _Rows) -> None:
        blocks = self.blocks
        y = np.subtract(annotation[rows.frames], blocks.label_shift, dtype=np.float64)
        x = self.values[:, : rows.size]
        for row, member in enumerate(self.order.tolist()):
            values, shift = predictions[member][rows.frames], blocks.shifts[member]
            np.subtract(values, shift, out=x[row], dtype=np.float64)
        for block, low, high in rows.stretches:
            self._add(block, x[:, low:high], y[low:high])

    def _add(self, block: int, x: Vector, y: Vector) -> None:
        blocks = self.blocks
        x_new = x[: len(self.new)]
        blocks.counts[block] += len(y)
        blocks.label_sums[block] += y.sum()
        blocks.label_squares[block] += y @ y
        blocks.with_label[block, self.new] += x_new @ y
        blocks.sums[block, self.new] += x_new.sum(axis=1)
        # BLAS's syrk where all are new: half of the work.
        np.matmul(x_new, x.T, out=self.products)
        if len(self.old):
            blocks.products[block][self.new[:, None], self.order] += self.products
        else:
            blocks.products[block] += self.products

    def mirror(self) -> None:
        """Fill the products of old members with new ones from those of new ones with old."""
        if not len(self.old):
            return
        for products in self.blocks.products:
            products[self.old[:, None], self.new] = products[self.new[:, None], self.old].T


def _check_lengths(
    predictions: Sequence[Column], annotation: Column, recordings: Sequence[tuple[str, int]]
) -> None:
    lengths = {len(annotation)}.union(len(column) for column in predictions)
    frames = sum(count for _, count in recordings)
    if lengths != {frames}:
        raise ValueError(
            f"lengths must agree, but got {frames} frames of recordings, and annotation and "
            f"predictions of {sorted(lengths)}"
        )


def _empty(
    groups: Groups, names: Sequence[str], labels: Sequence[str], label_shift: float
) -> Statistics:
    blocks, members = len(groups), len(labels)
    return Statistics(
        counts=np.zeros(blocks),
        sums=np.zeros((blocks, members)),
        products=np.zeros((blocks, members, members)),
        with_label=np.zeros((blocks, members)),
        label_sums=np.zeros(blocks),
        label_squares=np.zeros(blocks),
        shifts=np.zeros(members),
        label_shift=label_shift,
        names=tuple(names[group[0]] for group in groups),
        labels=tuple(labels),
        groups=groups,
    )


def _adopt(blocks: Statistics, known: Statistics, target: Indexes) -> None:
    """Copy what is known of the members `target` (indexes in `blocks`)."""
    row_of = {label: row for row, label in enumerate(known.labels)}
    source = np.array([row_of[blocks.labels[member]] for member in target])
    blocks.shifts[target] = known.shifts[source]
    blocks.sums[:, target] = known.sums[:, source]
    blocks.with_label[:, target] = known.with_label[:, source]
    # Block by block, to hold nothing twice.
    for products, known_products in zip(blocks.products, known.products, strict=True):
        products[target[:, None], target] = known_products[source[:, None], source]


def _shift(values: Column, rows: Indexes) -> float:
    """Mean over `rows`; 0 where it is not finite (refused later)."""
    if not rows.size:
        return 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        shift = float(values[rows].astype(np.float64).mean())
    return shift if np.isfinite(shift) else 0.0


def _refuse_non_finite(blocks: Statistics, recordings: Sequence[tuple[str, int]]) -> None:
    # NaN and infinity spread into the sums and the squares of their block.
    squares = np.diagonal(blocks.products, axis1=1, axis2=2)
    bad = ~np.isfinite(blocks.sums) | ~np.isfinite(squares)  # (block, member)
    problems = []
    for member in np.flatnonzero(bad.any(axis=0)).tolist():
        names = []
        for block in np.flatnonzero(bad[:, member]).tolist():
            names.append(", ".join(recordings[index][0] for index in blocks.groups[block]))
        dots = ", …" if len(names) > NAMED else ""
        problems.append(
            f"member {blocks.labels[member]}: NaN or infinite predictions in {len(names)} "
            f"recordings ({', '.join(names[:NAMED])}{dots}); expected finite numbers"
        )
    if problems:
        raise InputError(*problems)
