"""Search strategies compared on recorded trainings: the table in docs/search.md.

    PYTHONPATH=benchmarks python -m search_simulator sim --data case again simulated

`sim` holds what `record.py` recorded. Each strategy searches `--seeds` times on each data set, seed
by seed on its divisions in turn, with two trials side by side, until it has spent what
`--trials` configurations drawn at random cost. At marks in between, what a user would have is
scored on the people who were held out from everything: the ensemble by the default recipe, and
the best single trial.

Printed: the share of the budget after which a strategy's score, mean over seeds, has reached what
random search has with all of it (in brackets the same for the 10th and 90th percentile of 1,000
bootstrap samples of the seeds), and the score less random's after a ninth, a third and all of the
budget, with the standard error over seeds. A portfolio is chosen on the other data sets."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search_simulator.pool import Honest, Outcome, Pool, read_pools
from search_simulator.portfolio import portfolio
from search_simulator.record import WIDE
from search_simulator.simulate import Strategy, latest, replay
from search_simulator.strategies import (
    ByCredit,
    CheapFirst,
    CostAware,
    Extrapolated,
    Gp,
    Grid,
    Halved,
    Promoted,
    Proposed,
    Search,
)

MARKS = (0.03, 0.05, 0.08, 1 / 9, 0.15, 0.2, 0.25, 0.3, 1 / 3, 0.4, 0.5, 0.65, 0.8, 1.0)
"""Shares of the budget after which the scores are looked at."""
SHOWN = (1 / 9, 1 / 3, 1.0)
SAMPLES = 1000
PORTFOLIO = 12
NARROW = Path(__file__).parent / "narrow.yaml"

Curves = NDArray[np.float64]
"""(seed, mark, 2) honest scores: of the ensemble and of the best single trial."""

Portfolios = dict[str, list[int]]
"""Numbers of the configurations to begin with, by the kind of portfolio."""


@dataclass(frozen=True)
class Row:
    """A strategy with its sampler, the kind and length of the portfolio that it begins with (None:
    without one), and the space that it searches: the wide one, or a narrower one."""

    strategy: type[Proposed] = Proposed
    sampler: str = "tpe"
    kind: str | None = None
    length: int = PORTFOLIO
    space: Path = WIDE

    def make(self, pool: Pool, seed: int, portfolios: Portfolios) -> Strategy:
        """Return the strategy on a pool, with a seed."""
        entries: list[int] = []
        if self.kind is not None:
            entries = portfolios[self.kind][: self.length]
        return self.strategy(Search(pool, self.sampler, seed, entries))


STRATEGIES: dict[str, Row] = {
    "random": Row(sampler="random"),
    "grid": Row(Grid, "random"),
    "tpe": Row(),
    "gp": Row(Gp),
    "tpe, ASHA": Row(Halved),
    "tpe, ASHA with promotion": Row(Promoted),
    "tpe, curves": Row(Extrapolated),
    "tpe, objective ensemble": Row(ByCredit),
    "tpe, cheap family first": Row(CheapFirst),
    "tpe, cheapest of three": Row(CostAware),
    "portfolio of 4, random": Row(Proposed, "random", "mean", 4),
    "portfolio of 8, random": Row(Proposed, "random", "mean", 8),
    "portfolio, random": Row(Proposed, "random", "mean"),
    "portfolio of 4, tpe": Row(Proposed, "tpe", "mean", 4),
    "portfolio of 8, tpe": Row(Proposed, "tpe", "mean", 8),
    "portfolio, tpe": Row(Proposed, "tpe", "mean"),
    "portfolio by cost, tpe": Row(Proposed, "tpe", "per second"),
    "portfolio, tpe, curves": Row(Extrapolated, "tpe", "mean"),
    "portfolio, tpe, objective ensemble": Row(ByCredit, "tpe", "mean"),
    "narrow, random": Row(sampler="random", space=NARROW),
    "narrow, tpe": Row(space=NARROW),
    "narrow, portfolio of 8, random": Row(Proposed, "random", "mean", 8, NARROW),
    "narrow, portfolio of 8, tpe": Row(Proposed, "tpe", "mean", 8, NARROW),
    "narrow, portfolio of 8 by cost, tpe": Row(Proposed, "tpe", "per second", 8, NARROW),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", type=Path, help="the folder that record.py wrote")
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--configurations", type=int, default=200)
    parser.add_argument("--divisions", type=int, default=4)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=STRATEGIES,
        metavar="STRATEGY",
        help=f"these beside random; of {'; '.join(STRATEGIES)}",
    )
    parser.add_argument("--cache", type=Path, help="file of curves; what is in it is not replayed")
    options = parser.parse_args()
    names = list(STRATEGIES)
    if options.only is not None:
        names = ["random", *options.only]
    spaces = read_spaces(names, options)
    tables: dict[str, dict[str, Curves]] = {}
    for data in options.data:
        portfolios = {space: portfolios_for(pools, data) for space, pools in spaces.items()}
        # The budget is counted in configurations of the wide space, whichever space is searched.
        mean_seconds = [pool.mean_seconds for pool in spaces[WIDE][data]]
        tables[data] = {}
        for name in names:
            space = STRATEGIES[name].space
            began = time.process_time()
            replayed = Replayed(
                data=data,
                name=name,
                pools=spaces[space][data],
                mean_seconds=mean_seconds,
                portfolios=portfolios[space],
                trials=options.trials,
            )
            tables[data][name] = replayed.curves(options.seeds, options.cache)
            took = time.process_time() - began
            print(f"{data}, {name}: {took:.0f} s", flush=True)
    print_costs(tables)
    print_scores(tables)


def read_spaces(
    names: Sequence[str], options: argparse.Namespace
) -> dict[Path, dict[str, list[Pool]]]:
    """Read the data sets' pools of each space that these strategies search."""
    spaces: dict[Path, dict[str, list[Pool]]] = {}
    for name in names:
        space = STRATEGIES[name].space
        if space in spaces:
            continue
        spaces[space] = {}
        for data in options.data:
            pools = read_pools(
                options.records,
                data,
                options.divisions,
                options.configurations,
                space,
            )
            spaces[space][data] = pools
            sizes = [len(pool.trainings) for pool in pools]
            print(f"{data}, {space.stem}: {sizes} configurations", flush=True)
    return spaces


