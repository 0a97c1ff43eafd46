"""Segments: the paper's formula, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from va_search.data.segments import cut, padded, stitch, stretches
from va_search.data.store import Recording


@st.composite
def cuts(draw: st.DrawFn) -> tuple[int, int, int]:
    length = draw(st.integers(1, 40))
    return draw(st.integers(1, 200)), length, draw(st.integers(1, length))


def test_a_video_is_cut_as_the_paper_says() -> None:
    # n = 10, l = 4, p = 3: [10/3] + 1 = 4 segments, the i-th from frame (i-1)*3
    assert cut(10, 4, 3).tolist() == [[0, 4], [3, 7], [6, 10], [9, 10]]


def test_the_segment_that_would_be_empty_is_dropped() -> None:
    # [300/150] + 1 = 3, but the third would begin behind the last frame
    assert cut(300, 150, 150).tolist() == [[0, 150], [150, 300]]
    assert cut(301, 150, 150).tolist() == [[0, 150], [150, 300], [300, 301]]


def test_a_recording_shorter_than_a_segment_is_one_short_segment() -> None:
    assert cut(7, 150, 150).tolist() == [[0, 7]]
    assert cut(0, 150, 150).shape == (0, 2)


@given(cuts())
def test_counts_starts_and_cover(sizes: tuple[int, int, int]) -> None:
    frames, length, stride = sizes
    segments = cut(frames, length, stride)
    assert len(segments) == frames // stride + (1 if frames % stride else 0)
    assert segments[:, 0].tolist() == [index * stride for index in range(len(segments))]
    assert (segments[:, 1] > segments[:, 0]).all()
    assert (segments[:, 1] - segments[:, 0] <= length).all()
    covered = np.zeros(frames, bool)
    for start, stop in segments:
        covered[start:stop] = True
    assert covered.all()


@given(cuts())
def test_stitch_undoes_cut(sizes: tuple[int, int, int]) -> None:
    frames, length, stride = sizes
    values = np.random.default_rng(0).normal(size=(frames, 2))
    segments = cut(frames, length, stride)
    position, mask = padded(segments)
    pieces = np.where(mask[:, :, None], values[position], 1e9)  # padding must not come back
    assert stitch(pieces, segments, frames) == pytest.approx(values)


def test_overlapping_segments_are_averaged() -> None:
    segments = cut(6, 4, 2)  # [0, 4), [2, 6), [4, 6)
    pieces = np.zeros((3, 4, 1))
    pieces[1], pieces[2] = 1.0, 4.0
    assert stitch(pieces, segments, 6)[:, 0].tolist() == [0, 0, 0.5, 0.5, 2.5, 2.5]


def test_a_frame_in_no_segment_is_refused() -> None:
    with pytest.raises(ValueError, match="2 of 6 frames lie in no segment, first 4"):
        stitch(np.zeros((1, 4, 2)), np.array([[0, 4]]), 6)


@pytest.mark.parametrize(
    ("frames", "length", "stride"), [(-1, 4, 2), (10, 0, 0), (10, 4, 5), (10, 4, 0)]
)
def test_sizes_that_would_lose_frames_are_refused(frames: int, length: int, stride: int) -> None:
    with pytest.raises(ValueError, match="must hold, but got"):
        cut(frames, length, stride)


def test_padding_is_masked_and_stays_inside_the_segment() -> None:
    position, mask = padded(np.array([[0, 3], [3, 5]]))
    assert position.tolist() == [[0, 1, 2], [3, 4, 4]]
    assert mask.tolist() == [[True, True, True], [True, True, False]]


def test_stretches_end_at_gaps() -> None:
    recording = Recording("a", "s", "a", "train", None, 100, 50, 30.0, gaps=(10, 45))
    assert stretches(recording) == [(100, 110), (110, 145), (145, 150)]
    assert stretches(Recording("a", "s", "a", "train", None, 100, 50, 30.0)) == [(100, 150)]
