"""Which feature sets a trial reads: subsets bounded in size per group (a modality, or all sets) and
overall.

How Optuna proposes one: each group has a size (an integer) and each feature set a rank in [0, 1];
the sets of the highest ranks are taken. So every size is drawn equally often, and every set of a
group, and TPE learns of each set whether high ranks pay. (Booleans repaired to the bounds would
nearly always give the largest size.) If the sizes leave the overall bounds, sets are added by the
highest rank, or dropped by the lowest, as far as the groups' bounds allow."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, combinations, product
from random import Random
from typing import TYPE_CHECKING, Any

from va_search.search.domains import Parameters

if TYPE_CHECKING:
    from optuna.trial import Trial

TAKEN, LEFT = 0.75, 0.25
"""The ranks that stand for a subset given from outside: the middles of the upper and the lower
half."""


@dataclass(frozen=True)
class Group:
    """Feature sets `names` (sorted) of which `low` to `high` are taken; `modality` is "" where it
    is all sets."""

    modality: str
    names: tuple[str, ...]
    low: int
    high: int

    def size_name(self, name: str) -> str:
        """Optuna's name for how many are taken; feature sets' names have no brackets."""
        return f"{name}[{self.modality or 'all'}]"


@dataclass(frozen=True)
class Subset:
    """The union of one subset per group, `low` to `high` feature sets in all; values are sorted
    lists."""

    groups: tuple[Group, ...]
    low: int
    high: int

    def count(self) -> int | None:
        """Counted from the groups' sizes, without listing the subsets."""
        ways = {0: 1}
        for group in self.groups:
            grown: dict[int, int] = {}
            for size, number in ways.items():
                for taken in range(group.low, group.high + 1):
                    more = number * math.comb(len(group.names), taken)
                    grown[size + taken] = grown.get(size + taken, 0) + more
            ways = grown
        return sum(number for size, number in ways.items() if self.low <= size <= self.high)

    def values(self) -> Iterator[Any]:
        """Group by group from small subsets to large ones."""
        for parts in product(*(list(_subsets(group)) for group in self.groups)):
            names = sorted(chain.from_iterable(parts))
            if self.low <= len(names) <= self.high:
                yield names

    def contains(self, value: Any) -> bool:
        if not isinstance(value, list | tuple) or not self.low <= len(value) <= self.high:
            return False
        known = {name for group in self.groups for name in group.names}
        return (
            known.issuperset(value)
            and len(set(value)) == len(value)
            and all(
                group.low <= len(set(value) & set(group.names)) <= group.high
                for group in self.groups
            )
        )

    def draw(self, generator: Random) -> Any:
        while True:  # sizes within the groups' bounds may leave the overall ones
            sizes = [self._drawn_size(group, generator) for group in self.groups]
            if self.low <= sum(sizes) <= self.high:
                break
        parts = [
            generator.sample(group.names, size)
            for group, size in zip(self.groups, sizes, strict=True)
        ]
        return sorted(chain.from_iterable(parts))

    def _drawn_size(self, group: Group, generator: Random) -> int:
        sizes = range(group.low, group.high + 1)
        return generator.choices(sizes, [math.comb(len(group.names), size) for size in sizes])[0]

    def suggest(self, trial: Trial, name: str) -> Any:
        ranks: dict[str, float] = {}
        sizes: list[int] = []
        for group in self.groups:
            fixed = group.low == group.high
            sizes.append(
                group.low
                if fixed
                else trial.suggest_int(group.size_name(name), group.low, group.high)
            )
            for each in _ranked(group):
                ranks[each] = trial.suggest_float(f"{name}.{each}", 0.0, 1.0)
        return self._taken(sizes, ranks)

    def parameters(self, name: str, value: Any) -> Parameters:
        from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

        chosen: dict[str, Any] = {}
        distributions: dict[str, BaseDistribution] = {}
        for group in self.groups:
            if group.low < group.high:
                chosen[group.size_name(name)] = len(set(value) & set(group.names))
                distributions[group.size_name(name)] = IntDistribution(group.low, group.high)
            for each in _ranked(group):
                chosen[f"{name}.{each}"] = TAKEN if each in value else LEFT
                distributions[f"{name}.{each}"] = FloatDistribution(0.0, 1.0)
        return chosen, distributions

    def _taken(self, sizes: list[int], ranks: dict[str, float]) -> list[str]:
        order = [
            sorted(group.names, key=lambda name: (-ranks.get(name, 1.0), name))
            for group in self.groups
        ]
        sizes = list(sizes)
        while sum(sizes) < self.low:
            can = [i for i, group in enumerate(self.groups) if sizes[i] < group.high]
            sizes[max(can, key=lambda i: ranks.get(order[i][sizes[i]], 1.0))] += 1
        while sum(sizes) > self.high:
            can = [i for i, group in enumerate(self.groups) if sizes[i] > group.low]
            sizes[min(can, key=lambda i: ranks.get(order[i][sizes[i] - 1], 1.0))] -= 1
        return sorted(
            chain.from_iterable(names[:size] for names, size in zip(order, sizes, strict=True))
        )


def _ranked(group: Group) -> tuple[str, ...]:
    """The sets whose rank matters: none where a group is taken whole or not at all."""
    none_or_all = (
        (group.low == group.high == len(group.names)) or len(group.names) == 1 or group.high == 0
    )
    return () if none_or_all else group.names


def _subsets(group: Group) -> Iterator[tuple[str, ...]]:
    for size in range(group.low, group.high + 1):
        yield from combinations(group.names, size)
