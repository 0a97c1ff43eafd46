"""Recordings that must stay together when recordings are divided, and groups of them divided into
parts that are alike.

Conventions: a model that has seen a subject's labels knows the subject, and two persons of one
video share its sound and place. Recordings are joined while they share a subject (or a stimulus,
where that is asked for) or a video, over others too. Where videos connect everyone with everyone
that would leave a single group, and subjects (stimuli) alone are kept together.

`amounts` is (group, column), not negative: what each group brings of each thing to be balanced. The
cost of a division is the sum over parts and columns of (part's amount − whole / parts)². The same
amounts, number of parts, seed and tries give the same division."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from va_search.data.arrays import Floats, Indexes
from va_search.data.store import Recording

Amounts = Floats
Division = Indexes

IMPROVED = 8
"""Of the random divisions, those that are improved."""
SWAPPED = 1000
"""With more groups than this none are exchanged, only moved: there is balance enough."""
LEAST_GAIN = 1e-12


def kept_together(
    recordings: Sequence[Recording], used: Sequence[int], by: Sequence[str] = ("subject",)
) -> tuple[list[tuple[int, ...]], str]:
    """Groups of the indexes `used` into `recordings`, and what they keep together: the facts `by`
    (subject, stimulus) "and video", or these alone.

    One group is left where all are of one subject.
    """
    keys = []
    for fact in (*by, "video"):
        keys.append({index: (fact, getattr(recordings[index], fact)) for index in used})
    groups = _connected(used, keys)
    if len(groups) >= 2:
        return groups, " and ".join([*by, "video"])
    return _connected(used, keys[:-1]), " and ".join(by)


def _connected(
    indexes: Sequence[int], keys: Sequence[dict[int, tuple[str, str]]]
) -> list[tuple[int, ...]]:
    """Indexes joined while they share a key (connected components)."""
    # Union-find: the root of a group is its smallest index.
    parent = {index: index for index in indexes}

    def root(index: int) -> int:
        while parent[index] != index:
            index = parent[index]
        return index

    owner: dict[tuple[str, str], int] = {}
    for index in indexes:
        # The first recording with a key owns it; all others with it join that one's group.
        for key_of in keys:
            joined = root(owner.setdefault(key_of[index], index))
            own = root(index)
            parent[max(joined, own)] = min(joined, own)
    groups: dict[int, list[int]] = defaultdict(list)
    for index in indexes:
        groups[root(index)].append(index)
    return [tuple(group) for group in groups.values()]


def divide(amounts: Amounts, parts: int, *, seed: int = 0, tries: int = 1000) -> Division:
    """(group,) part of each group, from 0; parts count in the order in which groups first use them,
    none is empty."""
    if len(amounts) < parts:
        raise ValueError(
            f"`parts <= groups` must hold, but got (parts={parts}, groups={len(amounts)})"
        )
    random = np.random.default_rng([seed, parts])
    # Many cheap divisions, of which the best few are worth improving.
    starts = _random_divisions(amounts, parts, random, tries)
    costs = [cost(amounts, start, parts) for start in starts]
    cheapest = np.argsort(costs, kind="stable")[:IMPROVED]
    improved = [_improve(amounts, starts[index], parts) for index in cheapest]
    best = min(improved, key=lambda division: cost(amounts, division, parts))
    _, first_use = np.unique(best, return_index=True)
    # Parts are numbered by their first group, so that equal divisions are equal arrays.
    number = np.empty(parts, dtype=np.int64)
    number[np.argsort(first_use)] = np.arange(parts)
    return number[best]


def cost(amounts: Amounts, division: Division, parts: int) -> float:
    """Sum over parts and columns of (part's amount − whole / parts)²."""
    return float(np.square(_excess(amounts, division, parts)).sum())


def _excess(amounts: Amounts, division: Division, parts: int) -> Amounts:
    """(part, column): how far each part is from an equal share."""
    sums = np.zeros((parts, amounts.shape[1]))
    np.add.at(sums, division, amounts)
    excess: Amounts = sums - amounts.sum(axis=0) / parts
    return excess


def _random_divisions(
    amounts: Amounts, parts: int, random: np.random.Generator, tries: int
) -> Indexes:
    """(try, group) part of each group: groups in random order, larger ones rather first; each goes
    where the cost grows least."""
    size = amounts.sum(axis=1) + 1e-12
    # Large groups first: small ones fill the gaps they leave. Noise makes the tries differ.
    weights = -size * random.lognormal(0.0, 0.5, (tries, len(size)))
    order = np.argsort(weights, axis=1, kind="stable")
    sums = np.zeros((tries, parts, amounts.shape[1]))
    rows = np.arange(tries)
    divisions = np.empty((tries, len(size)), dtype=np.int64)
    for group in order.T:  # [try]
        brought = amounts[group]  # [try, column]
        part = np.einsum("tpc,tc->tp", sums, brought).argmin(axis=1)
        sums[rows, part] += brought
        divisions[rows, group] = part
    return divisions


def _improve(amounts: Amounts, division: Division, parts: int) -> Division:
    """Moves of one group and exchanges of two, the best one at a time, while they lower the
    cost."""
    division = division.copy()
    groups = np.arange(len(amounts))
    norm = np.square(amounts).sum(axis=1)
    exchanges = len(amounts) <= SWAPPED
    if exchanges:
        distance = norm[:, None] + norm[None, :] - 2 * amounts @ amounts.T  # [group, group]
    while True:
        # Change of cost when a group moves to a part: what it brings against what is lacking.
        toward = amounts @ _excess(amounts, division, parts).T  # [group, part]
        own = toward[groups, division]
        moves = norm[:, None] + toward - own[:, None]
        group, part = np.unravel_index(moves.argmin(), moves.shape)
        gain = moves[group, part]
        change = {group: part}
        if exchanges:
            step = toward[:, division] - own[:, None]  # [group, group whose part it would join]
            # An exchange is two moves, less that the two groups no longer meet.
            swaps = distance + step + step.T
            a, b = np.unravel_index(swaps.argmin(), swaps.shape)
            if swaps[a, b] < gain:
                gain = swaps[a, b]
                change = {a: division[b], b: division[a]}
        if gain > -LEAST_GAIN:
            return division
        for index, new_part in change.items():
            division[index] = new_part
