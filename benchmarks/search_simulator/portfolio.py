"""A portfolio: configurations that are best together, to be trained first on any data.

    PYTHONPATH=benchmarks python -m search_simulator.portfolio sim --data case again simulated --length 8

It is printed as the `first` of a space, of all feature sets, chosen on these data sets.

It is chosen on data sets all of whose labels are known, greedily: the next entry is the one with
which the plain mean of the entries' predictions, each scaled to unit variance, correlates best
with the labels, averaged over data sets (as a share of the best that a single configuration has
there), divisions and targets. A correlation is what the CCC is once scale and mean are matched."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from search_simulator.pool import Outcome, Pool, read_pools
from search_simulator.record import WIDE, Frames
from va_search.search.configurations import Configuration

Series = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """One target on the people of one part of a pool: the configurations' predictions (member,
    frames) with unit variance, the label (frames,), and the weight in the mean over all parts."""

    members: Series
    label: Series
    weight: float


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
    data_sets: dict[str, list[Pool]] = {}
    pools: list[Pool] = []
    for name in options.data:
        data_sets[name] = read_pools(
            options.records,
            name,
            options.divisions,
            options.configurations,
            options.space,
        )
        pools += data_sets[name]
    # Of a store with few frames a second several rates are one number of frames.
    pool = max(pools, key=lambda pool: len(pool.space.declared("frame_step")))
    entries: list[Configuration] = []
    for number in portfolio(data_sets, options.length, per_second=options.per_second):
        entries.append(as_written(pool.configurations[number], pool))
    # Through JSON, so that no two entries hold one object, which YAML would write as an alias.
    plain = json.loads(json.dumps(entries))
    print("first:")
    for entry in plain:
        line = yaml.safe_dump(entry, default_flow_style=True, sort_keys=False, width=10_000)
        print(f"- {line.strip()}")


def as_written(configuration: Configuration, pool: Pool) -> Configuration:
    """Return a configuration as any store's space may have it: what varies, the frame step in steps
    a second, all feature sets."""
    document = pool.space.document["settings"]
    entry: Configuration = {}
    for name, value in configuration.items():
        if name == "features" or not isinstance(document[name], dict):
            continue
        if name == "frame_step":
            rates = document[name]["steps_per_second"]
            index = pool.space.declared(name).index(value)
            entry[name] = {"steps_per_second": rates[index]}
        elif isinstance(value, float):
            entry[name] = float(f"{value:.2g}")
        else:
            entry[name] = value
    return entry


def portable(pools: Sequence[Pool]) -> list[int]:
    """Return the numbers of the configurations that every pool has, with all feature sets."""
    numbers = set(pools[0].trainings)
    for pool in pools:
        numbers &= set(pool.trainings)
    chosen: list[int] = []
    for number in sorted(numbers):
        if all(has_all_features(pool, number) for pool in pools):
            chosen.append(number)
    return chosen


def has_all_features(pool: Pool, number: int) -> bool:
    """Return True if the configuration of a number has every feature set of the pool's store."""
    most = max(len(subset) for subset in pool.space.declared("features"))
    return len(pool.configurations[number]["features"]) == most


def portfolio(
    data_sets: Mapping[str, Sequence[Pool]], length: int, *, per_second: bool = False
) -> list[int]:
    """Return the numbers of the configurations, in the order of training.

    `per_second`: the one that gains most for the seconds it takes comes next."""
    all_pools: list[Pool] = []
    for pools in data_sets.values():
        all_pools += pools
    candidates = portable(all_pools)
    parts: list[Part] = []
    for pools in data_sets.values():
        for pool in pools:
            parts += parts_of(pool, candidates, 1 / len(pools))
    relative_costs = np.mean([relative_cost(pool, candidates) for pool in all_pools], axis=0)
    taken: list[int] = []
    value = 0.0
    # Of each part the sum of the predictions of those that are taken.
    sums = [np.zeros(part.members.shape[1]) for part in parts]
    for _ in range(length):
        values = np.zeros(len(candidates))
        for part, total in zip(parts, sums, strict=True):
            values += part.weight * correlations(part.members + total, part.label)
        gains = values - value
        if per_second:
            # The root, as a cheap entry that gains little would else come before all others.
            gains = np.where(gains > 0, gains / np.sqrt(relative_costs), gains)
        gains[taken] = -np.inf
        best = int(np.argmax(gains))
        value = float(values[best])
        taken.append(best)
        for index, part in enumerate(parts):
            sums[index] = sums[index] + part.members[best]
    return [candidates[index] for index in taken]


def relative_cost(pool: Pool, numbers: Sequence[int]) -> list[float]:
    """Return each configuration's core-seconds as a multiple of the pool's mean."""
    return [pool.seconds(number) / pool.mean_seconds for number in numbers]


def parts_of(pool: Pool, numbers: Sequence[int], weight: float) -> list[Part]:
    """Return a part for each target of the people who validate, and of those held out; `weight` is
    that of the whole pool."""
    parts: list[Part] = []
    for people, labels in (("validation", pool.validation), ("held_out", pool.held_out)):
        of_members: list[Frames] = []
        for number in numbers:
            outcome = Outcome(number, pool.trainings[number].epochs)
            of_members.append(pool.predictions(outcome, people))
        predictions = np.stack(of_members).astype(np.float64)
        targets = labels.shape[1]
        for column in range(targets):
            labelled = ~np.isnan(labels[:, column])
            members = standardised(predictions[:, labelled, column])
            label = labels[labelled, column].astype(np.float64)
            # As a share of the best that a single configuration has.
            best = float(np.max(correlations(members, label)))
            parts.append(Part(members, label, weight / (2 * targets * best)))
    return parts


def standardised(series: Series) -> Series:
    """Return series (member, frames) of mean 0 and variance 1; 0 where one is constant."""
    centred = series - series.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    scaled: Series = centred / np.where(spread > 0, spread, 1.0)
    return scaled


def correlations(series: Series, label: Series) -> Series:
    """Return the correlation (member,) of each of the series (member, frames) with the label; 0
    where one is constant."""
    centred = label - label.mean()
    spread = series.std(axis=1)
    covariance = series @ centred / len(label)
    correlation: Series = covariance / np.where(spread > 0, spread, np.inf) / label.std()
    return correlation


if __name__ == "__main__":
    main()
