"""What one setting may be: a fixed value, one of several, a range of numbers. Subsets of feature
sets: see subsets.py.

Conventions: values are plain JSON data (feature sets and head sizes are lists). A domain knows four
things: its values in grid order, how Optuna proposes one, which Optuna parameters stand for a given
one, and whether a value lies in it. A domain with a single value has no Optuna parameter."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

Parameters = tuple[dict[str, Any], "dict[str, BaseDistribution]"]
"""Optuna parameters and their distributions, by name: what `optuna.trial.create_trial` takes."""


class Domain(Protocol):
    """The values one setting may take."""

    def count(self) -> int | None:
        """Number of values; None when there are infinitely many."""

    def values(self) -> Iterator[Any]:
        """All values in grid order; for an infinite domain its two ends."""

    def contains(self, value: Any) -> bool:
        """Whether `value` is one of the values."""

    def draw(self, generator: Random) -> Any:
        """One of the values, each as likely (of a logarithmic range each order of magnitude)."""

    def suggest(self, trial: Trial, name: str) -> Any:
        """A value proposed by Optuna."""

    def parameters(self, name: str, value: Any) -> Parameters:
        """What `suggest` would have asked for to give `value`, which must be contained."""


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
        labels = self._labels()
        index = next(i for i, option in enumerate(self.options) if same(value, option))
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

    def count(self) -> int | None:
        return (self.high - self.low) // self.step + 1

    def values(self) -> Iterator[Any]:
        return iter(range(self.low, self.high + 1, self.step))

    def contains(self, value: Any) -> bool:
        return isinstance(value, int) and value in range(self.low, self.high + 1, self.step)

    def draw(self, generator: Random) -> Any:
        return generator.randrange(self.low, self.high + 1, self.step)

    def suggest(self, trial: Trial, name: str) -> Any:
        if self.count() == 1:
            return self.low
        return trial.suggest_int(name, self.low, self._last(), step=self.step, log=self.log)

    def parameters(self, name: str, value: Any) -> Parameters:
        from optuna.distributions import IntDistribution

        if self.count() == 1:
            return {}, {}
        return {name: value}, {
            name: IntDistribution(self.low, self._last(), step=self.step, log=self.log)
        }

    def _last(self) -> int:
        return range(self.low, self.high + 1, self.step)[-1]


@dataclass(frozen=True)
class FloatRange:
    """Numbers from low to high, rounded to four digits so that people can read and retype them."""

    low: float
    high: float
    log: bool = False

    def count(self) -> int | None:
        return 1 if self.low == self.high else None

    def values(self) -> Iterator[Any]:
        return iter((self.low,) if self.low == self.high else (self.low, self.high))

    def contains(self, value: Any) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def draw(self, generator: Random) -> Any:
        if self.log:
            return math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        return generator.uniform(self.low, self.high)

    def suggest(self, trial: Trial, name: str) -> Any:
        if self.low == self.high:
            return self.low
        value = trial.suggest_float(name, self.low, self.high, log=self.log)
        return min(max(float(f"{value:.4g}"), self.low), self.high)

    def parameters(self, name: str, value: Any) -> Parameters:
        from optuna.distributions import FloatDistribution

        if self.low == self.high:
            return {}, {}
        return {name: float(value)}, {name: FloatDistribution(self.low, self.high, log=self.log)}


def same(one: Any, other: Any) -> bool:
    """Equal as settings: numbers within rounding, true is not 1, lists and tuples alike."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-12)
    if isinstance(one, Sequence) and isinstance(other, Sequence) and not isinstance(one, str):
        return list(one) == list(other)
    return bool(one == other)
