"""The losses, above all where a wrong formula differs from the right one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from va_search.metrics import ccc
from va_search.models.estimator import Binned
from va_search.models.menu import LOSSES
from va_search.targets import AFFECT
from va_search.training.losses import (
    CccBinnedLoss,
    CccLoss,
    CccMseLoss,
    CccRecordingLoss,
    TrialLoss,
    ccc_loss,
    cross_entropies,
    roughness,
)
from va_search.training.predict import build_loss
from va_search.trial_settings import TrialSettings, trial_id

NAN = float("nan")


def pairs(n: int = 16, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, generator=generator), torch.randn(n, 2, generator=generator)


@pytest.mark.parametrize("n", [2, 16, 150])
def test_a_perfect_prediction_costs_nothing(n: int) -> None:
    y, _ = pairs(n)
    assert ccc_loss(y, y).item() == pytest.approx(
        0.0, abs=1e-5
    )  # n - 1 in the variances only: 0.125 at n = 16


def test_it_is_one_minus_the_official_metric_pooled_over_the_batch() -> None:
    p, y = pairs(48)
    expected = [1 - ccc(p[:, k].numpy(), y[:, k].numpy()) for k in range(2)]
    assert ccc_loss(p.view(4, 12, 2), y.view(4, 12, 2)).item() == pytest.approx(
        sum(expected), abs=1e-5
    )
    assert ccc_loss(p, y, (2.0, 0.5)).item() == pytest.approx(
        2 * expected[0] + expected[1] / 2, abs=1e-5
    )
    assert ccc_loss(p, y, (0.0, 1.0)).item() == pytest.approx(expected[1], abs=1e-5)


def test_unlabelled_frames_are_left_out_per_dimension() -> None:
    p, y = pairs(20)
    y[5:9] = NAN
    y[12, 0] = NAN
    expected = [1 - ccc(p[:, k].numpy(), y[:, k].numpy()) for k in range(2)]
    assert ccc_loss(p, y).item() == pytest.approx(sum(expected), abs=1e-5)


def test_what_is_predicted_on_unlabelled_frames_has_no_part() -> None:
    p, y = pairs(20)
    y[5:9] = NAN
    p[5:9] = NAN
    p.requires_grad_(True)
    loss = ccc_loss(p, y)
    loss.backward()
    assert torch.isfinite(loss)
    assert p.grad is not None
    assert not p.grad[5:9].any()
    assert torch.isfinite(p.grad).all()
    assert p.grad[0].any()


@pytest.mark.parametrize("labelled", [0, 1])
def test_fewer_than_two_labelled_frames_contribute_nothing(labelled: int) -> None:
    p, y = pairs(6)
    y[labelled:] = NAN
    p.requires_grad_(True)
    loss = ccc_loss(p, y)
    loss.backward()
    assert loss.item() == 0.0
    assert p.grad is not None
    assert not p.grad.any()


def test_constant_labels_and_predictions_have_a_finite_gradient() -> None:
    p = torch.full((8, 2), 0.25, requires_grad=True)
    loss = ccc_loss(p, torch.full((8, 2), 0.25))
    loss.backward()
    assert loss.item() == pytest.approx(2.0)
    assert p.grad is not None
    assert torch.isfinite(p.grad).all()


def test_half_precision_predictions_are_summed_in_float32() -> None:
    p, y = pairs(5000)
    exact = ccc_loss(p, y).item()
    assert ccc_loss(p.bfloat16(), y).item() == pytest.approx(exact, abs=0.01)
    assert ccc_loss(p.bfloat16(), y).dtype == torch.float32
    assert np.isfinite(exact)


class BatchMeans:
    """A loss that takes a fact of the batch: the mean prediction of each recording's real steps."""

    def __call__(
        self, prediction: torch.Tensor, label: torch.Tensor, *, recording: torch.Tensor
    ) -> torch.Tensor:
        first = prediction[recording == 0].mean()
        return first + 10 * prediction[recording == 1].mean()


def test_a_loss_gets_the_facts_of_the_batch_that_it_takes() -> None:
    prediction = torch.tensor([[[1.0]], [[2.0]], [[3.0]]])  # [row, step, target]
    facts = {"mask": torch.ones(3, 1, dtype=torch.bool), "recording": torch.tensor([0, 1, 0])}
    assert TrialLoss(BatchMeans())(prediction, prediction, **facts) == 2 + 10 * 2
    assert TrialLoss(CccLoss((1.0,)))(prediction, prediction, **facts) == 0


# -- shares of other costs


