"""Passes over the frames: the sums of each member alone, and the products of pairs of members.

Conventions: every member is shifted by a constant where its mean is large against its deviation,
and everything is accumulated in float64: without the shift an offset of 1000 destroys the
covariance's digits. `measure_members` reads every column once, a few members at a time, as fast as
memory gives them. `measure_products` reads the columns of some members and multiplies them (BLAS's
symmetric rank-k update where all are multiplied with all). Unlabelled frames (NaN annotation) are
left out; a NaN or infinite prediction is refused by the member's name. A block is a recording, or a
group of them where `groups` says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble.pairs import PairsAtHand
from va_search.ensemble.statistics import Groups, Indexes, MemberSums, Statistics, Vector
from va_search.errors import InputError

Column = NDArray[np.floating]
Columns = Callable[[int], Column]
"""The predictions (frames,) of a member, by its index."""
ROWS = 8192
"""Frames that are multiplied at a time, of up to `WIDE` members."""
WIDE = 1024
"""Of more members fewer frames are read at a time: 64 MiB of float64 in all."""
SIDE_BY_SIDE, FEW_ROWS = 32, 4096
"""Members and frames that are summed at a time: as much float64 as a core's cache holds."""
FAR = 16.0
"""A mean of more deviations than this is taken off; less of it costs less than three digits."""
NAMED = 3
"""Recordings that an error names."""


@dataclass(frozen=True)
class MemberFrames:
    """The frames that are measured: predictions of members, by index, and `annotation` (frames,),
    NaN unlabelled.

    `recordings`: name and number of frames of each, in the order of the rows."""

    columns: Columns
    annotation: Column
    recordings: Sequence[tuple[str, int]]

    @property
    def lengths(self) -> list[int]:
        """Frames of each recording."""
        return [count for _, count in self.recordings]

    @property
    def names(self) -> list[str]:
        """Name of each recording."""
        return [name for name, _ in self.recordings]

    def checked(self, what: str, values: Column) -> Column:
        """The values; ValueError where they are not as many as there are frames."""
        if len(values) != sum(self.lengths):
            raise ValueError(
                f"lengths must agree, but got {sum(self.lengths)} frames of recordings, and {what} "
                f"of {len(values)}"
            )
        return values


def measure(
    predictions: Sequence[Column],
    annotation: Column,
    recordings: Sequence[tuple[str, int]],
    members: Sequence[str],
    *,
    groups: Groups | None = None,
    known: Statistics | None = None,
) -> Statistics:
    """Statistics with the products of all pairs: for members that are few.

    `predictions`: one (frames,) array per member, mapped or not. Others as in `measure_members`;
    `known`: statistics of some of these members, whose products with each other are not made
    again."""
    frames = MemberFrames(predictions.__getitem__, annotation, recordings)
    sums = measure_members(frames, members, groups=groups, known=known)
    new, old = _new_and_old(members, known)
    order = np.concatenate([new, old])
    made = measure_products(frames, sums, order, len(new))
    products = np.empty((sums.recordings, len(members), len(members)))
    products[:, new[:, None], order] = made
    products[:, order[:, None], new] = made.transpose(0, 2, 1)
    if known is not None and len(old):
        source = _places(known.labels, sums.labels, old)
        products[:, old[:, None], old] = known.products[:, source[:, None], source]
    return Statistics.of(sums, PairsAtHand(products))


