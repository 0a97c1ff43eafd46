"""Train-Val-Mix (paper 4.7): no validation, test predictions averaged over epochs, and no label of
test is seen."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store, frames_hash
from va_search.errors import InputError
from va_search.targets import affect
from va_search.training.epochs import Diverged, MeanOfEpochs
from va_search.training.fit import Fit
from va_search.trial_settings import TrialSettings


def settings(**changes: object) -> TrialSettings:
    small: dict[str, object] = {
        "features": ("face", "voice"), "segment_length": 30, "width": 16, "layers": 1, "attention_heads": 2,
        "feed_forward": 16, "hidden_size": 16, "head_sizes": (16,), "learning_rate": 5e-3, "batch_size": 4,
        "epochs": 6, "encoder": "gru", "fold": "train_val_mix", "averaged_epochs": (2, 4),
    }  # fmt: skip
    return TrialSettings(**(small | changes))


def trained(trial: TrialSettings, store: Store) -> Fit:
    fit = Fit(trial, store)
    while not fit.finished:
        fit.run_epoch()
    return fit


def test_test_predictions_are_the_mean_over_the_epochs(tiny: Store) -> None:
    fit = Fit(settings(schedule="linear"), tiny)
    after = []
    while not fit.finished:
        fit.run_epoch()
        after.append(fit._predict(fit.model, fit.data.test).astype(np.float64))
    assert (
        len(fit.history) == 4
    )  # nothing behind the last averaged epoch, though the schedule counts all six
    assert [epoch.learning_rate for epoch in fit.history] == pytest.approx(
        [5e-3 * (1 - e / 6) for e in range(4)]
    )
    found = fit.predictions()
    assert found.keys() == {"test"}
    assert found["test"].frames_hash == frames_hash(tiny.split("test"))
    assert found["test"].values.dtype == np.float32
    assert (found["test"].values == np.mean(after[1:4], axis=0).astype(np.float32)).all()


def test_such_a_trial_has_no_score_and_keeps_no_weights(tiny: Store, tmp_path: Path) -> None:
    fit = trained(settings(), tiny)
    assert fit.best == {} and fit.remarks == []
    assert all((*e.cccs.values(), e.score) == (None, None, None) for e in fit.history)
    fit.save_weights(tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_everything_labelled_is_learnt_from(tiny: Store) -> None:
    mixed, official = Fit(settings(), tiny), Fit(settings(fold="official"), tiny)
    assert mixed.data.train.recordings == tiny.labelled
    assert mixed.data.batches_in_epoch() > official.data.batches_in_epoch()
    assert mixed.run_epoch().loss != official.run_epoch().loss


def test_a_run_repeats_bit_for_bit_whatever_ran_before(tiny: Store) -> None:
    first = trained(settings(schedule="one_cycle"), tiny)
    torch.manual_seed(99)
    interleaved, other = Fit(settings(schedule="one_cycle"), tiny), Fit(settings(seed=5), tiny)
    while not interleaved.finished:
        interleaved.run_epoch()
        other.run_epoch()
    assert (first.predictions()["test"].values == interleaved.predictions()["test"].values).all()
    assert (first.predictions()["test"].values != other.predictions()["test"].values).any()


def test_predicting_in_between_does_not_change_the_training(tiny: Store) -> None:
    """The same epochs, predicted after all of them or after the last alone."""
    every, last = (trained(settings(averaged_epochs=pair), tiny) for pair in ((1, 4), (4, 4)))
    assert [epoch.loss for epoch in every.history] == [epoch.loss for epoch in last.history]


def test_predictions_before_the_averaged_epochs_are_a_mistake(tiny: Store) -> None:
    fit = Fit(settings(), tiny)
    fit.run_epoch()
    with pytest.raises(RuntimeError, match="nothing is trained yet"):
        fit.predictions()


def test_a_prediction_that_is_no_number_ends_the_trial(
    tiny: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = Fit(settings(), tiny)
    monkeypatch.setattr(
        fit, "_predict", lambda model, steps: np.full((len(steps), 2), np.nan, np.float32)
    )
    fit.run_epoch()  # not among those averaged, so nothing is predicted
    with pytest.raises(Diverged, match="NaN in epoch 2"):
        fit.run_epoch()


def test_a_store_without_test_recordings_is_refused(tmp_path: Path) -> None:
    sources = [
        Source(f"r{i}", f"s{i}", f"r{i}", split, None, 25.0, ())
        for i, split in enumerate(("train", "validation"))
    ]
    draft = Draft(
        tmp_path / "store",
        Description("x", affect(-1.0, 1.0), {"face": ("visual", ("a",))}),
        sources,
    )
    for index in range(2):
        draft.add(
            index,
            Part({"face": np.random.default_rng(index).normal(size=(40, 1))}, np.zeros((40, 2))),
        )
    store = draft.finish()
    with pytest.raises(InputError, match="predicts test recordings alone, and this store has none"):
        Fit(settings(features=("face",)), store)
    assert Fit(settings(features=("face",), fold="official"), store)


def test_the_time_of_an_epoch_is_foretold_with_the_share_of_test(tiny: Store) -> None:
    assert Fit(settings(), tiny).seconds_per_epoch(0.1) > 0
    assert settings().trained_epochs == 4
    assert settings(fold="official", averaged_epochs=None).trained_epochs == 6


def test_the_papers_epochs_are_the_default() -> None:
    assert TrialSettings(features=("a",), fold="train_val_mix").averaged_epochs == (16, 25)


def test_a_mean_is_added_up_in_float64() -> None:
    mean = MeanOfEpochs((3, 5))
    assert [epoch in mean for epoch in range(2, 7)] == [False, True, True, True, False]
    for value in (1e8, 1.0, 1.0):
        mean.add(np.full((1, 2), value, np.float32))
    assert mean.value() == pytest.approx((1e8 + 2) / 3)


@pytest.mark.parametrize("fold", ["train_val_mix", 1])
@pytest.mark.parametrize("encoder", ["gru", "transformer"])
def test_poisoned_test_labels_change_nothing(make_store, fold: str | int, encoder: str) -> None:
    """The annotations of test recordings are wild numbers in one store and not there in the
    other."""

    def poisoned(index: int, part: Part) -> Part:
        if index < 9:
            return part
        wild = np.random.default_rng(index).uniform(0.5, 9.5, size=part.annotations.shape)
        return dataclasses.replace(part, annotations=wild)

    clean, poison = make_store("clean"), make_store("poison", change=poisoned)
    assert np.isfinite(poison.annotations[poison.split("test")[0].start :]).all()
    fits = [
        trained(settings(fold=fold, encoder=encoder, normalise="subject"), store)
        for store in (clean, poison)
    ]
    first, second = ([(e.loss, e.cccs, e.learning_rate) for e in fit.history] for fit in fits)
    assert first == second
    found = [fit.predictions() for fit in fits]
    assert found[0].keys() == found[1].keys()
    assert all((found[0][split].values == found[1][split].values).all() for split in found[0])
    assert fits[0].best == fits[1].best
    weights = [fit.model.state_dict() for fit in fits]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
