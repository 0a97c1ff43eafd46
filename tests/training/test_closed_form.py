"""Trials of family ridge: one look, one epoch, a member like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from va_search.data.store import MIX, Store
from va_search.training.closed_form import ClosedForm
from va_search.training.fit import Fit, fit_of
from va_search.training.fused import unfusable
from va_search.training.weights import load_model
from va_search.trial_settings import TrialSettings, document, trial_id


def settings(**changes: object) -> TrialSettings:
    plain: dict[str, object] = {"features": ("face", "voice"), "family": "ridge"}
    return TrialSettings(**(plain | {"normalise": "subject", "segment_length": 300} | changes))


def test_one_epoch_solves_it(tiny: Store) -> None:
    fit = fit_of(settings(), tiny)
    assert isinstance(fit, ClosedForm)
    fit.run_epoch()
    assert fit.finished
    assert fit.history[0].loss < 0.5
    assert min(fit.best["valence"].ccc, fit.best["arousal"].ccc) > 0.5


def test_the_same_trial_is_the_same_to_the_last_bit(tiny: Store) -> None:
    fits = [fit_of(settings(), tiny) for _ in range(2)]
    for fit in fits:
        fit.run_epoch()
    first, second = (fit.predictions()["test"].values for fit in fits)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("changes", [{}, {"normalise": ["train", "recording"], "frame_step": 3}])
def test_its_weights_predict_what_the_trial_predicted(
    tiny: Store, tmp_path: Path, changes: dict[str, object]
) -> None:
    fit = fit_of(settings(**changes), tiny)
    fit.run_epoch()
    fit.save_weights(tmp_path)
    model = load_model(tmp_path, "arousal")
    recordings = tiny.split("test")
    np.testing.assert_allclose(
        model.predict(tiny, recordings), fit.predictions()["test"].values, atol=1e-6
    )


def test_it_trains_on_everything_too(tiny: Store) -> None:
    fit = fit_of(settings(fold=MIX), tiny)
    fit.run_epoch()
    assert fit.best == {}
    assert set(fit.predictions()) == {"test"}


def test_settings_of_networks_make_no_other_trial() -> None:
    other = settings(
        encoder="gru", hidden_size=7, learning_rate=0.1, epochs=9, keep="ema", loss="ccc"
    )
    assert trial_id(other, "data") == trial_id(settings(), "data")
    tcn = settings(encoder="tcn", **{"encoder.kernel": 9})
    assert document(tcn) == document(settings())
    windows = settings(**{"family.windows": (3, 9)})
    assert trial_id(windows, "data") != trial_id(settings(), "data")


def test_a_network_has_the_id_that_it_had_before_there_were_families() -> None:
    network = TrialSettings(features=("face",), family="network")
    assert "family" not in document(network)
    assert network == TrialSettings(features=("face",))


def test_ridge_is_not_fused(tiny: Store) -> None:
    problems = unfusable([settings(seed=0), settings(seed=1)])
    assert any("family ridge can't be fused" in problem for problem in problems)


def test_a_checkpoint_of_a_finished_trial_goes_on(tiny: Store, tmp_path: Path) -> None:
    fit = fit_of(settings(), tiny)
    fit.run_epoch()
    fit.save(tmp_path)
    again = fit_of(settings(), tiny)
    assert isinstance(again, Fit)
    assert again.resume(tmp_path)
    assert again.finished
    np.testing.assert_array_equal(
        again.predictions()["validation"].values, fit.predictions()["validation"].values
    )


def test_its_time_is_estimated_from_some_batches_and_nothing_is_solved(tiny: Store) -> None:
    fit = fit_of(settings(batch_size=1), tiny)
    assert fit.seconds_per_epoch(budget=0.0) > 0
    assert fit.history == []
    assert not fit.model.weight.any()