def numbers(n: int = 24, targets: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions and labels [4, n / 4, targets] of which some are missing."""
    p, y = pairs(n)
    y[5:9] = NAN
    y[12, 0] = NAN
    return p.view(4, -1, targets), y.view(4, -1, targets)


def official(p: torch.Tensor, y: torch.Tensor) -> float:
    """1 - CCC of a target's predictions and labels of any shape."""
    return 1 - ccc(p.flatten().numpy(), y.flatten().numpy())


def test_a_share_of_the_mse_is_each_targets_own() -> None:
    p, y = numbers()
    expected = 0.0
    for k, weight in enumerate((2.0, 0.5)):
        mse = float(((p - y) ** 2)[..., k].nanmean())
        expected += weight * (0.75 * official(p[..., k], y[..., k]) + 0.25 * mse)
    loss = CccMseLoss((2.0, 0.5), mse_share=0.25)
    assert loss(p, y).item() == pytest.approx(expected, abs=1e-5)


def test_a_share_of_the_recordings_counts_each_of_them_once() -> None:
    p, y = numbers()
    recording = torch.tensor([7, 3, 7, 7])
    expected = 0.0
    for k, weight in enumerate((2.0, 0.5)):
        within = [official(p[rows, :, k], y[rows, :, k]) for rows in ([0, 2, 3], [1])]
        pooled = official(p[..., k], y[..., k])
        expected += weight * (0.75 * pooled + 0.25 * sum(within) / 2)
    loss = CccRecordingLoss((2.0, 0.5), recording_share=0.25)
    assert loss(p, y, recording=recording).item() == pytest.approx(expected, abs=1e-5)


def test_a_recording_with_one_label_is_none_of_those_averaged() -> None:
    p, y = numbers()
    recording = torch.tensor([0, 1, 1, 1])
    y[0, 1:] = NAN
    loss = CccRecordingLoss((1.0, 0.0), recording_share=1.0)
    expected = official(p[1:, :, 0], y[1:, :, 0])
    assert loss(p, y, recording=recording).item() == pytest.approx(expected, abs=1e-5)


def test_cross_entropy_is_that_of_the_two_nearest_values() -> None:
    # five values: -1, -.5, 0, .5, 1
    label = torch.tensor([-1.0, 1.0, 0.125, NAN, -0.5]).view(1, 5, 1)
    probabilities = torch.tensor([0.1, 0.2, 0.3, 0.15, 0.25])
    log_bins = probabilities.log().expand(1, 5, 1, 5)
    terms = [0.1, 0.25, 0.3**0.75 * 0.15**0.25, 0.2]
    expected = -sum(math.log(term) for term in terms) / 4 / math.log(5)
    assert cross_entropies(log_bins, label).item() == pytest.approx(expected)
    even = torch.full((1, 5, 1, 5), 0.2).log()
    assert cross_entropies(even, label).item() == pytest.approx(1.0)


def test_a_share_of_the_cross_entropy_is_each_targets_own() -> None:
    p, y = numbers()
    y = y.clamp(-1, 1)
    log_bins = torch.randn(4, 6, 2, 7).log_softmax(dim=-1)
    entropy = cross_entropies(log_bins, y)
    expected = 0.0
    for k, weight in enumerate((2.0, 0.5)):
        pooled = official(p[..., k], y[..., k])
        expected += weight * (0.75 * pooled + 0.25 * float(entropy[k]))
    loss = CccBinnedLoss((2.0, 0.5), cross_entropy_share=0.25)
    assert loss(p, y, log_bins=log_bins).item() == pytest.approx(expected, abs=1e-5)


def test_a_loss_of_bins_needs_heads_that_have_them() -> None:
    with pytest.raises(
        ValidationError, match="loss ccc_binned needs heads binned, but got heads s"
    ):
        TrialSettings(features=("face",), loss="ccc_binned")


def test_bins_are_learnt_through_the_heads_that_have_them() -> None:
    torch.manual_seed(0)
    heads = Binned(3, head_sizes=(), head_dropout=0.0, bins=5)
    loss = build_loss(TrialSettings(features=("face",), heads="binned", loss="ccc_binned"), AFFECT)
    x, label = torch.randn(2, 6, 3), torch.rand(2, 6, 2)
    prediction = heads(x)
    loss(prediction, label, log_bins=heads.log_bins).backward()
    gradient = heads.both[0].weight.grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert gradient.any(dim=1).all()
    # a prediction is the expected value of evenly spaced ones
    probabilities = heads.both(x).view(2, 6, 2, 5).softmax(dim=-1)
    expected = probabilities @ torch.tensor([-1, -0.5, 0, 0.5, 1.0])
    torch.testing.assert_close(prediction, expected)
    assert heads.eval()(x).shape == (2, 6, 2)
    assert heads.log_bins is None


def test_roughness_is_the_share_of_the_variance_between_neighbours() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 20_000, 1, generator=generator)
    steps = torch.linspace(0, 6.28, 20_000)
    slow = torch.sin(steps)[None, :, None]
    assert roughness(noise, noise).item() == pytest.approx(1.0, abs=0.02)
    assert roughness(3 * noise + 1, noise).item() == pytest.approx(1.0, abs=0.02)
    assert roughness(slow, slow).item() == pytest.approx(0.0, abs=1e-3)

    # a jump over an unlabelled step, or from one row to the next, is none
    p = torch.tensor([[0.0, 0.0, 9.0, 5.0, 5.0], [2.0, 2.0, 2.0, 2.0, 2.0]])[..., None]
    y = torch.zeros_like(p)
    y[0, 2] = NAN
    assert roughness(p, y).item() == 0.0
    y[0, 2] = 0.0
    variance = float(p.var(unbiased=False))
    assert roughness(p, y).item() == pytest.approx((9**2 + 4**2) / 8 / (2 * variance))