def measure_members(
    frames: MemberFrames,
    members: Sequence[str],
    *,
    groups: Groups | None = None,
    known: MemberSums | None = None,
) -> MemberSums:
    """The sums of each member alone, in one pass over the frames.

    `members`: their names, each once. `groups`: the recordings (indexes) of each block; None: each
    alone. `known`: sums of some of these members on the same frames and blocks, matched by their
    names; frames of the others only are read. InputError when a labelled frame's prediction is NaN
    or infinite, naming all such members."""
    annotation = frames.checked("annotation", frames.annotation)
    if groups is None:
        groups = tuple((index,) for index in range(len(frames.recordings)))
    new, old = _new_and_old(members, known)
    first_rows = np.flatnonzero(~np.isnan(annotation))[:ROWS]
    sums = _empty(groups, frames.names, members, _mean(annotation[first_rows]))
    if known is not None and len(old):
        source = _places(known.labels, sums.labels, old)
        sums.shifts[old] = known.shifts[source]
        for name in ("sums", "squares", "with_label"):
            getattr(sums, name)[:, old] = getattr(known, name)[:, source]

    # Overflow and NaN are refused by name afterwards.
    with np.errstate(invalid="ignore", over="ignore"):
        stretches = []
        for rows in _row_blocks(frames, groups, FEW_ROWS):
            labels = np.subtract(annotation[rows.frames], sums.label_shift, dtype=np.float64)
            stretches.append((rows, labels))
            for block, low, high in rows.stretches:
                sums.counts[block] += high - low
                sums.label_sums[block] += labels[low:high].sum()
                sums.label_squares[block] += labels[low:high] @ labels[low:high]
        for low in range(0, len(new), SIDE_BY_SIDE):
            members_read = new[low : low + SIDE_BY_SIDE]
            columns = []
            for member in members_read.tolist():
                column = frames.columns(member)
                columns.append(frames.checked(f"predictions of {members[member]}", column))
                sums.shifts[member] = _shift(column[first_rows])
            _add(sums, members_read, columns, stretches)
    _refuse_non_finite(sums, frames.names)
    return sums


def _add(
    sums: MemberSums,
    members: Indexes,
    columns: Sequence[Column],
    stretches: Sequence[tuple[_Rows, Vector]],
) -> None:
    """Add the frames of a few members to the sums; `stretches` are all rows with their labels."""
    values = np.empty((len(members), FEW_ROWS))
    for rows, labels in stretches:
        x = values[:, : rows.size]
        _read(columns, sums.shifts[members], rows, x)
        for block, low, high in rows.stretches:
            part = x[:, low:high]
            sums.sums[block, members] += part.sum(axis=1)
            # Row by row, so that a member's sums do not depend on who stands beside it.
            sums.squares[block, members] += np.vecdot(part, part)
            sums.with_label[block, members] += np.vecdot(part, labels[low:high])


