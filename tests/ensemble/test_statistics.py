"""The statistics say what a computation over all frames says, for any offset, subset and weighting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from va_search.ensemble import statistics as module
from va_search.ensemble.statistics import Statistics, measure
from va_search.errors import InputError
from va_search.metrics import ccc

Frames = tuple[list[NDArray[np.float32]], NDArray[np.float32], list[int]]


def frames(seed: int = 0, members: int = 4, lengths: tuple[int, ...] = (40, 7, 90), offset: float = 0.0) -> Frames:
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    y = rng.normal(size=n).cumsum() / 5
    predictions = [(y * rng.uniform(0.3, 1) + rng.normal(size=n) + rng.normal() + offset) for _ in range(members)]
    y = y + offset
    y[rng.random(n) < 0.2] = np.nan
    y[0] = offset  # never without a label
    return [p.astype(np.float32) for p in predictions], y.astype(np.float32), list(lengths)


def blocks(data: Frames) -> Statistics:
    predictions, y, lengths = data
    names = [f"m{i}" for i in range(len(predictions))]
    return measure(predictions, y, [(f"r{i}", n) for i, n in enumerate(lengths)], names)


def summed(predictions: list[NDArray[np.float32]], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return sum((w * p.astype(np.float64) for w, p in zip(weights, predictions, strict=True)), np.zeros(()))


@pytest.mark.parametrize("offset", [0.0, 100.0, 1000.0, 1e4])
def test_ccc_of_weights_is_the_metrics_ccc_at_any_offset(offset: float) -> None:
    data = frames(offset=offset)
    moments = blocks(data).total()
    for seed in range(5):
        weights = np.random.default_rng(seed).dirichlet(np.ones(4))
        assert moments.ccc(weights) == pytest.approx(ccc(summed(data[0], weights), data[1]), abs=1e-9)
    np.testing.assert_allclose(moments.ccc_of_each(), [ccc(p, data[1]) for p in data[0]], atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    members=st.integers(1, 6),
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=6).filter(lambda lengths: sum(lengths) > 4),
    offset=st.floats(-1e4, 1e4),
)
def test_any_shape_any_offset(seed: int, members: int, lengths: list[int], offset: float) -> None:
    data = frames(seed, members, tuple(lengths), offset)
    weights = np.random.default_rng(seed).dirichlet(np.ones(members))
    expected = ccc(summed(data[0], weights), data[1])
    assert blocks(data).total().ccc(weights) == pytest.approx(expected, abs=1e-7, nan_ok=True)


def test_moments_are_population_moments() -> None:
    data = frames()
    labelled = ~np.isnan(data[1])
    x = np.stack([p[labelled] for p in data[0]]).astype(np.float64)
    y = data[1][labelled].astype(np.float64)
    moments = blocks(data).total()
    assert moments.frames == labelled.sum()
    np.testing.assert_allclose(moments.mean, x.mean(axis=1))
    np.testing.assert_allclose(moments.covariance, np.cov(x, bias=True), atol=1e-12)
    np.testing.assert_allclose(moments.with_label, ((x.T - x.mean(axis=1)).T * (y - y.mean())).mean(axis=1))
    assert (moments.label_mean, moments.label_variance) == pytest.approx((y.mean(), y.var()))


def test_a_subset_or_repetition_of_recordings_needs_no_frame() -> None:
    predictions, y, lengths = frames()
    pieces = np.split(np.arange(sum(lengths)), np.cumsum(lengths)[:-1])
    rows = np.concatenate([pieces[0], pieces[2], pieces[2], pieces[2]])
    moments = blocks((predictions, y, lengths)).total(np.array([1.0, 0.0, 3.0]))
    np.testing.assert_allclose(moments.ccc_of_each(), [ccc(p[rows], y[rows]) for p in predictions], atol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_pooled_ccc_of_recordings_predicted_with_their_own_weights(offset: float) -> None:
    predictions, y, lengths = frames(offset=offset)
    weights = np.random.default_rng(1).dirichlet(np.ones(4), size=3)
    pieces = np.split(np.arange(sum(lengths)), np.cumsum(lengths)[:-1])
    joined = np.concatenate([summed([p[rows] for p in predictions], weights[i]) for i, rows in enumerate(pieces)])
    assert blocks((predictions, y, lengths)).pooled_ccc(weights) == pytest.approx(ccc(joined, y), abs=1e-9)


def test_long_recordings_are_added_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    data = frames()
    whole = blocks(data).total()
    monkeypatch.setattr(module, "ROWS", 11)
    pieces = blocks(data).total()
    np.testing.assert_allclose(pieces.covariance, whole.covariance, atol=1e-12)
    np.testing.assert_allclose(pieces.mean, whole.mean, atol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_prediction_that_is_no_number_is_refused_by_name(value: float) -> None:
    predictions, y, lengths = frames()
    predictions[1][45] = predictions[3][100] = value
    y[[45, 100]] = 0.5
    with pytest.raises(InputError) as error:
        blocks((predictions, y, lengths))
    assert len(error.value.problems) == 2
    assert "member m1" in error.value.problems[0] and "r1" in error.value.problems[0]
    assert "member m3" in error.value.problems[1] and "r2" in error.value.problems[1]


def test_unlabelled_frames_are_left_out() -> None:
    predictions, y, lengths = frames()
    before = blocks((predictions, y, lengths)).total()
    for prediction in predictions:
        prediction[np.isnan(y)] = 77.0
    after = blocks((predictions, y, lengths)).total()
    np.testing.assert_array_equal(after.covariance, before.covariance)


def test_lengths_that_disagree_are_a_mistake_of_the_caller() -> None:
    predictions, y, _ = frames()
    with pytest.raises(ValueError, match="lengths must agree"):
        blocks((predictions, y, [40, 7]))
    with pytest.raises(ValueError, match="labelled frame"):
        blocks((predictions, np.full_like(y, np.nan), [40, 7, 90])).total()