def portfolios_for(data_sets: dict[str, list[Pool]], data: str) -> Portfolios:
    """Return portfolios by kind, chosen on the other data sets; none where there is no other."""
    other_sets = {name: pools for name, pools in data_sets.items() if name != data}
    if not other_sets:
        return {}
    by_mean = portfolio(other_sets, PORTFOLIO)
    by_cost = portfolio(other_sets, PORTFOLIO, per_second=True)
    print(f"{data}: portfolio {by_mean}, by cost {by_cost}")
    return {"mean": by_mean, "per second": by_cost}


@dataclass(frozen=True)
class Replayed:
    """A strategy on a data set: of each division its pool and the core-seconds of a configuration
    drawn at random from the wide space, of which the budget is so many `trials`."""

    data: str
    name: str
    pools: Sequence[Pool]
    mean_seconds: Sequence[float]
    portfolios: Portfolios
    trials: int

    def curves(self, seeds: int, cache: Path | None) -> Curves:
        """Replay with every seed, or read what was replayed before."""
        cached: dict[str, list[list[list[float]]]] = {}
        if cache is not None and cache.is_file():
            cached = json.loads(cache.read_text())
        key = self._key(seeds)
        if key not in cached:
            cached[key] = [self._curve(seed) for seed in range(seeds)]
            if cache is not None:
                cache.write_text(json.dumps(cached))
        return np.array(cached[key])

    def _key(self, seeds: int) -> str:
        """Return all that the curves depend on; without the portfolios where none is used."""
        sizes = [len(pool.trainings) for pool in self.pools]
        portfolios = None
        if "portfolio" in self.name:
            portfolios = self.portfolios
        return json.dumps([self.data, self.name, seeds, self.trials, sizes, portfolios])

    def _curve(self, seed: int) -> list[list[float]]:
        """Replay with a seed, on the division whose turn it is."""
        division = seed % len(self.pools)
        pool = self.pools[division]
        strategy = STRATEGIES[self.name].make(pool, seed, self.portfolios)
        budget = self.trials * self.mean_seconds[division]
        return curve(pool, strategy, budget)


