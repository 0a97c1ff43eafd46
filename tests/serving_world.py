"""A small challenge with really trained trials and an ensemble of them, for the tests of predicting
from weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from trial_world import make_trial

from va_search.data.arrays import Values
from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store, frames_hash, positions
from va_search.ensemble.saved import Ensemble, save_ensemble
from va_search.files import write_json
from va_search.home import Home
from va_search.metrics import ccc
from va_search.predictions.bank import Bank
from va_search.submission import predict
from va_search.targets import AFFECT, affect
from va_search.training.fit import fit_of
from va_search.trial import Best
from va_search.trial_settings import TrialSettings

SPLITS = ["train"] * 4 + ["validation"] * 3 + ["test"] * 4
FRAMES = [97, 83, 120, 64, 90, 71, 55, 101, 60, 77, 1]
SUBJECTS = [
    "s0",
    "s0",
    "s1",
    "s2",
    "s3",
    "s4",
    "s4",
    "s5",
    "s6",
    "s5",
    "s7",
]  # s5's two recordings lie apart
SETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "face": ("visual", ("smile", "AU 04", "gaze.x")),
    "unused": ("visual", ()),
    "voice": ("audio", ()),
}
RANGE = (0.5, 9.5)
SMALL: dict[str, Any] = {
    "width": 8,
    "hidden_size": 8,
    "head_sizes": (4,),
    "segment_length": 20,
    "epochs": 2,
}
TRIALS: dict[str, dict[str, Any]] = {
    "a": {"features": ("face", "voice"), "encoder": "gru", "normalise": "train", "frame_step": 2},
    "b": {"features": ("voice", "face"), "encoder": "transformer", "fusion": "late", "layers": 1, "attention_heads": 2,
          "feed_forward": 8, "normalise": "subject", "stride": 7},
    "c": {"features": ("face",), "encoder": "lstm", "normalise": "recording", "normalise_by": "median_mad", "clip": 3.0,
          "epochs": 1},
}  # fmt: skip
WEIGHTS = {"valence": {"a": 0.5, "b": 0.3, "c": 0.2}, "arousal": {"b": 0.6, "c": 0.4}}


def write_store(
    folder: Path,
    *,
    sets: dict[str, tuple[str, tuple[str, ...]]] = SETS,
    dims: dict[str, int] | None = None,
    time_column: str | None = "time",
    splits: list[str] = SPLITS,
    prefix: str = "r",
) -> Store:
    """Eleven recordings; the third and the eighth (test) have a gap; features follow the
    annotations with noise."""
    dims = {"face": 3, "unused": 2, "voice": 2, **(dims or {})}
    sources = [
        Source(f"{prefix}{i:02d}", SUBJECTS[i], f"{prefix}{i:02d}", split, None, 25.0, ())
        for i, split in enumerate(splits)
    ]
    draft = Draft(
        folder, Description("served", affect(*RANGE), sets, time_column=time_column), sources
    )
    for index in draft.missing():
        draft.add(
            index,
            _part(index, {name: dims[name] for name in sets}, labelled=splits[index] != "test"),
        )
    return draft.finish()


def _part(index: int, dims: dict[str, int], *, labelled: bool) -> Part:
    rng, frames = np.random.default_rng(index), FRAMES[index]
    truth = 5.0 + 3.0 * np.tanh(np.cumsum(rng.normal(size=(frames, 2)), axis=0) / 4)
    features: dict[str, Values] = {}
    for name, dim in dims.items():
        one = np.random.default_rng(
            [index, *name.encode()]
        )  # the same whatever other sets there are
        mix = np.random.default_rng([*name.encode()]).normal(size=(2, dim))
        features[name] = truth @ mix + one.normal(size=(frames, dim))
    times = 40.0 * np.arange(frames)
    return Part(features, truth if labelled else None, times, gaps=(50,) if index in (2, 7) else ())


@dataclass
class Served:
    """A home with a bank of trained trials, their store, and the ensemble `mix` of them."""

    home: Home
    store: Store
    ensemble: Ensemble

    @property
    def bank(self) -> Bank:
        return Bank(self.home.bank)

    def weights(self, trial: str, dimension: str = "valence") -> Path:
        return self.bank.folder("first", trial) / f"{dimension}.safetensors"


def train(bank: Bank, store: Store, study: str, trial: str, settings: dict[str, Any]) -> None:
    """One complete trial, as a search leaves it."""
    fit = fit_of(TrialSettings(**{**SMALL, **settings}), store)
    while not fit.finished:
        fit.run_epoch()
    fit.save_weights(bank.folder(study, trial))
    record = make_trial(study, trial, settings=fit.settings, on=store)
    best = {**fit.best, "score": Best(0.0, 1)}
    bank.write(replace(record, best=best), fit.predictions())


def make_ensemble(
    home: Home,
    store: Store,
    weights: dict[str, dict[str, float]],
    name: str = "mix",
    *,
    post: dict[str, dict[str, Any]] | None = None,
    outside: tuple[str, ...] = (),
) -> Ensemble:
    """An ensemble with these weights, saved, whose in-sample scores are what the bank gives."""
    dimensions = {}
    for dimension in AFFECT:
        members = [
            {"study": "first", "trial": trial, "weight": weight, "ccc": 0.5}
            | {"source": "outside" if trial in outside else "trained"}
            for trial, weight in weights[dimension].items()
        ]
        scores = {"in_sample": 0.0, "out_of_fold": None}
        single = {"study": "first", "trial": members[0]["trial"], "scores": scores}
        dimensions[dimension] = {
            "recipe": {},
            "members": members,
            "scores": scores,
            "best_single": single,
        }
        dimensions[dimension] |= {"post": post[dimension]} if post else {}
    measured_on = {
        "split": "validation",
        "fold": "official",
        "recordings": 3,
        "labelled_frames": 216,
        "folds": 0,
    }
    validation = store.split("validation")
    document: dict[str, Any] = {
        "name": name, "recipe": "by_hand", "recipe_document": {}, "created_at": "2025-01-01T00:00:00+00:00",
        "package_version": "0", "studies": ["first"], "store": str(store.path.resolve()), "store_name": store.name,
        "label_range": RANGE, "frames_hash": frames_hash(validation),
        "test_frames_hash": frames_hash(store.split("test")), "candidates": 3, "left_out": {}, "notes": [],
        "measured_on": {**measured_on, "kept_together": "subject", "reason": "one"}, "dimensions": dimensions,
        "scores": {"in_sample": None, "out_of_fold": None}, "best_single": {"in_sample": None, "out_of_fold": None},
    }  # fmt: skip
    ensemble = Ensemble.model_validate(document)
    if not outside:
        found = predict(ensemble, Bank(home.bank), "validation", validation)
        truth = store.annotations[positions(validation)]
        for index, dimension in enumerate(AFFECT):
            dimensions[dimension]["scores"] = {
                "in_sample": ccc(found[:, index], truth[:, index]),
                "out_of_fold": None,
            }
        ensemble = Ensemble.model_validate(document)
    if outside:  # their predictions are in no bank, so that nothing can be pinned
        write_json(home.ensemble(name), ensemble.model_dump(mode="json"))
        return ensemble
    return save_ensemble(home, ensemble)


def make_served(folder: Path) -> Served:
    """Train the trials, a few seconds, and save the ensemble `mix`."""
    store, home = write_store(folder / "store"), Home(folder / "home")
    for trial, settings in TRIALS.items():
        train(Bank(home.bank), store, "first", trial, settings)
    return Served(home, store, make_ensemble(home, store, WEIGHTS))


def read_folder(folder: Path, store: Store, split: str = "test") -> NDArray[np.float64]:
    """(frames, 2) of a written folder, in the store's order."""
    parts = [
        np.loadtxt(folder / f"{recording.name}.csv", delimiter=",", skiprows=1, ndmin=2)[:, -2:]
        for recording in store.split(split)
    ]
    return np.concatenate(parts)
