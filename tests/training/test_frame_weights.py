"""Frames weigh in the loss by the agreement of their raters, and in nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from training_world import write_store

from va_search.data.draft import Part
from va_search.data.raters import Ratings
from va_search.data.store import Store, positions
from va_search.errors import InputError
from va_search.training.batches import Steps
from va_search.training.examples import Examples
from va_search.training.fit import Fit
from va_search.training.frame_weights import agreement_weights
from va_search.training.fused import Fused, fits_of
from va_search.training.losses import ccc_loss
from va_search.training.weights import load_model
from va_search.trial_settings import TrialSettings, configuration_id, trial_id

NAN = float("nan")


def rate(index: int, part: Part) -> Part:
    """The part with three raters of valence, of whom one is missing in every fourth frame and two
    in every fifth; arousal has one rater."""
    assert part.annotations is not None
    rng = np.random.default_rng(index)
    labelled = np.isfinite(part.annotations)
    spread = rng.gamma(2.0, 0.5, size=labelled.shape)
    raters = np.full(labelled.shape, 3)
    raters[::4] = 2
    raters[::5] = 1
    raters[:, 1] = 1
    spread[raters < 2] = np.nan
    spread[~labelled] = np.nan
    raters[~labelled] = 0
    return replace(part, ratings=Ratings(spread, raters, {}))


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("stores") / "rated", change=rate, rated=True)


def settings(**changes: Any) -> TrialSettings:
    small = {
        "features": ("face", "voice"), "segment_length": 30, "width": 8, "layers": 1, "attention_heads": 2,
        "feed_forward": 8, "head_sizes": (8,), "batch_size": 4, "epochs": 3, "learning_rate": 5e-3,
        "weight_by_agreement": True,
    }  # fmt: skip
    return TrialSettings(**{**small, **changes})


def slow_weighted_ccc(p: list[float], y: list[float], w: list[float]) -> float:
    """The CCC of weighted moments, frame by frame."""
    total = mean_p = mean_y = 0.0
    for a, b, weight in zip(p, y, w, strict=True):
        total += weight
        mean_p += weight * a
        mean_y += weight * b
    mean_p /= total
    mean_y /= total
    covariance = variance_p = variance_y = 0.0
    for a, b, weight in zip(p, y, w, strict=True):
        covariance += weight * (a - mean_p) * (b - mean_y) / total
        variance_p += weight * (a - mean_p) ** 2 / total
        variance_y += weight * (b - mean_y) ** 2 / total
    return 2 * covariance / (variance_p + variance_y + (mean_p - mean_y) ** 2)


def test_the_loss_of_weighted_frames_is_computed_by_hand() -> None:
    # Weights 1, 1 and 2 count the third frame twice.
    p, y = torch.tensor([[0.0], [0.5], [1.0]]), torch.tensor([[0.0], [1.0], [0.5]])
    weight = torch.tensor([[1.0], [1.0], [2.0]])
    # Means .625 and .5, variances .171875 and .125, covariance .0625.
    expected = 1 - 2 * 0.0625 / (0.171875 + 0.125 + 0.125**2)
    assert ccc_loss(p, y, None, weight).item() == pytest.approx(expected)
    repeated = ccc_loss(p[[0, 1, 2, 2]], y[[0, 1, 2, 2]])
    assert ccc_loss(p, y, None, weight).item() == pytest.approx(repeated.item())


def test_the_weighted_loss_is_that_of_a_slow_reference() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        p, y = rng.normal(size=(2, 3, 7, 2)).astype(np.float32)
        w = rng.uniform(0.01, 1, size=(3, 7, 2)).astype(np.float32)
        y[rng.random(y.shape) < 0.3] = NAN
        w[np.isnan(y)] = NAN
        expected = 0.0
        for target in range(2):
            labelled = ~np.isnan(y[..., target])
            columns = [values[..., target][labelled].tolist() for values in (p, y, w)]
            expected += 1 - slow_weighted_ccc(*columns)
        prediction = torch.tensor(p, requires_grad=True)
        loss = ccc_loss(prediction, torch.tensor(y), (1.0, 1.0), torch.tensor(w))
        assert loss.item() == pytest.approx(expected, abs=1e-5)
        loss.backward()  # type: ignore[no-untyped-call]
        assert prediction.grad is not None
        assert torch.isfinite(prediction.grad).all()


def test_only_the_ratio_of_weights_counts() -> None:
    generator = torch.Generator().manual_seed(0)
    p, y, w = torch.rand(3, 10, 2, generator=generator)
    expected = ccc_loss(p, y, None, w).item()
    for factor in (1e-6, 1e3):
        assert ccc_loss(p, y, None, factor * w).item() == pytest.approx(expected, rel=1e-4)
    equal = torch.full_like(w, 0.3)
    assert ccc_loss(p, y, None, equal).item() == pytest.approx(ccc_loss(p, y).item(), rel=1e-5)


def test_weights_of_frames_are_computed_by_hand() -> None:
    spread = [[0.3, NAN], [0.1, 1.0], [NAN, 2.0], [0.2 * np.sqrt(1.5), 4.0], [0.0, NAN]]
    raters = [[3, 1], [3, 2], [1, 2], [2, 2], [3, 0]]
    annotations = np.zeros((5, 2), np.float32)
    annotations[4, 1] = NAN
    recording = SimpleNamespace(start=0, stop=5)
    store: Any = SimpleNamespace(
        spread=np.array(spread), raters=np.array(raters), annotations=annotations
    )
    weights = agreement_weights(store, (recording,))  # type: ignore[arg-type]
    # Spreads by the roots of the raters' numbers; the median is that of errors above 0.
    errors = np.array([0.3 / np.sqrt(3), 0.1 / np.sqrt(3), 0.2 * np.sqrt(0.75)])
    usual = np.median(errors)
    assert weights[:, 0] == pytest.approx(
        [*(1 / (1 + (errors[:2] / usual) ** 2)), 0.5, 1 / (1 + (errors[2] / usual) ** 2), 1.0]
    )
    assert weights[:, 1] == pytest.approx([0.5, 0.8, 0.5, 0.2, NAN], nan_ok=True)


def test_raters_who_always_agree_make_no_difference_between_frames(tmp_path: Path) -> None:
    def agree(index: int, part: Part) -> Part:
        ratings = rate(index, part).ratings
        assert ratings is not None
        return replace(part, ratings=replace(ratings, spread=ratings.spread * 0.0))

    store = write_store(tmp_path / "store", change=agree, rated=True)
    weights = agreement_weights(store, store.split("train"))
    assert set(weights[np.isfinite(weights)].tolist()) == {0.5}


@pytest.mark.parametrize("frame_step", [1, 4])
def test_a_step_has_the_mean_weight_of_its_labelled_frames(rated: Store, frame_step: int) -> None:
    examples = Examples(settings(frame_step=frame_step), rated, torch.device("cpu"))
    steps: Steps = examples.train
    assert steps.weight is not None
    weights = agreement_weights(rated, rated.split("train"))
    frames = positions(rated.split("train"))
    index = {frame: row for row, frame in enumerate(frames.tolist())}
    for step in range(0, len(steps), 7):
        first = int(steps.frame[step])
        rows = [index[first + k] for k in range(int(steps.count[step]))]
        for target in range(2):
            values = [weights[row, target] for row in rows if not np.isnan(weights[row, target])]
            expected = np.mean(values) if values else NAN
            assert steps.weight[step, target] == pytest.approx(expected, nan_ok=True, rel=1e-5)
    # Validation counts all frames alike.
    assert examples.validation.weight is None
    inputs = examples.gather.inputs(steps, examples.segments[:3])
    assert inputs.weight is not None
    labelled = ~inputs.label.isnan()
    assert (inputs.weight[labelled] > 0).all()


def test_the_weights_change_what_is_learnt_but_not_how_it_is_validated(rated: Store) -> None:
    weighted, plain = Fit(settings(), rated), Fit(settings(weight_by_agreement=False), rated)
    prediction = np.zeros_like(weighted.data.truth)
    prediction[:] = np.nan_to_num(weighted.data.truth, nan=1.0) ** 2 / 10
    assert weighted._validated(prediction) == plain._validated(prediction)
    losses = [fit.run_epoch().loss for fit in (weighted, plain)]
    assert losses[0] != losses[1]


def test_trials_trained_as_one_are_those_trained_alone(rated: Store) -> None:
    trials = [settings(seed=seed, batch_size=8) for seed in range(3)]
    fused = Fused(fits_of(trials, rated))
    while not fused.finished:
        fused.run_epoch()
    for fit, trial in zip(fused.fits, trials, strict=True):
        alone = Fit(trial, rated)
        while not alone.finished:
            alone.run_epoch()
        for epoch, other in zip(fit.history, alone.history, strict=True):
            assert epoch.loss == pytest.approx(other.loss, abs=2e-4)
            for target, value in epoch.cccs.items():
                assert value == pytest.approx(other.cccs[target], abs=2e-4)


def test_a_store_without_raters_is_refused(tiny: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        Fit(settings(), tiny)
    assert "this store keeps none" in error.value.problems[0]

    def single(index: int, part: Part) -> Part:
        assert part.annotations is not None
        return replace(part, ratings=Ratings.of_one(part.annotations))

    store = write_store(tmp_path / "single", change=single, rated=True)
    with pytest.raises(InputError, match="no frame of the 6 training recordings has labels of two"):
        Fit(settings(), store)


def test_ids_depend_on_the_spread_only_where_it_weighs(rated: Store, tmp_path: Path) -> None:
    def other(index: int, part: Part) -> Part:
        return rate(index + 100, part)

    others = write_store(tmp_path / "other", change=other, rated=True)
    without = write_store(tmp_path / "without")
    plain, weighted = settings(weight_by_agreement=False), settings()
    ids = {trial_id(plain, plain.data_hash(store)) for store in (rated, others, without)}
    assert len(ids) == 1
    ids |= {trial_id(weighted, weighted.data_hash(store)) for store in (rated, others)}
    assert len(ids) == 3
    assert configuration_id(plain, but=("seed",)) != configuration_id(weighted, but=("seed",))


def test_a_weighted_trials_model_predicts_stores_without_raters(
    rated: Store, tiny: Store, tmp_path: Path
) -> None:
    fit = Fit(settings(epochs=1), rated)
    fit.run_epoch()
    fit.save_weights(tmp_path)
    fit.save(tmp_path / "checkpoint")
    again = Fit(settings(epochs=1), rated)
    assert again.resume(tmp_path / "checkpoint")
    model = load_model(tmp_path, "valence")
    assert model.settings.weight_by_agreement
    # The two stores differ in nothing but their raters.
    predicted = model.predict(tiny, tiny.split("test"))
    expected = fit.predictions()["test"].values[:, 0]
    assert predicted[:, 0] == pytest.approx(expected, abs=1e-5)