def curve(pool: Pool, strategy: Strategy, budget: float) -> list[list[float]]:
    """Return at each mark the honest scores of the ensemble and of the best single trial."""
    ended = replay(pool, strategy, budget)
    scores: list[list[float]] = []
    scored: list[Outcome] | None = None
    honest = Honest(0.0, 0.0)
    for mark in MARKS:
        outcomes = latest(ended, mark * budget)
        # Building an ensemble is what takes time: once for marks with the same trials.
        if outcomes != scored:
            scored = outcomes
            honest = pool.honest(outcomes)
        scores.append([honest.ensemble, honest.single])
    return scores


def reached(curve: NDArray[np.float64], goal: float) -> float:
    """Return the share of the budget at which a curve (mark,) reaches the goal, between marks as on
    a line; infinite where it never does."""
    for index, value in enumerate(curve):
        if value < goal:
            continue
        if index == 0:
            return MARKS[0]
        previous = curve[index - 1]
        part = (goal - previous) / (value - previous)
        width = MARKS[index] - MARKS[index - 1]
        return float(MARKS[index - 1] + part * width)
    return math.inf


def print_head(heads: Sequence[str]) -> None:
    """Print the first two lines of a Markdown table with a row per strategy."""
    print("\n| search | " + " | ".join(heads) + " |")
    print("|---" + "|---" * len(heads) + "|")


def print_costs(tables: dict[str, dict[str, Curves]]) -> None:
    """Print the share of the budget that each strategy needs, on each data set."""
    heads: list[str] = []
    for data in tables:
        heads.append(f"{data}, ensemble")
        heads.append(f"{data}, best single")
    print_head(heads)
    names = next(iter(tables.values()))
    for name in names:
        cells: list[str] = []
        for table in tables.values():
            for column in range(2):
                cells.append(cost_of(table[name], table["random"], column))
        print(f"| {name} | " + " | ".join(cells) + " |")


def cost_of(curves: Curves, baseline: Curves, column: int) -> str:
    """Return the share of the budget after which a score has reached the baseline's at the end, and
    its 10th and 90th percentile over bootstrap samples of the seeds."""
    seeds = len(curves)
    samples = np.random.default_rng(0).integers(0, seeds, size=(SAMPLES, seeds))
    costs: list[float] = []
    # The seeds as they are come before the samples of them.
    for sample in [np.arange(seeds), *samples]:
        goal = float(baseline[sample, -1, column].mean())
        mean_curve = curves[sample, :, column].mean(axis=0)
        costs.append(reached(mean_curve, goal))
    low, high = np.quantile(costs[1:], [0.1, 0.9], method="nearest")
    return f"{share(costs[0])} ({share(low)} to {share(high)})"


def print_scores(tables: dict[str, dict[str, Curves]]) -> None:
    """Print the ensemble's honest score less random's at a ninth, a third and all of the budget."""
    heads: list[str] = []
    for data in tables:
        heads += [f"{data}, 1/9", f"{data}, 1/3", f"{data}, all"]
    print_head(heads)
    names = next(iter(tables.values()))
    for name in names:
        cells: list[str] = []
        for table in tables.values():
            for mark in SHOWN:
                cells.append(score_of(table, name, MARKS.index(mark)))
        print(f"| {name} | " + " | ".join(cells) + " |")


def score_of(table: dict[str, Curves], name: str, mark: int) -> str:
    """Return the ensemble's mean score at a mark of random search, and of any other strategy the
    difference to it with its standard error over seeds."""
    scores = table[name][:, mark, 0]
    if name == "random":
        return f"{scores.mean():.3f}"
    difference = scores - table["random"][:, mark, 0]
    error = difference.std(ddof=1) / math.sqrt(len(difference))
    return f"{difference.mean():+.3f} ± {error:.3f}"


def share(cost: float) -> str:
    """Return a share of the budget in words."""
    if math.isfinite(cost):
        return f"{cost:.2f}"
    return "> 1"


if __name__ == "__main__":
    main()
