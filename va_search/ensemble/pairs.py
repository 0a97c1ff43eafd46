"""Sums of the products of two members' predictions, which covariances are made of: at hand here, or
made when they are asked for (on_demand.py).

Conventions: products are (block, member, member) sums over labelled frames, of values relative to
the members' shifts. `times` (block,) says how often each block counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Indexes = NDArray[np.intp]


class Pairs(Protocol):
    """Products of every two of some members."""

    @property
    def at_hand(self) -> bool:
        """True for few members: `of_blocks` is then the way to everything else."""

    def of_blocks(self) -> Vector:
        """(block, member, member) products."""

    def total(self, times: Vector) -> Vector:
        """(member, member) products, summed over the blocks."""

    def rows(self, members: Indexes, times: Vector) -> Vector:
        """(len(members), member) products of some members with all, summed over the blocks."""

    def subset(self, members: Indexes) -> Pairs:
        """The products of some members, in the order of `members` (indexes)."""

    def scaled(self, scale: Vector) -> Pairs:
        """The products of members whose values are multiplied by `scale` (member,)."""

    def ask(self, members: Indexes) -> None:
        """Say that subsets of these members are asked for next, so that they are made together."""

    def keep(self) -> None:
        """Keep what was made, where there is a place for it."""


@dataclass(frozen=True)
class PairsAtHand:
    """All products in an array."""

    products: Vector  # (block, member, member)

    @property
    def at_hand(self) -> bool:
        return True

    def of_blocks(self) -> Vector:
        return self.products

    def total(self, times: Vector) -> Vector:
        return np.tensordot(times, self.products, axes=1)

    def rows(self, members: Indexes, times: Vector) -> Vector:
        return np.tensordot(times, self.products[:, members], axes=1)

    def subset(self, members: Indexes) -> PairsAtHand:
        return PairsAtHand(np.ascontiguousarray(self.products[:, members[:, None], members]))

    def scaled(self, scale: Vector) -> PairsAtHand:
        return PairsAtHand(self.products * np.outer(scale, scale))

    def ask(self, members: Indexes) -> None:
        """Do nothing: they are made."""

    def keep(self) -> None:
        """Do nothing: nothing was made."""
