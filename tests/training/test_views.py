"""Several normalisations side by side: each view is a copy of the columns, normalised its own way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from training_world import write_store
from trial_world import make_trial

from va_search.data.draft import Part
from va_search.data.normalise import Normalisation, columns_of_view, normalisation, side_by_side
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.models.menu import FUSIONS, NORMALISERS
from va_search.report.words import other_settings, varying
from va_search.search.importance import decisive_settings
from va_search.search.sizes import memory_of_trial, number_of_weights
from va_search.search.space import load_space
from va_search.training.examples import Examples
from va_search.training.features import modality_dims
from va_search.training.fit import Fit
from va_search.training.predict import build_model
from va_search.training.weights import load_model
from va_search.trial_settings import TrialSettings, trial_id

SMALL: dict[str, Any] = {
    "features": ("face", "voice"),
    "encoder": "gru",
    "width": 8,
    "hidden_size": 6,
    "head_sizes": (5,),
    "segment_length": 20,
    "epochs": 2,
    "normalise": ("subject", "recording"),
}


def make(**changes: Any) -> TrialSettings:
    return TrialSettings(**{**SMALL, **changes})


def with_holes(index: int, part: Part) -> Part:
    """A random world: a third of the faces' values are missing, and all of some frames."""
    random = np.random.default_rng(100 + index)
    face = np.array(part.features["face"], dtype=np.float64)
    face[random.random(face.shape) < 0.3] = np.nan
    face[random.random(len(face)) < 0.2] = np.nan
    return Part({**part.features, "face": face}, part.annotations, gaps=part.gaps)


@pytest.fixture(scope="module")
def holes(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("stores") / "holes", change=with_holes)


def test_views_are_written_in_one_order_and_a_single_one_is_its_name() -> None:
    assert make(normalise=["subject", "recording", "subject"]).normalise == ("recording", "subject")
    assert make(normalise=["train"]) == make(normalise="train")
    assert make(normalise=["none"], normalise_by="median_mad") == make(normalise="none")
    written = make(normalise_by="median_mad").model_dump(mode="json")
    assert written["normalise"] == ["recording", "subject"]
    assert TrialSettings(**written) == make(normalise_by="median_mad") != make()
    for names, message in (([], "found none"), (["subjct"], "did you mean 'subject'")):
        with pytest.raises(ValueError, match=message):
            make(normalise=names)


def test_ids_of_single_names_are_what_they_were() -> None:
    ids = {name: trial_id(make(normalise=name), "data", 1) for name in NORMALISERS}
    assert ids == {
        "none": "f89be39415bde2eb",
        "train": "bd2ccdb9af106e6c",
        "recording": "2ddb34eb079de1c0",
        "subject": "e4fcb867d9aed859",
    }


def test_columns_lie_set_after_set_and_view_after_view() -> None:
    first = Normalisation(np.array([[1.0, 2, 3]]), np.array([[1.0, 1, 1]]), {"a": 0, "b": 0})
    second = Normalisation(np.array([[7.0, 8, 9], [4, 5, 6]]), np.ones((2, 3)), {"a": 1, "b": 0})
    both = side_by_side([first, second], [2, 1])
    assert both.shift[both.group["a"]].tolist() == [1, 2, 4, 5, 3, 6]
    assert both.shift[both.group["b"]].tolist() == [1, 2, 7, 8, 3, 9]
    assert columns_of_view([2, 1], 2, 1).tolist() == [2, 3, 5]
    assert side_by_side([second], [2, 1]) is second


def reference(store: Store, settings: TrialSettings, recording: int) -> NDArray[np.float64]:
    """Inputs (steps, columns) of a recording without gaps, step by step and view by view."""
    fold = store.fold("official")
    chosen = store.recordings[recording]
    rows: list[list[float]] = []
    for start in range(chosen.start, chosen.stop, settings.frame_step):
        frames = slice(start, min(start + settings.frame_step, chosen.stop))
        row: list[float] = []
        for name in ("voice", "face"):
            values = store.features(name)[frames].astype(np.float64)
            for view in settings.views:
                own = normalisation(store, [name], fold, grouped=NORMALISERS[view].load())
                group = own.group[chosen.name]
                scaled = (values - own.shift[group]) * own.scale[group]
                if settings.clip is not None:
                    scaled = np.clip(scaled, -settings.clip, settings.clip)
                for column in scaled.T:
                    present = column[~np.isnan(column)]
                    row.append(present.mean() if len(present) else 0.0)
            if store.feature_sets[name].missing:
                row.append(1 - np.isnan(values).mean())
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("normalise", [("subject", "recording"), ("none", "train", "recording")])
@pytest.mark.parametrize(("frame_step", "clip"), [(1, None), (4, 1.0)])
def test_inputs_are_those_of_each_view(
    holes: Store, normalise: tuple[str, ...], frame_step: int, clip: float | None
) -> None:
    settings = make(normalise=normalise, frame_step=frame_step, clip=clip)
    data = Examples(settings, holes, torch.device("cpu"))
    expected = reference(holes, settings, 0)
    found = data.gather.inputs(data.train, np.array([[0, len(expected)]])).x[0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4)
    views = len(normalise)
    assert modality_dims(data.feature_sets, views) == {"audio": 2 * views, "visual": 3 * views + 1}


