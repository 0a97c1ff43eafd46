"""Priors: values of settings that the user believes in before anything is trained.

    learning_rate: {float: [1e-4, 3e-3], log: true, prior: 3e-4, strength: strong}
    encoder: {choice: [lstm, gru, tcn], prior: lstm}              strength: weak, medium (default), strong

Conventions: a prior changes in which order configurations are tried, and no trial or its id. A draw
by a prior is a draw from around its value in `share` of the cases, otherwise one from the whole
domain, so that nothing the space allows is ruled out. Around means: of a range a normal distribution
cut off at the ends, whose standard deviation is `spread` of the range (of its logarithm where the
range is logarithmic); of a choice the value itself. A random search draws all its configurations by
the priors. A sampler that learns does so for its first one, which has all priors' values, and then
for fewer and fewer: once `HALF` configurations are known every second one, and 1 of 10 after nine
times as many. A grid walks the values of each setting from the prior outwards."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from random import Random
from typing import Any, Literal

from va_search.search.domains import Domain, FloatRange, IntRange, same

Strength = Literal["strong", "medium", "weak"]

HALF = 10
"""Once so many configurations are known, a sampler that learns draws every second one by itself."""


@dataclass(frozen=True)
class Belief:
    """A strength in numbers: see the conventions."""

    share: float
    spread: float


BELIEFS: dict[Strength, Belief] = {
    "strong": Belief(0.9, 0.08),
    "medium": Belief(0.75, 0.15),
    "weak": Belief(0.5, 0.25),
}


@dataclass(frozen=True)
class Prior:
    """A value of a setting, contained in its domain, and how strongly it is believed in."""

    value: Any
    strength: Strength = "medium"

    def draw(self, domain: Domain, generator: Random) -> Any:
        """Return a value drawn by the prior."""
        belief = BELIEFS[self.strength]
        if generator.random() >= belief.share:
            return _readable(domain, domain.draw(generator))
        if not isinstance(domain, FloatRange | IntRange):
            return self.value
        centre = position(domain, self.value)
        drawn = math.inf
        while not 0.0 <= drawn <= 1.0:  # cut off at the ends, of which the centre is none beyond
            drawn = generator.gauss(centre, belief.spread)
        return value_at(domain, drawn)

    def outwards(self, domain: Domain) -> Iterator[Any]:
        """Yield all values of a finite domain, those nearest to the prior first."""
        if isinstance(domain, FloatRange | IntRange):
            yield from self._outwards_in(domain)
            return
        yield from sorted(domain.values(), key=lambda value: not same(value, self.value))

    def _outwards_in(self, domain: FloatRange | IntRange) -> Iterator[Any]:
        centre = position(domain, self.value)

        def distance(value: float) -> float:
            return abs(position(domain, value) - centre)

        if isinstance(domain, FloatRange):
            yield from sorted(domain.values(), key=distance)
            return
        # Value by value: a range may be too long to be sorted.
        numbers = domain.numbers
        middle = numbers.index(self.value)
        yield from merge(reversed(numbers[:middle]), numbers[middle:], key=distance)


def prior_share(known: int) -> float:
    """Return the part of its configurations that a sampler that learns draws by the priors, where so
    many are known."""
    return HALF / (HALF + known)


def position(domain: FloatRange | IntRange, value: float) -> float:
    """Return where a value lies in a range: 0 is the lower end, 1 the upper one."""
    low, high = float(domain.low), float(domain.high)
    if domain.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return 0.5 if low == high else (value - low) / (high - low)


def value_at(domain: FloatRange | IntRange, position: float) -> Any:
    """Return the value of a range at a position from 0 to 1, of a range of whole numbers the
    nearest one that it has."""
    low, high = float(domain.low), float(domain.high)
    if domain.log:
        value = math.exp(math.log(low) + position * (math.log(high) - math.log(low)))
    else:
        value = low + position * (high - low)
    if isinstance(domain, FloatRange):
        return domain.rounded(value)
    step = round((value - domain.low) / domain.step)
    return domain.numbers[min(step, len(domain.numbers) - 1)]


def _readable(domain: Domain, value: Any) -> Any:
    return domain.rounded(value) if isinstance(domain, FloatRange) else value
