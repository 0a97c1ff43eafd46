"""A trial's weights: loaded in Python, and what is possible without them once they are cleaned
away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from serving_world import make_ensemble, train, write_store

from va_search.api.studies import clean_study
from va_search.api.study import open_study
from va_search.data.store import Store, frames_hash
from va_search.ensemble.saved import predict
from va_search.errors import InputError
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.serving.members import needed
from va_search.training.weights import TrainedModel

SETTINGS = {"features": ("voice",), "encoder": "gru", "epochs": 1}


def trained(folder: Path) -> tuple[Home, Store]:
    """A home whose study `first` has one trained trial, a."""
    home, store = Home(folder / "home"), write_store(folder / "store")
    train(Bank(home.bank), store, "first", "a", SETTINGS)
    return home, store


def test_the_lines_that_a_trial_shows_load_its_models_until_it_is_cleaned(tmp_path: Path) -> None:
    home, store = trained(tmp_path)
    bank = Bank(home.bank)
    trial = open_study("first", home=home.root).trial("a")
    names: dict[str, TrainedModel] = {}
    exec("\n".join(trial.python()), names)
    recordings = store.split("validation")
    hashed = frames_hash(recordings)
    for column, target in enumerate(store.target_names):
        values = names[target].predict(store, recordings)[:, column]
        kept = bank.column("first", "a", "validation", target, frames_hash=hashed)
        np.testing.assert_allclose(values, kept, atol=1e-5)

    cleaning = clean_study("first", home=home.root)
    assert cleaning.trials == ("a",)
    assert cleaning.freed == cleaning.weights.bytes > 0
    bank.check("first", "a")
    assert trial.weights == {}
    assert not any("load_model" in line for line in trial.python())
    # It may be a member still; only predicting anew is not possible.
    ensemble = make_ensemble(home, store, {target: {"a": 1.0} for target in store.target_names})
    assert predict(ensemble, bank, "test", store.split("test")).shape[1] == 2
    with pytest.raises(InputError, match=r"valence\.safetensors: no such file; the trial kept no"):
        needed(ensemble, bank)