@pytest.mark.parametrize("normalise", [("subject", "recording"), ("train", "recording")])
@pytest.mark.parametrize("fusion", ["early", "late"])
def test_a_model_of_views_is_saved_and_predicts_again(
    holes: Store, tmp_path: Path, normalise: tuple[str, ...], fusion: str
) -> None:
    settings = make(normalise=normalise, fusion=fusion, clip=3.0, normalise_by="median_mad")
    fit = Fit(settings, holes)
    while not fit.finished:
        fit.run_epoch()
    fit.save_weights(tmp_path)
    model = load_model(tmp_path, "valence")
    assert (model.statistics is not None) == ("train" in normalise)
    if model.statistics is not None:  # of its own view alone, as a model of one view has them
        alone = Examples(make(normalise="train", normalise_by="median_mad"), holes, fit.device)
        np.testing.assert_array_equal(model.statistics[0], alone.statistics.shift[0])
    again = model.predict(holes, holes.split("test"))
    np.testing.assert_array_equal(again[:, 0], fit.predictions()["test"].values[:, 0])


def test_sizes_count_views_and_masks(holes: Store) -> None:
    for fusion in FUSIONS:
        for normalise in ("train", ("subject", "recording")):
            settings = make(fusion=fusion, normalise=normalise)
            model = build_model(settings, [*holes.feature_sets.values()])
            weights = sum(parameter.numel() for parameter in model.parameters())
            assert number_of_weights(settings, holes) == weights


SPACE = """
sampler: {sampler}
budget: {{trials: 12}}
settings:
  features: all
  encoder: gru
  width: 8
  hidden_size: 6
  head_sizes: [5]
  normalise: {{choice: [train, [subject, recording]]}}
  learning_rate: {{choice: [0.01, 0.02]}}
  clip: {{value: 3, when: {{normalise: [[recording, subject]]}}}}
"""


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])
def test_a_space_may_choose_views(tmp_path: Path, holes: Store, sampler: str) -> None:
    path = tmp_path / "space.yaml"
    text = SPACE.format(sampler=sampler)
    path.write_text(text if sampler != "grid" else text.replace("budget: {trials: 12}\n", ""))
    space = load_space(path, holes)
    assert space.size() == 4
    several = [space.trials(configuration)[0] for configuration in space.configurations()]
    assert {(trial.normalise, trial.clip) for trial in several} == {
        ("train", None),
        (("recording", "subject"), 3.0),
    }
    for trial in several:
        configuration = space.configuration(trial)
        assert configuration is not None and space.trials(configuration)[0] == trial
        parameters = space.optuna_parameters(trial)
        assert parameters is not None and "normalise" in parameters[0]
    assert memory_of_trial(space, holes) > 0
    assert varying(several) == ["normalise", "clip", "learning_rate"]
    assert "normalise recording+subject" in other_settings(several[-1], ["normalise"])
    trials = []
    for index in range(16):
        settings, value = several[index % 4], 0.1 * (index % 4)
        trials.append(make_trial(id=f"t{index}", settings=settings, ccc=(value, 0.1)))
    decisive = decisive_settings(trials, "valence")
    assert "normalise" in {each.setting for each in decisive}


def test_a_wrong_view_is_told_with_its_line(tmp_path: Path, holes: Store) -> None:
    path = tmp_path / "space.yaml"
    wrong = SPACE.format(sampler="random").replace("[subject, recording]", "[subjct, recording]")
    path.write_text(wrong)
    with pytest.raises(InputError, match=r"normalise.choice\[1\]: unknown normalise 'subjct'"):
        load_space(path, holes)
