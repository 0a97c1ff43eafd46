"""The last two steps from members to an ensemble's predictions: smooth (and delay), then match.

`combine` is the one function that turns weights into predictions: honest scores, submission, demo
and serving use it, so what is judged is what is handed in.

Conventions: one target at a time, on its own scale, float64, not clipped (the submission
clips). Predictions (frames,) or (frames, series) cover every frame of their recordings, labelled or
not. A stretch is a recording, or what lies between two of its gaps; nothing is carried from one to
another. Windows and delays are in seconds and become frames at the recording's own frame rate, to
the nearest frame (a window: to the nearest odd number, so that it is centred). All of it is linear
in the predictions, so smoothing the weighted sum is the weighted sum of smoothed members.

Edges. Moving average: the mean of those frames of the window that the stretch has. Savitzky–Golay
(Savitzky & Golay 1964): a quadratic is fitted to the window; at the edges the first (last) full
window's quadratic is read off there. A stretch shorter than the window has it as its window (made
odd). Delay: the first (last) value is held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from va_search.data.store import Recording
from va_search.ensemble.statistics import Vector

Smoothing = Literal["none", "moving_average", "savitzky_golay"]
DEGREE = 2
"""Of Savitzky–Golay's polynomial."""


@dataclass(frozen=True)
class PostProcessing:
    """Smoothing and matching of one target's weighted sum; the default leaves it as it is.

    `window_seconds`: of the smoothing, at each recording's own frame rate. `delay_seconds`:
    predictions come so much later (annotators react late). Then `scale` · prediction + `offset`."""

    smoothing: Smoothing = "none"
    window_seconds: float = 0.0
    delay_seconds: float = 0.0
    scale: float = 1.0
    offset: float = 0.0

    @property
    def moves_in_time(self) -> bool:
        """True where predictions are smoothed or delayed."""
        smooths = self.smoothing != "none" and self.window_seconds > 0.0
        return smooths or self.delay_seconds != 0.0


AS_IT_IS = PostProcessing()


def combine(
    weights: Vector,
    columns: Sequence[NDArray[np.floating]],
    recordings: Sequence[Recording],
    post: PostProcessing = AS_IT_IS,
) -> Vector:
    """(frames,) the ensemble's predictions of one target.

    `weights` (member,); `columns` one (frames,) array per member, frames of `recordings` one after
    another."""
    total = np.zeros(sum(recording.frames for recording in recordings))
    for weight, column in zip(weights, columns, strict=True):
        if len(column) != len(total):
            raise ValueError(
                f"lengths must agree, but got {len(column)} predictions for {len(total)} frames"
            )
        total += float(weight) * column.astype(np.float64)
    return finished(total, recordings, post)


def finished(total: Vector, recordings: Sequence[Recording], post: PostProcessing) -> Vector:
    """The weighted sum `total` after smoothing, delay, scale and offset; works on (frames, series)
    alike."""
    # Smooth and delay, stretch by stretch.
    moved = total.copy()
    if post.moves_in_time:
        for rows, rate in stretches(recordings):
            smooth = smoothed(moved[rows], post.smoothing, post.window_seconds, rate)
            moved[rows] = delayed(smooth, post.delay_seconds, rate)
    # Match.
    result: Vector = post.scale * moved + post.offset
    return result


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


def smoothed(values: Vector, kind: Smoothing, seconds: float, rate: float) -> Vector:
    """One stretch, smoothed."""
    window = window_frames(seconds, rate)
    if kind == "none" or window <= 1:
        return values
    if kind == "moving_average":
        return moving_average(values, window)
    return savitzky_golay(values, window)


def moving_average(values: Vector, window: int) -> Vector:
    """Centred mean over `window` (odd) frames, fewer at the edges."""
    frames, half = len(values), window // 2
    # Sums of what differs from one value in the middle keep their digits.
    middle = values[frames // 2]
    sums = np.zeros((frames + 1, *values.shape[1:]))
    np.cumsum(values - middle, axis=0, out=sums[1:])
    centres = np.arange(frames)
    low, high = np.maximum(centres - half, 0), np.minimum(centres + half + 1, frames)
    count = (high - low).reshape(-1, *[1] * (values.ndim - 1))
    average: Vector = (sums[high] - sums[low]) / count + middle
    return average


def savitzky_golay(values: Vector, window: int) -> Vector:
    """A quadratic fitted to `window` (odd) frames around each, read off in the middle (SciPy's
    savgol_filter)."""
    from scipy.signal import savgol_filter

    frames = len(values)
    window = min(window, frames if frames % 2 else frames - 1)
    if window <= DEGREE:
        return values
    return np.asarray(savgol_filter(values, window, DEGREE, axis=0, mode="interp"))


def delayed(values: Vector, seconds: float, rate: float) -> Vector:
    """One stretch, `seconds` later (earlier where negative); the first (last) value is held."""
    shift = round(seconds * rate)
    if shift == 0:
        return values
    frames = len(values)
    moved: Vector = values[np.clip(np.arange(frames) - shift, 0, frames - 1)]
    return moved
