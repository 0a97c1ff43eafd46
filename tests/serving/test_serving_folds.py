"""Predicting anew with configurations over folds and with blends; what keeps no weights is refused
by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from serving_world import Served, make_ensemble, read_folder, train, write_store

from va_search.data.store import MIX, Store, frames_hash
from va_search.ensemble.build import build
from va_search.ensemble.recipe import load_recipe, read_recipe
from va_search.errors import InputError
from va_search.home import Home
from va_search.predictions.bank import Bank, Predictions
from va_search.serving.members import members_of
from va_search.serving.predict import write_predictions
from va_search.serving.served import Served as Folder
from va_search.serving.served import write_served
from va_search.submission import submit

FOLDS = {"r00": 0, "r01": 0, "r02": 1, "r03": 1, "r04": 2, "r05": 2, "r06": 2}
CONFIGURATIONS = (
    {"features": ("face",), "encoder": "gru", "epochs": 1},
    {"features": ("voice",), "encoder": "lstm", "epochs": 1},
)
MEAN = read_recipe(
    "mean", {"method": "mean", "members": {"folds": "all"}, "smooth": {"seconds": 0.2}}
)


@pytest.fixture(scope="module")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Two configurations trained on three folds, the last of them the official split; and one trial
    of the mix."""
    folder = tmp_path_factory.mktemp("folded")
    path = write_store(folder / "store").path
    (path / "folds.json").write_text(json.dumps({"folds": FOLDS}))
    store, home = Store.open(path), Home(folder / "home")
    assert store.official_fold == 2
    for number, settings in enumerate(CONFIGURATIONS):
        for fold in (0, 1, "official"):
            train(Bank(home.bank), store, "first", f"c{number}-{fold}", {**settings, "fold": fold})
    record = Bank(home.bank).trial("first", "c0-official")
    test = store.split("test")
    values = (
        np.random.default_rng(0)
        .uniform(1, 9, size=(sum(one.frames for one in test), 2))
        .astype(np.float32)
    )
    settings = {**record.settings_json, "fold": MIX}
    mixed = replace(record, study="mix", id="m0", settings_json=settings, best={})
    Bank(home.bank).write(mixed, {"test": Predictions(values, frames_hash(test))})
    return Served(home, store, build(home, ["first"], MEAN, "over"))


def test_a_configuration_over_folds_is_predicted_by_its_folds_models(
    folded: Served, tmp_path: Path
) -> None:
    weights = members_of(folded.ensemble)
    assert len(weights) == 6
    assert all(one.by_target["valence"] == (pytest.approx(1 / 6),) for one in weights)
    submit(folded.ensemble, folded.store, folded.bank, format="recordings", out=tmp_path / "bank")
    written = write_predictions(
        folded.ensemble, folded.bank, folded.store, "test", tmp_path / "weights"
    )
    assert written.members == 6 and written.from_bank is not None and written.from_bank < 1e-5
    found = [read_folder(tmp_path / name, folded.store) for name in ("bank", "weights")]
    assert np.abs(found[0] - found[1]).max() < 1e-5 and np.ptp(found[0], axis=0).min() > 0.01
    validation = write_predictions(
        folded.ensemble, folded.bank, folded.store, "validation", tmp_path / "validation"
    )
    assert validation.from_bank is None  # the bank has each recording from one trial only


def test_a_blend_is_predicted_part_by_part_and_served(folded: Served, tmp_path: Path) -> None:
    (tmp_path / "folds.yaml").write_text(
        "method: mean\nmembers: {folds: all}\nsmooth: {seconds: 0.3}\n"
    )
    (tmp_path / "one.yaml").write_text("method: best\nmatch: true\nmembers: {folds: official}\n")
    (tmp_path / "both.yaml").write_text("method: blend\nof: {folds: 0.25, one: 0.75}\n")
    built = build(folded.home, ["first"], load_recipe(tmp_path / "both.yaml"), "both")
    submit(built, folded.store, folded.bank, format="recordings", out=tmp_path / "bank")
    written = write_predictions(built, folded.bank, folded.store, "test", tmp_path / "weights")
    assert written.members == 6 and written.from_bank is not None and written.from_bank < 1e-5
    shares = {one.trial: one.by_target["valence"] for one in members_of(built)}
    assert np.sum(list(shares.values()), axis=0) == pytest.approx([1.0, 1.0])
    found = [read_folder(tmp_path / name, folded.store) for name in ("bank", "weights")]
    assert np.abs(found[0] - found[1]).max() < 1e-5
    (tmp_path / "served").mkdir()
    write_served(tmp_path / "served", built, folded.bank, 25.0)
    assert len(Folder.open(tmp_path / "served").members) == 6


def test_members_without_weights_are_named(folded: Served, tmp_path: Path) -> None:
    recipe = read_recipe("mix", {"method": "mean", "members": {"folds": "train_val_mix"}})
    built = build(folded.home, ["mix"], recipe, "mix")
    submit(built, folded.store, folded.bank, format="recordings", out=tmp_path / "bank")
    with pytest.raises(
        InputError,
        match=r"members of fold train_val_mix with keep: best, whose .* keep no weights: mix/m0 \(weight in",
    ):
        write_predictions(built, folded.bank, folded.store, "test", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_ensemble_of_single_trials_has_one_weight_each(own: Served) -> None:
    ensemble = make_ensemble(
        own.home, own.store, {"valence": {"a": 1.0}, "arousal": {"a": 0.5, "b": 0.5}}, "two"
    )
    assert {one.trial: one.by_target for one in members_of(ensemble)} == {
        "a": {"valence": (1.0,), "arousal": (0.5,)},
        "b": {"arousal": (0.5,)},
    }
