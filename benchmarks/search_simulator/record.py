"""Trainings recorded once, of which any search can be replayed.

    PYTHONPATH=benchmarks python -m search_simulator.record case=stores/case again=stores/again_solid --out sim

`wide.yaml` is a space as a newcomer writes it. Of every store configurations are drawn from it (or
from another `--space`) at random, the same numbers the same configurations on all stores but for
their feature sets, and each is trained on `--divisions` divisions of people: fold k of the store is
held out (a copy of the store lacks its labels), the next fold validates, the others train. After
every epoch a file holds what a trial that ended there would have: the core-seconds it took, its
validation score, and its predictions (frames, targets) of the people who validate and of those who
were held out, at about `--rate` steps a second.

The command goes on where it was stopped; several may share the work (`--part 0/2`, `--part 1/2`)."""

from __future__ import annotations

import argparse
import os
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
import torch
from flows import divided, labels_of
from numpy.typing import NDArray

from va_search.data.store import Recording, Store, positions
from va_search.errors import InputError
from va_search.search.configurations import Configuration, Space
from va_search.search.space import load_space
from va_search.training.epochs import Diverged, mean_of
from va_search.training.fit import Fit, fit_of
from va_search.training.predict import predict
from va_search.trial_settings import TrialSettings

WIDE = Path(__file__).parent / "wide.yaml"
AVERAGED = 5
"""`keep: mean_last_5`, which the space has: a trial's predictions are the mean of so many epochs'."""
ALL_FEATURES = 0.5
"""Share of configurations with all feature sets, which other stores can have, too."""


