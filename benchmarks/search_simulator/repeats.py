"""Repeats of a configuration (folds and seeds) begun only while they can matter, against all repeats of it.

    PYTHONPATH=benchmarks python -m search_simulator.repeats sim --data case again

`sim` holds what `record.py` recorded with `--divisions 2 --inner 3`, once with `--seed 0` and once
with `--seed 1`: of every configuration six repeats, three folds that validate in turn and two seeds,
while the same people are held out. A search draws configurations at random and trains each one's
repeats, one after the other on one core. `all` trains all six; `paired` ends a configuration, once
it has three, as soon as a one-sided paired t-test over the folds and seeds that it shares with the
best finished one says that it is worse (p below `--p`); `one` trains only the first fold and seed.

After the same core-seconds (`--trials` configurations with all repeats) the ensemble of the finished
configurations is scored on the people who were held out: weights by the default recipe on all
people who validated, each configuration's predictions the mean of its seeds (of the people held out:
of all its models). A configuration that was ended is no member."""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from search_simulator.pool import Frames, Outcome, Pool, Training
from va_search.ensemble.folds import make_folds

FEWEST = 3
"""Repeats of a configuration before it may be ended."""
MOST = 30
"""Configurations with repeats at most."""
FOLDS, SEEDS = ("", "-inner2", "-inner3"), ("", "-seed1")
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Repeats:
    """The repeats of one division: fold by fold with seed 0, then with seed 1."""

    name: str
    pools: list[Pool]

    @classmethod
    def read(cls, records: Path, division: str) -> Repeats:
        names = [f"{division}{fold}{seed}" for seed in SEEDS for fold in FOLDS]
        return cls(division, [Pool.read(records / name, range(MOST)) for name in names])

    @property
    def numbers(self) -> list[int]:
        """Numbers of the configurations of which every repeat was recorded."""
        return sorted(set.intersection(*(set(pool.trainings) for pool in self.pools)))

    def score(self, repeat: int, number: int) -> float:
        """The validation score of a repeat's last epoch."""
        return float(self.pools[repeat].trainings[number].scores[-1])

    def seconds(self, repeat: int, number: int) -> float:
        """Core-seconds of a repeat."""
        return self.pools[repeat].seconds(number)

    def pooled(self, repeats: Sequence[int]) -> Pool:
        """A pool of one training per configuration: on the people of the repeats' folds the mean of
        its seeds, on those held out the mean of all."""
        folds = sorted({repeat % len(FOLDS) for repeat in repeats})
        recordings = [
            replace(recording, name=f"{fold}/{recording.name}")
            for fold in folds
            for recording in self.pools[fold].recordings
        ]
        trainings: dict[int, Training] = {}
        for number in self.numbers:
            of_folds = []
            for fold in folds:
                seeds = [repeat for repeat in repeats if repeat % len(FOLDS) == fold]
                predictions = [self._last(repeat, number).validation[-1] for repeat in seeds]
                of_folds.append(np.mean(predictions, axis=0, dtype=np.float32))
            models = [self._last(repeat, number).held_out[-1] for repeat in repeats]
            held_out: Frames = np.mean(models, axis=0, dtype=np.float32)
            trainings[number] = Training(
                seconds=np.array([sum(self.seconds(repeat, number) for repeat in repeats)]),
                scores=np.array([np.mean([self.score(repeat, number) for repeat in repeats])]),
                validation=np.concatenate(of_folds)[None],
                held_out=held_out[None],
            )
        validation = np.concatenate([self.pools[fold].validation for fold in folds])
        labelled = [recording.frames for recording in recordings]
        return replace(
            self.pools[0],
            trainings=trainings,
            validation=validation,
            recordings=recordings,
            folds=make_folds(recordings, labelled),
        )

    def _last(self, repeat: int, number: int) -> Training:
        return self.pools[repeat].trainings[number]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", type=Path)
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--p", type=float, default=0.1)
    options = parser.parse_args()
    print(
        "| data | search | configurations | ended | ensemble | single |\n|---|---|---|---|---|---|"
    )
    for data in options.data:
        divisions = sorted(
            folder.name
            for folder in options.records.glob(f"{data}-*")
            if (options.records / f"{folder.name}-inner3-seed1").is_dir()
        )
        repeats = [Repeats.read(options.records, division) for division in divisions]
        rows = {name: searched(name, repeats, options) for name in ("all", "paired", "one")}
        for name, row in rows.items():
            difference = row - rows["all"]
            error = difference.std(axis=0, ddof=1) / math.sqrt(len(row))
            cells = [f"{row[:, 0].mean():.1f}", f"{row[:, 1].mean():.1f}"]
            for column in (2, 3):
                text = f"{row[:, column].mean():.3f}"
                if name != "all":
                    text += f" ({difference[:, column].mean():+.3f} ± {error[column]:.3f})"
                cells.append(text)
            print(f"| {data} | {name} | " + " | ".join(cells) + " |", flush=True)


def searched(name: str, several: Sequence[Repeats], options: argparse.Namespace) -> Scores:
    """(seed, 4) configurations finished, configurations ended, honest scores of the ensemble and of
    the best single configuration."""
    counted = range(len(FOLDS) * len(SEEDS)) if name != "one" else range(1)
    pools = [repeats.pooled(counted) for repeats in several]
    rows: list[list[float]] = []
    for seed in range(options.seeds):
        repeats, pool = several[seed % len(several)], pools[seed % len(several)]
        everything = len(FOLDS) * len(SEEDS)
        mean = np.mean(
            [
                sum(repeats.seconds(repeat, number) for repeat in range(everything))
                for number in repeats.numbers
            ]
        )
        order = random.Random(seed).sample(repeats.numbers, len(repeats.numbers))  # noqa: S311
        budget = options.trials * float(mean)
        p = options.p if name == "paired" else 0.0
        finished, ended = one_search(repeats, order, counted, budget, p)
        honest = pool.honest([Outcome(number, 1) for number in finished])
        rows.append([len(finished), ended, honest.ensemble, honest.single])
    return np.array(rows)


def one_search(
    repeats: Repeats, order: Sequence[int], counted: range, budget: float, p: float
) -> tuple[list[int], int]:
    """Train configurations in order until the budget is spent; return those that finished, and how
    many were ended before."""
    finished: list[int] = []
    ended, spent = 0, 0.0
    best: Scores | None = None
    for number in order:
        scores: list[float] = []
        for repeat in counted:
            spent += repeats.seconds(repeat, number)
            if spent > budget:
                return finished, ended
            scores.append(repeats.score(repeat, number))
            if (
                best is not None
                and FEWEST <= len(scores) < len(counted)
                and is_worse(scores, best, p)
            ):
                break
        if len(scores) < len(counted):
            ended += 1
            continue
        finished.append(number)
        if best is None or np.mean(scores) > best.mean():
            best = np.array(scores)
    return finished, ended


def is_worse(scores: Sequence[float], best: Scores, p: float) -> bool:
    """Return True if the paired test says that these repeats are worse than the best's."""
    differences = np.array(scores) - best[: len(scores)]
    if p <= 0 or not differences.std() > 0:
        return False
    return bool(stats.ttest_1samp(differences, 0.0, alternative="less").pvalue < p)


if __name__ == "__main__":
    main()
