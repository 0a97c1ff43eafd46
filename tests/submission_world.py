"""Worlds for tests of submissions and outside models: the challenge's targets on [-1, 1], and stores
of any targets, with trials whose predictions are labels blurred by noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ensemble_world import ROWS, World, labels_of
from numpy.typing import NDArray
from target_world import THREE, make_target_store
from trial_world import make_trial

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store, frames_hash, positions
from va_search.ensemble.build import build
from va_search.ensemble.recipe import read_recipe
from va_search.ensemble.saved import Ensemble
from va_search.home import Home
from va_search.metrics import ccc
from va_search.predictions.bank import Bank, Predictions
from va_search.targets import Target, affect
from va_search.trial import Best
from va_search.trial_settings import TrialSettings


class UnitWorld(World):
    """`World` brought from [0.5, 9.5] to [-1, 1]."""

    def predict(self, seed: int, noise: float) -> dict[str, Predictions]:
        """Noise around 0."""
        unit = {}
        for split, prediction in super().predict(seed, noise).items():
            values = (prediction.values - np.float32(5.0)) / np.float32(4.5)
            unit[split] = Predictions(values, prediction.frames_hash)
        return unit


def make_unit_world(folder: Path, *, trials: int = 4) -> UnitWorld:
    """The recordings of `ensemble_world`, valence and arousal on [-1, 1]."""
    sources = [
        Source(name, subject, video, split, fold, 20.0, ())
        for name, subject, video, split, fold, _ in ROWS
    ]
    description = Description("unit", affect(-1.0, 1.0), {"face": ("visual", ("a",))})
    draft = Draft(folder / "store", description, sources)
    for index, row in enumerate(ROWS):
        labels = (labels_of(index, row[-1]) - 5.0) / 4.5
        features = {"face": np.ones((row[-1], 1))}
        draft.add(index, Part(features, None if row[3] == "test" else labels))
    world = UnitWorld(Home(folder / "home"), draft.finish())
    for index in range(trials):
        world.add("first", f"a{index}", seed=index, noise=0.6 + 0.25 * index)
    return world


@dataclass
class TargetWorld:
    """A home and a store of any targets (`target_world`)."""

    home: Home
    store: Store

    @property
    def bank(self) -> Bank:
        return Bank(self.home.bank)

    def predict(self, seed: int, noise: float = 0.1) -> dict[str, NDArray[np.float32]]:
        """(frames, targets) by split: labels (the middle where there are none) and noise in widths
        of the targets' ranges."""
        low = np.array([target.low for target in self.store.targets])
        width = np.array([target.high - target.low for target in self.store.targets])
        random = np.random.default_rng(seed)
        predictions = {}
        for split in ("validation", "test"):
            labels = self.store.annotations[positions(self.store.split(split))]
            truth = np.where(np.isnan(labels), low + width / 2, labels)
            values = truth + random.normal(0, noise, truth.shape) * width
            predictions[split] = values.astype(np.float32)
        return predictions

    def add(self, trial: str, seed: int, noise: float = 0.1) -> None:
        """Put one complete trial into study `first`, as a search writes it."""
        values = self.predict(seed, noise)
        labels = self.store.annotations[positions(self.store.split("validation"))]
        best = {}
        for index, name in enumerate(self.store.target_names):
            best[name] = Best(ccc(values["validation"][:, index], labels[:, index]), 1)
        best["score"] = Best(float(np.mean([each.ccc for each in best.values()])), 1)
        settings = TrialSettings(features=("face",), seed=seed)
        record = make_trial("first", trial, settings=settings, on=self.store)
        record = replace(record, best=best, targets=self.store.target_names, history_json=())
        predictions = {}
        for split, array in values.items():
            predictions[split] = Predictions(array, frames_hash(self.store.split(split)))
        self.bank.write(record, predictions)

    def build(self, method: str = "mean") -> Ensemble:
        """Build the ensemble `e` of the trials in study `first`."""
        return build(self.home, ["first"], read_recipe(method, {"method": method}), "e")


def make_target_world(
    folder: Path, targets: Sequence[Target] = THREE, *, trials: int = 2
) -> TargetWorld:
    """A store of these targets and `trials` trials, the later the noisier."""
    world = TargetWorld(Home(folder / "home"), make_target_store(folder / "store", targets))
    for number in range(trials):
        world.add(f"a{number}", seed=number, noise=0.1 + 0.05 * number)
    return world
