"""Segments: the windows a recording is trained and predicted in, and the way back to frames.

Conventions: lengths and positions count frames, or model steps where several frames make one step.
A range is a pair `[start, stop)`. Source: the paper's section 3.3: given length l and stride p, a
video with n frames is split into [n/p] + 1 segments, the i-th of which (from 1) holds frames
(i-1)*p + 1 to (i-1)*p + l, here `[(i-1)*p, (i-1)*p + l)`. Where p divides n the last of these would
be empty; it is dropped. Segments that reach over the end are short: they are padded and masked,
never filled with frames of another recording."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from va_search.data.arrays import Flags, Floats, Indexes, Values
from va_search.data.store import Recording

Ranges = Indexes
"""(segments, 2): `[start, stop)` of each."""


def cut(frames: int, length: int, stride: int) -> Ranges:
    """Segments of `frames` frames as (segments, 2) ranges; every frame lies in at least one."""
    if frames < 0 or length < 1 or not 1 <= stride <= length:
        raise ValueError(
            f"`frames >= 0` and `1 <= stride <= length` must hold, but got (frames={frames}, length={length}, "
            f"stride={stride})"
        )
    starts = np.arange(frames // stride + 1, dtype=np.int64) * stride
    starts = starts[starts < frames]  # the one that would be empty
    return np.stack([starts, np.minimum(starts + length, frames)], axis=1)


def padded(segments: Ranges) -> tuple[Indexes, Flags]:
    """Positions (segments, longest) and a mask of the same shape; padding repeats the last
    position, masked False."""
    start, stop = segments[:, :1], segments[:, 1:]
    longest = int((stop - start).max(initial=0))
    position = start + np.arange(longest, dtype=np.int64)
    return np.minimum(position, stop - 1), position < stop


def stitch(values: Values, segments: Ranges, frames: int) -> Floats:
    """Inverse of cutting: (segments, length, k) values to (frames, k), the mean where segments
    overlap.

    Values behind a segment's end (padding) are ignored. ValueError when a frame lies in no segment.
    """
    # Every value is added to its frame; overlaps are counted and divided out.
    position, mask = padded(segments)
    flat = position[mask]
    kept_values = values[:, : position.shape[1]][mask].astype(np.float64)
    n = np.bincount(flat, minlength=frames)
    if frames and n.min() == 0:
        raise ValueError(
            f"{int((n == 0).sum())} of {frames} frames lie in no segment, first {int(n.argmin())}"
        )
    sums = [
        np.bincount(flat, weights=kept_values[:, column], minlength=frames)
        for column in range(values.shape[2])
    ]
    joined: Floats = np.stack(sums, axis=1) / np.maximum(n, 1)[:, None]
    return joined


def stretches(recording: Recording) -> list[tuple[int, int]]:
    """Gap-free runs of a recording as store positions `[start, stop)`.

    No segment crosses from one to the next, and state that an encoder carries is reset between
    them."""
    borders = [0, *recording.gaps, recording.frames]
    return [
        (recording.start + start, recording.start + stop)
        for start, stop in pairwise(borders)
        if stop > start
    ]
