"""The recorded trainings of one division of people, and honest scores of what was chosen of them.

Conventions: a configuration is known by its number, an outcome by the number and the epochs after
which it ended. Everything is chosen by the labels of the people who validate; scores are means over
the targets of the CCC pooled over the frames of the people who were held out from everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from search_simulator.record import WIDE, Frames, configuration
from va_search.data.generalisation import scores_unseen_clips
from va_search.data.store import OFFICIAL, Recording, Store
from va_search.ensemble.folds import Folds, make_folds
from va_search.ensemble.material import Material
from va_search.ensemble.measure import measure
from va_search.ensemble.out_of_fold import Fits
from va_search.ensemble.recipe import Recipe, load_recipe
from va_search.metrics import ccc
from va_search.search.configurations import Configuration, Space
from va_search.search.space import load_space
from va_search.trial import Trial


class Outcome(NamedTuple):
    """A configuration that ended after so many epochs."""

    number: int
    epochs: int


@dataclass(frozen=True)
class Training:
    """A recorded training: after each epoch core-seconds since its beginning, score, predictions."""

    seconds: NDArray[np.float64]
    scores: NDArray[np.float64]
    validation: NDArray[np.floating]
    held_out: NDArray[np.floating]

    @property
    def epochs(self) -> int:
        return len(self.seconds)


@dataclass(frozen=True)
class Honest:
    """Honest scores of the ensemble by the default recipe, and of the best single trial."""

    ensemble: float
    single: float


@dataclass(eq=False)
class Pool:
    """The trainings recorded in a folder, by their configurations' numbers."""

    name: str
    space: Space
    trainings: dict[int, Training]
    configurations: dict[int, Configuration]
    validation: Frames
    held_out: Frames
    recordings: list[Recording]
    folds: Folds
    recipe: Recipe

    @classmethod
    def read(
        cls, folder: Path, numbers: Sequence[int] | None = None, space_path: Path = WIDE
    ) -> Pool:
        """Read the records of a division; `numbers`: of these configurations only."""
        store = Store.open(store_of(folder))
        space = load_space(space_path, store)
        with np.load(folder / "labels.npz") as labels:
            validation = labels["validation"]
            held_out = labels["held_out"]
            lengths = labels["validation_lengths"]
        # The recordings as they are sampled in the records.
        recordings: list[Recording] = []
        for recording, length in zip(store.split("validation"), lengths.tolist(), strict=True):
            recordings.append(replace(recording, frames=length, gaps=()))
        labelled = [recording.frames for recording in recordings]
        unseen = scores_unseen_clips(store, [OFFICIAL])
        trainings: dict[int, Training] = {}
        configurations: dict[int, Configuration] = {}
        for path in sorted(folder.glob("[0-9]*.npz")):
            number = int(path.stem)
            if numbers is not None and number not in numbers:
                continue
            training = read_training(path)
            # One that diverged in its first epoch left nothing to replay.
            if training.epochs:
                trainings[number] = training
                configurations[number] = configuration(space, number)
        return cls(
            name=folder.name,
            space=space,
            trainings=trainings,
            configurations=configurations,
            validation=validation,
            held_out=held_out,
            recordings=recordings,
            folds=make_folds(recordings, labelled, unseen_stimuli=unseen),
            recipe=load_recipe("bagged_greedy"),
        )

    def seconds(self, number: int) -> float:
        """Return the core-seconds of a whole training."""
        return float(self.trainings[number].seconds[-1])

    @cached_property
    def mean_seconds(self) -> float:
        """Core-seconds of a configuration drawn at random."""
        return float(np.mean([self.seconds(number) for number in self.trainings]))

    def score(self, outcome: Outcome) -> float:
        """Return the validation score of an outcome."""
        training = self.trainings[outcome.number]
        return float(training.scores[outcome.epochs - 1])

    def predictions(self, outcome: Outcome, part: str) -> Frames:
        """Return an outcome's predictions (frames, targets) for a part, validation or held_out."""
        recorded: NDArray[np.floating] = getattr(self.trainings[outcome.number], part)
        predictions: Frames = recorded[outcome.epochs - 1].astype(np.float32)
        return predictions

    def honest(self, outcomes: Sequence[Outcome]) -> Honest:
        """Return the scores of what a user would have who has these trials; 0 without a trial, and
        for a CCC that is not defined."""
        if not outcomes:
            return Honest(0.0, 0.0)
        names = [f"{number:04d}-{epochs}" for number, epochs in outcomes]
        # (member, frames, targets)
        validation = np.stack([self.predictions(outcome, "validation") for outcome in outcomes])
        held_out = np.stack([self.predictions(outcome, "held_out") for outcome in outcomes])
        best = max(outcomes, key=self.score)
        best_predictions = self.predictions(best, "held_out")
        plans = self.recipe.plans(self.space.targets)
        ensembles: list[float] = []
        singles: list[float] = []
        for column, target in enumerate(self.space.targets):
            truth = self.held_out[:, column]
            # Members and weights by the people who validate, scores on those held out.
            material = self._material(validation[:, :, column], column, names)
            fitted = Fits(material, plans[target]).fit()
            predicted = fitted.weights @ held_out[:, :, column].astype(np.float64)
            predicted = fitted.post.scale * predicted + fitted.post.offset
            ensembles.append(_defined(ccc(predicted, truth)))
            singles.append(_defined(ccc(best_predictions[:, column], truth)))
        return Honest(float(np.mean(ensembles)), float(np.mean(singles)))

    def _material(self, predictions: Frames, column: int, names: list[str]) -> Material:
        """Return a target's material for ensembles, of predictions (member, frames)."""
        annotation = np.ascontiguousarray(self.validation[:, column])
        lengths = [(recording.name, recording.frames) for recording in self.recordings]
        statistics = measure(list(predictions), annotation, lengths, names)
        trials = [Trial("simulated", name) for name in names]
        return Material(
            statistics,
            trials,
            lambda member: predictions[member],
            annotation,
            self.recordings,
            self.folds,
        )


