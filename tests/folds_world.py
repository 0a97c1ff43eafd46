"""A small challenge with folds as the CASE recordings have them, and trials on them: real files, no
training.

Folds 0 to 3 hold the labelled people, fold 3 is the official validation; the test people are fold 4
and have no labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from trial_world import make_trial

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import MIX, Recording, Store, frames_hash, positions
from va_search.files import Home
from va_search.metrics import ccc
from va_search.predictions.bank import Bank, Predictions
from va_search.targets import affect
from va_search.trial_settings import TrialSettings, trial_id

RANGE = (0.5, 9.5)
FOLDS = (0, 1, 2, "official")


def rows() -> list[tuple[str, str, str, int | None]]:
    """name, subject, split, fold; recordings of the folds lie mixed, two people a fold, p0 in two
    recordings."""
    found: list[tuple[str, str, str, int | None]] = []
    for person in range(8):
        fold = (person * 3) % 4
        found.append((f"p{person}_a", f"p{person}", "validation" if fold == 3 else "train", fold))
        if person in (0, 5):
            found.append(
                (f"p{person}_b", f"p{person}", "validation" if fold == 3 else "train", fold)
            )
    return [*found, ("x0", "x0", "test", 4), ("x1", "x1", "test", 4)]


def make_store(folder: Path, *, test_labels: float | None = None, folds: bool = True) -> Store:
    """Twelve recordings; with `test_labels` the test recordings carry labels, all of them that
    number's noise."""
    sources = [
        Source(name, subject, name, split, fold if folds else None, 20.0, ())
        for name, subject, split, fold in rows()
    ]
    draft = Draft(
        folder,
        Description("folded", affect(*RANGE), {"face": ("visual", ("a",))}, "float32", "time"),
        sources,
    )
    for index in draft.missing():
        frames = 30 + 7 * index
        labels = labels_of(index, frames) if sources[index].split != "test" else None
        if labels is None and test_labels is not None:
            labels = np.clip(
                np.random.default_rng(index).normal(size=(frames, 2)) * test_labels, *RANGE
            )
        draft.add(index, Part({"face": np.ones((frames, 1))}, labels, np.arange(frames) * 50.0))
    return draft.finish()


def labels_of(index: int, frames: int) -> NDArray[np.float64]:
    """(frames, 2) smooth annotations on the source's scale; the first tenth is unlabelled."""
    rng = np.random.default_rng(1000 + index)
    pair = np.clip(
        5.0 + rng.normal(size=2) + rng.normal(size=(frames, 2)).cumsum(axis=0) / 4.0, *RANGE
    )
    pair[: frames // 10] = np.nan
    return pair


@dataclass
class FoldsWorld:
    """A home and a store; `train` puts a configuration's trials into the bank."""

    home: Home
    store: Store

    @property
    def bank(self) -> Bank:
        return Bank(self.home.bank)

    @property
    def configurations(self) -> Bank:
        return Bank(self.home.configurations)

    def predicted(
        self, recordings: tuple[Recording, ...], seed: list[int], noise: float
    ) -> Predictions:
        """Annotations (around 5 where there are none) times .7 plus noise of its own; test
        annotations are not used."""
        rng = np.random.default_rng(seed)
        truth = self.store.annotations[positions(recordings)]
        truth = (
            np.nan_to_num(truth, nan=5.0)
            if recordings[0].split != "test"
            else np.full(truth.shape, 5.0)
        )
        values = 5 + (truth - 5) * 0.7 + rng.normal(size=truth.shape) * noise
        return Predictions(np.clip(values, *RANGE).astype(np.float32), frames_hash(recordings))

    def train(
        self, study: str, number: int, folds: tuple[Any, ...] = FOLDS, *, again: int = 0
    ) -> dict[Any, str]:
        """Trials of configuration `number` (the higher, the noisier) on these folds; their ids by
        fold."""
        return {fold: self._train(study, number, fold, again) for fold in folds}

    def _train(self, study: str, number: int, fold: Any, again: int) -> str:
        settings = TrialSettings(features=("face",), learning_rate=1e-4 * (number + 1), fold=fold)
        seed = [number, 99 if fold in ("official", MIX) else int(fold), again]
        parts = self.store.fold(fold)
        predictions = {"test": self.predicted(parts.test, [*seed, 1], 0.4 + 0.2 * number)}
        pair = None
        if fold != MIX:
            predictions["validation"] = self.predicted(parts.validation, seed, 0.4 + 0.2 * number)
            labels = self.store.annotations[positions(parts.validation)]
            pair = tuple(
                ccc(predictions["validation"].values[:, i], labels[:, i]) for i in range(2)
            )
        trial = trial_id(settings, self.store.data_hash(settings.features, settings.fold))
        record = make_trial(
            study, trial, settings=settings, on=self.store, ccc=pair, epoch=3, seconds=2.0
        )
        self.bank.write(record, predictions)
        return trial


def make_folds_world(
    folder: Path, *, complete: int = 3, mixed: int = 2, test_labels: float | None = None
) -> FoldsWorld:
    """Study `first` with `complete` configurations on all folds; study `mix` with `mixed` on
    train_val_mix."""
    world = FoldsWorld(Home(folder / "home"), make_store(folder / "store", test_labels=test_labels))
    for number in range(complete):
        world.train("first", number)
    for number in range(mixed):
        world.train("mix", number, (MIX,))
    return world
