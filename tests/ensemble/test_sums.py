"""Per-recording sums give the CCC of the frames they were made from, matched, resampled or not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from va_search.data.store import Recording
from va_search.ensemble import sums
from va_search.ensemble.measure import measure
from va_search.ensemble.statistics import matching
from va_search.metrics import ccc

FRAMES = (20, 1, 33, 15)
RECORDINGS = [
    Recording(f"r{i}", f"s{i}", f"v{i}", "validation", None, sum(FRAMES[:i]), n, 25.0)
    for i, n in enumerate(FRAMES)
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
            np.testing.assert_allclose(
                sums.ccc(slow[index, r]), ccc(p[low:high], y[low:high]), atol=1e-8
            )


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
    assert sums.ccc(matched.sum(axis=0)) == pytest.approx(
        correlation, abs=1e-7
    )  # the highest there is


def test_a_constant_prediction_or_annotation_is_left_alone() -> None:
    scale, offset = matching(
        np.array([2.0, 2.0, 2.0]), np.array([0.0, 1e-20, 4.0]), np.zeros(3), np.array([1, 1, 0.0])
    )
    np.testing.assert_array_equal(scale, np.ones(3))
    np.testing.assert_array_equal(offset, np.zeros(3))


def test_what_has_no_frames_has_no_ccc() -> None:
    assert np.isnan(sums.ccc(np.zeros(6)))
    y = np.full(69, np.nan)
    assert not sums.from_series(np.ones((69, 2)), y, RECORDINGS, 0.0).any()


def people(number: int, gap: float) -> tuple[np.ndarray, np.ndarray, list[Recording]]:
    """Predictions (frame, 2) with a third of the annotation's spread, `gap` below it; one recording
    a person."""
    rng = np.random.default_rng(8)
    y = rng.normal(size=20 * number) + np.repeat(rng.normal(0.0, 0.5, number), 20)
    p = np.stack([0.3 * y - gap, 0.3 * y], axis=1) + rng.normal(0.0, 0.1, (len(y), 2))
    recordings = [
        Recording(f"r{i}", f"s{i}", f"v{i}", "validation", None, 20 * i, 20, 25.0)
        for i in range(number)
    ]
    return p, y, recordings


def test_matching_in_part_goes_as_far_as_the_groups_agree() -> None:
    """By hand, from the frames: each change shrunk by its jackknife standard error."""
    p, y, recordings = people(5, gap=1.0)
    groups = ((0, 1), (2,), (3,), (4,))
    found = sums.match_in_part(sums.from_series(p, y, recordings, 0.0), groups)
    person = np.repeat(np.arange(5), 20)
    for series in range(2):
        one = p[:, series]
        log_scales, gaps = [], []
        for group in groups:
            kept = ~np.isin(person, group)
            log_scales.append(np.log(y[kept].std() / one[kept].std()))
            gaps.append(y[kept].mean() - one[kept].mean())
        parts = []
        for change, without in (
            (np.log(y.std() / one.std()), log_scales),
            (y.mean() - one.mean(), gaps),
        ):
            error = 3 / 4 * ((np.array(without) - np.mean(without)) ** 2).sum()
            parts.append(change * change**2 / (change**2 + sums.DOUBT * error))
        scale = np.exp(parts[0])
        assert found[0][series] == pytest.approx(scale)
        assert found[1][series] == pytest.approx(one.mean() + parts[1] - scale * one.mean())
        assert 1.5 < scale < y.std() / one.std()


def test_many_people_are_matched_in_full_and_one_group_too() -> None:
    p, y, recordings = people(200, gap=3.0)
    series = sums.from_series(p, y, recordings, 0.0)
    full = sums.match(series.sum(axis=1))
    in_part = sums.match_in_part(series, [(index,) for index in range(200)])
    np.testing.assert_allclose(in_part[0], full[0], rtol=0.01)
    assert in_part[1][0] == pytest.approx(full[1][0], rel=0.01)
    np.testing.assert_array_equal(sums.match_in_part(series, [tuple(range(200))]), full)


def test_a_constant_is_left_alone_in_part_too() -> None:
    p, y, recordings = people(6, gap=1.0)
    series = sums.from_series(np.ones_like(p), y, recordings, 0.0)
    found = sums.match_in_part(series, [(index,) for index in range(6)])
    np.testing.assert_array_equal(found, [[1.0, 1.0], [0.0, 0.0]])
