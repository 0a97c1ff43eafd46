"""The CCC loss, above all where a wrong formula differs from the right one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from va_search.metrics import ccc
from va_search.training.loss import CccLoss, TrialLoss, ccc_loss

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
