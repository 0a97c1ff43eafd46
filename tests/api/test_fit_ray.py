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
from va_search.data.simulate import simulate

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
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300
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