def test_roughness_is_weighed_beside_each_targets_cost() -> None:
    p, y = numbers()
    rough = roughness(p, y)
    for plain, smooth in (
        (CccLoss((2.0, 0.5)), CccLoss((2.0, 0.5), 0.1)),
        (CccMseLoss((2.0, 0.5)), CccMseLoss((2.0, 0.5), 0.1)),
    ):
        expected = plain(p, y) + 0.1 * (2.0 * rough[0] + 0.5 * rough[1])
        torch.testing.assert_close(smooth(p, y), expected)


LOSS_SETTINGS = [
    *({"loss": name} for name in LOSSES),
    *({"loss": name, "loss_smoothness": 0.5} for name in LOSSES),
]


def call(
    settings: dict[str, Any], p: torch.Tensor, y: torch.Tensor, **weights: float
) -> torch.Tensor:
    """The loss of a trial with these settings; each row is another recording."""
    heads = LOSSES[settings["loss"]].heads or "separate"
    trial = TrialSettings(features=("face",), heads=heads, **settings, **weights)
    loss = build_loss(trial, AFFECT)
    facts = {
        "mask": torch.ones(p.shape[:2], dtype=torch.bool),
        "recording": torch.arange(len(p)),
        "log_bins": torch.linspace(0, 1, 5).expand(*p.shape, 5).log_softmax(dim=-1),
    }
    value: torch.Tensor = loss(p, y, **facts)
    return value


@pytest.mark.parametrize("settings", LOSS_SETTINGS, ids=str)
def test_every_loss_weighs_targets_and_bears_any_labels(settings: dict[str, Any]) -> None:
    p, y = numbers()
    weighed = call(settings, p, y, loss_valence=3.0, loss_arousal=0.5)
    valence = call(settings, p, y, loss_arousal=0.0)
    arousal = call(settings, p, y, loss_valence=0.0)
    torch.testing.assert_close(weighed, 3 * valence + 0.5 * arousal)

    # no label, one label, constant ones, constant predictions: finite, and nothing where too few
    for labels in (0, 1, 24):
        for constant in (False, True):
            few = torch.full((24, 2), 0.25)
            few[labels:] = NAN
            prediction = torch.full((4, 6, 2), 0.25) if constant else p.clone()
            prediction.requires_grad_(True)
            value = call(settings, prediction, few.view(4, 6, 2))
            value.backward()
            assert value.isfinite()
            assert prediction.grad is not None
            assert prediction.grad.isfinite().all()
            if labels < 2:
                assert value.item() == 0.0
                assert not prediction.grad.any()

    # a NaN that is predicted where no label is has no part
    spoilt = p.clone()
    spoilt[y.isnan()] = NAN
    torch.testing.assert_close(call(settings, spoilt, y), call(settings, p, y))
    # one step a row has no neighbours
    assert call(settings, p[:, :1], y[:, :1]).isfinite()


def test_a_share_is_in_the_id_of_its_loss_alone() -> None:
    def identity(**settings: Any) -> str:
        return trial_id(TrialSettings(features=("face",), **settings), "data")

    assert identity() == identity(loss="ccc", loss_smoothness=0.0)
    assert identity() != identity(loss_smoothness=0.1)
    half = identity(loss="ccc_mse")
    assert half == identity(loss="ccc_mse", **{"loss.mse_share": 0.5})
    assert half != identity(loss="ccc_mse", **{"loss.mse_share": 0.1})
    assert identity() == identity(**{"loss.mse_share": 0.1})


@pytest.mark.parametrize("name", [name for name in LOSSES if LOSSES[name].stackable])
def test_a_loss_of_several_models_is_each_models_own(name: str) -> None:
    settings = TrialSettings(features=("face",), loss=name, loss_smoothness=0.5)
    loss = build_loss(settings, AFFECT)
    p, y = torch.randn(3, 4, 6, 2), torch.randn(3, 4, 6, 2)
    y[1, :2] = NAN
    together = torch.vmap(loss)(p, y)
    alone = [loss(prediction, label) for prediction, label in zip(p, y, strict=True)]
    torch.testing.assert_close(together, torch.stack(alone))
