"""A hand-written challenge for the tests of reports: trials complete, failed, stopped, missing,
damaged, without validation; names that are no friends of HTML. Real files, no training."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from trial_world import make_trial

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import MIX, Store, frames_hash, positions
from va_search.files import write_json
from va_search.home import Home
from va_search.metrics import ccc
from va_search.predictions.bank import Bank, Predictions
from va_search.search.study import Study
from va_search.targets import AFFECT, affect
from va_search.trial import Epoch
from va_search.trial_settings import TrialSettings, trial_id

HOSTILE = "<script>alert(1)</script>"
UNDERSCORED = "a_b.i+c"
# name, subject, split, fold, frames; the official validation set is fold 3, fold 4 is of test
# recordings
ROWS = (
    ("t1", "s1", "train", 1, 40),
    ("t2", "s2", "train", 1, 30),
    ("t3", "s3", "train", 2, 35),
    ("t4", "s4", "train", 2, 45),
    ("v1", "s5", "validation", 3, 60),
    ("v2", "s6", "validation", 3, 50),
    (HOSTILE, "s7", "validation", 3, 70),
    ("v4", "s8", "validation", 3, 40),
    ("x1", "s9", "test", 4, 30),
)
SETS = {"fau": "visual", "mae": "visual", "hubert": "audio", UNDERSCORED: "audio"}
RANGE = (-1.0, 1.0)


def labels_of(index: int, frames: int) -> NDArray[np.float64]:
    """(frames, 2) smooth annotations; the first five unlabelled."""
    rng = np.random.default_rng(index)
    pair = np.clip(
        rng.normal(size=2) / 3 + rng.normal(size=(frames, 2)).cumsum(axis=0) / 12, *RANGE
    )
    pair[:5] = np.nan
    return pair


def make_store(folder: Path, *, feature: float = 1.0) -> Store:
    """Nine recordings, four feature sets of two modalities, all of whose values are `feature`."""
    sources = [
        Source(name, subject, name, split, fold, 10.0, ()) for name, subject, split, fold, _ in ROWS
    ]
    sets = {name: (modality, ("a",)) for name, modality in SETS.items()}
    draft = Draft(
        folder, Description(f"world {HOSTILE}", affect(*RANGE), sets, "float32", None), sources
    )
    for index in draft.missing():
        frames = ROWS[index][-1]
        labels = None if ROWS[index][2] == "test" else labels_of(index, frames)
        draft.add(index, Part({name: np.full((frames, 1), feature) for name in SETS}, labels, None))
    return draft.finish()


@dataclass
class World:
    """A home and a store; `add` writes one trial."""

    home: Home
    store: Store

    @property
    def bank(self) -> Bank:
        return Bank(self.home.bank)

    def settings(self, *features: str, **others: Any) -> TrialSettings:
        return TrialSettings(
            **{"features": features or ("fau",), "width": 64, "epochs": 4, **others}
        )

    def id_of(self, settings: TrialSettings) -> str:
        return trial_id(settings, self.store.data_hash(settings.features, settings.fold))

    def add(self, study: str, settings: TrialSettings, noise: float = 0.3, **changes: Any) -> str:
        """A complete trial whose predictions are annotations blurred by noise; its id."""
        trial, fold = self.id_of(settings), self.store.fold(settings.fold)
        rng = np.random.default_rng(int(trial, 16) % 2**32)
        predictions = {}
        for split, recordings in (("validation", fold.validation), ("test", fold.test)):
            truth = np.nan_to_num(self.store.annotations[positions(recordings)], nan=0.0)
            values = np.clip(0.8 * truth + noise * rng.normal(size=truth.shape), *RANGE).astype(
                np.float32
            )
            if recordings:
                predictions[split] = Predictions(values, frames_hash(recordings))
        pair = None
        if settings.fold != MIX:
            labels = self.store.annotations[positions(fold.validation)]
            pair = tuple(ccc(predictions["validation"].values[:, i], labels[:, i]) for i in (0, 1))
        complete = make_trial(
            study,
            trial,
            settings=settings,
            on=self.store,
            ccc=pair,
            epoch=3,
            history=_history(pair),
            **{"stopped": False, "package_version": "0.1.0", **changes},
        )
        self.bank.write(complete, predictions)
        return trial

    def begin(self, study: str, space: dict[str, Any] | None = None) -> Study:
        found = Study(self.home, study)
        found.begin(self.store, space or {"sampler": "grid", "settings": {"features": ["fau"]}})
        return found

    def fail(self, study: str, settings: TrialSettings, why: str) -> None:
        document = json.loads(settings.model_dump_json())
        found = Study(self.home, study)
        found.ask(self.id_of(settings), document)
        found.record_failure(
            self.id_of(settings), document, f"Traceback (most recent call last):\n  …\n{why}"
        )

    def ask(self, study: str, settings: TrialSettings) -> None:
        Study(self.home, study).ask(self.id_of(settings), json.loads(settings.model_dump_json()))


def _history(pair: tuple[float, ...] | None) -> list[Epoch]:
    """Four epochs, the third the best."""
    if pair is None:
        return [Epoch(epoch, cccs=dict.fromkeys(AFFECT)) for epoch in range(1, 5)]
    epochs = []
    for epoch, share in enumerate((0.5, 0.8, 1.0, 0.9), start=1):
        valence, arousal = (share * value for value in pair)
        score = (valence + arousal) / 2
        epochs.append(Epoch(epoch, cccs={"valence": valence, "arousal": arousal}, score=score))
    return epochs


def make_world(folder: Path) -> World:
    """An empty home and the store."""
    return World(Home(folder / "home"), make_store(folder / "store"))


def fill(world: World) -> World:
    """Studies `main` (everything that can go wrong), `ablation`, `folds` and `mix`, and Table 6's
    file."""
    world.begin("main")
    for seed in (0, 1):
        world.add("main", world.settings("fau", "hubert", encoder="lstm", seed=seed), 0.25)
        world.add("main", world.settings("fau", "mae", "hubert", fusion="late", seed=seed), 0.2)
    for rate in (1e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3):
        world.add(
            "main", world.settings("mae", UNDERSCORED, encoder="gru", learning_rate=rate), 0.5
        )
    world.add("main", world.settings("mae", encoder="gru"), 0.6, stopped=True)
    world.fail("main", world.settings("mae", encoder="lstm"), f"ValueError: {HOSTILE} | no memory")
    world.ask("main", world.settings("hubert", encoder="lstm"))
    (world.bank.folder("main", "0123456789abcdef")).mkdir(parents=True)
    (world.bank.folder("main", "0123456789abcdef") / "trial.json").write_text('{"trial": ')
    world.begin("ablation")
    for features in (("fau",), ("fau", "mae"), ("fau", "hubert"), ("fau", "mae", "hubert")):
        for seed in (0, 1, 2):
            world.add("ablation", world.settings(*features, seed=seed), 0.7 - 0.15 * len(features))
    world.begin("folds")
    for seed in (0, 1):
        for fold in (1, "official"):
            world.add("folds", world.settings("fau", "hubert", layers=2, seed=seed, fold=fold))
    world.fail(
        "folds", world.settings("fau", "hubert", layers=2, seed=0, fold=2), "RuntimeError: diverged"
    )
    world.begin("mix")
    for seed in (0, 1):
        world.add("mix", world.settings("fau", seed=seed, fold=MIX))
    return world


def write_submissions(world: World, study: str, *, labelled: bool) -> None:
    """submissions.json as `va-search submissions` writes it, one strategy with a problem."""
    scores = {"valence": 0.61, "arousal": 0.65, "score": 0.63}
    row: dict[str, Any] = {
        "ensemble": "e",
        "members": {"valence": 7, "arousal": 12},
        "problem": None,
    }
    row |= {
        "measured_on": {"fold": "official", "recordings": 4, "reason": None},
        "in_sample": scores,
    }
    row |= {"out_of_fold": {**scores, "score": 0.6}, "test": scores if labelled else None}
    none = {"ensemble": None, "members": None, "in_sample": None, "out_of_fold": None, "test": None}
    rows = [
        {"submission": 1, "strategy": "Ensemble 1", "recipe": "ensemble_1", **row},
        {
            "submission": 5,
            "strategy": "6-Fold",
            "recipe": "six_fold",
            **none,
            "problem": f"no folds {HOSTILE}",
        },
    ]
    labels = "labels" if labelled else None
    document = {
        "made_at": "2026-01-01T00:00:00+00:00",
        "labels": labels,
        "studies": [study],
        "rows": rows,
    }
    write_json(world.home.study(study) / "submissions.json", document)
