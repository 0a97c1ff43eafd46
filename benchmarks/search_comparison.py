"""Samplers and objectives compared on real trainings, at equal time: the table in docs/search.md.

    python benchmarks/search_comparison.py --store stores/case --home comparison --minutes 60 --seeds 2

Each row and seed is one study in a home of its own under --home (trials are shared within a home,
which would be free time), given so many minutes; marks in between are read afterwards from when
each trial finished, so that one study of 60 minutes gives the 10 and 30 minute marks too. The same
command goes on where it was stopped, and only prints once all is done; studies are interleaved seed
by seed, so that a part of it compares too.

A minute is --cores times 60 core-seconds, counted over the search's processes (driver, Ray,
trainings), so that what else runs on the machine does not take a study's time away.

Rows: `grid` (a range of floats becomes three values), `random` and `tpe` without early stopping;
`tpe+asha`, `both` and `ensemble` with it. The space is --space with sampler, seed, objective,
budget and early stopping replaced; what is printed are the best single trial and the ensemble
(--recipe), out-of-fold on validation: both chosen again without the recordings they are judged on.
Mean over seeds, and the lowest and highest of them."""

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
from process_tree import Tree

from va_search.data.store import Store
from va_search.ensemble import compare
from va_search.ensemble.material import Materials, gather
from va_search.ensemble.recipe import Recipe, load_recipe
from va_search.errors import InputError, Interrupted
from va_search.files import write_json
from va_search.home import Home
from va_search.search.study import Study
from va_search.trial import Trial

ASHA = {"grace_epochs": 5, "reduction_factor": 3}
ROWS: dict[str, dict[str, Any]] = {
    "grid": {"sampler": "grid"},
    "random": {"sampler": "random"},
    "tpe": {"sampler": "tpe"},
    "tpe+asha": {"sampler": "tpe", "early_stopping": ASHA},
    "both": {"sampler": "tpe", "objective": "both", "early_stopping": ASHA},
    "ensemble": {"sampler": "tpe", "objective": "ensemble", "early_stopping": ASHA},
}
NAME = "compared"
"""The study's name in each home."""


@dataclass(frozen=True)
class One:
    """One row and seed, its home, and what its clock showed (`clock.json`: pairs of time.time() and
    seconds spent)."""

    row: str
    seed: int
    folder: Path

    @property
    def study(self) -> Study:
        return Study(Home(self.folder), NAME)

    def clock(self) -> list[tuple[float, float]]:
        path = self.folder / "clock.json"
        return [(at, spent) for at, spent in json.loads(path.read_text())] if path.is_file() else []

    @property
    def spent(self) -> float:
        """Seconds of searching so far: core-seconds over cores."""
        return max((spent for _, spent in self.clock()), default=0.0)

    def reached_by(self, trial: Trial) -> float:
        """Seconds of searching after which a trial had finished; infinite for one after the clock's
        last look."""
        finished = datetime.fromisoformat(str(trial.finished_at)).timestamp()
        return next((spent for at, spent in self.clock() if at >= finished), math.inf)


class Clock:
    """Counts a search's time from within, and asks it to stop when its minutes are over."""

    def __init__(self, one: One, options: argparse.Namespace) -> None:
        self.one, self.cores, self.end = one, options.cores, 60 * options.minutes
        self.tree, self.looks, self.before = Tree(os.getpid()), one.clock(), one.spent

    def look(self, _: Any = None) -> None:
        self.tree.look()
        spent = self.before + sum(self.tree.core_seconds.values()) / self.cores
        self.looks.append((time.time(), spent))
        write_json(self.one.folder / "clock.json", self.looks)
        if spent >= self.end:
            self.one.study.ask_to_stop()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--home", type=Path, required=True, help="the folder of the studies' homes")
    parser.add_argument(
        "--space", type=Path, default=Path(__file__).parents[1] / "search_spaces" / "any.yaml"
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="searching time of each study")
    parser.add_argument(
        "--marks", type=float, nargs="+", default=[10.0, 30.0, 60.0], help="in minutes"
    )
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--recipe", default="greedy")
    parser.add_argument(
        "--cores", type=int, default=os.cpu_count() or 1, help="cores, and so trials side by side"
    )
    options = parser.parse_args()
    store, recipe = Store.open(options.store), load_recipe(options.recipe)
    studies = [
        One(row, seed, options.home / f"{row}-{seed}")
        for seed in range(options.seeds)
        for row in options.rows
    ]
    for one in studies:
        search(one, options)
    tables = {one: read(one, store, recipe, options.marks) for one in studies}
    print_table(tables, options)


def search(one: One, options: argparse.Namespace) -> None:
    """Search for what is left of a study's time, in a process of its own."""
    left = 60 * options.minutes - one.spent
    if left < 1:
        return
    print(f"{one.row}, seed {one.seed}: {left / 60:.1f} minutes to go", flush=True)
    process = multiprocessing.get_context("spawn").Process(target=searched, args=(one, options))
    process.start()
    try:
        process.join()
    except KeyboardInterrupt:
        process.join()  # it got the signal too, and saves what is finished
        raise SystemExit(130) from None
    if process.exitcode or 60 * options.minutes - one.spent > 1:
        raise SystemExit(
            f"{one.folder}: stopped before its time was over; the same command goes on"
        )


