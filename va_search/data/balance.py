"""Dividing groups into parts that are alike: many random divisions, the best of them improved, the
best kept.

Conventions: `amounts` is (group, column), not negative: what each group brings of each thing to be
balanced. The cost of a division is the sum over parts and columns of (part's amount − whole /
parts)². The same amounts, number of parts, seed and tries give the same division."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Amounts = NDArray[np.float64]
Division = NDArray[np.int64]

IMPROVED = 8
"""Of the random divisions, those that are improved."""
SWAPPED = 1000
"""With more groups than this none are exchanged, only moved: there is balance enough."""
LEAST_GAIN = 1e-12


def divide(amounts: Amounts, parts: int, *, seed: int = 0, tries: int = 1000) -> Division:
    """(group,) part of each group, from 0; parts count in the order in which groups first use them,
    none is empty."""
    if len(amounts) < parts:
        raise ValueError(
            f"`parts <= groups` must hold, but got (parts={parts}, groups={len(amounts)})"
        )
    random = np.random.default_rng([seed, parts])
    starts = _random_divisions(amounts, parts, random, tries)
    costs = np.array([cost(amounts, start, parts) for start in starts])
    improved = [
        _improve(amounts, starts[index], parts)
        for index in np.argsort(costs, kind="stable")[:IMPROVED]
    ]
    best = min(improved, key=lambda division: cost(amounts, division, parts))
    _, first = np.unique(best, return_index=True)
    number = np.empty(parts, dtype=np.int64)
    number[np.argsort(first)] = np.arange(parts)
    return number[best]


def cost(amounts: Amounts, division: Division, parts: int) -> float:
    """Sum over parts and columns of (part's amount − whole / parts)²."""
    return float(np.square(_away(amounts, division, parts)).sum())


def _away(amounts: Amounts, division: Division, parts: int) -> Amounts:
    """(part, column): how far each part is from an equal share."""
    sums = np.zeros((parts, amounts.shape[1]))
    np.add.at(sums, division, amounts)
    away: Amounts = sums - amounts.sum(axis=0) / parts
    return away


def _random_divisions(
    amounts: Amounts, parts: int, random: np.random.Generator, tries: int
) -> list[Division]:
    """Groups in random order, larger ones rather first; each goes where the cost grows least. All
    tries at once."""
    size = amounts.sum(axis=1) + 1e-12
    order = np.argsort(
        -size * random.lognormal(0.0, 0.5, (tries, len(size))), axis=1, kind="stable"
    )
    sums = np.zeros((tries, parts, amounts.shape[1]))
    rows = np.arange(tries)
    divisions = np.empty((tries, len(size)), dtype=np.int64)
    for place in range(len(size)):
        group = order[:, place]
        brought = amounts[group]  # [try, column]
        part = np.einsum("tpc,tc->tp", sums, brought).argmin(axis=1)
        sums[rows, part] += brought
        divisions[rows, group] = part
    return list(divisions)


def _improve(amounts: Amounts, division: Division, parts: int) -> Division:
    """Moves of one group and exchanges of two, the best one at a time, while they lower the
    cost."""
    division = division.copy()
    groups = np.arange(len(amounts))
    norm = np.square(amounts).sum(axis=1)
    apart = (
        norm[:, None] + norm[None, :] - 2 * amounts @ amounts.T if len(amounts) <= SWAPPED else None
    )
    while True:
        toward = amounts @ _away(amounts, division, parts).T  # [group, part]
        own = toward[groups, division]
        moves = norm[:, None] + toward - own[:, None]
        group, part = np.unravel_index(moves.argmin(), moves.shape)
        gain, change = moves[group, part], {int(group): int(part)}
        if apart is not None:
            other = toward[:, division] - own[:, None]  # [group, group of another part]
            swaps = apart + other + other.T
            one, two = np.unravel_index(swaps.argmin(), swaps.shape)
            if swaps[one, two] < gain:
                gain, change = (
                    swaps[one, two],
                    {int(one): int(division[two]), int(two): int(division[one])},
                )
        if gain > -LEAST_GAIN:
            return division
        for index, to in change.items():
            division[index] = to
