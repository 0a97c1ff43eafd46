"""Domains of settings: one of several values, a range of numbers, a subset of feature sets.

Conventions: values are plain JSON data (feature sets and head sizes are lists). A domain knows its
values in grid order, how to draw one at random, how Optuna proposes one, which Optuna parameters
stand for a given one, and whether a value lies in it. A domain with a single value has no Optuna
parameter.

How Optuna proposes a subset: each group (a modality, or all sets) has a size (an integer) and each
feature set a rank in [0, 1]; the sets of the highest ranks are taken. So every size is drawn
equally often, and every set of a group, and TPE learns of each set whether high ranks pay.
(Booleans repaired to the bounds would nearly always give the largest size.) If the sizes leave the
overall bounds, sets are added by the highest rank, or dropped by the lowest, as far as the groups'
bounds allow."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

Parameters = tuple[dict[str, Any], "dict[str, BaseDistribution]"]
"""Optuna parameters and their distributions, by name, as `optuna.trial.create_trial` takes them."""

TAKEN, LEFT = 0.75, 0.25
"""The ranks that stand for a subset given from outside: the middles of the upper and the lower
half."""


class Domain(Protocol):
    """The values one setting may take."""

    def count(self) -> int | None:
        """Number of values; None when there are infinitely many."""

    def values(self) -> Iterator[Any]:
        """All values in grid order; for an infinite domain its two ends."""

    def contains(self, value: Any) -> bool:
        """Return True when `value` is one of the values."""

    def draw(self, generator: Random) -> Any:
        """One of the values, each as likely (of a logarithmic range each order of magnitude)."""

    def suggest(self, trial: Trial, name: str) -> Any:
        """A value proposed by Optuna."""

    def parameters(self, name: str, value: Any) -> Parameters:
        """The parameters for which `suggest` gives `value`, which must be contained."""


@dataclass(frozen=True)
class Choice:
    """One of `options`, in their order; a fixed value is a choice of one."""

    options: tuple[Any, ...]

    def count(self) -> int | None:
        return len(self.options)

    def values(self) -> Iterator[Any]:
        return iter(self.options)

    def contains(self, value: Any) -> bool:
        return any(same(value, option) for option in self.options)

    def draw(self, generator: Random) -> Any:
        return generator.choice(self.options)

    def suggest(self, trial: Trial, name: str) -> Any:
        if len(self.options) == 1:
            return self.options[0]
        labels = self._labels()
        return self.options[labels.index(trial.suggest_categorical(name, labels))]

    def parameters(self, name: str, value: Any) -> Parameters:
        from optuna.distributions import CategoricalDistribution

        if len(self.options) == 1:
            return {}, {}
        # Equal within rounding is enough: the value may have been through JSON.
        labels = self._labels()
        index = [same(value, option) for option in self.options].index(True)
        return {name: labels[index]}, {name: CategoricalDistribution(labels)}

    def _labels(self) -> list[str]:
        """Optuna's choices as JSON texts: it takes no lists, and holds 1, 1.0 and true for one
        choice."""
        return [json.dumps(option) for option in self.options]


@dataclass(frozen=True)
class IntRange:
    """Whole numbers low, low + step, … up to high, ends included; `log` draws each order of
    magnitude equally often."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    @property
    def numbers(self) -> range:
        """All values; the last one may lie below `high`."""
        return range(self.low, self.high + 1, self.step)

    def count(self) -> int | None:
        return len(self.numbers)

    def values(self) -> Iterator[Any]:
        return iter(self.numbers)

    def contains(self, value: Any) -> bool:
        return isinstance(value, int) and value in self.numbers

    def draw(self, generator: Random) -> Any:
        return generator.randrange(self.low, self.high + 1, self.step)

    def suggest(self, trial: Trial, name: str) -> Any:
        if len(self.numbers) == 1:
            return self.low
        return trial.suggest_int(name, self.low, self.numbers[-1], step=self.step, log=self.log)

    def parameters(self, name: str, value: Any) -> Parameters:
        from optuna.distributions import IntDistribution

        if len(self.numbers) == 1:
            return {}, {}
        distribution = IntDistribution(self.low, self.numbers[-1], step=self.step, log=self.log)
        return {name: value}, {name: distribution}


@dataclass(frozen=True)
class FloatRange:
    """Numbers from low to high, rounded to four digits so that people can read and retype them."""

    low: float
    high: float
    log: bool = False

    def count(self) -> int | None:
        return 1 if self.low == self.high else None

    def values(self) -> Iterator[Any]:
        return iter(dict.fromkeys((self.low, self.high)))

    def contains(self, value: Any) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def draw(self, generator: Random) -> Any:
        if self.log:
            return math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        return generator.uniform(self.low, self.high)

    def suggest(self, trial: Trial, name: str) -> Any:
        if self.low == self.high:
            return self.low
        return self.rounded(trial.suggest_float(name, self.low, self.high, log=self.log))

    def rounded(self, value: float) -> float:
        """Return a value with four digits, inside the range."""
        return min(max(float(f"{value:.4g}"), self.low), self.high)

    def parameters(self, name: str, value: Any) -> Parameters:
        from optuna.distributions import FloatDistribution

        if self.low == self.high:
            return {}, {}
        return {name: float(value)}, {name: FloatDistribution(self.low, self.high, log=self.log)}


