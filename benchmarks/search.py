"""A search's time beside the tutorials' recipe and beside the floor that its trainings set.

    python benchmarks/search.py                  16 trials of 15 epochs, all three: some minutes on two cores
    python benchmarks/search.py --trials 4 --epochs 3 --only ours floor
    python benchmarks/search.py --only ours floor --rounds 3       where the machine's own speed changes by the minute

On one simulated store of the demo's size, the same grid (four learning rates, several seeds),
epochs and trials side by side, one after another:

    recipe  tutorial_recipe.py: Ray Tune, a DataLoader over files per recording, MLflowLoggerCallback on SQLite
    ours    va-search search
    floor   training_floor.py: the bare loops on data in memory, one process per core, no Ray, nothing logged or kept

All train the same network with the same loss, optimiser and schedule: a transformer, as its batches
are the same everywhere (recurrent encoders carry their state over here, which a DataLoader of
windows does not). Their CCCs must agree within twice the standard error of the difference of the
means; otherwise the exit code is 1. All are judged on steps of two frames: ours, whose own scores
are of every frame, interpolated between steps, is predicted once more.

Printed: `start`, from the command to its first trial's beginning (imports, Ray); `wall`, from there
to the command's end; trials per hour of wall; core-seconds of all processes, start included, per
trial; overhead per trial, which is wall times trials side by side per trial, less the floor's
training; peak memory (PSS of the process tree); wall over the floor's, which is the sum of its
trainings over trials side by side; seconds of a training on each side that tells them, since a
machine's own speed may change between sides. Run it while nothing else runs. With --rounds all
sides run so many times in turns, and the ratios of all rounds are printed with their medians."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from process_tree import Taken, watch
from rich.console import Console
from rich.table import Table

from va_search.data.segments import stitch
from va_search.data.simulate import simulate
from va_search.data.store import Store
from va_search.home import Home
from va_search.metrics import ccc
from va_search.predictions.bank import Bank
from va_search.search.machine import cores
from va_search.targets import AFFECT
from va_search.training.batches import Steps
from va_search.training.examples import Examples
from va_search.training.predict import in_batches, segments_of
from va_search.training.weights import load_model
from va_search.trial_settings import TrialSettings

HERE = Path(__file__).parent
RATES = (1e-3, 2e-3, 3e-3, 5e-3)
SETTINGS: dict[str, Any] = {
    "features": ["action_units", "face", "speech", "voice"], "normalise": "recording", "frame_step": 2,
    "segment_length": 100, "encoder": "transformer", "width": 48, "layers": 2, "feed_forward": 96,
    "encoder_dropout": 0.1, "head_sizes": [32], "schedule": "cosine",
}  # fmt: skip
"""Those of search_spaces/demo.yaml."""
MIB = 2**20


@dataclass(frozen=True)
class Side:
    """What one way of searching took: `first` is when its first trial began (time.time()), `scores`
    one a trial."""

    taken: Taken
    first: float
    scores: list[float]
    trainings: list[float] | None = None
    """Seconds of each training, of the floor and of ours (there a whole trial, its predictions and
    weights written)."""
    own: list[float] | None = None
    """Scores of every frame, of ours."""
    last: float | None = None
    """When the last trial's record was written, of ours (time.time())."""

    @property
    def start(self) -> float:
        return self.first - self.taken.began

    @property
    def wall(self) -> float:
        return self.taken.ended - self.first


@dataclass(frozen=True)
class Job:
    """The same for every side."""

    folder: Path
    exported: Path
    """What `export` wrote of the store."""
    store: Store
    epochs: int
    seeds: list[int]
    concurrent: int

    @property
    def trials(self) -> int:
        return len(RATES) * len(self.seeds)

    @property
    def settings(self) -> dict[str, Any]:
        return {**SETTINGS, "epochs": self.epochs}

    @property
    def grid(self) -> list[dict[str, Any]]:
        """The settings of each trial."""
        return [
            {**self.settings, "learning_rate": rate, "seed": seed}
            for rate in RATES
            for seed in self.seeds
        ]

    def environment(self, side: str) -> dict[str, str]:
        """Temporary files in our folder, one thread a trial, nothing sent anywhere."""
        temporary = (
            self.folder / side[0]
        )  # short: Ray puts sockets there, whose paths are at most 107 characters
        temporary.mkdir()
        quiet = {
            "RAY_USAGE_STATS_ENABLED": "0",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "OMP_NUM_THREADS": "1",
            "RAY_worker_niceness": "0",
        }  # as the floor's processes, which compete with others likewise
        return {**os.environ, **quiet, "RAY_TMPDIR": str(temporary), "TMPDIR": str(temporary)}

    def script(self, side: str, name: str, trials: list[dict[str, Any]]) -> tuple[Taken, Any]:
        """Run one of the scripts beside this one on trials of these settings: what it took, and
        what it wrote to its `scores` file."""
        folder = self.folder / side
        (folder / "clock").mkdir(parents=True)
        document = {
            "folder": str(folder),
            "data": str(self.exported),
            "clock": str(folder / "clock"),
            "scores": str(folder / "scores.json"),
            "trials": trials,
            "concurrent": self.concurrent,
        }
        (folder / "config.json").write_text(json.dumps(document))
        command = [sys.executable, str(HERE / name), str(folder / "config.json")]
        taken = watch(command, self.environment(side), folder / "log")
        return taken, json.loads((folder / "scores.json").read_text())


