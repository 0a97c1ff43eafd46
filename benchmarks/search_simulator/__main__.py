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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search_simulator import strategies
from search_simulator.pool import Honest, Pool, read_pools
from search_simulator.portfolio import portfolio
from search_simulator.record import WIDE
from search_simulator.simulate import Strategy, latest, replay

MARKS = (0.03, 0.05, 0.08, 1 / 9, 0.15, 0.2, 0.25, 0.3, 1 / 3, 0.4, 0.5, 0.65, 0.8, 1.0)
"""Shares of the budget after which the scores are looked at."""
SHOWN = (1 / 9, 1 / 3, 1.0)
SAMPLES = 1000
PORTFOLIO = 12
NARROW = Path(__file__).parent / "narrow.yaml"

Curves = NDArray[np.float64]
"""(seed, mark, 2) honest scores: of the ensemble and of the best single trial."""

First = dict[str, list[int]]
"""Portfolios by kind."""

Make = Callable[[Pool, int, First], Strategy]


@dataclass(frozen=True)
class Row:
    """A strategy, and the space that it searches: the wide one, or a narrower one."""

    make: Make
    space: Path = WIDE


def proposed(sampler: str, first: str | None = None, length: int = PORTFOLIO) -> Make:
    """Proposals of a sampler, after a portfolio of this kind where there is one."""

    def make(pool: Pool, seed: int, portfolios: First) -> Strategy:
        entries = portfolios[first][:length] if first else []
        return strategies.Proposed(pool, sampler, seed, entries)

    return make


