"""A trial and its file: what is read is what was written, key for key, and nothing else is one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ensemble_world import make_store
from trial_world import make_trial

from va_search.trial import Failure, FoldKind, Trial, TrialState
from va_search.trial_settings import TrialSettings

SETTINGS = TrialSettings(features=("face",), encoder="gru").model_dump(mode="json")
ROW = {
    "epoch": 1,
    "loss": 0.5,
    "ccc_valence": 0.25,
    "ccc_arousal": 0.75,
    "score": 0.5,
    "learning_rate": 0.001,
    "seconds": 1.5,
    "frames_per_second": 1000.0,
    "outside_share": 0.125,
}
BEST = {
    "valence": {"ccc": 0.25, "epoch": 1},
    "arousal": {"ccc": 0.75, "epoch": 1},
    "score": {"value": 0.5, "epoch": 1},
}
NOWHERE = {
    "valence": {"ccc": 0.25, "epoch": None},
    "arousal": {"ccc": 0.75, "epoch": None},
    "score": {"value": 0.5, "epoch": None},
}
OVER_FOLDS = {"valence": {"ccc": 0.25}, "arousal": {"ccc": 0.75}, "score": {"value": 0.5}}
PREDICTIONS = {"validation": {"frames": 5, "frames_hash": "ab"}}
MADE = {"package_version": "0.1.0", "finished_at": "2025-01-02T10:00:00.000+00:00"}
STORE = {"store": "tiny", "store_path": "/stores/tiny"}

TRAINED = {
    "trial": "t1",
    "study": "s",
    "source": "trained",
    "settings": SETTINGS,
    "data_hash": "cd",
    **STORE,
    "best": BEST,
    "history": [ROW],
    "epochs": 1,
    "stopped": False,
    "seconds": 2.0,
    "training_seconds": 1.5,
    "frames_per_second": 1000.0,
    "device": "cpu",
    "node": "here",
    "remarks": ["one"],
    "resumed_at": [1],
    **MADE,
    "predictions": PREDICTIONS,
}
UNSCORED = {"ccc_valence": None, "ccc_arousal": None, "score": None}
MIXED = {
    **{key: TRAINED[key] for key in ("trial", "study", "source")},
    "settings": {**SETTINGS, "fold": "train_val_mix", "averaged_epochs": [16, 25]},
    "data_hash": "cd",
    **STORE,
    "best": {},
    "averaged_epochs": [16, 25],
    "history": [{**ROW, **UNSCORED}],
    "epochs": 1,
    **MADE,
    "predictions": PREDICTIONS,
}
OUTSIDE = {
    "trial": "outside-x",
    "study": "s",
    "source": "outside",
    "settings": None,
    "data_hash": "cd",
    **STORE,
    "best": NOWHERE,
    "history": [],
    "epochs": 0,
    "filled_frames": 0,
    "content": "ef",
    **MADE,
    "predictions": PREDICTIONS,
}
FOLDS = {
    "trial": "c1",
    "study": "s",
    "source": "folds",
    "settings": {**SETTINGS, "fold": "all"},
    **STORE,
    "folds_hash": "12",
    "trials": {"0": "t1", "1": "t2"},
    "content": "34",
    "best": OVER_FOLDS,
    "history": [],
    "seconds": 4.0,
    **MADE,
    "made_of": {"format": 1},
    "predictions": PREDICTIONS,
}
FAILED = {
    "trial": "t1",
    "study": "s",
    "source": "trained",
    "settings": SETTINGS,
    "failed": "Traceback\nValueError: no",
    **MADE,
}
ADOPTED = {**TRAINED, "study": "two", "trained_in": "s"}
OLD_ROW = {key: value for key, value in ROW.items() if key != "frames_per_second"}
OTHER_VERSION = {**TRAINED, "settings": {"forgotten": 1}, "history": [OLD_ROW]}


@pytest.mark.parametrize(
    "document",
    [TRAINED, MIXED, OUTSIDE, FOLDS, FAILED, ADOPTED, OTHER_VERSION],
    ids=["trained", "train_val_mix", "outside", "folds", "failed", "adopted", "other version"],
)
def test_a_file_is_read_and_written_to_the_byte(document: dict[str, Any]) -> None:
    assert json.dumps(Trial.from_json(document).to_json()) == json.dumps(document)


def test_what_a_file_says_is_typed() -> None:
    trial = Trial.from_json({**TRAINED, "unknown": 1})
    assert trial.settings == TrialSettings(features=("face",), encoder="gru")
    assert (trial.score, trial.ccc("valence"), trial.best["arousal"].epoch) == (0.5, 0.25, 1)
    assert (trial.fold, trial.label, trial.frames_hash("validation")) == ("official", "s/t1", "ab")
    assert trial.frames_hash("test") is None and trial.state is TrialState.COMPLETE
    assert trial.history[0].ccc("score") == 0.5
    mixed = Trial.from_json(MIXED)
    assert not mixed.has_validation and mixed.score is None
    failed = Trial.from_json(FAILED)
    assert failed.state is TrialState.FAILED
    assert failed.failure == Failure("Traceback\nValueError: no")
    assert Trial.from_json(OTHER_VERSION).settings is None


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "text",
        {},
        {"trial": "t1", "study": "s"},
        {"trial": "t1", "predictions": {}},
        {**TRAINED, "best": {"valence": {}}},
        {**TRAINED, "best": {"valence": {"ccc": "high"}}},
        {**TRAINED, "predictions": {"test": 3}},
    ],
)
def test_anything_else_is_no_trial(document: Any) -> None:
    with pytest.raises(ValueError, match="not a trial's record"):
        Trial.from_json(document)


def test_a_compact_trial_ranks_as_before() -> None:
    trial = Trial.from_json(TRAINED)
    compact = trial.compact()
    assert (compact.label, compact.best, compact.finished_at) == (
        trial.label,
        trial.best,
        trial.finished_at,
    )
    assert compact.settings is None and compact.settings_json is None and compact.history == ()


def test_folds_are_measured_on_what_they_validate(tmp_path: Any) -> None:
    store = make_store(tmp_path / "store")
    assert FoldKind("official").recordings(store) == store.split("validation")
    assert FoldKind("all").recordings(store) == store.labelled
    assert FoldKind("train_val_mix").recordings(store) == ()
    assert not FoldKind("train_val_mix").has_validation and FoldKind(1).has_validation


def test_a_trial_without_settings_is_of_every_store(tmp_path: Any) -> None:
    assert make_trial(source="outside").is_of(make_store(tmp_path / "store"))
