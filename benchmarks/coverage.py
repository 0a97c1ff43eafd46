"""Do 95 % intervals around out-of-fold scores hold the truth 95 times in 100?

On simulated worlds, for several kinds of interval.

    python benchmarks/coverage.py [--worlds 200] [--quick]

A world: people whose recordings, annotations and prediction errors are alike within a person;
members that share part of their errors. From a sample of people an ensemble is built, scored
out-of-fold and given an interval; the truth is the CCC of that very ensemble (all people used) on
the whole population, known here to three digits from 4,000 people. (On another handful of people it
varies more: estimates.py.)"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.special import stdtrit

from va_search.data.store import Recording
from va_search.ensemble import bootstrap, sums
from va_search.ensemble.folds import make_folds
from va_search.ensemble.material import Material
from va_search.ensemble.measure import measure
from va_search.ensemble.out_of_fold import Fits
from va_search.ensemble.recipe import read_recipe
from va_search.ensemble.statistics import Statistics

Vector = NDArray[np.float64]
FRAMES = 24
MEMBERS = 12
PEOPLE = 4000
RECIPES = {
    "mean": {"method": "mean"},
    "greedy": {"method": "greedy"},
    "bagged": {"method": "bagged_greedy", "bags": 10, "steps": 20, "shrink": 0.5, "match": True},
}


@dataclass(frozen=True)
class World:
    """Members with their strengths; `people` differ in level and `stubbornness` (spread of errors
    between people)."""

    gains: Vector
    noise: Vector
    bias: Vector
    between: float

    def draw(self, rng: np.random.Generator, people: int, each: int) -> tuple[Vector, Vector]:
        """Predictions (frames, member) and annotations (frames,) of `each` recordings of so many
        people."""
        recordings = people * each
        level = np.repeat(rng.normal(0, 0.25, people), each) + rng.normal(0, 0.35, recordings)
        signal = rng.normal(0, 0.4, (recordings, FRAMES)) * rng.lognormal(0, 0.3, (recordings, 1))
        y = (level[:, None] + signal).ravel()
        shape = (recordings, FRAMES)
        shared = np.repeat(rng.normal(0, 0.2, people), each)[:, None] + rng.normal(
            0, 0.2, (recordings, 1)
        )
        skill = np.repeat(rng.lognormal(0, self.between, people), each)[:, None]
        found = []
        for gain, noise, bias in zip(self.gains, self.noise, self.bias, strict=True):
            own = np.repeat(rng.normal(0, self.between, people), each)[:, None] + rng.normal(
                0, 0.15, (recordings, 1)
            )
            error = noise * rng.normal(0, 1, shape) + own + shared + bias
            found.append((gain * skill * y.reshape(shape) + error).ravel())
        return np.stack(found, axis=1), y


def worlds(rng: np.random.Generator, number: int, between: float) -> Iterator[World]:
    for _ in range(number):
        gains = rng.uniform(0.15, 0.8, MEMBERS)
        yield World(gains, rng.uniform(0.2, 0.7, MEMBERS), rng.normal(0, 0.1, MEMBERS), between)


def material(predictions: Vector, y: Vector, people: int, each: int) -> Material:
    recordings = [
        Recording(
            f"r{i:05}", f"s{i // each:05}", f"v{i:05}", "validation", None, i * FRAMES, FRAMES, 25.0
        )
        for i in range(people * each)
    ]
    folds = make_folds(recordings, [FRAMES] * len(recordings))
    names = [(recording.name, FRAMES) for recording in recordings]
    columns = list(np.ascontiguousarray(predictions.T))
    statistics = measure(columns, y, names, [f"m{i:02}" for i in range(MEMBERS)])
    return Material(statistics, [], columns.__getitem__, y, recordings, folds)


def population(world: World, rng: np.random.Generator) -> Statistics:
    predictions, y = world.draw(rng, PEOPLE, 2)
    columns = list(np.ascontiguousarray(predictions.T))
    return measure(columns, y, [("all", len(y))], [f"m{i:02}" for i in range(MEMBERS)])


def truth(statistics: Statistics, fits: Fits) -> float:
    fit = fits.fit()
    centre = statistics.label_shift
    relative = fit.post.scale * centre + fit.post.offset - centre
    one = sums.from_statistics(statistics, fit.weights[:, None])[0]
    return float(sums.ccc(sums.affine(one, fit.post.scale, relative).sum(axis=0)))


def percentile(found: Vector, draws: Vector) -> tuple[float, float]:
    low, high = np.nanquantile(sums.ccc(draws @ found), [0.025, 0.975])
    return float(low), float(high)


def by_recording(found: Vector, groups: list[tuple[int, ...]]) -> tuple[float, float]:
    single = [(index,) for group in groups for index in group]
    return percentile(found, np.asarray(bootstrap.samples(single, len(found))))


def by_group(found: Vector, groups: list[tuple[int, ...]]) -> tuple[float, float]:
    return percentile(found, bootstrap.samples(groups, len(found)))


def widened(found: Vector, groups: list[tuple[int, ...]]) -> tuple[float, float]:
    """Percentiles on Fisher's scale, moved away from the estimate as Student's t asks for: what
    va-search prints."""
    interval = bootstrap.interval([found], bootstrap.samples(groups, len(found)), len(groups))
    return interval or (float("nan"), float("nan"))


def standard(found: Vector, groups: list[tuple[int, ...]]) -> tuple[float, float]:
    """Estimate +- t · the bootstrap's standard deviation, on Fisher's scale."""
    middle = np.arctanh(float(sums.ccc(found.sum(axis=0))))
    spread = np.nanstd(np.arctanh(sums.ccc(bootstrap.samples(groups, len(found)) @ found)))
    far = NormalDist().inv_cdf(0.975) * bootstrap.widening(len(groups)) * spread
    return float(np.tanh(middle - far)), float(np.tanh(middle + far))


def jackknife(found: Vector, groups: list[tuple[int, ...]]) -> tuple[float, float]:
    """Estimate +- t · the jackknife's standard error, on Fisher's scale."""
    middle, left = np.arctanh(float(sums.ccc(found.sum(axis=0)))), _left_out(found, groups)
    number = len(groups)
    spread = math.sqrt((number - 1) / number * float(((left - left.mean()) ** 2).sum()))
    far = float(stdtrit(number - 1, 0.975)) * spread
    return float(np.tanh(middle - far)), float(np.tanh(middle + far))


def _left_out(found: Vector, groups: list[tuple[int, ...]]) -> Vector:
    total = found.sum(axis=0)
    return np.arctanh(
        sums.ccc(np.stack([total - found[list(group)].sum(axis=0) for group in groups]))
    )


def accelerated(found: Vector, groups: list[tuple[int, ...]]) -> tuple[float, float]:
    """BCa (Efron 1987) over groups."""
    normal = NormalDist()
    drawn = sums.ccc(bootstrap.samples(groups, len(found)) @ found)
    estimate = float(sums.ccc(found.sum(axis=0)))
    below = min(max(float((drawn < estimate).mean()), 1e-3), 1 - 1e-3)
    z0 = normal.inv_cdf(below)
    left = np.tanh(_left_out(found, groups))
    apart = left.mean() - left
    a = float((apart**3).sum()) / (6.0 * float((apart**2).sum()) ** 1.5 + 1e-300)
    ends = []
    for z in (-1.959964, 1.959964):
        level = normal.cdf(z0 + (z0 + z) / (1 - a * (z0 + z)))
        ends.append(float(np.quantile(drawn, level)))
    return ends[0], ends[1]


INTERVALS: dict[str, Callable[[Vector, list[tuple[int, ...]]], tuple[float, float]]] = {
    "recordings": by_recording,
    "people": by_group,
    "BCa": accelerated,
    "widened": widened,
    "t·bootstrap": standard,
    "t·jackknife": jackknife,
}


def cell(
    people: int, each: int, recipe: str, between: float, number: int
) -> dict[str, tuple[float, float]]:
    """Coverage and mean width of every kind of interval; and the mean error of the estimate."""
    rng = np.random.default_rng([people, each, round(100 * between)])
    inside = {name: [0, 0.0] for name in INTERVALS}
    bias = 0.0
    banks = 5
    plan = read_recipe(recipe, RECIPES[recipe]).plan("valence")
    for world in worlds(rng, banks, between):
        everyone = population(world, rng)
        for _ in range(number // banks):
            fits = Fits(material(*world.draw(rng, people, each), people, each), plan)
            found = fits.out_of_fold()
            assert found is not None
            true = truth(everyone, fits)
            bias += float(sums.ccc(found.sum(axis=0))) - true
            for name, interval in INTERVALS.items():
                low, high = interval(found, list(fits.material.folds.groups))
                inside[name][0] += low <= true <= high
                inside[name][1] += high - low
    done = number // banks * banks
    return {name: (hit / done, width / done) for name, (hit, width) in inside.items()} | {
        "bias": (bias / done, 0.0)
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--worlds", type=int, default=200)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    table = Table(
        title=f"how often the 95 % interval holds the truth, {given.worlds} samples a row (mean width)"
    )
    for heading in ("people × recordings", "spread", "recipe", "error", *INTERVALS):
        table.add_column(heading)
    for people, each in (
        ((4, 4), (6, 8)) if given.quick else ((3, 4), (4, 4), (6, 8), (10, 1), (20, 3), (60, 1))
    ):
        for between in (0.1, 0.4):
            for recipe in RECIPES:
                found = cell(people, each, recipe, between, given.worlds)
                cells = [
                    f"{100 * hit:.0f} % ({width:.2f})"
                    for name, (hit, width) in found.items()
                    if name != "bias"
                ]
                table.add_row(
                    f"{people} × {each}", f"{between}", recipe, f"{found['bias'][0]:+.3f}", *cells
                )
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