def store_of(folder: Path) -> Path:
    """Return the store that the records in a folder are of; repeats and other spaces share it."""
    name = folder.name
    while "-" in name:
        store = folder.parent / f"{name}-store"
        if store.is_dir():
            return store
        name, _, _ = name.rpartition("-")
    raise FileNotFoundError(f"no store beside the records in {folder}")


def read_pools(
    records: Path, data: str, divisions: int, configurations: int, space_path: Path = WIDE
) -> list[Pool]:
    """Read the first divisions of a data set, of each so many configurations."""
    prefix = f"{data}-"
    folders: list[Path] = []
    for folder in records.glob(f"{prefix}*"):
        if folder.name.removeprefix(prefix).isdigit():
            folders.append(folder)
    pools: list[Pool] = []
    for folder in sorted(folders)[:divisions]:
        name = folder.name
        if space_path != WIDE:
            name += f"-{space_path.stem}"
        pools.append(Pool.read(folder.with_name(name), range(configurations), space_path))
    return pools


def read_training(path: Path) -> Training:
    """Read the record of one training."""
    with np.load(path) as arrays:
        return Training(
            seconds=arrays["seconds"],
            scores=arrays["scores"],
            validation=arrays["validation"],
            held_out=arrays["held_out"],
        )


HEAVY = {"family": 6.0, "encoder": 3.0}
"""Weights of settings that decide of most others; all others weigh 1."""


class Nearest:
    """The configurations that are left, and which of them is nearest to one proposed: by the share
    of settings that differ, numbers by the share of their range (its logarithm where the space's
    is), feature sets by the share that is not common."""

    def __init__(self, space: Space, known: dict[int, Configuration]) -> None:
        self.left = dict(known)
        self._logarithmic: set[str] = set()
        self._range: dict[str, float] = {}
        for name, setting in space.settings.items():
            if name == "features":
                continue
            values = list(setting.domain.values())
            numeric = all(type(value) in (int, float) for value in values)
            if numeric and len(values) > 1 and min(values) > 0:
                self._logarithmic.add(name)
                self._range[name] = float(np.log(max(values) / min(values)))

    def take(self, proposed: Configuration) -> int:
        """Return the number of the nearest configuration left, and take it."""
        # The lowest number of several that are as near.
        distances = {
            number: self._distance(configuration, proposed)
            for number, configuration in self.left.items()
        }
        number = min(distances, key=lambda number: distances[number])
        del self.left[number]
        return number

    def take_number(self, number: int) -> bool:
        """Take a configuration by its number; False where it is gone."""
        return self.left.pop(number, None) is not None

    def _distance(self, known: Configuration, proposed: Configuration) -> float:
        """Return the weighted sum over settings of how far apart two configurations are."""
        distance = 0.0
        for name in known.keys() | proposed.keys():
            weight = HEAVY.get(name, 1.0)
            # A setting that only one of them has is as far apart as can be.
            if name not in known or name not in proposed:
                distance += weight
            elif known[name] != proposed[name]:
                distance += weight * self._apart(name, known[name], proposed[name])
        return distance

    def _apart(self, name: str, value: Any, other: Any) -> float:
        """Return how far apart two values of a setting are, from 0 to 1."""
        if name in self._logarithmic:
            logarithm = float(np.log(value / other))
            return abs(logarithm) / self._range[name]
        if name == "features":
            both = set(value) & set(other)
            either = set(value) | set(other)
            return 1.0 - len(both) / len(either)
        return 1.0


def _defined(value: float) -> float:
    """Return a CCC, 0 where it is not defined."""
    if np.isnan(value):
        return 0.0
    return float(value)
