"""Per-recording sums give the CCC of the frames they were made from, matched, resampled or not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from va_search.data.store import Recording
from va_search.ensemble import sums
from va_search.ensemble.calibrate import matching
from va_search.ensemble.statistics import measure
from va_search.metrics import ccc

FRAMES = (20, 1, 33, 15)
RECORDINGS = [
    Recording(f"r{i}", f"s{i}", f"v{i}", "validation", None, sum(FRAMES[:i]), n, 25.0) for i, n in enumerate(FRAMES)
]
ENDS = np.cumsum(FRAMES)


def world(seed: int, offset: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = offset + rng.normal(size=69)
    members = offset + 0.6 * (y - offset)[:, None] + rng.normal(size=(69, 3))
    y[rng.random(69) < 0.3] = np.nan
    y[20] = np.nan  # the second recording has no label at all
    y[5] = offset
    return members, y


@settings(deadline=None)
@given(seed=st.integers(0, 500), offset=st.floats(-1e4, 1e4))
def test_both_ways_to_make_them_give_the_frames_ccc(seed: int, offset: float) -> None:
    members, y = world(seed, offset)
    rng = np.random.default_rng(seed + 1)
    weights = np.stack([rng.dirichlet(np.ones(3)), [0.0, 1.5, -0.5]], axis=1)
    pairs = [(r.name, r.frames) for r in RECORDINGS]
    statistics = measure(list(members.T), y, pairs, ["a", "b", "c"])
    quick = sums.from_statistics(statistics, weights)
    slow = sums.from_series(members @ weights, y, RECORDINGS, statistics.label_shift)
    assert quick.shape == slow.shape == (2, 4, 6)
    np.testing.assert_allclose(quick, slow, atol=1e-6, rtol=1e-7)
    for index in range(2):
        p = members @ weights[:, index]
        assert sums.ccc(quick[index].sum(axis=0)) == pytest.approx(ccc(p, y), abs=1e-8)
        for r, (low, high) in enumerate(zip([0, *ENDS], ENDS, strict=False)):
            np.testing.assert_allclose(sums.ccc(slow[index, r]), ccc(p[low:high], y[low:high]), atol=1e-8)


@settings(deadline=None)
@given(seed=st.integers(0, 500), offset=st.floats(-1e3, 1e3))
def test_matched_sums_are_the_sums_of_matched_predictions(seed: int, offset: float) -> None:
    members, y = world(seed, offset)
    one = sums.from_series(members[:, :1], y, RECORDINGS, offset)[0]
    scale, shift = sums.match(one.sum(axis=0))
    matched = sums.affine(one, scale, shift)
    p = scale * (members[:, 0] - offset) + shift + offset
    known = ~np.isnan(y)
    assert p[known].mean() == pytest.approx(y[known].mean(), abs=1e-6)
    assert p[known].std() == pytest.approx(y[known].std(), abs=1e-6)
    correlation = np.corrcoef(members[known, 0], y[known])[0, 1]
    assert sums.ccc(matched.sum(axis=0)) == pytest.approx(ccc(p, y), abs=1e-7)
    assert sums.ccc(matched.sum(axis=0)) == pytest.approx(correlation, abs=1e-7)  # the highest there is


def test_a_constant_prediction_or_annotation_is_left_alone() -> None:
    scale, offset = matching(np.array([2.0, 2.0, 2.0]), np.array([0.0, 1e-20, 4.0]), np.zeros(3), np.array([1, 1, 0.0]))
    np.testing.assert_array_equal(scale, np.ones(3))
    np.testing.assert_array_equal(offset, np.zeros(3))


def test_what_has_no_frames_has_no_ccc() -> None:
    assert np.isnan(sums.ccc(np.zeros(6)))
    y = np.full(69, np.nan)
    assert not sums.from_series(np.ones((69, 2)), y, RECORDINGS, 0.0).any()
