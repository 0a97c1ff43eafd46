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

from search_simulator.pool import Outcome, Pool, Training
from search_simulator.record import Frames
from va_search.data.store import Recording
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
        pools: list[Pool] = []
        for seed in SEEDS:
            for fold in FOLDS:
                pools.append(Pool.read(records / f"{division}{fold}{seed}", range(MOST)))
        return cls(division, pools)

    @property
    def numbers(self) -> list[int]:
        """Numbers of the configurations of which every repeat was recorded."""
        numbers = set(self.pools[0].trainings)
        for pool in self.pools:
            numbers &= set(pool.trainings)
        return sorted(numbers)

    def score(self, repeat: int, number: int) -> float:
        """Return the validation score of a repeat's last epoch."""
        return float(self.pools[repeat].trainings[number].scores[-1])

    def seconds(self, repeat: int, number: int) -> float:
        """Return the core-seconds of a repeat."""
        return self.pools[repeat].seconds(number)

    @property
    def mean_seconds(self) -> float:
        """Core-seconds of all repeats of a configuration, mean over configurations."""
        every_repeat = range(len(self.pools))
        return float(np.mean([self.sum_seconds(every_repeat, number) for number in self.numbers]))

    def sum_seconds(self, repeats: Sequence[int], number: int) -> float:
        """Return the core-seconds of these repeats together."""
        total = 0.0
        for repeat in repeats:
            total += self.seconds(repeat, number)
        return total

    def pooled(self, repeats: Sequence[int]) -> Pool:
        """Return a pool of one training per configuration: on the people of the repeats' folds the
        mean of its seeds, on those held out the mean of all."""
        folds = sorted({repeat % len(FOLDS) for repeat in repeats})
        # Folds share people, whose recordings are told apart by the fold.
        recordings: list[Recording] = []
        for fold in folds:
            for recording in self.pools[fold].recordings:
                recordings.append(replace(recording, name=f"{fold}/{recording.name}"))
        trainings = {number: self._pooled(number, repeats, folds) for number in self.numbers}
        validation = np.concatenate([self.pools[fold].validation for fold in folds])
        labelled = [recording.frames for recording in recordings]
        return replace(
            self.pools[0],
            trainings=trainings,
            validation=validation,
            recordings=recordings,
            folds=make_folds(recordings, labelled),
        )

    def _pooled(self, number: int, repeats: Sequence[int], folds: Sequence[int]) -> Training:
        """Return one training of one epoch that stands for a configuration's repeats."""
        scores: list[float] = []
        held_out: list[NDArray[np.floating]] = []
        by_fold: dict[int, list[NDArray[np.floating]]] = {fold: [] for fold in folds}
        for repeat in repeats:
            training = self.pools[repeat].trainings[number]
            scores.append(self.score(repeat, number))
            held_out.append(training.held_out[-1])
            by_fold[repeat % len(FOLDS)].append(training.validation[-1])
        validation = [mean_of(predictions) for predictions in by_fold.values()]
        return Training(
            seconds=np.array([self.sum_seconds(repeats, number)]),
            scores=np.array([np.mean(scores)]),
            validation=np.concatenate(validation)[None],
            held_out=mean_of(held_out)[None],
        )


def mean_of(predictions: Sequence[NDArray[np.floating]]) -> Frames:
    """Return the mean of several models' predictions (frames, targets)."""
    mean: Frames = np.mean(predictions, axis=0, dtype=np.float32)
    return mean


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", type=Path, help="the folder that record.py wrote")
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--p", type=float, default=0.1)
    options = parser.parse_args()
    print("| data | search | configurations | ended | ensemble | single |")
    print("|---|---|---|---|---|---|")
    for data in options.data:
        divisions: list[str] = []
        for folder in options.records.glob(f"{data}-*"):
            if (options.records / f"{folder.name}-inner3-seed1").is_dir():
                divisions.append(folder.name)
        repeats = [Repeats.read(options.records, division) for division in sorted(divisions)]
        baseline = searched("all", repeats, options)
        for name in ("all", "paired", "one"):
            row = baseline
            if name != "all":
                row = searched(name, repeats, options)
            print(f"| {data} | {name} | " + " | ".join(cells_of(row, baseline)) + " |", flush=True)


def cells_of(row: Scores, baseline: Scores) -> list[str]:
    """Return the means over seeds in words, scores (if not of the baseline itself) with the
    difference to the baseline's and its standard error."""
    cells = [f"{row[:, 0].mean():.1f}", f"{row[:, 1].mean():.1f}"]
    difference = row - baseline
    error = difference.std(axis=0, ddof=1) / math.sqrt(len(row))
    for column in (2, 3):
        text = f"{row[:, column].mean():.3f}"
        if row is not baseline:
            text += f" ({difference[:, column].mean():+.3f} ± {error[column]:.3f})"
        cells.append(text)
    return cells


def searched(name: str, several: Sequence[Repeats], options: argparse.Namespace) -> Scores:
    """Return (seed, 4): configurations finished, configurations ended, honest scores of the
    ensemble and of the best single configuration."""
    counted = range(len(FOLDS) * len(SEEDS))
    if name == "one":
        counted = range(1)
    p = 0.0
    if name == "paired":
        p = options.p
    pools = [repeats.pooled(counted) for repeats in several]
    rows: list[list[float]] = []
    for seed in range(options.seeds):
        division = seed % len(several)
        repeats = several[division]
        # Every search by the same seed meets the configurations in the same order.
        numbers = repeats.numbers
        order = random.Random(seed).sample(numbers, len(numbers))  # noqa: S311
        budget = options.trials * repeats.mean_seconds
        finished, ended = one_search(repeats, order, counted, budget, p)
        outcomes = [Outcome(number, 1) for number in finished]
        honest = pools[division].honest(outcomes)
        rows.append([len(finished), ended, honest.ensemble, honest.single])
    return np.array(rows)


def one_search(
    repeats: Repeats, order: Sequence[int], counted: range, budget: float, p: float
) -> tuple[list[int], int]:
    """Train configurations in order until the budget is spent; return those that finished, and how
    many were ended before."""
    finished: list[int] = []
    ended = 0
    spent = 0.0
    best: Scores | None = None
    for number in order:
        scores: list[float] = []
        # A repeat that the budget does not reach leaves its configuration unfinished.
        for repeat in counted:
            spent += repeats.seconds(repeat, number)
            if spent > budget:
                return finished, ended
            scores.append(repeats.score(repeat, number))
            testable = FEWEST <= len(scores) < len(counted)
            if testable and best is not None and is_worse(scores, best, p):
                break
        if len(scores) < len(counted):
            ended += 1
            continue
        finished.append(number)
        # The next ones are tested against the best one so far.
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
