"""Missing values: left out of the statistics, zero in a model's input, and told to the model."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from training_world import write_store

from va_search.data.draft import Part
from va_search.data.normalise import centre_and_spread
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.models.menu import FUSIONS
from va_search.training.batches import Steps
from va_search.training.examples import Examples
from va_search.training.features import modality_dims
from va_search.training.fit import Fit, fit_of
from va_search.training.predict import segments_of
from va_search.training.weights import load_model
from va_search.trial_settings import TrialSettings

SMALL = {
    "features": ("face", "voice"),
    "encoder": "gru",
    "width": 8,
    "hidden_size": 8,
    "head_sizes": (8,),
    "segment_length": 20,
    "epochs": 2,
}


def lacking(index: int, part: Part) -> Part:
    """No face in some frames of each recording, one cell gone in others, none in the last two."""
    face = np.array(part.features["face"], dtype=np.float64)
    face[3:9] = np.nan
    face[12, 1] = np.nan
    if index >= 9:
        face[:] = np.nan
    return Part({**part.features, "face": face}, part.annotations, gaps=part.gaps)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("stores") / "lacking", change=lacking)


@pytest.mark.parametrize("robust", [False, True])
def test_statistics_are_those_of_the_values_that_are_there(robust: bool) -> None:
    random = np.random.default_rng(0)
    values = (random.normal(size=(300, 4)) * 3 + 1e4).astype(np.float32)
    values[random.random(values.shape) < 0.3] = np.nan
    values[:150, 2] = np.nan
    values[:, 3] = np.nan
    centre, spread = centre_and_spread(values, [(0, 100), (150, 300)], robust=robust, missing=True)
    rows = np.concatenate([values[:100], values[150:]]).astype(np.float64)
    for column in range(3):
        present = rows[~np.isnan(rows[:, column]), column]
        middle = np.median(present) if robust else present.mean()
        width = 1.4826 * np.median(np.abs(present - middle)) if robust else present.std()
        assert (centre[column], spread[column]) == pytest.approx((middle, width), rel=1e-9)
    assert (centre[3], spread[3]) == (0, 1)


@pytest.mark.parametrize("frame_step", [1, 4])
@pytest.mark.parametrize("normalise", ["none", "train", "recording"])
def test_inputs_are_zero_where_a_value_is_missing_and_say_so(
    store: Store, normalise: str, frame_step: int
) -> None:
    settings = TrialSettings(**{**SMALL, "normalise": normalise, "frame_step": frame_step})
    data = Examples(settings, store, torch.device("cpu"))
    assert modality_dims(data.feature_sets) == {"audio": 2, "visual": 4}
    recording = store.recordings[0]
    steps = Steps.of(store, (recording,), frame_step, data.statistics.group)
    x = data.gather.inputs(steps, np.array([[0, len(steps)]])).x
    row = data.statistics.group[recording.name]
    shift, scale = data.statistics.shift[row], data.statistics.scale[row]
    for step, (frame, count) in enumerate(zip(steps.frame, steps.count, strict=True)):
        frames = slice(frame, frame + count)
        voice = (store.features("voice")[frames] - shift[:2]) * scale[:2]
        face = (store.features("face")[frames] - shift[2:]) * scale[2:]
        share = 1 - np.isnan(face).mean(axis=1, keepdims=True)
        # over the frames that have the value: a missing one does not pull the step towards zero
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, of a step without any
            mean = np.nan_to_num(np.nanmean(face, axis=0), nan=0.0)
        expected = np.concatenate([voice.mean(axis=0), mean, share.mean(axis=0)])
        np.testing.assert_allclose(x[0, step].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_trial_trains_is_saved_and_predicts_again(
    store: Store, tmp_path: Path, fusion: str
) -> None:
    fit = Fit(TrialSettings(**{**SMALL, "fusion": fusion}), store)
    while not fit.finished:
        assert np.isfinite(fit.run_epoch().loss)
    expected = fit.predictions()["test"].values
    assert np.isfinite(expected).all()  # also where a whole recording has no face
    fit.save_weights(tmp_path)
    again = load_model(tmp_path, "valence").predict(store, store.split("test"))
    np.testing.assert_array_equal(again[:, 0], expected[:, 0])


def test_a_model_trained_without_missing_values_refuses_them(store: Store, tmp_path: Path) -> None:
    whole = write_store(tmp_path / "whole")
    fit = Fit(TrialSettings(**{**SMALL, "epochs": 1}), whole)
    fit.run_epoch()
    fit.save_weights(tmp_path)
    with pytest.raises(InputError, match="'face' lacks values, and the model was trained where"):
        load_model(tmp_path, "valence").predict(store, store.split("test"))
    assert "missing" not in repr((tmp_path / "whole" / "manifest.json").read_text())


def test_to_trees_a_missing_value_stays_one(store: Store, tmp_path: Path) -> None:
    settings = TrialSettings(
        features=("face", "voice"), family="boosting", frame_step=2, **{"family.iterations": 5}
    )
    fit = fit_of(settings, store)
    steps = fit.data.train
    segments, _ = segments_of(settings, steps)
    x = fit.data.gather.inputs(steps, segments).x
    assert bool(x.isnan().any())
    fit.run_epoch()
    fit.save_weights(tmp_path)
    model = load_model(tmp_path, "valence")
    predicted = model.predict(store, store.split("test"))
    assert np.isfinite(predicted).all()
    np.testing.assert_allclose(predicted, fit.predictions()["test"].values, atol=1e-6)
