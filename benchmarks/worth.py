"""The estimate of what a further hour is worth, judged on recorded trainings.

    python benchmarks/worth.py POOL [POOL …] --orders 3

A pool is a folder that `search_simulator.record` made: trainings of one division of
people, with predictions for those who validate and those who are held out from everything. The
trials of a pool come in random orders. After some of them the gain by as many again is estimated as
a search does it (from 24 on), and compared with the gain that came: out-of-fold on the people who validate, and
on the people held out. Then: where a search would have ended whose budget's `worth` is CCC per
`HOURLY` trials, and how much the ensemble still gained until all were trained."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from va_search.data.store import Store
from va_search.ensemble.credit import Contest, Name
from va_search.ensemble.growth import FEWEST, SHARES, Growth, scores_of
from va_search.metrics import ccc

AFTER = (12, 18, 24, 36, 48, 72, 96)
"""Numbers of trials after which the gain is estimated."""
HOURLY = 40
WORTHS = (0.02, 0.01, 0.005, 0.002)


class Pool:
    """The last epochs of a pool's trainings: (trial, frames, targets) predictions of two parts."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        with np.load(folder / "labels.npz") as labels:
            self.validation, self.held_out = labels["validation"], labels["held_out"]
            lengths = labels["validation_lengths"].tolist()
        predictions: dict[str, list[NDArray[np.float32]]] = {"validation": [], "held_out": []}
        for path in sorted(folder.glob("[0-9]*.npz")):
            with np.load(path) as training:
                for part, of_trials in predictions.items():
                    if len(training[part]):
                        of_trials.append(training[part][-1].astype(np.float32))
        self.predicted = {part: np.stack(rows) for part, rows in predictions.items()}
        store = Store.open(folder.with_name(f"{folder.name}-store"))
        self.recordings = []
        for recording, frames in zip(store.split("validation"), lengths, strict=True):
            named = SimpleNamespace(**{**vars(recording), "frames": frames})
            self.recordings.append(named)

    def __len__(self) -> int:
        return len(self.predicted["validation"])

    def contest(self, target: int) -> Contest:
        """Return a contest of no trials yet for a target."""

        def column(_study: str, trial: str, *_: Any, **__: Any) -> NDArray[np.float32]:
            return np.ascontiguousarray(self.predicted["validation"][int(trial), :, target])

        bank = cast(Any, SimpleNamespace(column=column))
        recordings = cast(Any, tuple(self.recordings))
        return Contest(bank, "pool", str(target), recordings, self.validation[:, target])

    def held_out_score(self, contests: Sequence[Contest]) -> float:
        """CCC on people held out of the ensembles that all recordings together choose."""
        scores = []
        for target, contest in enumerate(contests):
            names, weights = contest.chosen_by_all()
            rows = [int(trial) for _, trial in names]
            predicted = weights @ self.predicted["held_out"][rows, :, target].astype(np.float64)
            scores.append(float(ccc(predicted, self.held_out[:, target])))
        return float(np.mean(scores))


class Replay:
    """One order of a pool's trials: growth and scores after some numbers of them."""

    def __init__(self, pool: Pool, seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(pool))
        names: list[Name] = [("pool", str(number)) for number in order]
        contests = [pool.contest(target) for target in range(pool.validation.shape[1])]
        self.growths: dict[int, Growth] = {}
        self.scores: dict[int, tuple[float, float]] = {}
        entered = 0
        marks = sorted({*AFTER, *(2 * number for number in AFTER), len(pool)})
        for number in (mark for mark in marks if mark <= len(pool)):
            known = names[:number]
            for contest in contests:
                contest.enter(names[entered:number])
            entered = number
            sizes = np.unique(np.ceil(np.array(SHARES) * number).astype(int))
            if number in AFTER:
                curves = [scores_of(contest, known, sizes.tolist()) for contest in contests]
                self.growths[number] = Growth(sizes.astype(float), np.mean(curves, axis=0))
            of_targets = [contest.score_of(known) for contest in contests]
            self.scores[number] = float(np.mean(of_targets)), pool.held_out_score(contests)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pools", nargs="+", type=Path)
    parser.add_argument("--orders", type=int, default=3)
    arguments = parser.parse_args()
    replays: list[Replay] = []
    for folder in arguments.pools:
        pool = Pool(folder)
        for seed in range(arguments.orders):
            replays.append(Replay(pool, seed))
            print(f"{pool.name} order {seed}: {len(pool)} trials", flush=True)
    lines = ["| trials | expected by as many again | came, out-of-fold | came, held out |"]
    lines.append("|---|---|---|---|")
    for number in AFTER:
        lines.append(_expected_line(replays, number))
    lines += [
        "",
        f"| worth per {HOURLY} trials | ended after | left, out-of-fold | left, held out |",
    ]
    lines.append("|---|---|---|---|")
    for worth in WORTHS:
        lines.append(_ended_line(replays, worth))
    print("\n".join(lines))


def _expected_line(replays: Sequence[Replay], number: int) -> str:
    rows = []
    for replay in replays:
        if 2 * number in replay.scores:
            before, after = replay.scores[number], replay.scores[2 * number]
            expected = replay.growths[number].gain(number)[0]
            rows.append((expected, after[0] - before[0], after[1] - before[1]))
    cells = [_spread([row[column] for row in rows]) for column in range(3)]
    return f"| {number} | {' | '.join(cells)} |"


def _ended_line(replays: Sequence[Replay], worth: float) -> str:
    ends, left = [], []
    for replay in replays:
        whole = max(replay.scores)
        below = [
            number
            for number in AFTER
            if number >= FEWEST and replay.growths[number].gain(HOURLY)[0] < worth
        ]
        end = min(below, default=whole)
        ends.append(end)
        left.append([replay.scores[whole][part] - replay.scores[end][part] for part in (0, 1)])
    cells = [_spread([row[part] for row in left]) for part in (0, 1)]
    return (
        f"| {worth:g} | {np.median(ends):.0f} ({min(ends)} to {max(ends)}) | {' | '.join(cells)} |"
    )


def _spread(values: Sequence[float]) -> str:
    """Mean, and from lowest to highest."""
    return f"{np.mean(values):+.4f} ({min(values):+.4f} to {max(values):+.4f})"


if __name__ == "__main__":
    main()
