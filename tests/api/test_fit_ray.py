"""The whole way in one command, on real Ray: search, choose, train again on everything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import va_search as va
from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.simulate import simulate
from va_search.data.store import Store
from va_search.targets import affect

SPACE = """
sampler: grid
settings:
  features: all
  family: {choice: [network, ridge]}
  normalise: subject
  context: {value: recording, when: {family: [network]}}
  encoder: {value: gru, when: {family: [network]}}
  width: 8
  hidden_size: 8
  head_sizes: [8]
  learning_rate: 0.01
  segment_length: 100
  epochs: 6
  keep: mean_last_5
"""


def fit(folder: Path) -> dict[str, Any]:
    """Run `va-search fit` in the folder and return what it printed as JSON."""
    words = ["fit", "space.yaml", "--data", "store", "--name", "mine", "--out", "submission"]
    command = [sys.executable, "-m", "va_search.cli.main", *words, "--home", "home", "--json"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.slow
def test_fit_goes_from_a_store_to_test_predictions_and_trains_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = simulate(Path("store"), size="tiny")
    Path("space.yaml").write_text(SPACE)
    document = fit(tmp_path)
    assert document["recipe"] == "refit"
    assert document["recipe_document"]["of"] == "mine-chosen"
    assert document["measured_on"]["fold"] == "train_val_mix"

    # The members kept weights: predicted anew they give what was handed in.
    ensemble = va.open_ensemble("mine", home="home")
    predicted = ensemble.predict(store, "test")
    recordings = store.split("test")
    written = [pd.read_csv(f"submission/{recording.name}.csv") for recording in recordings]
    handed_in = pd.concat(written, ignore_index=True)
    for target in store.target_names:
        np.testing.assert_allclose(predicted[target], handed_in[target], atol=2e-4)

    bank = va.open_home("home").files.bank
    before = {path: path.stat().st_mtime_ns for path in bank.glob("mine*/*/trial.json")}
    assert len(before) == 4  # two chosen from, two trained again
    again = fit(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in bank.glob("mine*/*/trial.json")} == before
    assert again["dimensions"] == document["dimensions"]


def store_with_folds(folder: Path) -> Store:
    """Nine labelled people in three folds, the last of which validates, and a test person; the
    features are the annotations with noise."""
    sources: list[Source] = []
    for person in range(10):
        split, fold = ("train", "train", "validation")[person % 3], person % 3
        if person == 9:
            sources.append(Source("p9", "p9", "p9", "test", None, 10.0, ()))
        else:
            sources.append(Source(f"p{person}", f"p{person}", "clip", split, fold, 10.0, ()))
    sets: dict[str, tuple[str, tuple[str, ...]]] = {"face": ("visual", ("a", "b", "c"))}
    draft = Draft(folder, Description("folded", affect(-1.0, 1.0), sets), sources)
    for index in draft.missing():
        rng = np.random.default_rng(index)
        labels = np.clip(rng.normal(size=(120, 2)).cumsum(axis=0) / 20, -1, 1)
        features = np.column_stack([labels, labels.sum(axis=1)]) + rng.normal(size=(120, 3)) / 4
        draft.add(index, Part({"face": features}, labels if index < 9 else None))
    return draft.finish()


@pytest.mark.slow
def test_fit_races_over_the_folds_and_goes_on_with_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store_with_folds(Path("store"))
    Path("space.yaml").write_text(SPACE)
    document = fit(tmp_path)
    home = va.open_home("home")
    chosen = va.open_ensemble("mine-chosen", home=home)
    assert chosen.document.studies == ["mine-folds"]
    assert chosen.document.measured_on.fold == "all"
    bank = home.files.bank
    assert len(list(bank.glob("mine-search/*/trial.json"))) == 2
    raced = sorted(bank.glob("mine-folds/*/trial.json"))
    assert len(raced) == 6  # two of these are the search's
    before = {path: path.stat().st_mtime_ns for path in bank.glob("mine*/*/trial.json")}

    # As if it had been killed in the race, before this trial was written.
    lost = next(path for path in raced if not (bank / "mine-search" / path.parent.name).is_dir())
    lost.unlink()
    again = fit(tmp_path)
    after = {path: path.stat().st_mtime_ns for path in bank.glob("mine*/*/trial.json")}
    assert {path for path in before if before[path] != after[path]} == {lost}
    assert again["dimensions"] == document["dimensions"]