@dataclass(frozen=True)
class Division:
    """A store whose fold `number` is held out, and the space as it is read there."""

    name: str
    store: Store
    space: Space
    held_out_labels: NDArray[np.float32]
    stride: int
    folder: Path

    def sampled(
        self, frames: NDArray[np.float32], recordings: tuple[Recording, ...]
    ) -> NDArray[np.float32]:
        """Return every `stride`-th frame of each recording; `frames` (frames, targets)."""
        lengths = [recording.frames for recording in recordings]
        within = np.concatenate([np.arange(length) for length in lengths])
        every_stride: NDArray[np.float32] = frames[within % self.stride == 0]
        return every_stride

    def sampled_lengths(self, recordings: tuple[Recording, ...]) -> NDArray[np.int64]:
        """Return how many frames `sampled` takes of each recording."""
        return np.array([-(-recording.frames // self.stride) for recording in recordings])


@dataclass
class Record:
    """What a training had after each of its epochs."""

    seconds: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    validation: list[NDArray[np.float32]] = field(default_factory=list)
    held_out: list[NDArray[np.float32]] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write the file whole."""
        partial = path.with_suffix(f".{os.getpid()}.part")
        with partial.open("wb") as file:
            np.savez(
                file,
                seconds=np.array(self.seconds),
                scores=np.array(self.scores),
                validation=np.array(self.validation, dtype=np.float16),
                held_out=np.array(self.held_out, dtype=np.float16),
            )
        partial.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stores", nargs="+", metavar="NAME=STORE", help="data sets with folds")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--configurations", type=int, default=200)
    parser.add_argument("--divisions", type=int, default=2)
    parser.add_argument("--space", type=Path, default=WIDE)
    parser.add_argument("--inner", type=int, default=1, help="folds that validate in turn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--chunk", type=int, default=20, help="configurations of a store in a row")
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--part", default="0/1", help="this process's share of the configurations")
    options = parser.parse_args()
    torch.set_num_threads(1)
    divisions: list[Division] = []
    for pair in options.stores:
        name, _, path = pair.partition("=")
        divisions += divisions_of(name, Store.open(Path(path)), options)
    part, parts = (int(number) for number in options.part.split("/"))
    for low in range(0, options.configurations, options.chunk):
        for division in divisions:
            numbers = range(low, min(low + options.chunk, options.configurations))
            for number in numbers:
                if number % parts == part:
                    record(division, number, options.seed)


def divisions_of(name: str, store: Store, options: argparse.Namespace) -> list[Division]:
    """Divide a store's people so many times into those who train, validate, and are held out."""
    folds = sorted({recording.fold for recording in store.labelled if recording.fold is not None})
    divisions: list[Division] = []
    pairs = [
        (index, inner)
        for index in range(min(options.divisions, len(folds)))
        for inner in range(1, options.inner + 1)
    ]
    for index, inner in pairs:
        fold, validation = folds[index], folds[(index + inner) % len(folds)]
        division_name = f"{name}-{fold}" if inner == 1 else f"{name}-{fold}-inner{inner}"
        to = options.out / f"{division_name}-store"
        copy = Store.open(to) if to.is_dir() else None
        copy = copy or divided(store, to, test=fold, validation=validation)
        suffix = "" if options.space == WIDE else f"-{options.space.stem}"
        suffix += "" if options.seed == 0 else f"-seed{options.seed}"
        folder = options.out / f"{division_name}{suffix}"
        folder.mkdir(parents=True, exist_ok=True)
        rate = max(recording.frames_per_second for recording in store.recordings)
        division = Division(
            name=folder.name,
            store=copy,
            space=load_space(options.space, copy),
            held_out_labels=labels_of(store, copy),
            stride=max(1, round(rate / options.rate)),
            folder=folder,
        )
        write_labels(division)
        divisions.append(division)
    return divisions


def write_labels(division: Division) -> None:
    """Write labels, lengths (in sampled frames) and people of both parts beside the records."""
    validation = division.store.split("validation")
    held_out = division.store.split("test")
    validation_labels = division.store.annotations[positions(validation)]
    path = division.folder / "labels.npz"
    partial = path.with_suffix(f".{os.getpid()}.part")
    with partial.open("wb") as file:
        np.savez(
            file,
            validation=division.sampled(validation_labels, validation),
            validation_lengths=division.sampled_lengths(validation),
            validation_people=people_of(validation),
            held_out=division.sampled(division.held_out_labels, held_out),
            held_out_lengths=division.sampled_lengths(held_out),
            held_out_people=people_of(held_out),
        )
    partial.replace(path)


def people_of(recordings: tuple[Recording, ...]) -> NDArray[np.str_]:
    """Return the subject of each recording."""
    return np.array([str(recording.subject) for recording in recordings])


def configuration(space: Space, number: int) -> Configuration:
    """Draw the configuration of a number: on every store the same, but for feature sets left out."""
    for attempt in range(1000):
        apart = Random(f"{number} {attempt} store")  # noqa: S311
        steps = space.declared("frame_step")
        of_store = {"frame_step": steps[int(apart.random() * len(steps))]}
        of_store["features"] = max(space.declared("features"), key=len)
        if apart.random() >= ALL_FEATURES:
            of_store["features"] = space.settings["features"].domain.draw(apart)
        # What depends on the store is not drawn with the others, which would differ, too.
        drawn = space.completed(of_store, Random(f"{number} {attempt}"))  # noqa: S311
        try:
            space.trials(drawn)
        except InputError:  # these values don't go together
            continue
        return drawn
    raise ValueError(f"no valid configuration of number {number}")


def record(division: Division, number: int, seed: int) -> None:
    """Train one configuration and write its record, unless it is there."""
    path = division.folder / f"{number:04d}.npz"
    if path.exists():
        return
    drawn = configuration(division.space, number)
    settings = division.space.trials(drawn)[0].model_copy(update={"seed": seed})
    training = trained(division, settings)
    training.write(path)
    score = training.scores[-1] if training.scores else float("nan")
    seconds = training.seconds[-1] if training.seconds else 0.0
    what = settings.encoder if settings.is_network else settings.family
    print(f"{division.name} {number} {what}: {score:.3f} in {seconds:.1f} s", flush=True)


def trained(division: Division, settings: TrialSettings) -> Record:
    """Train a trial to its end, or until it diverges."""
    training = Record()
    began = time.process_time()
    fit: Fit = fit_of(settings, division.store)
    spent = time.process_time() - began
    last: dict[str, deque[NDArray[np.float32]]] = {
        "validation": deque(maxlen=AVERAGED),
        "held_out": deque(maxlen=AVERAGED),
    }
    parts = {"validation": fit.data.validation, "held_out": fit.data.test}
    while not fit.finished:
        began = time.process_time()
        try:
            epoch = fit.run_epoch()
        except Diverged:
            break
        spent += time.process_time() - began
        for part, steps in parts.items():
            model = fit.measured_model
            frames = predict(model, settings, fit.data.gather, steps, division.store.targets)
            last[part].append(division.sampled(frames, steps.recordings))
        training.seconds.append(spent)
        training.scores.append(float(epoch.score or 0.0))
        training.validation.append(mean_of(last["validation"]))
        training.held_out.append(mean_of(last["held_out"]))
    return training


if __name__ == "__main__":
    main()