@dataclass(frozen=True)
class FeatureGroup:
    """Feature sets `names` (sorted) of which `low` to `high` are taken; `modality` is "" where it
    is all sets."""

    modality: str
    names: tuple[str, ...]
    low: int
    high: int

    def size_name(self, name: str) -> str:
        """Optuna's name for how many are taken; feature sets' names have no brackets."""
        return f"{name}[{self.modality or 'all'}]"

    @property
    def ranked(self) -> tuple[str, ...]:
        """The sets whose rank matters: none where the group is taken whole or not at all."""
        whole = self.low == self.high == len(self.names)
        return () if whole or len(self.names) == 1 or self.high == 0 else self.names

    def subsets(self) -> Iterator[tuple[str, ...]]:
        """All subsets, small ones first."""
        for size in range(self.low, self.high + 1):
            yield from combinations(self.names, size)

    def taken(self, features: Iterable[str]) -> int:
        """Number of these feature sets that belong to the group."""
        return len(set(features) & set(self.names))


@dataclass(frozen=True)
class Subset:
    """The union of one subset per group, `low` to `high` feature sets in all; values are sorted
    lists."""

    groups: tuple[FeatureGroup, ...]
    low: int
    high: int

    def count(self) -> int | None:
        """Counted from the groups' sizes, without listing the subsets."""
        # Ways to take so many feature sets from the groups so far, by number of sets.
        ways = {0: 1}
        for group in self.groups:
            grown: dict[int, int] = {}
            for size, number in ways.items():
                for taken in range(group.low, group.high + 1):
                    choices = math.comb(len(group.names), taken)
                    grown[size + taken] = grown.get(size + taken, 0) + number * choices
            ways = grown
        return sum(number for size, number in ways.items() if self.low <= size <= self.high)

    def values(self) -> Iterator[Any]:
        """Group by group from small subsets to large ones."""
        for parts in product(*(list(group.subsets()) for group in self.groups)):
            names = sorted(chain.from_iterable(parts))
            if self.low <= len(names) <= self.high:
                yield names

    def contains(self, value: Any) -> bool:
        if not isinstance(value, list | tuple) or not self.low <= len(value) <= self.high:
            return False
        names = set(chain.from_iterable(group.names for group in self.groups))
        if len(set(value)) < len(value) or not names.issuperset(value):
            return False
        return all(group.low <= group.taken(value) <= group.high for group in self.groups)

    def draw(self, generator: Random) -> Any:
        while True:  # sizes within the groups' bounds may leave the overall ones
            sizes = [self._drawn_size(group, generator) for group in self.groups]
            if self.low <= sum(sizes) <= self.high:
                break
        names: list[str] = []
        for group, size in zip(self.groups, sizes, strict=True):
            names += generator.sample(group.names, size)
        return sorted(names)

    def _drawn_size(self, group: FeatureGroup, generator: Random) -> int:
        sizes = range(group.low, group.high + 1)
        return generator.choices(sizes, [math.comb(len(group.names), size) for size in sizes])[0]

    def suggest(self, trial: Trial, name: str) -> Any:
        ranks: dict[str, float] = {}
        sizes: list[int] = []
        for group in self.groups:
            size = group.low
            if group.low < group.high:
                size = trial.suggest_int(group.size_name(name), group.low, group.high)
            sizes.append(size)
            for feature_set in group.ranked:
                ranks[feature_set] = trial.suggest_float(f"{name}.{feature_set}", 0.0, 1.0)
        return self._highest(sizes, ranks)

    def parameters(self, name: str, value: Any) -> Parameters:
        from optuna.distributions import FloatDistribution, IntDistribution

        chosen: dict[str, Any] = {}
        distributions: dict[str, BaseDistribution] = {}
        for group in self.groups:
            if group.low < group.high:
                chosen[group.size_name(name)] = group.taken(value)
                distributions[group.size_name(name)] = IntDistribution(group.low, group.high)
            for feature_set in group.ranked:
                chosen[f"{name}.{feature_set}"] = TAKEN if feature_set in value else LEFT
                distributions[f"{name}.{feature_set}"] = FloatDistribution(0.0, 1.0)
        return chosen, distributions

    def _highest(self, sizes: list[int], ranks: Mapping[str, float]) -> list[str]:
        """The feature sets of the highest ranks, so many per group, as the overall bounds allow."""
        order = []
        for group in self.groups:
            order.append(sorted(group.names, key=lambda name: (-ranks.get(name, 1.0), name)))
        numbers = range(len(self.groups))

        # The next set to add, or the last one to drop, of each group that may grow or shrink.
        while sum(sizes) < self.low:
            growing = [number for number in numbers if sizes[number] < self.groups[number].high]
            rank = {number: ranks.get(order[number][sizes[number]], 1.0) for number in growing}
            sizes[max(growing, key=rank.__getitem__)] += 1
        while sum(sizes) > self.high:
            shrinking = [number for number in numbers if sizes[number] > self.groups[number].low]
            rank = {
                number: ranks.get(order[number][sizes[number] - 1], 1.0) for number in shrinking
            }
            sizes[min(shrinking, key=rank.__getitem__)] -= 1
        taken = [names[:size] for names, size in zip(order, sizes, strict=True)]
        return sorted(chain.from_iterable(taken))


def same(value: Any, other: Any) -> bool:
    """Equal as settings: numbers within rounding, true is not 1, lists and tuples alike."""
    if isinstance(value, str) and isinstance(other, str):  # nearly always
        return value == other
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    if isinstance(value, int | float) and isinstance(other, int | float):
        return math.isclose(value, other, rel_tol=1e-12)
    if isinstance(value, Sequence) and isinstance(other, Sequence) and not isinstance(value, str):
        return list(value) == list(other)
    return bool(value == other)