STRATEGIES: dict[str, Row] = {
    "random": Row(proposed("random")),
    "grid": Row(lambda pool, seed, first: strategies.Grid(pool, seed)),
    "tpe": Row(proposed("tpe")),
    "gp": Row(lambda pool, seed, first: strategies.Gp(pool, seed)),
    "tpe, ASHA": Row(lambda pool, seed, first: strategies.Halved(pool, "tpe", seed)),
    "tpe, ASHA with promotion": Row(
        lambda pool, seed, first: strategies.Promoted(pool, "tpe", seed)
    ),
    "tpe, curves": Row(lambda pool, seed, first: strategies.Extrapolated(pool, "tpe", seed)),
    "tpe, objective ensemble": Row(
        lambda pool, seed, first: strategies.ByCredit(pool, "tpe", seed)
    ),
    "tpe, cheap family first": Row(
        lambda pool, seed, first: strategies.CheapFirst(pool, "tpe", seed)
    ),
    "tpe, cheapest of three": Row(
        lambda pool, seed, first: strategies.CostAware(pool, "tpe", seed)
    ),
    "portfolio of 4, random": Row(proposed("random", "mean", 4)),
    "portfolio of 8, random": Row(proposed("random", "mean", 8)),
    "portfolio, random": Row(proposed("random", "mean")),
    "portfolio of 4, tpe": Row(proposed("tpe", "mean", 4)),
    "portfolio of 8, tpe": Row(proposed("tpe", "mean", 8)),
    "portfolio, tpe": Row(proposed("tpe", "mean")),
    "portfolio by cost, tpe": Row(proposed("tpe", "per second")),
    "portfolio, tpe, curves": Row(
        lambda pool, seed, first: strategies.Extrapolated(pool, "tpe", seed, first["mean"])
    ),
    "portfolio, tpe, objective ensemble": Row(
        lambda pool, seed, first: strategies.ByCredit(pool, "tpe", seed, first["mean"])
    ),
    "narrow, random": Row(proposed("random"), NARROW),
    "narrow, tpe": Row(proposed("tpe"), NARROW),
    "narrow, portfolio of 8, random": Row(proposed("random", "mean", 8), NARROW),
    "narrow, portfolio of 8, tpe": Row(proposed("tpe", "mean", 8), NARROW),
    "narrow, portfolio of 8 by cost, tpe": Row(proposed("tpe", "per second", 8), NARROW),
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
    names = list(STRATEGIES) if options.only is None else ["random", *options.only]
    # of each space the data sets' pools
    spaces: dict[Path, dict[str, list[Pool]]] = {}
    for space in dict.fromkeys(STRATEGIES[name].space for name in names):
        spaces[space] = {}
        for data in options.data:
            pools = read_pools(
                options.records, data, options.divisions, options.configurations, space
            )
            spaces[space][data] = pools
            sizes = [len(pool.trainings) for pool in pools]
            print(f"{data}, {space.stem}: {sizes} configurations", flush=True)
    tables: dict[str, dict[str, Curves]] = {}
    for data in options.data:
        first = {space: portfolios(pools, data) for space, pools in spaces.items()}
        means = [pool.mean_seconds for pool in spaces[WIDE][data]]
        tables[data] = {}
        for name in names:
            space = STRATEGIES[name].space
            began = time.process_time()
            replayed = Replayed(
                data, name, spaces[space][data], means, first[space], options.trials
            )
            tables[data][name] = replayed.curves(options.seeds, options.cache)
            took = time.process_time() - began
            print(f"{data}, {name}: {took:.0f} s", flush=True)
    print_costs(tables)
    print_scores(tables)


def portfolios(data_sets: dict[str, list[Pool]], data: str) -> First:
    """Portfolios by kind that are chosen on the other data sets; none where there is no other."""
    others = {name: pools for name, pools in data_sets.items() if name != data}
    if not others:
        return {}
    first = {
        "mean": portfolio(others, PORTFOLIO),
        "per second": portfolio(others, PORTFOLIO, per_second=True),
    }
    print(f"{data}: portfolio {first['mean']}, by cost {first['per second']}")
    return first


@dataclass(frozen=True)
class Replayed:
    """A strategy on a data set: of each division its pool and the core-seconds of a configuration
    drawn at random from the wide space, of which the budget is so many `trials`."""

    data: str
    name: str
    pools: Sequence[Pool]
    mean_seconds: Sequence[float]
    first: First
    trials: int

    def curves(self, seeds: int, cache: Path | None) -> Curves:
        """Replay with every seed, or read what was replayed before."""
        sizes = [len(pool.trainings) for pool in self.pools]
        first = self.first if "portfolio" in self.name else None
        key = json.dumps([self.data, self.name, seeds, self.trials, sizes, first])
        known: dict[str, list[list[list[float]]]] = {}
        if cache is not None and cache.is_file():
            known = json.loads(cache.read_text())
        if key not in known:
            known[key] = []
            for seed in range(seeds):
                division = seed % len(self.pools)
                pool = self.pools[division]
                strategy = STRATEGIES[self.name].make(pool, seed, self.first)
                known[key].append(curve(pool, strategy, self.trials * self.mean_seconds[division]))
            if cache is not None:
                cache.write_text(json.dumps(known))
        return np.array(known[key])


def curve(pool: Pool, strategy: Strategy, budget: float) -> list[list[float]]:
    """Honest scores at each mark, of the ensemble and of the best single trial."""
    ended = replay(pool, strategy, budget)
    scores: list[list[float]] = []
    before, honest = None, Honest(0.0, 0.0)
    for mark in MARKS:
        outcomes = latest(ended, mark * budget)
        if outcomes != before:
            before, honest = outcomes, pool.honest(outcomes)
        scores.append([honest.ensemble, honest.single])
    return scores


def reached(curve: NDArray[np.float64], goal: float) -> float:
    """The share of the budget at which a curve (mark,) first has the goal, between marks as on a
    line; infinite where it never has."""
    for index, value in enumerate(curve):
        if value >= goal:
            if index == 0:
                return MARKS[0]
            before = curve[index - 1]
            part = (goal - before) / (value - before)
            return float(MARKS[index - 1] + part * (MARKS[index] - MARKS[index - 1]))
    return math.inf


def print_costs(tables: dict[str, dict[str, Curves]]) -> None:
    """Print the share of the budget that each strategy needs, on each data set."""
    heads = [f"{data}, {what}" for data in tables for what in ("ensemble", "best single")]
    print("\n| search | " + " | ".join(heads) + " |\n|---" + "|---" * len(heads) + "|")
    for name in next(iter(tables.values())):
        cells: list[str] = []
        for table in tables.values():
            cells += [cost_of(table[name], table["random"], column) for column in range(2)]
        print(f"| {name} | " + " | ".join(cells) + " |")


def cost_of(curves: Curves, baseline: Curves, column: int) -> str:
    """The share of the budget after which a score has reached the baseline's at the end, and its
    10th and 90th percentile over bootstrap samples of the seeds."""
    seeds = len(curves)
    samples = np.random.default_rng(0).integers(0, seeds, size=(SAMPLES, seeds))
    costs: list[float] = []
    for sample in [np.arange(seeds), *samples]:
        goal = float(baseline[sample, -1, column].mean())
        costs.append(reached(curves[sample, :, column].mean(axis=0), goal))
    low, high = np.quantile(costs[1:], [0.1, 0.9], method="nearest")
    return f"{share(costs[0])} ({share(low)} to {share(high)})"


def print_scores(tables: dict[str, dict[str, Curves]]) -> None:
    """Print the ensemble's honest score less random's at a ninth, a third and all of the budget."""
    heads = [f"{data}, {mark}" for data in tables for mark in ("1/9", "1/3", "all")]
    print("\n| search | " + " | ".join(heads) + " |\n|---" + "|---" * len(heads) + "|")
    for name in next(iter(tables.values())):
        cells: list[str] = []
        for table in tables.values():
            for mark in SHOWN:
                scores = table[name][:, MARKS.index(mark), 0]
                difference = scores - table["random"][:, MARKS.index(mark), 0]
                error = difference.std(ddof=1) / math.sqrt(len(difference))
                text = f"{difference.mean():+.3f} ± {error:.3f}"
                cells.append(f"{scores.mean():.3f}" if name == "random" else text)
        print(f"| {name} | " + " | ".join(cells) + " |")


def share(cost: float) -> str:
    """A share of the budget in words."""
    return f"{cost:.2f}" if math.isfinite(cost) else "> 1"


if __name__ == "__main__":
    main()
