"""From members' predictions to the ensemble's: weighted sum, smoothing, delay, scale and offset, in
this order.

`combine` is the one function that turns weights into predictions: honest scores, submission, demo
and serving use it, so what is judged is what is handed in.

Conventions: one dimension at a time, on the source's scale, float64, not clipped (the submission
clips). Predictions cover every frame of their recordings, labelled or not. Each recording is
treated by itself, and so is each stretch of it between gaps: nothing is carried across either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from va_search.data.store import Recording
from va_search.ensemble.smooth import delayed, smoothed, stretches

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class PostProcessing:
    """What is done to one dimension's weighted sum; the default leaves it as it is.

    `window_seconds`: of the smoothing, at each recording's own frame rate. `delay_seconds`:
    predictions come so much later (annotators react late). Then `scale` · prediction + `offset`.
    """

    smoothing: Literal["none", "moving_average", "savitzky_golay"] = "none"
    window_seconds: float = 0.0
    delay_seconds: float = 0.0
    scale: float = 1.0
    offset: float = 0.0


AS_IT_IS = PostProcessing()


def combine(
    weights: Vector,
    columns: Sequence[NDArray[np.floating]],
    recordings: Sequence[Recording],
    post: PostProcessing = AS_IT_IS,
) -> Vector:
    """(frames,) the ensemble's predictions of one dimension.

    `weights` (members,); `columns` one (frames,) array per member, frames of `recordings` one after
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
    found = total.copy()
    if (post.smoothing != "none" and post.window_seconds > 0.0) or post.delay_seconds:
        for rows, rate in stretches(recordings):
            part = smoothed(found[rows], post.smoothing, post.window_seconds, rate)
            found[rows] = delayed(part, post.delay_seconds, rate)
    result: Vector = post.scale * found + post.offset
    return result
