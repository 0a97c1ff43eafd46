"""Boosted trees on windowed features, against what scikit-learn predicts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingRegressor

from va_search.models.trees import WindowTrees, sum_of_leaves
from va_search.models.windows import windowed

STEPS, COLUMNS = 600, 3


def model(**changes: object) -> WindowTrees:
    options = {"windows": (4,), "iterations": 20, "learning_rate": 0.2, "leaves": 7, "l2": 1.0}
    return WindowTrees(COLUMNS, ["joy", "fear"], **{**options, "column_share": 0.5, **changes})


def example(missing: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x [1, step, column] of which a share is missing, mask, and labels [step, target]."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(1, STEPS, COLUMNS, generator=random)
    label = torch.stack([x[0, :, 0].tanh(), (x[0, :, 1] * x[0, :, 2]).tanh()], dim=1) * 0.8
    x = x.masked_fill(torch.rand(x.shape, generator=random) < missing, torch.nan)
    return x, torch.ones(1, STEPS, dtype=torch.bool), label


def grown(trees: WindowTrees, missing: float = 0.0, people: int = 1) -> float:
    x, mask, label = example(missing)
    half = np.arange(STEPS) * people // STEPS % 2 == 1
    features = trees.described(x, mask)[0].numpy()
    return trees.grow(features, label.numpy(), None, half=half, seed=3)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_our_trees_predict_what_scikit_learns_do(missing: float) -> None:
    trees = model()
    grown(trees, missing)
    x, mask, label = example(missing)
    features = trees.described(x, mask)
    assert bool(features.isnan().any()) == bool(missing)
    ours = trees.booster(3, STEPS)
    other = HistGradientBoostingRegressor(
        max_iter=20, learning_rate=0.2, max_leaf_nodes=7, l2_regularization=1.0, max_features=0.5,
        min_samples_leaf=ours.min_samples_leaf, max_bins=ours.max_bins,
        early_stopping=False, random_state=3,
    )  # fmt: skip
    for target in range(2):
        other.fit(features[0].numpy(), label[:, target].numpy())
        expected = other.predict(features[0].numpy())
        # steps that nobody has trained on, some beyond all that was seen
        other_steps = features[0] * 1.7 - 0.3
        np.testing.assert_allclose(
            trees.of_described(features)[0, :, target].numpy(), expected, atol=1e-6
        )
        np.testing.assert_allclose(
            trees.of_described(other_steps)[:, target].numpy(),
            other.predict(other_steps.numpy()),
            atol=1e-6,
        )


@pytest.mark.parametrize(("steps", "least"), [(10_000, 50), (500, 50), (90, 9), (3, 1)])
def test_few_steps_are_split_too(steps: int, least: int) -> None:
    assert model().booster(0, steps).min_samples_leaf == least


def test_every_step_ends_in_a_leaf_whose_branches_lead_to_itself() -> None:
    arrays = {
        "feature": np.array([[0, 0, 0]]),
        "threshold": np.array([[0.5, 0.0, 0.0]]),
        "missing_left": np.array([[True, False, False]]),
        "left": np.array([[1, 1, 2]]),
        "right": np.array([[2, 1, 2]]),
        "value": np.array([[0.0, -1.0, 1.0]]),
    }
    steps = np.array([[0.5], [0.6], [np.nan], [np.inf]], np.float32)
    assert sum_of_leaves(steps, arrays).tolist() == [-1.0, 1.0, -1.0, 1.0]
    assert sum_of_leaves(steps[:0], arrays).tolist() == []


def test_predictions_are_scaled_to_the_spread_of_labels_of_people_left_out() -> None:
    plain, scaled = model(), model()
    grown(plain)
    grown(scaled, people=2)
    x, mask, _ = example()
    features = plain.described(x, mask)
    ratio = [
        float(scaled.of_described(features)[..., target].std())
        / float(plain.of_described(features)[..., target].std())
        for target in range(2)
    ]
    # the product of two columns is the harder one: predicted more cautiously, scaled by more
    assert 1.0 < ratio[0] < ratio[1] <= 2.0


def test_a_window_leaves_missing_values_out() -> None:
    x, mask, _ = example(missing=0.6)
    described = windowed(x, mask, [4])[0].numpy()
    values = x[0].numpy()
    for step in (0, 5, 100, STEPS - 1):
        past = values[max(0, step - 3) : step + 1]
        for column in range(COLUMNS):
            present = past[:, column][~np.isnan(past[:, column])]
            expected = present.mean() if len(present) else np.nan
            np.testing.assert_allclose(described[step, COLUMNS + column], expected, atol=1e-6)


def test_a_label_that_never_changes_is_predicted() -> None:
    trees = model()
    x, mask, label = example()
    features = trees.described(x, mask)
    constant = np.full(label.shape, 0.25, np.float32)
    half = np.arange(STEPS) % 2 == 0
    assert trees.grow(features[0].numpy(), constant, None, half=half, seed=0) == 1.0
    np.testing.assert_allclose(trees(x, mask)[0].numpy(), 0.25, atol=1e-6)
