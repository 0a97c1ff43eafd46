"""Rules by which a trial keeps epochs: what it reports, predicts and writes is of the same ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from va_search.data.store import Store, positions
from va_search.errors import InputError
from va_search.metrics import ccc
from va_search.models.estimator import Estimator
from va_search.search.task import best_of
from va_search.training.checkpoint import KEY, NAME
from va_search.training.epochs import Diverged, KeptEpochs, MovingAverage, last_gain, mean_of
from va_search.training.fit import Fit
from va_search.training.weights import load_model
from va_search.trial import Best, Epoch
from va_search.trial_settings import TrialSettings

RULES = ["last", "mean_last_5", "ema"]


def settings(**changes: object) -> TrialSettings:
    small: dict[str, object] = {
        "features": ("face", "voice"), "segment_length": 30, "width": 16, "hidden_size": 16, "encoder": "gru",
        "head_sizes": (16,), "learning_rate": 5e-3, "batch_size": 4, "epochs": 7, "encoder_dropout": 0.1,
    }  # fmt: skip
    return TrialSettings(**(small | changes))


def trained(trial: TrialSettings, store: Store) -> Fit:
    fit = Fit(trial, store)
    while not fit.finished:
        fit.run_epoch()
    return fit


def linear(weight: float) -> Estimator:
    """A model of a single weight, [[weight]]."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, weight)
    return cast(Estimator, model)


@pytest.mark.parametrize(
    ("keep", "valence", "arousal"),
    [
        ("best", [2], [6]),
        ("last", [7], [7]),
        ("mean_last_5", [3, 4, 5, 6, 7], [3, 4, 5, 6, 7]),
        ("ema", [7], [7]),
    ],
)
def test_a_rule_keeps_these_of_seven_epochs(
    keep: str, valence: list[int], arousal: list[int]
) -> None:
    kept = KeptEpochs(keep)
    cccs = [(0.1, 0.1), (0.5, 0.2), (0.3, 0.3), (0.5, 0.3), (0.2, 0.2), (0.1, 0.4), (0.4, 0.1)]
    for number, (v, a) in enumerate(cccs, start=1):
        kept.add(Epoch(number, cccs={"valence": v, "arousal": a}), linear(number))
    assert [list(kept.epochs_of(target)) for target in kept.best] == [valence, arousal]
    assert set(kept.states) == {*valence, *arousal}
    assert all(state["weight"].item() == epoch for epoch, state in kept.states.items())
    last = valence[-1]
    assert kept.best["valence"] == Best(cccs[last - 1][0], last)


def test_a_moving_average_weighs_later_steps_more_and_is_not_pulled_to_zero() -> None:
    model, average = linear(1.0), MovingAverage(linear(1.0), linear(9.0), 0.5)
    average.model = model
    found = []
    for weight in (1.0, 2.0, 4.0):
        nn.init.constant_(cast(nn.Linear, model).weight, weight)
        average.after_step()
        found.append(average.average.state_dict()["weight"].item())
    # (1), (1/2 + 2) / (1/2 + 1), (1/4 + 2/2 + 4) / (1/4 + 1/2 + 1)
    assert found == pytest.approx([1.0, 5 / 3, 3.0])


def test_the_mean_of_one_prediction_is_itself() -> None:
    values = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    assert (mean_of([values]) == values).all()
    assert mean_of([values, values + 1]) == pytest.approx(values + 0.5)


@pytest.mark.parametrize("keep", ["best", *RULES])
@pytest.mark.parametrize("encoder", ["gru", "transformer"])
def test_what_is_reported_predicted_and_written_is_of_the_same_epochs(
    tiny: Store, tmp_path: Path, keep: str, encoder: str
) -> None:
    small = {"layers": 1, "attention_heads": 2, "feed_forward": 16}
    fit = trained(settings(keep=keep, encoder=encoder, **small), tiny)
    predictions = fit.predictions()
    truth = tiny.annotations[positions(tiny.split("validation"))]
    fit.save_weights(tmp_path)
    for column, target in enumerate(tiny.target_names):
        model = load_model(tmp_path, target)
        for split, predicted in predictions.items():
            again = model.predict(tiny, tiny.split(split))
            assert (again[:, column] == predicted.values[:, column]).all()
        measured = ccc(predictions["validation"].values[:, column], truth[:, column])
        assert fit.best[target].ccc == pytest.approx(measured, abs=1e-6)
        if keep != "best":
            assert fit.best[target] == Best(fit.history[-1].cccs[target] or 0.0, 7)
            assert best_of(fit)["score"].epoch == 7
            assert best_of(fit)["score"].ccc == pytest.approx(fit.history[-1].score)


def test_the_mean_is_that_of_the_predictions_after_the_last_five_epochs(tiny: Store) -> None:
    fit = Fit(settings(keep="mean_last_5"), tiny)
    after = []
    while not fit.finished:
        fit.run_epoch()
        after.append(fit._predict(fit.model, fit.data.test))
        first = max(1, len(after) - 4)
        assert fit.averaged_epochs == (first, len(after))
        expected = mean_of(after[first - 1 :])
        assert (fit.predictions()["test"].values == expected).all()


