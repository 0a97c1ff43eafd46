"""Trials on stores of any targets for tests of ensembles: real files, no training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from target_world import SPLITS, make_target_store
from trial_world import make_trial

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store, frames_hash, positions
from va_search.home import Home
from va_search.metrics import ccc
from va_search.predictions.bank import Bank, Predictions
from va_search.targets import AFFECT, Target, names
from va_search.trial import SCORE, Best
from va_search.trial_settings import TrialSettings


@dataclass
class TargetWorld:
    """A home, a store, and trials whose predictions are annotations blurred by noise."""

    home: Home
    store: Store

    @property
    def bank(self) -> Bank:
        return Bank(self.home.bank)

    @property
    def labels(self) -> NDArray[np.float32]:
        """(frames, targets) annotations of the validation recordings."""
        return self.store.annotations[positions(self.store.split("validation"))]

    def predictions(self, trial: str, split: str = "validation") -> NDArray[np.float32]:
        """(frames, targets) predictions of a trial of study `first`."""
        lines_up = frames_hash(self.store.split(split))
        return self.bank.read("first", trial, split, frames_hash=lines_up)

    def add(
        self, trial: str, seed: int, noise: float, *, only: Sequence[str] | None = None
    ) -> None:
        """A complete trial of study `first`; the `noise` is in units of half a target's range.
        `only`: the targets that it predicts, all by default."""
        targets = [t for t in self.store.targets if only is None or t.name in only]
        columns = [self.store.target_names.index(target.name) for target in targets]
        random = np.random.default_rng(seed)
        predictions = {}
        for split in ("validation", "test"):
            recordings = self.store.split(split)
            labels = self.store.annotations[positions(recordings)][:, columns]
            middle = np.array([(target.low + target.high) / 2 for target in targets])
            half = np.array([(target.high - target.low) / 2 for target in targets])
            truth = np.where(np.isnan(labels), middle, labels)
            values = truth + random.normal(0, noise, truth.shape) * half
            predictions[split] = Predictions(values.astype(np.float32), frames_hash(recordings))
        best = {}
        for column, target in enumerate(targets):
            predicted = predictions["validation"].values[:, column]
            best[target.name] = Best(ccc(predicted, self.labels[:, columns[column]]), 2)
        best[SCORE] = Best(float(np.mean([entry.ccc for entry in best.values()])), 2)
        settings = TrialSettings(features=("face",), encoder=("lstm", "gru")[seed % 2], seed=seed)
        fields: dict[str, Any] = {"best": best}
        if names(targets) != AFFECT:
            fields["targets"] = names(targets)
        record = make_trial("first", trial, settings=settings, on=self.store)
        self.bank.write(replace(record, **fields), predictions)


def make_target_world(
    folder: Path,
    targets: Sequence[Target],
    *,
    trials: int = 5,
    unlabelled: Mapping[str, Sequence[int]] | None = None,
) -> TargetWorld:
    """A world whose study `first` has trials a0, a1, …, the later the noisier.

    `unlabelled`: by target, the numbers of recordings that have no label of it."""
    store = make_target_store(folder / "store", targets)
    if unlabelled:
        store = _without_labels(folder / "sparse", store, unlabelled)
    world = TargetWorld(Home(folder / "home"), store)
    for number in range(trials):
        world.add(f"a{number}", seed=number, noise=0.3 + 0.15 * number)
    return world


def _without_labels(folder: Path, store: Store, unlabelled: Mapping[str, Sequence[int]]) -> Store:
    """The store with fewer labels."""
    sources = []
    for recording in store.recordings:
        subject, fold = recording.subject, recording.fold
        sources.append(
            Source(recording.name, subject, recording.name, recording.split, fold, 10.0, ())
        )
    sets = {}
    for feature_set in store.feature_sets.values():
        columns = tuple(map(str, range(feature_set.dim)))
        sets[feature_set.name] = (feature_set.modality, columns)
    draft = Draft(folder, Description("sparse", store.targets, sets), sources)
    for number, recording in enumerate(store.recordings):
        frames = slice(recording.start, recording.stop)
        labels = np.array(store.annotations[frames])
        for target, numbers in unlabelled.items():
            if number in numbers:
                labels[:, store.target_names.index(target)] = np.nan
        features = {name: np.array(store.features(name)[frames]) for name in sets}
        draft.add(number, Part(features, labels if SPLITS[number] != "test" else None))
    return draft.finish()
