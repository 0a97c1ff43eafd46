"""CCC where the wrong formula differs."""

from __future__ import annotations

import numpy as np
import pytest

from va_search.metrics import ccc


def test_perfect_prediction_is_one_even_for_few_frames() -> None:
    y = np.linspace(-1, 1, 16)
    assert ccc(y, y) == pytest.approx(1.0, abs=1e-12)  # n-1 in the variance only gives .9375 here


def test_by_hand() -> None:
    p, y = np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.0, 4.0])
    # population: var p = 2/3, var y = 2, cov = 1, means 1 and 2 -> 2*1 / (2/3 + 2 + 1)
    assert ccc(p, y) == pytest.approx(2 / (2 / 3 + 2 + 1))


def test_scale_and_offset_are_punished_and_correlation_is_not() -> None:
    y = np.random.default_rng(0).normal(size=500)
    y -= y.mean()
    assert ccc(0.5 * y, y) == pytest.approx(2 * 0.5 / (0.25 + 1))
    assert ccc(y + 1, y) < 1


def test_unlabelled_frames_are_left_out_and_missing_predictions_are_not() -> None:
    y = np.array([0.0, np.nan, 1.0, 2.0])
    assert ccc(np.array([0.0, 99.0, 1.0, 2.0]), y) == pytest.approx(1.0)
    assert np.isnan(ccc(np.array([0.0, 0.0, np.nan, 2.0]), y))


def test_undefined_is_nan_not_a_number_made_up() -> None:
    assert np.isnan(ccc(np.ones(5), np.ones(5)))
    assert np.isnan(ccc(np.ones(3), np.full(3, np.nan)))
    assert ccc(np.zeros(5), np.ones(5)) == 0.0


def test_float32_far_from_zero_keeps_its_digits() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=2000).astype(np.float32)
    p = (y + rng.normal(size=2000)).astype(np.float32)
    assert ccc(p + np.float32(1000), y + np.float32(1000)) == pytest.approx(ccc(p, y), abs=1e-3)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes must be equal"):
        ccc(np.ones(3), np.ones(4))
