"""Files of a challenge at Aff-Wild2's size, as users have them: the organisers' files, and feature
sets in one .npy file per recording.

    SOURCE/annotations/{Train_Set,Validation_Set}/<recording>.txt    valence,arousal; -5,-5 unlabelled
    SOURCE/sample.txt                           image_location,valence,arousal; a row per test frame
    SOURCE/frame_rates.csv, subjects.csv        a row per recording
    SOURCE/visual/<feature set>/<recording>.npy, audio/<feature set>/<video>.npy    float16

Run as a program, by benchmarks/full_size.py:

    python benchmarks/full_size_source.py source --to SOURCE --scale 1
    python benchmarks/full_size_source.py candidates --store STORE --home HOME --scale 1 --trials 199

Recordings, frame rates, people and values are those of `va-search data simulate --like affwild2`;
every frame has a row in every feature set. There are no face crops. Candidates are written by the
bank's own writer; their predictions are a share of the annotation, one of six common errors that
change slowly, and an offset, for no step's time depends on their values."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.affwild2_files import COLUMN, FOLDERS, UNLABELLED
from va_search.data.simulate_affwild2 import (
    SENSORS,
    Planned,
    affwild2_shape,
    film,
    labels_of,
)
from va_search.data.store import Store, frames_hash, positions
from va_search.home import Home
from va_search.metrics import ccc
from va_search.predictions.bank import Bank, Predictions
from va_search.targets import AFFECT
from va_search.trial import SCORE, Best, Trial
from va_search.trial_settings import TrialSettings

FEATURE_SETS = ("mae", "densenet", "compare", "vggish")
"""Two visual sets and two of sound, 1,368 columns: 8.2 GB in float16 at scale 1."""
CANDIDATES = "candidates"
"""Name of the study whose trials are written here."""
ERRORS, ERROR_FRAMES = 6, 90
"""Errors that candidates share, and the frames for which one stays the same."""


def write_source(to: Path, scale: float, seed: int = 0) -> int:
    """Write the source's files below `to`, recordings on all cores; return the bytes of features."""
    shape = affwild2_shape(scale, seed)
    folders = [to / "annotations" / folder for folder in FOLDERS.values()]
    folders += [to / SENSORS[name].modality / name for name in FEATURE_SETS]
    for folder in folders:
        folder.mkdir(parents=True)
    rates = ["recording,frames_per_second"]
    subjects = ["recording,subject"]
    for planned in shape:
        rates.append(f"{planned.name},{planned.frames_per_second:g}")
        subjects.append(f"{planned.name},{planned.subject}")
    (to / "frame_rates.csv").write_text("\n".join(rates) + "\n")
    (to / "subjects.csv").write_text("\n".join(subjects) + "\n")
    with open(to / "sample.txt", "w") as sample:
        sample.write(f"{COLUMN},{','.join(AFFECT)}\n")
        for planned in shape:
            if planned.split == "test":
                rows = (f"{planned.name}/{i:05d}.jpg,0,0\n" for i in range(1, planned.frames + 1))
                sample.writelines(rows)
    # Processes, not threads: most of the time is small steps in Python.
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        sizes = list(pool.map(partial(write_recording, to, seed), shape))
    return sum(sizes)


def write_recording(to: Path, seed: int, planned: Planned) -> int:
    """Write a recording's labels and features; return the bytes of its features."""
    if planned.split in FOLDERS:
        labels = np.nan_to_num(labels_of(planned, seed), nan=UNLABELLED)
        # One label alone is never missing, so a row is wholly -5 or not at all.
        file = to / "annotations" / FOLDERS[planned.split] / f"{planned.name}.txt"
        np.savetxt(file, labels, "%.4g", ",", header=",".join(AFFECT), comments="")
    size = 0
    for name, values in film(planned, seed, FEATURE_SETS).features.items():
        modality = SENSORS[name].modality
        # Persons of one video share its sound, which is written once.
        if modality == "audio" and planned.place > 0:
            continue
        stem = planned.video if modality == "audio" else planned.name
        np.save(to / modality / name / f"{stem}.npy", values)
        size += values.nbytes
    return size


def write_candidates(store: Store, home: Home, scale: float, trials: int, seed: int = 0) -> None:
    """Write `trials` finished trials of a study `candidates` with predictions of validation and
    test."""
    bank = Bank(home.bank)
    validation, test = store.split("validation"), store.split("test")
    annotations = store.annotations[positions(validation)]
    shape = {planned.name: planned for planned in affwild2_shape(scale, seed)}
    withheld = [labels_of(shape[recording.name], seed) for recording in test]
    labels = {
        "validation": np.nan_to_num(annotations),
        "test": np.nan_to_num(np.concatenate(withheld)).astype(np.float32),
    }
    hashes = {"validation": frames_hash(validation), "test": frames_hash(test)}
    random = np.random.default_rng(seed)
    errors = {}
    for split, values in labels.items():
        errors[split] = [slow_errors(random, len(values)) for _ in range(ERRORS)]
    combinations = [FEATURE_SETS, *((name,) for name in FEATURE_SETS)]
    for number in range(trials):
        share, offset = random.uniform(0.3, 0.7), random.normal(0, 0.1)
        kind = number % ERRORS
        predictions = {}
        for split, values in labels.items():
            noise = errors[split][kind] * (1.2 - share)
            predicted = np.tanh(share * values + noise + offset).astype(np.float32)
            predictions[split] = Predictions(predicted, hashes[split])
        settings = TrialSettings(features=combinations[number % len(combinations)], seed=number)
        trial = Trial(
            study=CANDIDATES,
            id=f"{number:016x}",
            settings=settings,
            data_hash=store.data_hash(settings.features),
            store=store.name,
            store_path=str(store.path.resolve()),
            best=best_epochs(predictions["validation"].values, annotations),
            epochs=1,
        )
        bank.write(trial, predictions)


def slow_errors(random: np.random.Generator, frames: int) -> NDArray[np.float32]:
    """(frames, 2) normal numbers that change every `ERROR_FRAMES` frames."""
    steps = random.standard_normal((frames // ERROR_FRAMES + 1, 2), dtype=np.float32)
    return np.repeat(steps * np.float32(0.3), ERROR_FRAMES, axis=0)[:frames]


def best_epochs(values: NDArray[np.float32], annotations: NDArray[np.float32]) -> dict[str, Best]:
    """The CCCs of predictions, all of epoch 1, by target and of their mean."""
    scores = []
    for column in range(len(AFFECT)):
        labelled = ~np.isnan(annotations[:, column])
        scores.append(ccc(values[labelled, column], annotations[labelled, column]))
    best = {target: Best(score, 1) for target, score in zip(AFFECT, scores, strict=True)}
    best[SCORE] = Best(sum(scores) / len(scores), 1)
    return best


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["source", "candidates"])
    parser.add_argument("--to", type=Path)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--trials", type=int, default=199)
    options = parser.parse_args(arguments)
    if options.what == "source":
        print(write_source(options.to, options.scale))
    else:
        store = Store.open(options.store)
        write_candidates(store, Home(options.home), options.scale, options.trials)


if __name__ == "__main__":
    main()
