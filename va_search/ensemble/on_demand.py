"""Products of pairs of members, made from the frames when they are asked for.

A recipe that prunes asks for few members; a greedy selection for the rows of those it takes; only
least squares and the exact optimum for all pairs. What was made is remembered, three kinds apart:

- `near` members: products of each recording, for at most `NEAR` bytes;
- `rows`: of one member with all others, summed over the recordings of each part of the folds;
- `everything`: of all pairs, summed in the same way.

Conventions: sums as in pairs.py, over `MemberSums`'s blocks, which are recordings. The parts are the
folds', and the recordings in none of them are one more: honest scores leave whole parts out, so
their `times` are the same within a part. Other `times` (bags of recordings) are served too, for
rows from sums of each recording, and for all pairs by one more pass. Near products are the same, bit for bit, in
whatever order they are asked for (`measure_few`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble.measure import (
    Columns,
    MemberFrames,
    measure_few,
    measure_members,
    measure_products,
)
from va_search.ensemble.pairs import PairsAtHand
from va_search.ensemble.statistics import Groups, Indexes, MemberSums, Statistics, Vector
from va_search.errors import InputError

FEW = 128
"""Of at most so many members, products of each recording are made; of more, what a method asks for."""
NEAR = 2**28
"""Bytes of products of each recording that are held."""
BUDGET = 2 * 2**30
"""Bytes of products of all pairs, and of rows of each recording, that are held."""
SHARE_OF_ROWS = 3
"""All pairs are made where more than one in so many rows was asked for."""


def measure_on_demand(
    columns: Columns,
    annotation: NDArray[np.floating],
    recordings: Sequence[tuple[str, int]],
    members: Sequence[str],
    *,
    parts: Sequence[Sequence[int]] = (),
) -> Statistics:
    """Statistics whose products are made when they are asked for; arguments and errors as in
    `measure_members`. `parts`: the folds, as indexes of recordings."""
    frames = MemberFrames(columns, annotation, recordings)
    sums = measure_members(frames, members)
    source = ProductSource(sums, frames, parts)
    return Statistics.of(sums, PairsOnDemand(source, np.arange(len(members))))


class ProductSource:
    """The products of all members of one target, made and remembered."""

    def __init__(
        self, sums: MemberSums, frames: MemberFrames, parts: Sequence[Sequence[int]]
    ) -> None:
        self.sums = sums
        self.parts = blocks_of(parts, sums.recordings)
        self.near_members = np.zeros(0, dtype=np.intp)
        self.near = np.zeros((sums.recordings, 0, 0))
        self.rows: dict[int, Vector] = {}  # by member, (part, member)
        self.everything: Vector | None = None  # (part, member, member)
        self.passes = 0
        """Number of times that frames were read."""
        self.made: set[str] = set()
        """Kinds of products that were made since they were kept last."""
        self.bring_everything: Callable[[], Vector | None] = lambda: None
        self.keep: Callable[[], None] = lambda: None
        """Read products of all pairs that are kept, and keep what was made (cache.py)."""
        self._frames = frames
        self._rows_of_recordings: dict[int, Vector] = {}  # by member, (recording, member)

    def are_few(self, members: int) -> bool:
        """True where products of each recording are made of so many members."""
        return members <= FEW and self._holds(members)

    def _holds(self, members: int) -> bool:
        return 8 * self.sums.recordings * members**2 <= NEAR

    def among(self, members: Indexes) -> Vector:
        """(recording, len(members), len(members)) products of a few members."""
        if len(members) == 1:  # its squares are known
            return self.sums.squares[:, members, None].copy()
        self.bring_near(members)
        place_of = np.empty(self.sums.members, dtype=np.intp)
        place_of[self.near_members] = np.arange(len(self.near_members))
        places = place_of[members]
        return np.ascontiguousarray(self.near[:, places[:, None], places])

    def bring_near(self, members: Indexes) -> None:
        """Make the products of each recording among these members and those that are near."""
        new = np.setdiff1d(members, self.near_members)
        if not len(new):
            return
        if not self._holds(len(new) + len(self.near_members)):
            # Those from before give way.
            self.near_members = np.zeros(0, dtype=np.intp)
            self.near = np.zeros((self.sums.recordings, 0, 0))
            new = np.unique(members)
        order = np.concatenate([new, self.near_members])
        self.passes += 1
        made = measure_few(self._frames, self.sums, order, len(new))
        near = np.empty((self.sums.recordings, len(order), len(order)))
        near[:, : len(new)] = made
        near[:, :, : len(new)] = made.transpose(0, 2, 1)
        near[:, len(new) :, len(new) :] = self.near
        self.near_members, self.near = order, near
        self.made.add("near")

    def total(self, times: Vector) -> Vector:
        """(member, member) products of all pairs."""
        by_part = self._by_part(times)
        if by_part is not None:
            return np.tensordot(by_part, self._everything(), axes=1)
        # Blocks of the recordings that count equally often.
        counts, block_of = np.unique(times, return_inverse=True)
        groups = [tuple(np.flatnonzero(block_of == b).tolist()) for b in range(len(counts))]
        self._check_room(len(groups))
        order = np.arange(self.sums.members)
        return np.tensordot(counts, self._made(order, len(order), tuple(groups)), axes=1)

    def rows_of(self, members: Indexes, times: Vector) -> Vector:
        """(len(members), member) products of some members with all."""
        by_part = self._by_part(times)
        if by_part is None:
            self._make_rows(members, self._rows_of_recordings, None)
            rows = [times @ self._rows_of_recordings[member] for member in members.tolist()]
            return np.stack(rows)
        asked = len(self.rows.keys() | set(members.tolist()))
        has_room = self._room(len(self.parts)) <= BUDGET
        if asked * SHARE_OF_ROWS > self.sums.members and has_room:
            self._everything()
        if self.everything is not None:
            return np.tensordot(by_part, self.everything[:, members], axes=1)
        self._make_rows(members, self.rows, self.parts)
        return np.stack([by_part @ self.rows[member] for member in members.tolist()])

    def _make_rows(self, members: Indexes, rows: dict[int, Vector], groups: Groups | None) -> None:
        """Add the rows of these members that are missing, (group, member) each."""
        missing = np.array([m for m in members.tolist() if m not in rows], dtype=np.intp)
        if not len(missing):
            return
        blocks = self.sums.recordings if groups is None else len(groups)
        size = 8 * blocks * self.sums.members
        if size * (len(rows) + len(missing)) > BUDGET:
            rows.clear()
            missing = members
        others = np.setdiff1d(np.arange(self.sums.members), missing)
        order = np.concatenate([missing, others])
        made = self._made(order, len(missing), groups)
        for place, member in enumerate(missing.tolist()):
            row = np.empty((blocks, self.sums.members))
            row[:, order] = made[:, place]
            rows[member] = row
        self.made.add("rows" if rows is self.rows else "rows of recordings")

    def _everything(self) -> Vector:
        if self.everything is None:
            self._check_room(len(self.parts))
            self.everything = self.bring_everything()
        if self.everything is None:
            order = np.arange(self.sums.members)
            self.everything = self._made(order, len(order), self.parts)
            self.made.add("everything")
        return self.everything

    def _made(self, order: Indexes, first: int, groups: Groups | None) -> Vector:
        self.passes += 1
        return measure_products(self._frames, self.sums, order, first, groups=groups)

    def _by_part(self, times: Vector) -> Vector | None:
        """(part,) how often each part counts; None where its recordings do not count equally."""
        of_parts = np.array([times[group[0]] for group in self.parts])
        for often, group in zip(of_parts, self.parts, strict=True):
            if (times[list(group)] != often).any():
                return None
        return of_parts

    def _room(self, blocks: int) -> int:
        return 8 * blocks * self.sums.members**2

    def _check_room(self, blocks: int) -> None:
        size = self._room(blocks)
        if size > BUDGET:
            raise InputError(
                f"{self.sums.members} members: the products of all pairs take {size / 2**30:.1f} "
                f"GiB, the limit is {BUDGET / 2**30:.1f} GiB; let the recipe prune (`prune: {{top: "
                "50}`), or ensemble fewer trials (fewer studies at once)"
            )


@dataclass(frozen=True)
class PairsOnDemand:
    """The products of some members of a source; `scale` (member,) their values are multiplied by."""

    source: ProductSource
    members: Indexes
    scale: Vector | None = None

    @property
    def at_hand(self) -> bool:
        return self.source.are_few(len(self.members))

    @cached_property
    def _of_blocks(self) -> PairsAtHand:
        pairs = PairsAtHand(self.source.among(self.members))
        return pairs if self.scale is None else pairs.scaled(self.scale)

    def of_blocks(self) -> Vector:
        if not self.at_hand:
            raise ValueError(f"{len(self.members)} members are too many for products of each block")
        return self._of_blocks.products

    def total(self, times: Vector) -> Vector:
        if self.at_hand:
            return self._of_blocks.total(times)
        products = self.source.total(times)
        if not np.array_equal(self.members, np.arange(len(products))):
            products = products[np.ix_(self.members, self.members)]
        if self.scale is not None:
            products *= np.outer(self.scale, self.scale)
        return products

    def rows(self, members: Indexes, times: Vector) -> Vector:
        if self.at_hand:
            return self._of_blocks.rows(members, times)
        rows = self.source.rows_of(self.members[members], times)[:, self.members]
        if self.scale is not None:
            rows *= np.outer(self.scale[members], self.scale)
        return rows

    def subset(self, members: Indexes) -> PairsOnDemand:
        scale = None if self.scale is None else self.scale[members]
        return PairsOnDemand(self.source, self.members[members], scale)

    def scaled(self, scale: Vector) -> PairsOnDemand:
        return PairsOnDemand(
            self.source, self.members, scale if self.scale is None else self.scale * scale
        )

    def ask(self, members: Indexes) -> None:
        if self.source.are_few(len(members)):
            self.source.bring_near(self.members[members])

    def keep(self) -> None:
        self.source.keep()


def blocks_of(parts: Sequence[Sequence[int]], recordings: int) -> Groups:
    """The recordings (indexes) of each part, and of one more with those that are in none."""
    remaining = set(range(recordings)).difference(*parts)
    groups = [tuple(sorted(part)) for part in (*parts, remaining) if part]
    return tuple(sorted(groups))