def searched(one: One, options: argparse.Namespace) -> None:
    from va_search.api.searching import Estimates
    from va_search.search.machine import Options
    from va_search.search.run import Callbacks, Request, run_search
    from va_search.search.space import load_space

    one.folder.mkdir(parents=True, exist_ok=True)
    path = one.folder / "space.yaml"
    path.write_text(yaml.safe_dump(document(one, yaml.safe_load(options.space.read_text()))))
    store = Store.open(options.store)
    space, home = load_space(path, store), Home(one.folder)
    credit = Estimates(home, store) if space.objective == "ensemble" else None
    clock, machine = Clock(one, options), Options(concurrent=options.cores)
    with suppress(Interrupted):  # by the clock, or by Ctrl-C: `search` looks which
        callbacks = Callbacks(clock.look, credit=credit)
        run_search(home, space, store, Request(NAME, machine), callbacks)
    clock.look()
    one.study.forget_stop()


def document(one: One, space: dict[str, Any]) -> dict[str, Any]:
    """The space of one row and seed."""
    made = {
        name: value for name, value in space.items() if name not in ("early_stopping", "objective")
    }
    made |= ROWS[one.row] | {"sampler_seed": one.seed, "budget": {"trials": 1_000_000}}
    if one.row == "grid":
        made["settings"] = {name: gridded(value) for name, value in space["settings"].items()}
    return made


def gridded(declared: Any) -> Any:
    """A range of floats as its ends and its middle; anything else as it is."""
    if not isinstance(declared, dict) or "float" not in declared:
        return declared
    low, high = (float(end) for end in declared["float"])
    middle = math.sqrt(low * high) if declared.get("log") else (low + high) / 2
    rest = {"when": declared["when"]} if "when" in declared else {}
    return {"choice": [low, float(f"{middle:.4g}"), high], **rest}


@dataclass(frozen=True)
class Reached:
    """What a study had at a mark; None where it was not searched so long, or had no trial."""

    trials: int
    single: float | None
    ensemble: float | None


def read(one: One, store: Store, recipe: Recipe, marks: list[float]) -> list[Reached | None]:
    try:
        materials = gather(Home(one.folder), [NAME], store, outside=False)
    except InputError:  # no trial at all
        return [None for _ in marks]
    times = {candidate.id: one.reached_by(candidate) for candidate in materials.lines.candidates}
    return [
        reached(materials, times, recipe, 60 * mark) if one.spent >= 60 * mark - 1 else None
        for mark in marks
    ]


def reached(
    materials: Materials, times: dict[str, float], recipe: Recipe, seconds: float
) -> Reached:
    finished, then = at_mark(materials, times, seconds)
    if then is None:
        return Reached(finished, None, None)
    single = compare.out_of_fold(compare.predicted_by(compare.best_single(then)))
    ensemble = compare.out_of_fold(compare.predicted_by(compare.carry_out(recipe, then)))
    return Reached(
        finished, single["score"] if single else None, ensemble["score"] if ensemble else None
    )


def at_mark(
    materials: Materials, times: dict[str, float], seconds: float
) -> tuple[int, Materials | None]:
    """How many trials had finished after so long, and what they give; None where a dimension has
    none."""
    known = {trial for trial, took in times.items() if took <= seconds}
    dimensions = {}
    for dimension, material in materials.items():
        members = [
            index for index, candidate in enumerate(material.candidates) if candidate.id in known
        ]
        if not members:
            return len(known), None
        dimensions[dimension] = material.subset(np.array(members, dtype=np.intp))
    return len(known), replace(materials, targets=dimensions)


def print_table(tables: dict[One, list[Reached | None]], options: argparse.Namespace) -> None:
    columns = [
        f"{what}, {mark:g} min"
        for mark in options.marks
        for what in ("trials", "best single", "ensemble")
    ]
    print(
        f"\nscore out-of-fold (recipe {options.recipe}), {options.seeds} seeds: mean (lowest to highest)\n"
    )
    print("| search | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for row in options.rows:
        found = [table for one, table in tables.items() if one.row == row]
        cells = []
        for at_mark in zip(*found, strict=True):
            there = [each for each in at_mark if each is not None]
            cells.append(f"{statistics.mean(each.trials for each in there):.0f}" if there else "–")
            cells.append(spread([each.single for each in there]))
            cells.append(spread([each.ensemble for each in there]))
        print(f"| {row} | " + " | ".join(cells) + " |")


def spread(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    return f"{statistics.mean(known):.3f}" + (
        f" ({min(known):.3f} to {max(known):.3f})" if len(known) > 1 else ""
    )


if __name__ == "__main__":
    main()
