"""A portfolio: configurations that are best together, to be trained first on any data.

    PYTHONPATH=benchmarks python -m search_simulator.portfolio sim --data case again simulated --length 8

prints it as the `first` of a space, of all feature sets, chosen on these data sets.

It is chosen on data sets all of whose labels are known, greedily: the next entry is the one with
which the plain mean of the entries' predictions, each scaled to unit variance, correlates best
with the labels, averaged over data sets (as a share of the best that a single configuration has
there), divisions and targets. A correlation is what the CCC is once scale and mean are matched."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from search_simulator.pool import Outcome, Pool, read_pools
from search_simulator.record import WIDE
from va_search.search.configurations import Configuration

Series = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", type=Path, help="the folder that record.py wrote")
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--length", type=int, default=8)
    parser.add_argument("--divisions", type=int, default=2)
    parser.add_argument("--configurations", type=int, default=200)
    parser.add_argument("--space", type=Path, default=WIDE)
    parser.add_argument("--per-second", action="store_true", help="by what is gained per second")
    options = parser.parse_args()
    data_sets = {
        name: read_pools(
            options.records, name, options.divisions, options.configurations, options.space
        )
        for name in options.data
    }
    # Of a store with few frames a second several rates are one number of frames.
    pools = [pool for several in data_sets.values() for pool in several]
    pool = max(pools, key=lambda pool: len(pool.space.declared("frame_step")))
    entries = []
    for number in portfolio(data_sets, options.length, per_second=options.per_second):
        entries.append(as_written(pool.configurations[number], pool))
    plain = json.loads(json.dumps(entries))  # no two places hold one object
    print("first:")
    for entry in plain:
        line = yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, width=10_000)
        print(f"- {line.strip()}")


def as_written(configuration: Configuration, pool: Pool) -> Configuration:
    """A configuration as any store's space may have it: what varies, the frame step in steps a
    second, all feature sets."""
    document = pool.space.document["settings"]
    entry: Configuration = {}
    for name, value in configuration.items():
        if name == "frame_step":
            rates = document[name]["steps_per_second"]
            entry[name] = {"steps_per_second": rates[pool.space.declared(name).index(value)]}
        elif name != "features" and isinstance(document[name], dict):
            entry[name] = float(f"{value:.2g}") if isinstance(value, float) else value
    return entry


def portable(pools: Sequence[Pool]) -> list[int]:
    """Numbers of the configurations that every pool has, with all feature sets."""
    numbers = set.intersection(*(set(pool.trainings) for pool in pools))
    chosen: list[int] = []
    for number in sorted(numbers):
        sizes = [len(pool.configurations[number]["features"]) for pool in pools]
        most = [max(map(len, pool.space.declared("features"))) for pool in pools]
        if sizes == most:
            chosen.append(number)
    return chosen


def portfolio(
    data_sets: Mapping[str, Sequence[Pool]], length: int, *, per_second: bool = False
) -> list[int]:
    """Numbers of the configurations, the one to begin with first; `per_second`: the one that gains
    most for the seconds it takes comes next."""
    every = [pool for pools in data_sets.values() for pool in pools]
    candidates = portable(every)
    parts: list[tuple[Series, Series, float]] = []
    for pools in data_sets.values():
        for pool in pools:
            parts += series_of(pool, candidates, 1 / len(pools))
    relative_cost = np.mean(
        [[pool.seconds(number) / pool.mean_seconds for number in candidates] for pool in every],
        axis=0,
    )
    taken: list[int] = []
    sums = [np.zeros(members.shape[1]) for members, _, _ in parts]
    value = 0.0
    for _ in range(length):
        values = np.zeros(len(candidates))
        for (members, label, weight), total in zip(parts, sums, strict=True):
            values += weight * correlations(members + total, label)
        gains = values - value
        if per_second:
            gains = np.where(gains > 0, gains / np.sqrt(relative_cost), gains)
        gains[taken] = -np.inf
        best = int(np.argmax(gains))
        value = float(values[best])
        taken.append(best)
        sums = [total + members[best] for total, (members, _, _) in zip(sums, parts, strict=True)]
    return [candidates[index] for index in taken]


def series_of(
    pool: Pool, numbers: Sequence[int], weight: float
) -> list[tuple[Series, Series, float]]:
    """(member, frames) predictions of unit variance, labels, and the weight of each part and
    target of a pool."""
    parts: list[tuple[Series, Series, float]] = []
    for part, labels in (("validation", pool.validation), ("held_out", pool.held_out)):
        predictions = np.stack(
            [
                pool.predictions(Outcome(number, pool.trainings[number].epochs), part)
                for number in numbers
            ]
        ).astype(np.float64)
        for column in range(labels.shape[1]):
            known = ~np.isnan(labels[:, column])
            members = predictions[:, known, column]
            members = members - members.mean(axis=1, keepdims=True)
            spread = members.std(axis=1, keepdims=True)
            members = members / np.where(spread > 0, spread, 1.0)
            label = labels[known, column].astype(np.float64)
            best = float(np.max(correlations(members, label)))
            parts.append((members, label, weight / (2 * labels.shape[1] * best)))
    return parts


def correlations(series: Series, label: Series) -> Series:
    """(member,) correlation of each of the series (member, frames) with the label."""
    centred = label - label.mean()
    spread = series.std(axis=1)
    covariance = series @ centred / len(label)
    correlation: Series = covariance / np.where(spread > 0, spread, np.inf) / label.std()
    return correlation


if __name__ == "__main__":
    main()
