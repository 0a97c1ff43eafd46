"""What commands cost on studies of hundreds and of thousands of trials: processor seconds and the
peak memory of each, beside reading and parsing every record once.

    python benchmarks/resuming.py                         500 and 5,000 trials: some three minutes
    python benchmarks/resuming.py --trials 200            one small study
    python benchmarks/resuming.py --keep FOLDER           leave the homes there, and use them again

The trials are not trained: random configurations of one space on the tiny simulated store, written
by the bank's own writer with made-up histories of 15 epochs and predictions. Every command is a
process of its own, so that its imports count; the least of --rounds is printed, with user and system
time of all its threads and children. `reference` imports json and parses the bytes of every record
once. `resume` is what a search does before its first trial: the study's files and records are
read, and the sampler has learnt from them. `search` is the whole command where nothing is left to
train."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from rich.console import Console
from rich.table import Table

from va_search.data.simulate import simulate
from va_search.data.store import Store, frames_hash, positions
from va_search.home import Home
from va_search.predictions.bank import Bank, Predictions
from va_search.search.configurations import Configuration, Space
from va_search.search.space import load_space
from va_search.search.study import Study
from va_search.trial import Best, Epoch, Trial
from va_search.trial_settings import TrialSettings, trial_id_on

STUDY = "many"
SPACE = """sampler: tpe
budget: {{trials: {trials}}}
settings:
  features: {{subset: all, min: 0.5}}
  normalise: {{choice: [train, recording, subject]}}
  normalise_by: {{choice: [mean_std, median_mad]}}
  encoder: {{choice: [mlp, lstm, gru, tcn, transformer]}}
  width: {{choice: [32, 64, 128]}}
  layers: {{int: [1, 3], when: {{encoder: [mlp, tcn, transformer]}}}}
  hidden_size: {{choice: [32, 64, 128], when: {{encoder: [lstm, gru]}}}}
  encoder_dropout: {{float: [0.0, 0.5]}}
  learning_rate: {{float: [1.0e-4, 1.0e-2], log: true}}
  schedule: {{choice: [constant, cosine]}}
  segment_length: 100
  epochs: 15
"""
EPOCHS = 15
PROGRAM = "import sys; sys.argv[0] = 'va-search'; from va_search.cli.main import app; app()"
REFERENCE = """
import json, sys
from pathlib import Path
for path in sorted(Path(sys.argv[1]).glob("*/trial.json")):
    json.loads(path.read_bytes())
