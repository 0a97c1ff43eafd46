"""Windows of sound, or rows of images, brought to the annotation frames' times.

nearest         the row whose centre is nearest to the frame's time; the earlier of two equally near
mean            mean of the rows whose centres lie in the frame's interval, from its time to the next frame's; before a
                gap in time it is a usual interval long, so that nothing from within the gap counts
{window: s}     mean of the rows whose centres lie within s seconds, half before and half after the frame's time

Conventions: times and centres are seconds on the video's clock. A positive delay takes features
from so many seconds before the annotation, which follows what is felt late. A frame with no row in
its interval takes the nearest row. Rows come in any number of blocks of increasing centres; memory
is that of the pooled frames and one block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Span = tuple[NDArray[np.float64], NDArray[np.float64]]


def frame_intervals(times: NDArray[np.float64], gaps: Sequence[int], usual: float) -> Span:
    """(frames,) begin and end of each frame's interval; the last is as long as the one before it.

    The frame before each of `gaps` (frames, from 0, before which time jumps) has the `usual` length
    in seconds."""
    if len(times) < 2:
        return times, times + np.inf
    ends = np.append(times[1:], 2 * times[-1] - times[-2])
    before_gaps = np.asarray(gaps, dtype=np.int64) - 1
    ends[before_gaps] = times[before_gaps] + usual
    if len(times) - 1 in gaps:  # else the last would be as long as the gap before it
        ends[-1] = times[-1] + usual
    return times, ends


class Pooler:
    """Collects rows and pools them. `seconds` None with `mean`: the frame's interval; `mean` False:
    nearest. `gaps` and `usual` as in `frame_intervals`."""

    def __init__(
        self,
        times: NDArray[np.float64],
        *,
        mean: bool,
        seconds: float | None = None,
        delay: float = 0.0,
        gaps: Sequence[int] = (),
        usual: float = np.inf,
    ) -> None:
        self.times = times - delay
        self.span: Span | None = None
        if mean and seconds is None:
            self.span = frame_intervals(self.times, gaps, usual)
        elif mean and seconds is not None:
            self.span = (self.times - seconds / 2, self.times + seconds / 2)
        self.distance = np.full(len(times), np.inf)
        self.closest: NDArray[np.float32] | None = None
        self.total: NDArray[np.float64] | None = None
        self.count = np.zeros(len(times), dtype=np.int64)

    def add(self, centres: NDArray[np.float64], values: NDArray[np.float32]) -> None:
        """Add a block of rows: (rows,) centres that increase, within the block and from block to
        block, and (rows, dim) values."""
        if not len(centres):
            return
        if self.closest is None:
            self.closest = np.zeros((len(self.times), values.shape[1]), dtype=np.float32)
        # The nearest row is kept for every frame: the mean falls back on it.
        index = nearest(centres, self.times)
        distance = np.abs(centres[index] - self.times)
        nearer = distance < self.distance
        self.closest[nearer] = values[index[nearer]]
        self.distance[nearer] = distance[nearer]
        if self.span is not None:
            self._add_to_means(self.span, centres, values)

    def _add_to_means(
        self, span: Span, centres: NDArray[np.float64], values: NDArray[np.float32]
    ) -> None:
        if self.total is None:
            self.total = np.zeros((len(self.times), values.shape[1]))
        low, high = np.searchsorted(centres, span[0]), np.searchsorted(centres, span[1])
        frames = np.flatnonzero(high > low)
        if not frames.size:
            return
        # The sum of rows low to high is the difference of two running sums.
        sums = np.zeros((len(values) + 1, values.shape[1]))
        np.cumsum(values, axis=0, dtype=np.float64, out=sums[1:])
        self.total[frames] += sums[high[frames]] - sums[low[frames]]
        self.count[frames] += high[frames] - low[frames]

    def finish(self) -> NDArray[np.float32] | None:
        """(frames, dim) float32; None when no row ever came."""
        if self.closest is None or self.total is None:
            return self.closest
        inside = self.count > 0
        self.closest[inside] = self.total[inside] / self.count[inside, None]
        return self.closest


def nearest(centres: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each of `times`, the index of the nearest of `centres` (increasing); ties go to the
    earlier."""
    right = np.searchsorted(centres, times).clip(0, len(centres) - 1)
    left = (right - 1).clip(0)
    is_left = np.abs(times - centres[left]) <= np.abs(centres[right] - times)
    return np.where(is_left, left, right)
