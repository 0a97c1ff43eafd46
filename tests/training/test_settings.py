"""A trial's id stands for what is computed, no more and no less."""

from __future__ import annotations

from typing import Any

import pytest
from ensemble_world import World, make_world
from pydantic import ValidationError

from va_search.trial import Trial
from va_search.trial_settings import (
    MEANING,
    TrialSettings,
    effective_settings,
    shown_settings,
    trial_id,
)


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
    [
        {"seed": 1},
        {"fold": 2},
        {"learning_rate": 1e-4},
        {"features": ("a",)},
        {"encoder": "gru"},
        {"clip": 5},
    ],
)
def test_settings_with_effect_do(changes: dict[str, object]) -> None:
    assert trial_id(make(**changes), "data") != trial_id(make(), "data")


def test_other_data_is_another_trial_and_the_id_is_stable() -> None:
    assert trial_id(make(), "data") != trial_id(make(), "other")
    assert trial_id(make(), "data") == trial_id(
        TrialSettings(**make().model_dump(mode="json")), "data"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "lsmt"}, "encoder"),
        ({"width": 100, "attention_heads": 3}, "multiple of `attention_heads`"),
        ({"stride": 200}, "`stride <= segment_length` must hold"),
        ({"learning_rate": 0}, "greater than 0"),
        ({"learning_rte": 1}, "unknown setting 'learning_rte'; did you mean 'learning_rate'?"),
        ({"loss_valence": 0, "loss_arousal": 0}, "can't both be 0"),
        ({"loss_valence": 0, "loss_arousal": 0, "loss_weights": {"liking": 0}}, "nothing to learn"),
        ({"loss_weights": {"liking": -1}}, "loss_weights.liking: .* greater than or equal to 0"),
        ({"loss_weights": {"liking": "much"}}, "loss_weights.liking: .* valid number"),
        ({"loss_weights": {"valence": 2}}, "the weight of valence is the setting loss_valence"),
        ({"loss_weights": 2}, "expected weights by target, found 2"),
        ({"features": ()}, "at least 1"),
        ({"keep": "first"}, "'best', 'last', 'mean_last_5' or 'ema'"),
        ({"keep": "ema", "ema_decay": 1}, "less than 1"),
        ({"feature_noise": float("inf")}, "finite number"),
        ({"label_delay": -1}, "greater than or equal to 0"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**changes)


def test_targets_are_weighed_by_name() -> None:
    settings = make(loss_valence=0.5, loss_weights={"liking": 2, "stress": 0})
    weights = [
        settings.loss_weight(name) for name in ("valence", "arousal", "liking", "stress", "x")
    ]
    assert weights == [0.5, 1.0, 2.0, 0.0, 1.0]
    assert settings.loss_weights == {"liking": 2.0, "stress": 0.0}


def test_a_targets_weight_counts_in_the_id_unless_it_is_1() -> None:
    weighed = make(loss_weights={"liking": 2})
    assert trial_id(weighed, "data") != trial_id(make(), "data")
    assert weighed == TrialSettings(**weighed.model_dump(mode="json"))
    assert make(loss_weights={}) == make()
    assert trial_id(make(loss_weights={"liking": 1}), "data") == trial_id(make(), "data")


def test_a_third_target_can_be_learnt_alone() -> None:
    alone = make(loss_valence=0, loss_arousal=0, loss_weights={"liking": 1})
    assert alone.loss_weights == {"liking": 1.0}
    assert TrialSettings(**alone.model_dump(mode="json")) == alone


def test_defaults_are_the_papers() -> None:
    paper = make()
    found = (
        paper.width,
        paper.layers,
        paper.attention_heads,
        paper.encoder_dropout,
        paper.segment_length,
    )
    assert found == (1024, 4, 4, 0.3, 150)
    assert (paper.head_sizes, paper.head_dropout, paper.epochs) == ((512, 256), 0.1, 30)