"""
RESUME = """
import sys
from pathlib import Path
from va_search.data.store import Store
from va_search.home import Home
from va_search.search.scheduler import Scheduler, Surroundings
from va_search.search.space import load_space
from va_search.search.study import Study
from va_search.search.warm import warm_start_of
home, store = Home(Path(sys.argv[1])), Store.open(Path(sys.argv[2]))
space = load_space(Path(sys.argv[3]), store)
study = Study(home, sys.argv[4])
warm = warm_start_of(study, [], space, store)
scheduler = Scheduler(study, space, store, surroundings=Surroundings(warm=warm))
assert len(scheduler.results.finished) == int(sys.argv[5]), len(scheduler.results.finished)
"""

GOALS = {
    "resume": "1.5 s at 5,000",
    "report": "8 s and 500 MB at 5,000",
    "status": "linear",
    "bank list": "linear",
}


@dataclass(frozen=True)
class Cost:
    """Processor seconds (user and system) and the largest resident memory, MB, of a process."""

    seconds: float
    memory: float


def draw_settings(
    space: Space, generator: Random, trials: int
) -> list[tuple[TrialSettings, Configuration]]:
    """Return the settings of so many different configurations of a space, and these."""
    drawn: dict[str, tuple[TrialSettings, Configuration]] = {}
    while len(drawn) < trials:
        configuration = space.drawn(generator)
        settings = space.trials(configuration)[0]
        drawn.setdefault(space.meaning(settings), (settings, configuration))
    return list(drawn.values())


def write_trial(
    study: Study, store: Store, settings: TrialSettings, generator: np.random.Generator
) -> None:
    """Write a complete trial whose CCC follows some of its settings."""
    score = 0.5 if settings.normalise == "train" else 0.3
    score += 0.05 * (settings.encoder == "gru") + 0.1 * float(generator.normal())
    history = []
    for epoch in range(1, EPOCHS + 1):
        reached = {target: score * epoch / EPOCHS for target in store.target_names}
        row = Epoch(epoch, 1 - score * epoch / EPOCHS, reached, score * epoch / EPOCHS, 1e-3)
        history.append(row.to_json())
    best = {target: Best(score, EPOCHS) for target in store.target_names}
    predictions = {}
    for split in ("validation", "test"):
        recordings = store.split(split)
        truth = np.nan_to_num(store.annotations[positions(recordings)])
        values = np.clip(score * truth + generator.normal(size=truth.shape) / 4, -1, 1)
        predictions[split] = Predictions(values.astype(np.float32), frames_hash(recordings))
    trial = Trial(
        study=study.name,
        id=trial_id_on(settings, store),
        settings=settings,
        settings_json=settings.model_dump(mode="json"),
        history_json=history,
        best={**best, "score": Best(score, EPOCHS)},
        data_hash=settings.data_hash(store),
        store=store.name,
        store_path=store.place,
        epochs=EPOCHS,
        stopped=False,
        seconds=30.0,
        training_seconds=28.0,
        frames_per_second=20_000.0,
        device="cpu",
        node="here",
        package_version="0",
        finished_at="2026-01-01T00:00:00.000+00:00",
    )
    study.bank.write(trial, predictions)


def make_home(folder: Path, trials: int) -> None:
    """Write store, space and home of a study of so many trials, unless they are there."""
    if (folder / "written").is_file():
        return
    store = simulate(folder / "store", size="tiny")
    path = folder / "space.yaml"
    path.write_text(SPACE.format(trials=trials))
    space = load_space(path, store)
    study = Study(Home(folder / "home"), STUDY)
    study.begin(store, space.document)
    generator = np.random.default_rng(0)
    for settings, configuration in draw_settings(space, Random(0), trials):  # noqa: S311
        document = settings.model_dump(mode="json")
        study.ask(trial_id_on(settings, store), document, configuration)
        write_trial(study, store, settings, generator)
    (folder / "written").touch()


def run(words: Sequence[str], scratch: Path) -> Cost:
    """Run a process to its end; RuntimeError with what it said where it failed."""
    said = scratch / "said"
    with open(said, "w") as output:
        process = subprocess.Popen([sys.executable, *words], stdout=output, stderr=output)  # noqa: S603
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)}\n{said.read_text()}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


def commands(folder: Path, scratch: Path, trials: int) -> dict[str, list[str]]:
    """Return the words after `python` of every command that is measured, by its name."""
    home, store, space = folder / "home", folder / "store", folder / "space.yaml"
    first = Bank(home / "bank").trials(STUDY)[0]
    ours = ["-c", PROGRAM]
    at = ["--home", str(home)]
    on = ["--data", str(store)]
    return {
        "reference": ["-c", REFERENCE, str(home / "bank" / STUDY)],
        "resume": ["-c", RESUME, *map(str, (home, store, space, STUDY, trials))],
        "search": [*ours, "search", str(space), *on, "--study", STUDY, *at],
        "status": [*ours, "status", STUDY, *at],
        "status --by valence": [*ours, "status", STUDY, "--by", "valence", *at],
        "bank list": [*ours, "bank", "list", STUDY, *at],
        "trial": [*ours, "trial", f"{STUDY}/{first}", *at],
        "ensemble": [*ours, "ensemble", STUDY, "--name", "best", *on, *at],
        "report": [*ours, "report", STUDY, "--out", str(scratch / "report"), *at],
    }


def measure(folder: Path, trials: int, rounds: int, only: Sequence[str]) -> dict[str, Cost]:
    """Return the least cost of each command, by its name; rounds alternate between commands."""
    least: dict[str, Cost] = {}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for _ in range(rounds):
            for command, words in commands(folder, scratch, trials).items():
                if only and command not in only:
                    continue
                if command == "ensemble":
                    (folder / "home" / "ensembles" / "best.json").unlink(missing_ok=True)
                cost = run(words, scratch)
                least[command] = min(least.get(command, cost), cost, key=lambda each: each.seconds)
    return least


def show(costs: dict[int, dict[str, Cost]]) -> None:
    """Print a row per command, with its growth per further thousand trials where two were
    measured."""
    sizes = sorted(costs)
    titles = ["command"]
    for size in sizes:
        titles += [f"{size:,}: CPU s", "MB"]
    table = Table(*titles, "ms per further trial", "goal")
    for command in costs[sizes[0]]:
        cells = [command]
        for size in sizes:
            cost = costs[size][command]
            cells += [f"{cost.seconds:.2f}", f"{cost.memory:.0f}"]
        growth = ""
        if len(sizes) > 1:
            more = costs[sizes[-1]][command].seconds - costs[sizes[0]][command].seconds
            growth = f"{1000 * more / (sizes[-1] - sizes[0]):.2f}"
        table.add_row(*cells, growth, GOALS.get(command, ""))
    Console().print(table)


def main() -> None:
    """Make the homes, and time the commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, nargs="+", default=[500, 5000])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=[], help="names of commands")
    parser.add_argument("--keep", type=Path, help="folder that the homes are left in")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        costs = {}
        for trials in sorted(options.trials):
            folder = (options.keep or Path(name)) / str(trials)
            make_home(folder, trials)
            costs[trials] = measure(folder, trials, options.rounds, options.only)
        show(costs)


if __name__ == "__main__":
    main()
