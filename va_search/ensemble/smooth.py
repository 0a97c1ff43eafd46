"""Smoothing and delaying predictions, within one recording and between its gaps.

Conventions: a stretch is a recording, or what lies between two of its gaps; arrays are (frames,) or
(frames, series) of one stretch, float64. Windows and delays are in seconds and become frames at the
recording's own frame rate, to the nearest frame (a window: to the nearest odd number, so that it is
centred). All functions are linear in the predictions, so smoothing the weighted sum is the weighted
sum of smoothed members, and they keep a constant as it is.

Edges. Moving average: the mean of those frames of the window that the stretch has. Savitzky–Golay
(Savitzky & Golay 1964): a quadratic is fitted to the window; at the edges the first (last) full
window's quadratic is read off there. A stretch shorter than the window has it as its window (made
odd). Delay: the first (last) value is held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from va_search.data.store import Recording

Vector = NDArray[np.float64]
DEGREE = 2
"""Of Savitzky–Golay's polynomial."""


def stretches(recordings: Sequence[Recording]) -> Iterator[tuple[slice, float]]:
    """Rows and frame rate of each stretch, rows counted through all recordings one after
    another."""
    start = 0
    for recording in recordings:
        for low, high in pairwise((0, *recording.gaps, recording.frames)):
            if high > low:
                yield slice(start + low, start + high), recording.frames_per_second
        start += recording.frames


def window_frames(seconds: float, rate: float) -> int:
    """The odd number of frames nearest to so many seconds; 1 smooths nothing."""
    return max(1, 2 * round((seconds * rate - 1.0) / 2.0) + 1)


def smoothed(values: Vector, kind: str, seconds: float, rate: float) -> Vector:
    """One stretch, smoothed; `kind` none, moving_average or savitzky_golay."""
    window = window_frames(seconds, rate)
    if kind == "none" or window <= 1:
        return values
    return {"moving_average": moving_average, "savitzky_golay": savitzky_golay}[kind](
        values, window
    )


def moving_average(values: Vector, window: int) -> Vector:
    """Centred mean over `window` (odd) frames, fewer at the edges."""
    frames, half = len(values), window // 2
    middle = values[frames // 2]  # sums of what differs from it keep their digits
    sums = np.zeros((frames + 1, *values.shape[1:]))
    np.cumsum(values - middle, axis=0, out=sums[1:])
    at = np.arange(frames)
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, frames)
    count = (high - low).reshape(-1, *[1] * (values.ndim - 1))
    found: Vector = (sums[high] - sums[low]) / count + middle
    return found


def savitzky_golay(values: Vector, window: int) -> Vector:
    """A quadratic fitted to `window` (odd) frames around each, read off in the middle (SciPy's
    savgol_filter)."""
    from scipy.signal import savgol_filter

    frames = len(values)
    window = min(window, frames if frames % 2 else frames - 1)
    if window <= DEGREE:
        return values
    found: Vector = savgol_filter(values, window, DEGREE, axis=0, mode="interp")
    return found


def delayed(values: Vector, seconds: float, rate: float) -> Vector:
    """One stretch, `seconds` later (earlier where negative); the first (last) value is held."""
    shift = round(seconds * rate)
    if shift == 0:
        return values
    frames = len(values)
    found: Vector = values[np.clip(np.arange(frames) - shift, 0, frames - 1)]
    return found
