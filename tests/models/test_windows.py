"""Ridge regression on windowed features, against what numpy computes plainly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from va_search.metrics import ccc
from va_search.models.menu import MOST_WINDOWED
from va_search.models.windows import WindowRidge, chosen_alpha, products, ridge, windowed

STEPS, COLUMNS = 40, 3


def example() -> tuple[torch.Tensor, torch.Tensor]:
    """Two rows, the second with 25 real steps."""
    x = torch.randn(2, STEPS, COLUMNS, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, STEPS, dtype=torch.bool)
    mask[1, 25:] = False
    return x.masked_fill(~mask[..., None], 0.0), mask


@pytest.mark.parametrize("window", [4, 5])
def test_each_step_is_described_by_its_windows(window: int) -> None:
    x, mask = example()
    described = windowed(x, mask, [window]).numpy()
    for row in range(2):
        real = x[row][mask[row]].numpy().astype(np.float64)
        for step in range(len(real)):
            half = window // 2
            past = real[max(0, step - window + 1) : step + 1]
            around = real[max(0, step - half) : step + half + 1]
            expected = [
                real[step], past.mean(axis=0), around.mean(axis=0), around.std(axis=0),
                real.mean(axis=0), real.std(axis=0),
            ]  # fmt: skip
            np.testing.assert_allclose(described[row, step], np.concatenate(expected), atol=1e-5)


def test_padding_changes_nothing() -> None:
    x, mask = example()
    alone = windowed(x[1:, :25], mask[1:, :25], [5])
    np.testing.assert_allclose(windowed(x, mask, [5])[1, :25], alone[0], atol=1e-6)


def plain_ridge(x: np.ndarray, y: np.ndarray, alpha: float) -> np.ndarray:
    """Predictions of ridge regression on standardised columns, scaled to the labels' spread."""
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    gram = z.T @ z / len(z) + alpha * np.eye(z.shape[1])
    predicted = z @ np.linalg.solve(gram, z.T @ (y - y.mean()) / len(z))
    return predicted * y.std() / predicted.std() + y.mean()


def test_the_solution_is_that_of_ridge_regression_with_the_spread_of_the_labels() -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=(200, 4)) * [1, 5, 0.1, 1] + [0, 3, 100, 0]
    y = x[:, 0] - 0.2 * x[:, 1] + random.normal(size=200)
    label = torch.tensor(np.stack([y, np.where(np.arange(200) < 50, np.nan, y)], axis=1))
    sums = products(torch.tensor(x), label)
    for target, rows in ((0, slice(None)), (1, slice(50, None))):
        weight, bias = ridge(sums[target], 0.3)
        predicted = x @ weight.numpy() + float(bias)
        np.testing.assert_allclose(predicted[rows], plain_ridge(x[rows], y[rows], 0.3), atol=1e-8)


def test_a_column_that_never_changes_and_a_label_that_never_changes_do_no_harm() -> None:
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(2))
    x[:, 1] = 7.0
    weight, bias = ridge(products(x, torch.full((50, 1), 0.25))[0], 0.1)
    assert weight.tolist() == pytest.approx([0.0, 0.0], abs=1e-9)
    assert float(bias) == pytest.approx(0.25)


def test_much_is_shrunk_where_there_is_little_to_learn_from() -> None:
    random = torch.Generator().manual_seed(3)

    def person(steps: int, noise: float) -> torch.Tensor:
        """Sums of one person, whose label is the small difference of two columns of 40."""
        x = torch.randn(steps, 40, generator=random)
        x[:, 1] = x[:, 0] + 0.1 * x[:, 1]
        y = 10 * (x[:, 1:2] - x[:, 0:1]) + noise * torch.randn(steps, 1, generator=random)
        return products(x, y)[0]

    plenty = torch.stack([person(500, noise=0.1) for _ in range(5)])
    little = torch.stack([person(12, noise=3.0) for _ in range(5)])
    assert chosen_alpha(plenty) < chosen_alpha(little)


def test_wide_inputs_are_projected_and_the_loss_is_that_of_the_predictions() -> None:
    torch.manual_seed(4)
    model = WindowRidge(400, ["engagement"], windows=(4,), alpha=0.1)
    assert model.weight.shape[1] <= MOST_WINDOWED
    x, mask = torch.randn(3, 30, 400), torch.ones(3, 30, dtype=torch.bool)
    label = x[..., :1] * 0.1
    features = model.described(x, mask)
    sums = model.sums_of(features.flatten(0, 1), label.flatten(0, 1))
    loss = model.solve(sums[None])
    predicted, states = model(x, mask)
    assert states == ()
    assert loss == pytest.approx(
        1 - ccc(predicted.flatten().numpy(), label.flatten().numpy()), abs=1e-4
    )