def test_the_ids_of_trials_that_homes_have_already_stay() -> None:
    """Golden: ids of the first meaning, computed before train_val_mix came. When one changes without
    a new meaning, every home trains everything again."""
    late: dict[str, object] = {
        "features": ("a",),
        "encoder": "transformer_lstm",
        "fusion": "late",
        "schedule": "step",
    }
    found = [
        make(),
        make(
            features=("fau", "ires100"), encoder="gru", hidden_size=64, seed=3, fold=2, normalise="subject",
            normalise_by="median_mad", clip=5.0,
        ),
        make(**late, patience=4, epochs=12),
    ]  # fmt: skip
    assert [trial_id(one, "data", 1) for one in found] == [
        "be9b3a4f65a99866",
        "e6b7f27cfdf78cb6",
        "96686017add7424a",
    ]


def test_ids_of_todays_meaning() -> None:
    """Golden: the meaning since dropout's noise is drawn another way."""
    assert MEANING == 3
    assert trial_id(make(), "data") == "f19223e1d3eb9e14"


def test_settings_added_later_leave_ids_as_they_were() -> None:
    """Golden: the defaults of what was added, written out."""
    added = make(
        keep="best", ema_decay=0.5, feature_noise=0, offset_jitter=0, gain_jitter=0, time_masking=0,
        modality_dropout=0, mixup=0, label_delay=0,
    )  # fmt: skip
    assert trial_id(added, "data", 1) == "be9b3a4f65a99866"
    kept = [make(keep=rule) for rule in ("last", "mean_last_5", "ema")]
    changed = [make(mixup=0.4), make(label_delay=1), make(keep="ema", ema_decay=0.9)]
    found = [trial_id(trial, "data", 1) for trial in (*kept, *changed)]
    assert found == [
        "027ff394687772cd",
        "450d99b74fe28d91",
        "ed699f20e2cd2601",
        "38cb73519bb1479b",
        "b52c0f2751929343",
        "50e200e960439300",
    ]


def test_a_mixed_trial_that_keeps_last_epochs_averages_no_others() -> None:
    mixed = make(fold="train_val_mix", keep="last", averaged_epochs=[16, 25])
    assert mixed == make(fold="train_val_mix", keep="last")
    assert (mixed.averaged_epochs, mixed.trained_epochs) == (None, 30)


def test_a_mixed_trial_is_another_one_and_its_epochs_count() -> None:
    mixed = make(fold="train_val_mix")
    assert mixed.averaged_epochs == (16, 25)
    assert trial_id(mixed, "data") == trial_id(
        make(fold="train_val_mix", averaged_epochs=[16, 25]), "data"
    )
    assert (
        len(
            {trial_id(one, "data") for one in (mixed, make(), mixed.model_copy(update={"seed": 1}))}
        )
        == 3
    )
    with pytest.raises(ValidationError, match="`patience` and schedule plateau need"):
        make(fold="train_val_mix", patience=3)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"), trials=1)


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"data_hash": "that of the day before"}, False),
        ({"settings": {"features": ["gone"]}}, False),
        ({"data_hash": None}, True),
        ({"data_hash": "that of the day before", "source": "outside", "settings": None}, True),
    ],
)
def test_a_trial_is_of_the_data_that_it_read(
    world: World, changes: dict[str, Any], same: bool
) -> None:
    document = {**world.bank.trial("first", "a0").to_json(), **changes}
    assert Trial.from_json(document).is_of(world.store) is same


def test_the_batches_of_a_model_that_sums_over_all_segments_are_not_shown() -> None:
    ridge = make(family="ridge", batch_size=8)
    assert "batch_size" not in shown_settings(ridge)
    # A space must state it all the same: it is in the trial's id.
    assert effective_settings(ridge)["batch_size"] == 8
    network = make(batch_size=8)
    assert shown_settings(network) == effective_settings(network)