def export(store: Store, settings: TrialSettings, to: Path) -> Path:
    """A file per recording and feature set, (steps, columns) normalised; labels (steps, 2) in [-1,
    1]; who is where.

    Returns the folder.
    """
    data = Examples(settings, store, torch.device("cpu"))
    about: dict[str, Any] = {
        "feature_sets": [{**asdict(one), "columns": []} for one in data.feature_sets]
    }
    borders = np.cumsum([one.dim for one in data.feature_sets])[:-1]
    for name in ("labels", *(one.name for one in data.feature_sets)):
        (to / name).mkdir(parents=True)
    for split in ("train", "validation"):
        recordings = store.split(split)
        about[split] = [recording.name for recording in recordings]
        for recording in recordings:
            steps = Steps.of(store, (recording,), settings.frame_step, data.statistics.group)
            inputs = data.gather.inputs(steps, np.array([[0, len(steps)]]))
            np.save(to / "labels" / f"{recording.name}.npy", inputs.label[0].numpy())
            parts = np.split(inputs.x[0].numpy(), borders, axis=1)
            for one, part in zip(data.feature_sets, parts, strict=True):
                np.save(to / one.name / f"{recording.name}.npy", np.ascontiguousarray(part))
    (to / "about.json").write_text(json.dumps(about))
    return to


def recipe(job: Job) -> Side:
    taken, scores = job.script("recipe", "tutorial_recipe.py", job.grid)
    first = min(path.stat().st_mtime for path in (job.folder / "recipe" / "clock").iterdir())
    return Side(taken, first, scores)


def floor(job: Job) -> Side:
    taken, found = job.script("floor", "training_floor.py", job.grid)
    first = min(one["began"] for one in found)
    return Side(taken, first, [one["score"] for one in found], [one["seconds"] for one in found])


def ours(job: Job) -> Side:
    folder = job.folder / "ours"
    folder.mkdir()
    settings = {
        **job.settings,
        "features": {"choice": [job.settings["features"]]},
        "learning_rate": {"choice": [*RATES]},
    }
    space = {"sampler": "grid", "seeds": job.seeds, "settings": settings}
    (folder / "space.yaml").write_text(yaml.safe_dump(space))
    command = [
        *(str(Path(sys.executable).with_name("va-search")), "search", str(folder / "space.yaml")),
        *("--data", str(job.store.path), "--study", "ours", "--home", str(folder / "home")),
        *("--concurrent", str(job.concurrent)),
    ]
    taken = watch(command, job.environment("ours"), folder / "log")
    bank = Bank(Home(folder / "home").bank)
    trials = list(bank.each_trial("ours"))
    seconds = [trial.seconds or 0.0 for trial in trials]
    written = [(bank.folder("ours", trial.id) / "trial.json").stat().st_mtime for trial in trials]
    first = min(end - trained for end, trained in zip(written, seconds, strict=True))
    data = Examples(TrialSettings(**job.settings), job.store, torch.device("cpu"))
    scores = [by_step(bank.folder("ours", trial.id), data) for trial in trials]
    own = [trial.best["score"].ccc for trial in trials]
    return Side(taken, first, scores, seconds, own, max(written))


def by_step(folder: Path, data: Examples) -> float:
    """Mean CCC of the models saved in a folder, over the validation steps as the recipe and the
    floor judge them."""
    steps, found = data.validation, []
    segments, _ = segments_of(data.settings, steps)
    for k, dimension in enumerate(AFFECT):
        model, values = (
            load_model(folder, dimension).models[0],
            np.zeros((len(segments), data.settings.segment_length, 2)),
        )
        for batch, predicted in in_batches(model, data.settings, data.gather, steps):
            values[batch.segments, : predicted.shape[1]] = predicted
        found.append(ccc(stitch(values, segments, len(steps))[:, k], steps.label[:, k]))
    return statistics.mean(found)


SIDES: dict[str, Callable[[Job], Side]] = {"recipe": recipe, "ours": ours, "floor": floor}


