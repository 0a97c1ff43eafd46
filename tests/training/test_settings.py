"""A trial's id stands for what is computed, no more and no less."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from va_search.training.settings import TrialSettings, trial_id


def make(**changes: object) -> TrialSettings:
    return TrialSettings(**{"features": ("a", "b"), **changes})


def test_settings_without_effect_do_not_make_another_trial() -> None:
    assert make(encoder="gru", layers=2) == make(encoder="gru", attention_heads=8)
    assert make(hidden_size=64) == make(hidden_size=128)
    assert make(encoder="lstm", stride=10) == make(encoder="lstm")
    assert make(schedule="constant", warmup=0.3) == make()
    assert make(stride=150) == make()
    assert make(normalise="none", normalise_by="median_mad") == make(normalise="none")
    assert make(features=["b", "a", "a"]) == make()


@pytest.mark.parametrize(
    "changes",
    [{"seed": 1}, {"fold": 2}, {"learning_rate": 1e-4}, {"features": ("a",)}, {"encoder": "gru"}, {"clip": 5}],
)
def test_settings_with_effect_do(changes: dict[str, object]) -> None:
    assert trial_id(make(**changes), "data") != trial_id(make(), "data")


def test_other_data_is_another_trial_and_the_id_is_stable() -> None:
    assert trial_id(make(), "data") != trial_id(make(), "other")
    assert trial_id(make(), "data") == trial_id(TrialSettings(**make().model_dump(mode="json")), "data")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "lsmt"}, "encoder"),
        ({"width": 100, "attention_heads": 3}, "multiple of `attention_heads`"),
        ({"stride": 200}, "`stride <= segment_length` must hold"),
        ({"learning_rate": 0}, "greater than 0"),
        ({"learning_rte": 1}, "Extra inputs"),
        ({"loss_valence": 0, "loss_arousal": 0}, "can't both be 0"),
        ({"features": ()}, "at least 1"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**changes)


def test_defaults_are_the_papers() -> None:
    paper = make()
    found = (paper.width, paper.layers, paper.attention_heads, paper.encoder_dropout, paper.segment_length)
    assert found == (1024, 4, 4, 0.3, 150)
    assert (paper.head_sizes, paper.head_dropout, paper.epochs) == ((512, 256), 0.1, 30)
