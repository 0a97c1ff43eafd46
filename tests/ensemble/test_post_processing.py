"""Smoothing and delay are linear, stay within stretches, hold edges, and count in seconds."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from va_search.data.store import Recording
from va_search.ensemble.post_processing import (
    PostProcessing,
    combine,
    delayed,
    finished,
    moving_average,
    savitzky_golay,
    smoothed,
    stretches,
    window_frames,
)

KINDS = ("moving_average", "savitzky_golay")


def recording(name: str, frames: int, rate: float, gaps: tuple[int, ...] = ()) -> Recording:
    return Recording(name, name, name, "validation", None, 0, frames, rate, gaps)


RECORDINGS = [recording("a", 30, 10.0, (12, 13)), recording("b", 40, 25.0), recording("c", 1, 10.0)]
ENDS = [0, 12, 13, 30, 70, 71]


@settings(deadline=None)  # SciPy is imported in the first example
@given(
    kind=st.sampled_from(KINDS),
    window=st.floats(0, 6),
    delay=st.floats(-3, 3),
    offset=st.floats(-1e4, 1e4),
    seed=st.integers(0, 1000),
)
def test_smoothing_the_sum_is_the_sum_of_smoothed_members(
    kind: str, window: float, delay: float, offset: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    members = offset + rng.normal(size=(71, 4))
    weights = rng.dirichlet(np.ones(4))
    post = PostProcessing(kind, window, delay)  # type: ignore[arg-type]
    each = np.stack([finished(members[:, i], RECORDINGS, post) for i in range(4)], axis=1)
    together = combine(weights, list(members.T), RECORDINGS, post)
    np.testing.assert_allclose(
        together, each @ weights, rtol=1e-9, atol=1e-9 * max(1.0, abs(offset))
    )
    np.testing.assert_allclose(finished(members, RECORDINGS, post), each, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("delay", [0.0, 0.5, -0.5])
def test_nothing_crosses_a_gap_or_a_recording(kind: str, delay: float) -> None:
    """An impulse in one stretch changes no other; every stretch is as if it were alone."""
    post = PostProcessing(kind, 0.9, delay)  # type: ignore[arg-type]
    values = np.random.default_rng(0).normal(size=71)
    found = finished(values, RECORDINGS, post)
    for (low, high), rate in zip(pairwise(ENDS), [10.0, 10.0, 10.0, 25.0, 10.0], strict=True):
        alone = delayed(smoothed(values[low:high], kind, 0.9, rate), delay, rate)
        np.testing.assert_allclose(found[low:high], alone, atol=1e-12)
        other = values.copy()
        other[low:high] += 100.0
        changed = finished(other, RECORDINGS, post) != found
        assert not changed[:low].any() and not changed[high:].any() and changed[low:high].all()


def test_stretches_are_recordings_cut_at_gaps() -> None:
    found = list(stretches(RECORDINGS))
    assert [(rows.start, rows.stop) for rows, _ in found] == list(pairwise(ENDS))
    assert [rate for _, rate in found] == [10.0, 10.0, 10.0, 25.0, 10.0]


def test_a_moving_average_is_the_mean_of_what_the_window_has() -> None:
    values = 1e4 + np.random.default_rng(1).normal(size=25)
    for window in (1, 3, 7, 49, 99):
        half = window // 2
        expected = [values[max(0, i - half) : i + half + 1].mean() for i in range(25)]
        np.testing.assert_allclose(moving_average(values, window), expected, rtol=1e-13)


def test_savitzky_golay_keeps_a_quadratic_and_copes_with_few_frames() -> None:
    t = np.arange(30.0)
    parabola = 3.0 - 2.0 * t + 0.1 * t**2
    np.testing.assert_allclose(savitzky_golay(parabola, 9), parabola, atol=1e-9)
    for frames in (1, 2, 3, 4, 7):
        short = np.random.default_rng(frames).normal(size=frames)
        assert np.isfinite(savitzky_golay(short, 99)).all()
    np.testing.assert_array_equal(savitzky_golay(short[:2], 99), short[:2])


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_stays_and_noise_shrinks(kind: str) -> None:
    assert smoothed(np.full(50, 4.2), kind, 1.0, 10.0) == pytest.approx(4.2)
    noise = np.random.default_rng(2).normal(size=500)
    assert smoothed(noise, kind, 1.0, 10.0).std() < 0.6 * noise.std()
    np.testing.assert_array_equal(smoothed(noise, "none", 5.0, 10.0), noise)


def test_windows_and_delays_are_seconds_at_the_recordings_own_rate() -> None:
    assert [window_frames(seconds, 25.0) for seconds in (0.0, 0.04, 0.12, 1.0)] == [1, 1, 3, 25]
    ramp = np.arange(20.0)
    np.testing.assert_array_equal(delayed(ramp, 0.2, 10.0), np.maximum(ramp - 2, 0))
    np.testing.assert_array_equal(delayed(ramp, 0.2, 25.0), np.maximum(ramp - 5, 0))
    np.testing.assert_array_equal(delayed(ramp, -0.2, 10.0), np.minimum(ramp + 2, 19))
    np.testing.assert_array_equal(delayed(ramp, 99.0, 10.0), np.zeros(20))


def test_scale_and_offset_come_last_and_the_default_changes_nothing() -> None:
    values = np.random.default_rng(3).normal(size=71)
    np.testing.assert_array_equal(finished(values, RECORDINGS, PostProcessing()), values)
    both = finished(
        values, RECORDINGS, PostProcessing("moving_average", 0.5, 0.3, scale=2.0, offset=-1.0)
    )
    plain = finished(values, RECORDINGS, PostProcessing("moving_average", 0.5, 0.3))
    np.testing.assert_allclose(both, 2.0 * plain - 1.0)


def test_columns_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="70 predictions for 71 frames"):
        combine(np.ones(1), [np.zeros(70)], RECORDINGS)