@pytest.mark.parametrize("keep", RULES)
def test_the_training_itself_is_the_same_under_every_rule(tiny: Store, keep: str) -> None:
    fits = [trained(settings(keep=rule, epochs=2), tiny) for rule in ("best", keep)]
    losses = [[epoch.loss for epoch in fit.history] for fit in fits]
    assert losses[0] == losses[1]


def test_a_moving_average_is_of_all_optimiser_steps(tiny: Store) -> None:
    fit = Fit(settings(keep="ema", ema_decay=0.5, epochs=2), tiny)
    name = "heads.valence.0.weight"
    weights: list[torch.Tensor] = []
    fit.optimiser.register_step_post_hook(
        lambda *_: weights.append(fit.model.state_dict()[name].clone())
    )
    while not fit.finished:
        fit.run_epoch()
    shares = 0.5 ** np.arange(len(weights))[::-1]
    expected = sum(share * weight for share, weight in zip(shares, weights, strict=True))
    found = fit._kept.states[2][name]
    torch.testing.assert_close(found, expected / shares.sum())


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("fold", ["official", "train_val_mix"])
@pytest.mark.parametrize("keep", RULES)
def test_a_killed_training_goes_on_bit_for_bit(
    tiny: Store, tmp_path: Path, keep: str, fold: str, every: int
) -> None:
    trial = settings(keep=keep, fold=fold)
    while True:
        fit = Fit(trial, tiny)
        fit.resume(tmp_path)
        for _ in range(every):
            if not fit.finished:
                fit.run_epoch()
        if fit.finished:
            break
        fit.save(tmp_path)
    straight = trained(trial, tiny)
    assert [(e.loss, e.cccs) for e in fit.history] == [(e.loss, e.cccs) for e in straight.history]
    assert fit.best == straight.best
    found, expected = fit.predictions(), straight.predictions()
    assert all((found[split].values == expected[split].values).all() for split in expected)


def test_a_checkpoint_of_before_the_rules_is_gone_on_with(tiny: Store, tmp_path: Path) -> None:
    first = Fit(settings(), tiny)
    first.run_epoch()
    first.save(tmp_path)
    with safe_open(str(tmp_path / NAME), framework="pt") as file:
        document = file.metadata()[KEY].replace('"average_steps": 0, ', "")
    assert "average_steps" not in document
    save_file(load_file(tmp_path / NAME), str(tmp_path / NAME), {KEY: document})
    again = Fit(settings(), tiny)
    assert again.resume(tmp_path) and again.best == first.best


@pytest.mark.parametrize("keep", RULES)
def test_without_validation_weights_are_kept_all_the_same(
    tiny: Store, tmp_path: Path, keep: str
) -> None:
    trial = settings(keep=keep, fold="train_val_mix", epochs=6)
    assert (trial.averaged_epochs, trial.trained_epochs) == (None, 6)
    fit = trained(trial, tiny)
    assert fit.best == {} and best_of(fit) == {} and len(fit.history) == 6
    predictions = fit.predictions()
    assert predictions.keys() == {"test"}
    fit.save_weights(tmp_path)
    for column, target in enumerate(tiny.target_names):
        again = load_model(tmp_path, target).predict(tiny, tiny.split("test"))
        assert (again[:, column] == predictions["test"].values[:, column]).all()
    assert Fit(trial, tiny).seconds_per_epoch(0.0) > 0


def test_predictions_that_no_epoch_measured_must_be_numbers(
    tiny: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = trained(settings(keep="last", fold="train_val_mix", epochs=1), tiny)
    monkeypatch.setattr(fit, "_predict", lambda model, steps: np.full((156, 2), np.nan, np.float32))
    with pytest.raises(Diverged, match="NaN in epoch 1"):
        fit.predictions()


def test_patience_ends_a_trial_that_keeps_its_last_epoch(
    tiny: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = iter([(0.1, 0.1), (0.2, 0.0), (0.0, 0.15), (0.2, 0.15), (0.1, 0.1), (0.9, 0.9)])
    monkeypatch.setattr(Fit, "_validated", lambda self, number: next(pairs))
    fit = trained(settings(epochs=30, patience=2, keep="last"), tiny)
    assert fit.stopped and len(fit.history) == 5
    assert fit.best == {"valence": Best(0.1, 5), "arousal": Best(0.1, 5)}
    assert last_gain(fit.history) == 3


def test_a_weights_file_with_an_epoch_cut_out_is_refused(tiny: Store, tmp_path: Path) -> None:
    trained(settings(keep="mean_last_5", epochs=5), tiny).save_weights(tmp_path)
    path = tmp_path / "valence.safetensors"
    with safe_open(str(path), framework="pt") as file:
        about = file.metadata()
    tensors = load_file(path)
    del tensors["epoch.3.context.affine.weight"]
    save_file(tensors, str(path), about)
    with pytest.raises(InputError, match="not weights this version can read"):
        load_model(tmp_path, "valence")


def test_of_several_models_each_has_a_part_in_the_prediction(tiny: Store, tmp_path: Path) -> None:
    trained(settings(keep="mean_last_5", epochs=3), tiny).save_weights(tmp_path)
    model = load_model(tmp_path, "arousal")
    alone: list[Any] = []
    for single in model.models:
        alone.append(dataclasses.replace(model, models=(single,)).predict(tiny, tiny.recordings))
    assert len(alone) == 3 and not np.allclose(alone[0], alone[1])
    assert (model.predict(tiny, tiny.recordings) == mean_of(alone)).all()
