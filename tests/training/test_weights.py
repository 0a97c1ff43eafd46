"""Weights files that are missing, cut short or of something else; stores that don't fit them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.targets import affect
from va_search.training.fit import Fit
from va_search.training.weights import load_model
from va_search.trial_settings import TrialSettings


@pytest.fixture
def saved(tiny: Store, tmp_path: Path) -> Path:
    trial = TrialSettings(
        features=("face",), encoder="gru", width=8, hidden_size=8, head_sizes=(4,), epochs=1
    )
    fit = Fit(trial, tiny)
    fit.run_epoch()
    fit.save_weights(tmp_path / "trial")
    return tmp_path / "trial"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"valence\.safetensors: no such file"):
        load_model(tmp_path, "valence")


@pytest.mark.parametrize("kept", [0, 4, 200, 0.5])
def test_a_file_cut_short_is_refused(saved: Path, kept: float) -> None:
    path = saved / "valence.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept if kept > 1 else kept * len(whole))])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_model(saved, "valence")


def test_weights_of_another_program_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, str(tmp_path / "arousal.safetensors"))
    with pytest.raises(InputError, match="another program"):
        load_model(tmp_path, "arousal")


def test_the_same_weights_are_the_same_bytes(tiny: Store, saved: Path, tmp_path: Path) -> None:
    trial = load_model(saved, "valence").settings
    fit = Fit(trial, tiny)
    fit.run_epoch()
    fit.save_weights(tmp_path / "again")
    for name in ("valence.safetensors", "arousal.safetensors"):
        assert (saved / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_store_that_does_not_fit_is_refused(saved: Path, tmp_path: Path) -> None:
    description = Description(
        "other", affect(-1.0, 1.0), {"face": ("visual", ()), "pose": ("visual", ())}
    )
    draft = Draft(tmp_path / "other", description, [Source("a", "s", "a", "test", None, 30.0, ())])
    draft.add(0, Part({"face": np.zeros((9, 7)), "pose": np.zeros((9, 2))}))
    store = draft.finish()
    with pytest.raises(InputError, match="'face' has 7 columns, expected 3"):
        load_model(saved, "valence").predict(store, store.recordings)


def test_saving_before_training_is_a_mistake(tiny: Store, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="run_epoch"):
        Fit(TrialSettings(features=("face",), width=8, head_sizes=(4,)), tiny).save_weights(
            tmp_path
        )