def measure_products(
    frames: MemberFrames,
    sums: MemberSums,
    order: Indexes,
    first: int,
    *,
    groups: Groups | None = None,
) -> Vector:
    """(block, first, len(order)) products of the first so many members of `order` (indexes) with
    all of it.

    `sums` has the members' shifts, and the blocks unless `groups` says others."""
    groups = groups or sums.groups
    made = np.zeros((len(groups), first, len(order)))
    if not first:
        return made
    columns = [frames.columns(member) for member in order.tolist()]
    shifts = sums.shifts[order]
    most = max(FEW_ROWS // SIDE_BY_SIDE, ROWS * WIDE // max(WIDE, len(order)))
    values = np.empty((len(order), most))
    product = np.empty((first, len(order)))
    for rows in _row_blocks(frames, groups, most):
        x = values[:, : rows.size]
        _read(columns, shifts, rows, x)
        for block, low, high in rows.stretches:
            part = x[:, low:high]
            np.matmul(part[:first], part.T, out=product)
            made[block] += product
    return made


def measure_few(frames: MemberFrames, sums: MemberSums, order: Indexes, first: int) -> Vector:
    """`measure_products` for few members, pair by pair.

    A product does not depend on which others are made beside it, in the last digit neither, so that
    a result does not tell what was known before."""
    made = np.zeros((sums.recordings, first, len(order)))
    columns = [frames.columns(member) for member in order.tolist()]
    values = np.empty((len(order), ROWS))
    for rows in _row_blocks(frames, sums.groups, ROWS):
        x = values[:, : rows.size]
        _read(columns, sums.shifts[order], rows, x)
        for block, low, high in rows.stretches:
            part = x[:, low:high]
            for row in range(first):
                made[block, row, row:] += np.vecdot(part[row], part[row:])
    # Of two members that are both among the first, each pair was made once.
    upper = np.triu_indices(first, 1)
    made[:, upper[1], upper[0]] = made[:, upper[0], upper[1]]
    return made


@dataclass(frozen=True)
class _Rows:
    """Labelled frames that are read together, and the block of each stretch of them."""

    frames: slice | Indexes
    size: int
    stretches: list[tuple[int, int, int]]  # block, from, to; within the rows


def _row_blocks(frames: MemberFrames, groups: Groups, most: int) -> Iterator[_Rows]:
    """Labelled frames in order, about `most` at a time."""
    block_of = np.empty(len(frames.recordings), dtype=np.intp)
    for block, group in enumerate(groups):
        block_of[list(group)] = block
    # (labelled frame,) its row and its block
    labelled = np.flatnonzero(~np.isnan(frames.annotation))
    blocks = np.repeat(block_of, frames.lengths)[labelled]
    high = 0
    while high < len(labelled):
        low, high = high, min(high + most, len(labelled))
        changes = np.flatnonzero(np.diff(blocks[low:high])) + 1
        edges = [0, *changes.tolist(), high - low]
        # End with a block where one ends in the second half: a product for each piece costs time.
        if high < len(labelled) and edges[-2] > most // 2:
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


def _read(columns: Sequence[Column], shifts: Vector, rows: _Rows, out: Vector) -> None:
    """Fill `out` (member, row) with the members' frames less their shifts."""
    for index, (column, shift) in enumerate(zip(columns, shifts.tolist(), strict=True)):
        out[index] = column[rows.frames]
        if shift:
            out[index] -= shift


def _new_and_old(members: Sequence[str], known: MemberSums | None) -> tuple[Indexes, Indexes]:
    """Indexes of the members that are not known, and of those that are."""
    is_known = np.isin(members, () if known is None else known.labels)
    return np.flatnonzero(~is_known), np.flatnonzero(is_known)


def _places(labels: Sequence[str], members: Sequence[str], wanted: Indexes) -> Indexes:
    """Where in `labels` the wanted members stand."""
    place_of = {label: place for place, label in enumerate(labels)}
    return np.array([place_of[members[member]] for member in wanted.tolist()], dtype=np.intp)


def _empty(
    groups: Groups, names: Sequence[str], labels: Sequence[str], label_shift: float
) -> MemberSums:
    blocks, members = len(groups), len(labels)
    return MemberSums(
        counts=np.zeros(blocks),
        sums=np.zeros((blocks, members)),
        squares=np.zeros((blocks, members)),
        with_label=np.zeros((blocks, members)),
        label_sums=np.zeros(blocks),
        label_squares=np.zeros(blocks),
        shifts=np.zeros(members),
        label_shift=label_shift,
        names=tuple(names[group[0]] for group in groups),
        labels=tuple(labels),
        groups=groups,
    )


def _mean(values: Column) -> float:
    """Their mean; 0 where it is not finite (refused later) or there are none."""
    if not values.size:
        return 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        mean = float(values.astype(np.float64).mean())
    return mean if np.isfinite(mean) else 0.0


def _shift(values: Column) -> float:
    """The mean of a member's first values, where it is far from 0 as measured by their deviation."""
    mean = _mean(values)
    with np.errstate(invalid="ignore", over="ignore"):
        is_far = abs(mean) > FAR * float(values.std(dtype=np.float64)) if values.size else False
    return mean if is_far else 0.0


def _refuse_non_finite(sums: MemberSums, recordings: Sequence[str]) -> None:
    # NaN and infinity spread into the sums and the squares of their block.
    bad = ~np.isfinite(sums.sums) | ~np.isfinite(sums.squares)  # (block, member)
    problems = []
    for member in np.flatnonzero(bad.any(axis=0)).tolist():
        names = []
        for block in np.flatnonzero(bad[:, member]).tolist():
            names.append(", ".join(recordings[index] for index in sums.groups[block]))
        dots = ", …" if len(names) > NAMED else ""
        problems.append(
            f"member {sums.labels[member]}: NaN or infinite predictions in {len(names)} "
            f"recordings ({', '.join(names[:NAMED])}{dots}); expected finite numbers"
        )
    if problems:
        raise InputError(*problems)
