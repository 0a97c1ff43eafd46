"""What a record becomes in MLflow, without MLflow."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from va_search.tracking.entries import best_of, run_name, text, times, trial_entries
from va_search.trial import Trial
from va_search.trial_settings import TrialSettings


def test_every_setting_is_a_flat_param(records: Any) -> None:
    params = trial_entries(records.trained(1), ()).params
    assert set(params) == {*TrialSettings.model_fields, "source"}
    assert params["features"] == "face+voice"
    assert params["head_sizes"] == "512+256"
    assert params["stride"] == "none"
    assert params["compile"] == "false"
    assert params["source"] == "trained"


def test_models_from_elsewhere_and_failures_have_the_same_params(records: Any) -> None:
    keys = set(records.trained(1).settings_json)
    whole = trial_entries(records.trained(1), keys).params
    assert trial_entries(records.outside("SAIL"), keys).params.keys() == whole.keys()
    assert trial_entries(records.outside("SAIL"), keys).params["encoder"] == "-"
    assert trial_entries(records.failed(1), keys).params == whole


def test_a_family_without_networks_shows_no_settings_of_networks(records: Any) -> None:
    for family, option in (("ridge", "family.alpha"), ("boosting", "family.leaves")):
        settings = TrialSettings(features=("face",), family=family)
        trial = replace(records.trained(1), settings_json=settings.model_dump(mode="json"))
        params = trial_entries(trial, ("encoder",)).params
        assert params["family"] == family
        assert params[option] != "-"
        assert params["encoder"] == params["learning_rate"] == params["epochs"] == "-"
        assert run_name(trial).startswith(f"{family} face seed 0 (")


def test_metrics_have_their_epoch_and_a_time_that_repeats(records: Any) -> None:
    metrics = trial_entries(records.trained(2), ()).metrics
    valence = [(value, time, step) for name, value, time, step in metrics if name == "ccc_valence"]
    assert [step for *_, step in valence] == [1, 2, 3]
    assert [later[1] - sooner[1] for sooner, later in itertools.pairwise(valence)] == [2000, 2000]
    assert {name for name, *_ in metrics} == {
        *("ccc_valence", "ccc_arousal", "score", "loss", "learning_rate"),
        *("best_ccc_valence", "best_ccc_arousal", "best_score", "frames_per_second", "seconds"),
    }
    assert metrics == trial_entries(records.trained(2), ()).metrics


def test_best_values_stand_once_at_their_epoch(records: Any) -> None:
    metrics = trial_entries(records.trained(2), ()).metrics
    best = {name: (value, step) for name, value, _, step in metrics if name.startswith("best_")}
    assert best == {
        "best_ccc_valence": (0.32, 3),
        "best_ccc_arousal": (0.62, 3),
        "best_score": (0.47, 3),
    }
    assert sum(name.startswith("best_") for name, *_ in metrics) == 3


def test_a_failure_has_no_metrics_and_tells_its_reason(records: Any) -> None:
    entries = trial_entries(records.failed(2), ())
    assert entries.metrics == []
    assert entries.tags["va_search.failed"] == "ValueError: the loss became nan"
    assert trial_entries(records.trained(2), ()).tags["va_search.failed"] == ""


def test_tags_find_a_trial(records: Any) -> None:
    tags = trial_entries(records.trained(2), ()).tags
    expected = {
        "va_search.study": "night",
        "va_search.trial": f"{2:016x}",
        "va_search.fold": "official",
        "va_search.data_hash": "ab" * 32,
        "va_search.version": "0.1.0",
        "va_search.device": "cpu",
        "va_search.source": "trained",
    }
    assert expected.items() <= tags.items()


def test_names_tell_trials_apart(records: Any) -> None:
    names = [run_name(records.trained(number)) for number in range(8)]
    assert names[1] == "gru face+voice seed 1 (000000)"
    assert len(set(names)) == 8
    settings = {
        **records.trained(1).settings_json,
        "features": [f"feature_set_{i}" for i in range(9)],
        "fold": 3,
    }
    many = records.trained(1, settings_json=settings)
    assert run_name(many) == "gru 9 feature sets seed 1 fold 3 (000000)"
    assert run_name(records.outside("SAIL")) == "SAIL"


def test_times_are_those_of_the_training(records: Any) -> None:
    start, end = times(records.trained(1))
    assert end - start == 6000
    assert end == 1735812000000


def test_values_as_people_read_them() -> None:
    assert [text(value) for value in (None, True, 5e-05, ["a", 2], "x")] == [
        "none",
        "true",
        "5e-05",
        "a+2",
        "x",
    ]


def test_a_trial_without_validation_logs_its_loss_and_says_so(records: Any) -> None:
    record = unvalidated(records.trained(2))
    entries = trial_entries(record, ())
    assert {name for name, *_ in entries.metrics} == {
        "loss",
        "learning_rate",
        "frames_per_second",
        "seconds",
    }
    assert [step for name, _, _, step in entries.metrics if name == "loss"] == [1, 2, 3]
    assert entries.tags["va_search.validation"] == "none"
    assert entries.tags["va_search.fold"] == "train_val_mix"
    assert entries.params["averaged_epochs"] == "2+3"
    assert "va_search.validation" not in trial_entries(records.trained(2), ()).tags
    assert best_of(record) == {}


def unvalidated(trial: Trial) -> Trial:
    """The trial as one on train_val_mix."""
    unscored = {"ccc_valence": None, "ccc_arousal": None, "score": None}
    history = [{**row, **unscored} for row in trial.history_json]
    settings = {**trial.settings_json, "fold": "train_val_mix", "averaged_epochs": [2, 3]}
    return replace(
        trial, settings_json=settings, best={}, history_json=history, averaged_epochs=(2, 3)
    )
