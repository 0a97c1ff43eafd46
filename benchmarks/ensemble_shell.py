"""`va-search ensemble` from the shell on a study with many trials: seconds until the table, until
done, peak memory.

Run by benchmarks/ensembles.py --shell and --memory. The store and the bank are real files of the
size told; predictions are the annotations blurred by errors, for nothing here depends on their
values. Peak memory is the kernel's maximum of the process's resident pages; those of mapped
prediction files, which it takes back when it needs them, are counted too."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store, frames_hash, positions
from va_search.files import Home
from va_search.predictions.bank import Bank, Predictions
from va_search.targets import affect
from va_search.trial import Trial
from va_search.trial_settings import TrialSettings

FEATURES = (("face",), ("voice",), ("face", "voice"))


def make_store(folder: Path, recordings: int, frames: int) -> Store:
    """`recordings` validation recordings of two per subject, and two others each to train and to
    test."""
    rng = np.random.default_rng(0)
    sets: dict[str, tuple[str, tuple[str, ...]]] = {
        "face": ("visual", ("a",)),
        "voice": ("audio", ("b",)),
    }
    names = [(f"v{index:04d}", f"s{index // 2:04d}", "validation") for index in range(recordings)]
    names += [
        (f"{split}{index}", f"{split}{index}", split)
        for split in ("train", "test")
        for index in (0, 1)
    ]
    sources = [Source(name, subject, name, split, None, 25.0, ()) for name, subject, split in names]
    draft = Draft(folder, Description("large", affect(-1.0, 1.0), sets, dtype="float32"), sources)
    for index in draft.missing():
        labels = np.tanh(rng.normal(size=(frames, 2)).cumsum(axis=0) / 40)
        one = np.ones((frames, 1), np.float32)
        draft.add(
            index, Part({"face": one, "voice": one}, None if names[index][2] == "test" else labels)
        )
    return draft.finish()


def fill_bank(home: Home, store: Store, trials: int) -> None:
    """Trials of a study `many`: a share of the annotation, one of six common errors, an offset."""
    rng = np.random.default_rng(1)
    labels = {
        s: np.nan_to_num(store.annotations[positions(store.split(s))])
        for s in ("validation", "test")
    }
    errors = {
        s: rng.standard_normal((6, *values.shape), dtype=np.float32) * 0.4
        for s, values in labels.items()
    }
    for trial in range(trials):
        share, offset, kind = rng.uniform(0.3, 0.7), rng.normal(0, 0.1), trial % 6
        found = {
            split: Predictions(
                (share * labels[split] + errors[split][kind] * (1.2 - share) + offset), hash_
            )
            for split, hash_ in ((s, frames_hash(store.split(s))) for s in labels)
        }
        features = FEATURES[trial % 3]
        settings = TrialSettings(features=features, encoder=("lstm", "gru")[trial % 2], seed=trial)  # type: ignore[arg-type]
        complete = Trial(
            study="many",
            id=f"{trial:016x}",
            settings=settings,
            data_hash=store.data_hash(features),
            store=store.name,
            store_path=str(store.path.resolve()),
        )
        Bank(home.bank).write(complete, found)


def run(console: Console, *, memory: bool, quick: bool, recipe: str | None = None) -> None:
    """Print seconds and peak memory of the command, the first time and again, without and with
    MLflow."""
    trials, recordings, frames = (1000, 300, 1280) if memory else (200, 48, 3000)
    if quick:
        trials, recordings, frames = trials // 10, recordings // 4, frames // 4
    recipes = [recipe] if recipe else ["greedy", "bagged_greedy"]
    table = Table(
        title=f"va-search ensemble: {trials} trials × {recordings * frames:,} frames × 2 dimensions"
    )
    for heading in ("recipe", "", "table after, s", "done after, s", "CPU, s", "peak memory, GiB"):
        table.add_column(heading, justify="right" if "," in heading else "left")
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        fill_bank(home, make_store(Path(folder) / "store", recordings, frames), trials)
        for name in recipes:
            for what, options in (
                ("first time, no MLflow", ["--no-tracking"]),
                ("again", []),
                ("again", []),
            ):
                table.add_row(
                    name, what, *(f"{value:.2f}" for value in _command(home, name, options))
                )
    console.print(table)
    console.print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


def _command(home: Home, recipe: str, options: list[str]) -> tuple[float, ...]:
    """Seconds until the last line of the result, and until the process ended; its CPU seconds, and
    peak GiB."""
    command = [
        sys.executable,
        "-m",
        "va_search.cli.main",
        "ensemble",
        "many",
        "--recipe",
        recipe,
        "--name",
        recipe,
    ]
    start = shown = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(  # noqa: S603
            [*command, "--home", str(home.root), *options],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        for _ in process.stdout:
            shown = time.perf_counter()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        if process.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{errors.read()}")
    processor = usage.ru_utime + usage.ru_stime
    return shown - start, time.perf_counter() - start, processor, usage.ru_maxrss / 2**20
