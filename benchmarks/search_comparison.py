"""Searches compared in real runs, at equal core-seconds, by scores on people held out from everything.

    python benchmarks/search_comparison.py --store stores/case --home comparison --seconds 90
        --rows random=benchmarks/search_simulator/wide.yaml default=search_spaces/any.yaml

Each row and seed is one study of `run_search`, in a home of its own under --home (trials are shared
within a home, which would be free time), over the row's space with the seed as its sampler's. Fold
--held-out of the store is the test set of a copy that lacks its labels; the next fold validates.
A study may spend --seconds core-seconds, counted over all of its processes (driver, Ray,
trainings), so that what else runs on the machine does not take its time away; Ray's own start is
taken off, since it is the same for all. The same command goes on where it was stopped.

Printed: of each study the trials that had finished after shares of the time, and the scores on the
held-out people of the ensemble by --recipe and of the best single trial, both chosen of the trials
until then by the people who validate; and for each row the share of the time after which its
ensemble, mean over seeds, has reached what that of the first row has at the end. Strategies that
need more runs than anybody has time for are compared by benchmarks/search_simulator."""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from flows import cccs, divided, labels_of
from process_tree import Tree

from va_search.data.store import Store, frames_hash
from va_search.ensemble import compare
from va_search.ensemble.material import Material, Materials, gather
from va_search.ensemble.post_processing import combine
from va_search.ensemble.recipe import Recipe, load_recipe
from va_search.errors import InputError, Interrupted
from va_search.files import write_json
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.search.study import Study
from va_search.trial import Trial

NAME = "compared"
"""The study's name in each home."""
MARKS = (0.03, 0.05, 0.08, 1 / 9, 0.15, 0.2, 0.25, 0.3, 1 / 3, 0.4, 0.5, 0.65, 0.8, 1.0)
"""Shares of the time after which the scores are looked at."""
SHOWN = (1 / 9, 1 / 3, 1.0)


@dataclass(frozen=True)
class Comparand:
    """One row and seed, its home, and its clock (`clock.json`: pairs of time.time() and core-seconds
    spent, from when Ray had started unless `counts_start`)."""

    row: str
    space: Path
    seed: int
    folder: Path
    counts_start: bool = False
    """Count the core-seconds of the imports and of Ray's start, too."""

    @property
    def study(self) -> Study:
        return Study(Home(self.folder), NAME)

    def clock(self) -> list[tuple[float, float]]:
        path = self.folder / "clock.json"
        return (
            [(now, spent) for now, spent in json.loads(path.read_text())] if path.is_file() else []
        )

    @property
    def spent(self) -> float:
        """Core-seconds of searching so far."""
        return max((spent for _, spent in self.clock()), default=0.0)

    def spent_at(self, trial: Trial) -> float:
        """Core-seconds of searching when a trial had finished; infinite after the last look."""
        finished = datetime.fromisoformat(str(trial.finished_at)).timestamp()
        return next((spent for now, spent in self.clock() if now >= finished), math.inf)


class Clock:
    """Counts a search's core-seconds from within, and asks it to stop when they are spent."""

    def __init__(self, comparand: Comparand, seconds: float) -> None:
        self.comparand, self.end = comparand, seconds
        self.tree, self.looks, self.before = Tree(os.getpid()), comparand.clock(), comparand.spent
        self.of_start: float | None = None

    def look(self, _: Any = None) -> None:
        self.tree.look()
        spent = sum(self.tree.core_seconds.values())
        if self.of_start is None:
            self.of_start = 0.0 if self.comparand.counts_start else spent
        self.looks.append((time.time(), self.before + spent - self.of_start))
        write_json(self.comparand.folder / "clock.json", self.looks)
        if self.looks[-1][1] >= self.end:
            self.comparand.study.ask_to_stop()


