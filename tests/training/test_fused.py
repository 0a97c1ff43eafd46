"""Trials trained as one model are the trials trained alone, each with its own order, rate,
schedule, best and end."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
import torch

from va_search.data.store import Store
from va_search.errors import InputError
from va_search.training.checkpoint import NAME
from va_search.training.fit import Fit
from va_search.training.fused import Fused, fits_of, unfusable
from va_search.training.weights import load_model
from va_search.trial_settings import TrialSettings

CLOSE = 2e-4
"""Losses and CCCs may differ by so much, predictions by this share of the label range: rounding,
after some epochs."""

VARIATIONS = [(0, 5e-3), (1, 5e-3), (2, 1e-3)]


def settings(seed: int = 0, learning_rate: float = 5e-3, **changes: object) -> TrialSettings:
    small: dict[str, object] = {
        "features": ("face", "voice"), "segment_length": 30, "width": 16, "layers": 2, "attention_heads": 2,
        "feed_forward": 16, "head_sizes": (16,), "batch_size": 4, "epochs": 4, "encoder_dropout": 0.2,
        "clip_gradient": 0.5,
    }  # fmt: skip
    return TrialSettings(**(small | {"seed": seed, "learning_rate": learning_rate} | changes))


def alone(trial: TrialSettings, store: Store) -> Fit:
    fit = Fit(trial, store)
    while not fit.finished:
        fit.run_epoch()
    return fit


def together(trials: list[TrialSettings], store: Store) -> Fused:
    fused = Fused(fits_of(trials, store))
    while not fused.finished:
        fused.run_epoch()
    return fused


def assert_same(one: Fit, other: Fit) -> None:
    """The same history, best epochs and predictions, but for rounding."""
    assert [epoch.epoch for epoch in one.history] == [epoch.epoch for epoch in other.history]
    for name in ("loss", "ccc_valence", "ccc_arousal"):
        values = [[epoch.to_json()[name] for epoch in fit.history] for fit in (one, other)]
        assert values[0] == pytest.approx(values[1], abs=CLOSE), name
    rates = [[epoch.learning_rate for epoch in fit.history] for fit in (one, other)]
    assert rates[0] == rates[1]
    assert {name: best.epoch for name, best in one.best.items()} == {
        n: best.epoch for n, best in other.best.items()
    }
    for split, found in one.predictions().items():
        np.testing.assert_allclose(found.values, other.predictions()[split].values, atol=9 * CLOSE)
        assert found.frames_hash == other.predictions()[split].frames_hash


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fusion": "late", "heads": "shared", "optimiser": "adamw", "schedule": "one_cycle"},
        {
            "frame_step": 4,
            "segment_length": 10,
            "stride": 4,
            "schedule": "plateau",
            "schedule_epochs": 1,
            "clip": 2.0,
        },
        {
            "schedule": "warmup_cosine",
            "normalise": "recording",
            "encoder_dropout": 0.0,
            "clip_gradient": None,
        },
        {
            "keep": "mean_last_5",
            "stride": 7,
            "feature_noise": 0.3,
            "mixup": 0.4,
            "label_delay": 0.2,
        },
        {
            "keep": "ema",
            "ema_decay": 0.9,
            "offset_jitter": 0.3,
            "gain_jitter": 0.3,
            "time_masking": 0.2,
            "modality_dropout": 0.3,
        },
        {"encoder": "tcn", "loss": "ccc_mse", "loss_smoothness": 0.2, "schedule": "linear"},
        {"encoder": "mlp", "fusion": "late", "schedule": "cosine"},
    ],
    ids=lambda one: one.get("schedule", one.get("keep", "constant")),
)
def test_a_fused_trial_is_the_one_trained_alone(tiny: Store, changes: dict[str, object]) -> None:
    trials = [settings(seed, rate, **changes) for seed, rate in VARIATIONS]
    for fit, trial in zip(together(trials, tiny).fits, trials, strict=True):
        assert_same(fit, alone(trial, tiny))


def test_it_does_not_depend_on_who_else_is_in_the_group(tiny: Store) -> None:
    pair = together([settings(0), settings(1)], tiny)
    three = together([settings(seed, rate) for seed, rate in VARIATIONS], tiny)
    assert_same(pair.fits[1], three.fits[1])


def test_batches_without_labels_enough_count_for_the_schedule_only(make_store) -> None:
    def one_labelled_stretch(index: int, part):
        if index != 1 and index < 6:
            part.annotations[5:-1] = np.nan
        return part

    store = make_store("sparse", change=one_labelled_stretch)
    trials = [settings(seed, batch_size=1, schedule="one_cycle", epochs=2) for seed in range(3)]
    for fit, trial in zip(together(trials, store).fits, trials, strict=True):
        assert_same(fit, alone(trial, store))


def test_train_val_mix_averages_the_same_predictions(tiny: Store) -> None:
    trials = [settings(seed, fold="train_val_mix", averaged_epochs=(2, 3)) for seed in range(2)]
    for fit, trial in zip(together(trials, tiny).fits, trials, strict=True):
        found, expected = (one.predictions()["test"].values for one in (fit, alone(trial, tiny)))
        np.testing.assert_allclose(found, expected, atol=9 * CLOSE)


def test_one_that_is_finished_earlier_leaves_the_others_as_they_are(tiny: Store) -> None:
    trials = [
        settings(seed, rate, patience=1, epochs=12)
        for seed, rate in [(0, 0.5), (1, 5e-3), (3, 1e-3)]
    ]
    fits = together(trials, tiny).fits
    assert len({len(fit.history) for fit in fits}) > 1, "all ended together: this tests nothing"
    for fit, trial in zip(fits, trials, strict=True):
        assert_same(fit, alone(trial, tiny))


@pytest.mark.filterwarnings("ignore:overflow")
def test_one_that_diverges_is_told_and_spoils_no_other(tiny: Store) -> None:
    trials = [settings(0), settings(1, 1e30, clip_gradient=0.5), settings(2)]
    fused = together(trials, tiny)
    assert list(fused.diverged) == [1]
    assert "became" in str(fused.diverged[1])
    for at in (0, 2):
        assert_same(fused.fits[at], alone(trials[at], tiny))


def test_a_killed_group_goes_on_from_the_checkpoints_of_each(tiny: Store, tmp_path: Path) -> None:
    trials = [settings(seed, schedule="one_cycle") for seed in range(3)]
    first = Fused(fits_of(trials, tiny))
    first.run_epoch()
    first.fits[0].save(tmp_path / "0")
    first.run_epoch()
    for at in (1, 2):
        first.fits[at].save(
            tmp_path / str(at)
        )  # killed between the first's checkpoint and the others'
    again = Fused(fits_of(trials, tiny))
    assert [fit.resume(tmp_path / str(at)) for at, fit in enumerate(again.fits)] == [True] * 3
    assert [len(fit.history) for fit in again.fits] == [1, 2, 2]
    while not again.finished:
        again.run_epoch()
    for fit, trial in zip(again.fits, trials, strict=True):
        assert_same(fit, alone(trial, tiny))


def test_a_fused_trials_checkpoint_goes_on_alone_and_one_of_alone_fused(
    tiny: Store, tmp_path: Path
) -> None:
    trials = [settings(seed) for seed in range(2)]
    group = Fused(fits_of(trials, tiny))
    group.run_epoch()
    group.fits[0].save(tmp_path / "fused")
    single = Fit(trials[0], tiny)
    assert single.resume(tmp_path / "fused")
    single.run_epoch()
    single.save(tmp_path / "alone")
    assert (tmp_path / "alone" / NAME).stat().st_size == pytest.approx(
        (tmp_path / "fused" / NAME).stat().st_size, 0.1
    )
    group = Fused(fits_of(trials, tiny))
    assert group.fits[0].resume(tmp_path / "alone")
    while not group.finished:
        group.run_epoch()
    for fit, trial in zip(group.fits, trials, strict=True):
        assert_same(fit, alone(trial, tiny))


def test_seconds_of_the_trials_add_up_to_the_groups(tiny: Store) -> None:
    fused = Fused(fits_of([settings(seed) for seed in range(4)], tiny))
    began = perf_counter()
    fused.run_epoch()
    took = perf_counter() - began
    assert 0.5 * took < sum(fit.history[0].seconds for fit in fused.fits) < 1.5 * took


def test_weights_are_each_trials_own(tiny: Store, tmp_path: Path) -> None:
    fused = together([settings(0), settings(1)], tiny)
    for at, fit in enumerate(fused.fits):
        fit.save_weights(tmp_path / str(at))
        found = load_model(tmp_path / str(at), "valence").predict(tiny, tiny.split("test"))
        np.testing.assert_allclose(found[:, 0], fit.predictions()["test"].values[:, 0], atol=1e-5)


def test_torchs_own_generator_is_left_as_it_was(tiny: Store) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    together([settings(0, epochs=1), settings(1, epochs=1)], tiny)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("encoder", ["lstm", "gru", "transformer_lstm", "bilstm", "ssm"])
def test_recurrent_encoders_are_refused(tiny: Store, encoder: str) -> None:
    with pytest.raises(
        InputError, match=f"encoder {encoder} can't be fused \\(allowed: transformer, tcn, mlp\\)"
    ):
        fits_of([settings(0, encoder=encoder), settings(1, encoder=encoder)], tiny)


def test_trials_of_two_configurations_or_one_twice_are_refused() -> None:
    assert unfusable([settings(0), settings(1, 1e-4)]) == []
    assert (
        "may differ in seed and learning_rate only"
        in unfusable([settings(0), settings(1, width=32)])[0]
    )
    assert "may differ" in unfusable([settings(0), settings(1, fold=0)])[0]
    assert "the same" in unfusable([settings(0), settings(0)])[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize(
    "changes", [{"encoder_dropout": 0.0, "head_dropout": 0.0}, {"precision": "bf16"}]
)
def test_on_a_gpu_a_group_trains_as_alone_where_nothing_is_dropped(
    tiny: Store, changes: dict[str, object]
) -> None:
    trials = [settings(seed, rate, epochs=8, **changes) for seed, rate in VARIATIONS]
    fused = Fused(fits_of(trials, tiny, device="cuda"))
    while not fused.finished:
        fused.run_epoch()
    assert fused.fits[0].best["valence"].ccc > 0.5
    if "precision" in changes:  # and dropout: other numbers than alone
        return
    for fit, trial in zip(fused.fits, trials, strict=True):
        single = Fit(trial, tiny, device="cuda")
        for epoch in fit.history:
            assert single.run_epoch().loss == pytest.approx(epoch.loss, abs=1e-2)