def to_floor(sides: dict[str, Side], job: Job) -> dict[str, float]:
    """Each side's wall time over the floor's trainings, where there is a floor."""
    trainings = sides["floor"].trainings if "floor" in sides else None
    if trainings is None:
        return {}
    return {name: side.wall * job.concurrent / sum(trainings) for name, side in sides.items()}


def show(sides: dict[str, Side], job: Job) -> None:
    ratios = to_floor(sides, job)
    title = f"{job.trials} trials of {job.epochs} epochs, {job.concurrent} side by side"
    table = Table(title=title, title_justify="left")
    headings = (
        "start s",
        "wall s",
        "trials/h",
        "core-s/trial",
        "overhead s/trial",
        "peak MiB",
        "× floor",
        "CCC, steps",
    )
    for heading in ("", *headings):
        table.add_column(heading, justify="right" if heading else "left")
    for name, side in sides.items():
        over = ratio = "–"
        if name in ratios:
            over = f"{side.wall * job.concurrent / job.trials * (1 - 1 / ratios[name]):.2f}"
            ratio = f"{ratios[name]:.2f}"
        table.add_row(
            name,
            f"{side.start:.1f}",
            f"{side.wall:.1f}",
            f"{3600 * job.trials / side.wall:,.0f}",
            f"{side.taken.core_seconds / job.trials:.2f}",
            over,
            f"{side.taken.peak / MIB:,.0f}",
            ratio,
            f"{statistics.mean(side.scores):.4f}",
        )
    Console(width=120).print(table)
    for name, side in sides.items():
        if side.trainings is not None:
            own = side.wall * job.concurrent / sum(side.trainings)
            print(
                f"{name}: {statistics.mean(side.trainings):.2f} s of training per trial; wall {own:.2f} times its own"
            )
        if side.own is not None:
            print(f"{name}: CCC of every frame {statistics.mean(side.own):.4f}")


def show_goals(sides: dict[str, Side], job: Job) -> None:
    """Print what a search of ours takes besides its trainings, beside the goals."""
    side = sides.get("ours")
    if side is None or side.last is None or side.trainings is None:
        return
    overhead = side.wall * job.concurrent / job.trials - statistics.mean(side.trainings)
    print(f"first trial {side.start:.1f} s after the command; goal: 4")
    print(f"end {side.taken.ended - side.last:.1f} s after the last trial; goal: 1")
    print(f"{overhead:.2f} s a trial beside its own training, start not included; goal: 0.1")
    ratios = to_floor(sides, job)
    if ratios:
        print(f"wall {ratios['ours']:.2f} times the floor; goal: 1.05, of 64 trials")


def agree(sides: dict[str, Side]) -> bool:
    """Print whether each pair of sides reached the same mean CCC."""
    names, same = list(sides), True
    for index, name in enumerate(names):
        for other in names[index + 1 :]:
            difference, noise = compared(sides[name].scores, sides[other].scores)
            fine = abs(difference) <= noise
            print(
                f"CCC {name} - {other}: {difference:+.4f}, noise {noise:.4f}: {'same' if fine else 'NOT THE SAME'}"
            )
            same = same and fine
    return same


def compared(one: list[float], other: list[float]) -> tuple[float, float]:
    """Difference of the means, and twice its standard error; the grid's own differences are in it,
    so it is wide."""
    variance = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    return statistics.mean(one) - statistics.mean(other), 2 * math.sqrt(variance)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--trials", type=int, default=16, help=f"a multiple of {len(RATES)}, the learning rates"
    )
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--concurrent", type=int, default=cores(), help="trials side by side")
    parser.add_argument("--only", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--rounds", type=int, default=1, help="so many times, all sides in turns")
    given = parser.parse_args()
    if given.trials < len(RATES) or given.trials % len(RATES):
        parser.error(f"--trials {given.trials}: expected a multiple of {len(RATES)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    with tempfile.TemporaryDirectory(prefix="va", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        store = simulate(folder / "store", size="demo")
        settings = TrialSettings(**SETTINGS, epochs=given.epochs)
        exported = export(store, settings, folder / "exported")
        seeds, rounds = list(range(given.trials // len(RATES))), []
        for number in range(given.rounds):
            place = folder / str(number)
            place.mkdir()
            job = Job(place, exported, store, given.epochs, seeds, given.concurrent)
            sides = {}
            for side in given.only:
                print(f"{side} …", file=sys.stderr, flush=True)
                sides[side] = SIDES[side](job)
            show(sides, job)
            show_goals(sides, job)
            rounds.append(to_floor(sides, job))
        for side in rounds[0] if len(rounds) > 1 else ():
            found = [one[side] for one in rounds]
            each = " ".join(f"{one:.2f}" for one in found)
            print(f"{side}: {each} times the floor, median {statistics.median(found):.2f}")
        if not agree(sides):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
