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
from va_search.training.batches import Steps
from va_search.training.epochs import Diverged, mean_of
from va_search.training.fit import Fit, fit_of
from va_search.training.predict import predict
from va_search.trial_settings import TrialSettings

WIDE = Path(__file__).parent / "wide.yaml"
AVERAGED = 5
"""`keep: mean_last_5`, which the space has: a trial's predictions are the mean of so many epochs'."""
ALL_FEATURES = 0.5
"""Share of configurations with all feature sets, which other stores can have, too."""

Frames = NDArray[np.float32]
"""(frames, targets)"""


@dataclass(frozen=True)
class Division:
    """A store whose fold `number` is held out, and the space as it is read there."""

    name: str
    store: Store
    space: Space
    held_out_labels: Frames
    stride: int
    folder: Path

    def sampled(self, frames: Frames, recordings: tuple[Recording, ...]) -> Frames:
        """Return every `stride`-th frame of each recording; `frames` (frames, targets)."""
        lengths = [recording.frames for recording in recordings]
        within = np.concatenate([np.arange(length) for length in lengths])
        every_stride: Frames = frames[within % self.stride == 0]
        return every_stride

    def sampled_lengths(self, recordings: tuple[Recording, ...]) -> NDArray[np.int64]:
        """Return how many frames `sampled` takes of each recording."""
        return np.array([-(-recording.frames // self.stride) for recording in recordings])


@dataclass
class Record:
    """Core-seconds, score and predictions (frames, targets) after each epoch of a training."""

    seconds: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    validation: list[Frames] = field(default_factory=list)
    held_out: list[Frames] = field(default_factory=list)

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
    # The divisions take turns, so that what is recorded so far compares.
    for low in range(0, options.configurations, options.chunk):
        high = min(low + options.chunk, options.configurations)
        for division in divisions:
            for number in range(low, high):
                if number % parts == part:
                    record(division, number, options.seed)


def divisions_of(name: str, store: Store, options: argparse.Namespace) -> list[Division]:
    """Divide a store's people so many times into those who train, validate, and are held out."""
    folds = sorted({recording.fold for recording in store.labelled if recording.fold is not None})
    divisions: list[Division] = []
    for index in range(min(options.divisions, len(folds))):
        for inner in range(1, options.inner + 1):
            validation = folds[(index + inner) % len(folds)]
            division_name = f"{name}-{folds[index]}"
            if inner > 1:
                division_name += f"-inner{inner}"
            division = divide(store, division_name, folds[index], validation, options)
            write_labels(division)
            divisions.append(division)
    return divisions


def divide(
    store: Store, name: str, held_out: int, validation: int, options: argparse.Namespace
) -> Division:
    """Hold a fold of a store out while another validates; the copy that is there is opened."""
    copy_path = options.out / f"{name}-store"
    if not copy_path.is_dir():
        divided(store, copy_path, test=held_out, validation=validation)
    copy = Store.open(copy_path)
    # Records of other spaces and seeds stand in folders of their own beside the same copy.
    folder_name = name
    if options.space != WIDE:
        folder_name += f"-{options.space.stem}"
    if options.seed != 0:
        folder_name += f"-seed{options.seed}"
    folder = options.out / folder_name
    folder.mkdir(parents=True, exist_ok=True)
    rate = max(recording.frames_per_second for recording in store.recordings)
    return Division(
        name=folder_name,
        store=copy,
        space=load_space(options.space, copy),
        held_out_labels=labels_of(store, copy),
        stride=max(1, round(rate / options.rate)),
        folder=folder,
    )


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
    """Draw the configuration of a number: on every store the same, but for feature sets left out.

    ValueError where no attempt gives values that go together."""
    steps = space.declared("frame_step")
    all_features = max(space.declared("features"), key=len)
    for attempt in range(1000):
        # What depends on the store is not drawn with the others, which would differ, too.
        store_random = Random(f"{number} {attempt} store")  # noqa: S311
        index = int(store_random.random() * len(steps))
        of_store = {"frame_step": steps[index], "features": all_features}
        if store_random.random() >= ALL_FEATURES:
            of_store["features"] = space.settings["features"].domain.draw(store_random)
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
    kind = settings.family
    if settings.is_network:
        kind = settings.encoder
    score, seconds = float("nan"), 0.0
    if training.scores:
        score = training.scores[-1]
        seconds = training.seconds[-1]
    print(f"{division.name} {number} {kind}: {score:.3f} in {seconds:.1f} s", flush=True)


def trained(division: Division, settings: TrialSettings) -> Record:
    """Train a trial to its end, or until it diverges."""
    training = Record()
    began = time.process_time()
    fit: Fit = fit_of(settings, division.store)
    spent = time.process_time() - began
    # The predictions of the newest epochs, whose mean is a trial's.
    validation: deque[Frames] = deque(maxlen=AVERAGED)
    held_out: deque[Frames] = deque(maxlen=AVERAGED)
    while not fit.finished:
        began = time.process_time()
        # What a diverged training had before is recorded.
        try:
            epoch = fit.run_epoch()
        except Diverged:
            break
        spent += time.process_time() - began
        # Predictions of the people held out are no part of a training: their time is not counted.
        validation.append(predicted(fit, fit.data.validation, division))
        held_out.append(predicted(fit, fit.data.test, division))
        training.seconds.append(spent)
        training.scores.append(float(epoch.score or 0.0))
        training.validation.append(mean_of(validation))
        training.held_out.append(mean_of(held_out))
    return training


def predicted(fit: Fit, steps: Steps, division: Division) -> Frames:
    """Predict (frames, targets) of the steps' recordings with a fit's model, sampled."""
    targets = division.store.targets
    frames = predict(fit.measured_model, fit.settings, fit.data.gather, steps, targets)
    return division.sampled(frames, steps.recordings)


if __name__ == "__main__":
    main()
