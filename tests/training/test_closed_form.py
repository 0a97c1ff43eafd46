"""Trials of families ridge and boosting: one look, one epoch, a member like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from va_search.data.store import MIX, Store
from va_search.training.closed_form import OneLook
from va_search.training.fit import Fit, fit_of
from va_search.training.fused import unfusable
from va_search.training.weights import load_model
from va_search.trial_settings import TrialSettings, document, trial_id

FAMILIES = pytest.mark.parametrize("family", ["ridge", "boosting"])


def settings(family: str = "ridge", **changes: object) -> TrialSettings:
    plain: dict[str, object] = {"features": ("face", "voice"), "family": family}
    if family == "boosting":
        plain |= {"family.iterations": 12, "family.learning_rate": 0.3}
    return TrialSettings(**(plain | {"normalise": "subject", "segment_length": 300} | changes))


@FAMILIES
def test_one_epoch_solves_it(tiny: Store, family: str) -> None:
    fit = fit_of(settings(family), tiny)
    assert isinstance(fit, OneLook)
    fit.run_epoch()
    assert fit.finished
    assert fit.history[0].loss < 0.5
    assert min(fit.best["valence"].ccc, fit.best["arousal"].ccc) > 0.5


@FAMILIES
def test_the_same_trial_is_the_same_to_the_last_bit(tiny: Store, family: str) -> None:
    fits = [fit_of(settings(family), tiny) for _ in range(2)]
    for fit in fits:
        fit.run_epoch()
    first, second = (fit.predictions()["test"].values for fit in fits)
    np.testing.assert_array_equal(first, second)


@FAMILIES
@pytest.mark.parametrize("changes", [{}, {"normalise": ["train", "recording"], "frame_step": 3}])
def test_its_weights_predict_what_the_trial_predicted(
    tiny: Store, tmp_path: Path, family: str, changes: dict[str, object]
) -> None:
    fit = fit_of(settings(family, **changes), tiny)
    fit.run_epoch()
    fit.save_weights(tmp_path)
    model = load_model(tmp_path, "arousal")
    recordings = tiny.split("test")
    np.testing.assert_allclose(
        model.predict(tiny, recordings), fit.predictions()["test"].values, atol=1e-6
    )


@FAMILIES
def test_it_trains_on_everything_too(tiny: Store, family: str) -> None:
    fit = fit_of(settings(family, fold=MIX), tiny)
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


@FAMILIES
def test_it_is_not_fused(family: str) -> None:
    problems = unfusable([settings(family, seed=0), settings(family, seed=1)])
    assert any(f"family {family} can't be fused" in problem for problem in problems)


@FAMILIES
def test_a_checkpoint_of_a_finished_trial_goes_on(tiny: Store, tmp_path: Path, family: str) -> None:
    fit = fit_of(settings(family), tiny)
    fit.run_epoch()
    fit.save(tmp_path)
    again = fit_of(settings(family), tiny)
    assert isinstance(again, Fit)
    assert again.resume(tmp_path)
    assert again.finished
    np.testing.assert_array_equal(
        again.predictions()["validation"].values, fit.predictions()["validation"].values
    )


def test_settings_that_a_family_of_trees_has_no_use_for_make_no_other_trial() -> None:
    trees = settings("boosting")
    for changes in ({"missing": "mean"}, {"loss": "ccc_mse"}, {"epochs": 9}):
        assert document(settings("boosting", **changes)) == document(trees)
    weighted = settings("boosting", weight_by_agreement=True, loss="ccc_mse")
    assert weighted.weight_by_agreement
    assert trial_id(weighted, "data") != trial_id(trees, "data")
    assert not settings("ridge", weight_by_agreement=True).weight_by_agreement


@pytest.mark.parametrize("iterations", [3, 12])
def test_the_time_of_growing_is_estimated_from_a_few_trees(tiny: Store, iterations: int) -> None:
    fit = fit_of(settings("boosting", **{"family.iterations": iterations}), tiny)
    assert fit.seconds_per_epoch(budget=0.0) > 0
    assert fit.history == []


def test_its_time_is_estimated_from_some_batches_and_nothing_is_solved(tiny: Store) -> None:
    fit = fit_of(settings(batch_size=1), tiny)
    assert fit.seconds_per_epoch(budget=0.0) > 0
    assert fit.history == []
    assert not fit.model.weight.any()