@dataclass(frozen=True)
class Scores:
    """A study at a mark: trials that had finished, and scores on the held-out people (0 without a
    trial)."""

    trials: int = 0
    ensemble: float = 0.0
    single: float = 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--home", type=Path, required=True, help="the folder of the studies' homes")
    parser.add_argument("--rows", nargs="+", required=True, metavar="NAME=SPACE")
    parser.add_argument(
        "--held-out", type=int, help="a fold of the store; its first one unless given"
    )
    parser.add_argument("--seconds", type=float, default=90.0, help="core-seconds of each study")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--recipe", default="bagged_greedy")
    parser.add_argument("--concurrent", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    whole = Store.open(options.store)
    folds = sorted({recording.fold for recording in whole.labelled if recording.fold is not None})
    held_out = folds[0] if options.held_out is None else options.held_out
    validation = folds[(folds.index(held_out) + 1) % len(folds)]
    options.home.mkdir(parents=True, exist_ok=True)
    copy = divided(
        whole, options.home / f"without-{held_out}", test=held_out, validation=validation
    )
    comparands: list[Comparand] = []
    for seed in range(options.seeds):
        for pair in options.rows:
            row, _, space = pair.partition("=")
            comparands.append(Comparand(row, Path(space), seed, options.home / f"{row}-{seed}"))
    for comparand in comparands:
        search(comparand, copy.path, options)
    recipe = load_recipe(options.recipe)
    truth = labels_of(whole, copy)
    scores = {}
    for comparand in comparands:
        scores[comparand] = scores_of(comparand, copy, truth, recipe, options.seconds)
    print_table(scores, [pair.partition("=")[0] for pair in options.rows])


def search(comparand: Comparand, store: Path, options: argparse.Namespace) -> None:
    """Search for what is left of a study's time, in a process of its own."""
    left = options.seconds - comparand.spent
    if left < 1:
        return
    print(f"{comparand.row}, seed {comparand.seed}: {left:.0f} core-seconds to go", flush=True)
    arguments = (comparand, store, options)
    process = multiprocessing.get_context("spawn").Process(target=searched, args=arguments)
    process.start()
    try:
        process.join()
    except KeyboardInterrupt:
        process.join()  # it got the signal too, and saves what is finished
        raise SystemExit(130) from None
    if process.exitcode or options.seconds - comparand.spent > 1:
        raise SystemExit(f"{comparand.folder}: stopped before its time; the same command goes on")


def searched(comparand: Comparand, store_path: Path, options: argparse.Namespace) -> None:
    from va_search.search.machine import Options
    from va_search.search.run import Callbacks, Request, run_search
    from va_search.search.space import load_space

    comparand.folder.mkdir(parents=True, exist_ok=True)
    document = yaml.safe_load(comparand.space.read_text())
    document |= {"sampler_seed": comparand.seed, "budget": {"trials": 2_000}}
    path = comparand.folder / "space.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    store, home = Store.open(store_path), Home(comparand.folder)
    space = load_space(path, store)
    clock, machine = Clock(comparand, options.seconds), Options(concurrent=options.concurrent)
    with suppress(Interrupted):  # by the clock, or by Ctrl-C: `search` looks which
        run_search(home, space, store, Request(NAME, machine), Callbacks(clock.look))
    clock.look()
    comparand.study.forget_stop()


def scores_of(
    comparand: Comparand, store: Store, truth: Any, recipe: Recipe, seconds: float
) -> list[Scores]:
    """Scores of a study at each mark."""
    try:
        materials = gather(Home(comparand.folder), [NAME], store, outside=False)
    except InputError:  # no trial at all
        return [Scores() for _ in MARKS]
    spent = {trial.id: comparand.spent_at(trial) for trial in materials.lines.candidates}
    scores: list[Scores] = []
    for mark in MARKS:
        finished = {trial for trial, time in spent.items() if time <= mark * seconds}
        if scores and len(finished) == scores[-1].trials:
            scores.append(scores[-1])
            continue
        scores.append(honest(materials, finished, truth, recipe, comparand))
    return scores


def honest(
    materials: Materials,
    finished: set[str],
    truth: Any,
    recipe: Recipe,
    comparand: Comparand,
) -> Scores:
    """Scores of the finished trials on the held-out people."""
    known = finished_materials(materials, finished)
    if known is None:
        return Scores()
    store = materials.lines.store
    bank = Bank(comparand.study.home.bank)
    recordings = store.split("test")
    frames = frames_hash(recordings)

    def predictions(trial: Trial, target: str) -> Any:
        return bank.column(trial.study, trial.id, "test", target, frames_hash=frames)

    columns = []
    for target, outcome in compare.carry_out(recipe, known).items():
        fitted = outcome.fits.fit()
        members = [predictions(trial, target) for trial in known[target].candidates]
        columns.append(combine(fitted.weights, members, recordings, fitted.post))
    candidates = next(iter(known.values())).candidates
    best = max(candidates, key=lambda trial: trial.score or 0.0)
    single = np.stack([predictions(best, target) for target in store.target_names], axis=1)
    return Scores(
        len(finished),
        statistics.fmean(cccs(np.stack(columns, axis=1), truth, store)),
        statistics.fmean(cccs(single, truth, store)),
    )


def finished_materials(materials: Materials, finished: set[str]) -> Materials | None:
    """Return the materials of the finished trials alone; None where a target has none."""
    targets: dict[str, Material] = {}
    for target, material in materials.items():
        members = [index for index, trial in enumerate(material.candidates) if trial.id in finished]
        if not members:
            return None
        targets[target] = material.subset(np.array(members, dtype=np.intp))
    return replace(materials, targets=targets)


def print_table(scores: dict[Comparand, list[Scores]], rows: list[str]) -> None:
    """Print a Markdown table: a line per study, then each row's cost."""
    names = ("1/9", "1/3", "all")
    heads = [f"{what}, {name}" for name in names for what in ("trials", "ensemble", "single")]
    print("\n| search | seed | " + " | ".join(heads) + " |\n" + "|---" * (2 + len(heads)) + "|")
    for comparand, marks in scores.items():
        cells: list[str] = []
        for mark in SHOWN:
            at_mark = marks[MARKS.index(mark)]
            cells += [str(at_mark.trials), f"{at_mark.ensemble:.3f}", f"{at_mark.single:.3f}"]
        print(f"| {comparand.row} | {comparand.seed} | " + " | ".join(cells) + " |")
    curves: dict[str, list[float]] = {}
    for row in rows:
        of_row = [marks for comparand, marks in scores.items() if comparand.row == row]
        curves[row] = [
            statistics.fmean(at_mark.ensemble for at_mark in seeds)
            for seeds in zip(*of_row, strict=True)
        ]
    goal = curves[rows[0]][-1]
    for row, curve in curves.items():
        reached = [mark for mark, value in zip(MARKS, curve, strict=True) if value >= goal]
        cost = f"{reached[0]:.2f} of the time" if reached else "not in the time"
        print(f"{row}: ensemble {curve[-1]:.3f}; reached {goal:.3f} after {cost}")


if __name__ == "__main__":
    main()
