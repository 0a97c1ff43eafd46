"""Samples with a clock of their own brought to frames with a clock: the one implementation, for
features that are extracted from videos and for streams that lie in files.

nearest         the sample whose centre is nearest to the frame's time; the earlier of two equally
                near
mean            mean of the samples whose centres lie in the frame's interval, from its time to the
                next frame's; before a gap in time the interval has the usual length, so that
                nothing from within the gap counts
mean_spread     that mean, and the population standard deviation of the same samples
linear          the value at the frame's time on the line between the two samples around it
{window: s}     mean of the samples whose centres lie within s seconds, half before and half after
                the frame's time

Conventions: times and centres are seconds on one clock; values are (samples, columns) and finite. A
positive delay takes samples from so many seconds before the frame's time: an annotation follows
what is felt late. A frame with no sample in its interval takes the nearest one, unless that is
farther away than `reach` seconds: then the frame is missing, and nothing is interpolated over a
hole. Samples come in any number of blocks of increasing centres; memory is that of the frames and
one block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from va_search.data.arrays import Flags, Floats, Indexes, Values

GAP = 1.5
"""A step longer than so many usual ones is a gap."""
ROUNDING = 0.001
"""Seconds to which files round times (Matroska, FLV, ASF; decimals of a CSV file)."""
DROPPED = 8
"""The longest step, in usual ones, that tells the rate of a clock that dropped frames."""
SAME = 1e-6
"""Seconds by which equal times may differ, as sums of decimals do."""

BLOCK = 100_000
"""Samples that are summed at once."""

Span = tuple[Floats, Floats]


def usual_step(steps: Floats) -> float:
    """The usual one of (steps,) seconds from sample to sample: the mean of those near the
    median."""
    # A step that occurs, never the middle of two.
    median = float(np.quantile(steps, 0.5, method="lower"))
    regular = (steps >= median / GAP) & ~longer(steps, median)
    usual = float(steps[regular].mean())
    # Where samples stand on a grid and some were dropped, steps of several samples tell the grid as
    # well: rounded times then weigh less.
    samples = np.rint(steps / usual)
    on_grid = np.abs(steps - samples * usual) <= 1.5 * ROUNDING
    if not on_grid[regular].all():
        return usual
    counted = on_grid & (samples >= 1) & (samples <= DROPPED)
    return float(steps[counted].sum() / samples[counted].sum())


def longest_step(usual: float) -> float:
    """The longest step, in seconds, that is no gap where `usual` seconds are usual: 1.5 of them,
    and the rounding of times."""
    return GAP * usual + min(ROUNDING, usual / 4)


def longer(steps: Floats, usual: float) -> Flags:
    """(steps,) True for steps, in seconds, that are gaps where so many seconds are usual."""
    return steps > longest_step(usual)


def reach_of(usual: float) -> float:
    """Seconds from a sample within which frames have its value: half of the longest step, so that
    neighbours without a gap between them leave no frame out."""
    return longest_step(usual) / 2


def nearest(centres: Floats, times: Floats) -> Indexes:
    """For each of `times`, the index of the nearest of `centres` (increasing); ties go to the
    earlier."""
    right = np.searchsorted(centres, times).clip(0, len(centres) - 1)
    left = (right - 1).clip(0)
    is_left = np.abs(times - centres[left]) <= np.abs(centres[right] - times) + SAME
    return np.where(is_left, left, right)


def frame_intervals(times: Floats, gaps: Sequence[int], usual: float) -> Span:
    """(frames,) begin and end of each frame's interval; the last is as long as the one before it,
    a single one `usual` seconds.

    The frame before each of `gaps` (frames, from 0, before which time jumps) has the `usual` length
    in seconds."""
    if len(times) < 2:
        return times, times + usual
    ends = np.append(times[1:], 2 * times[-1] - times[-2])
    before_gaps = np.asarray(gaps, dtype=np.int64) - 1
    ends[before_gaps] = times[before_gaps] + usual
    if len(times) - 1 in gaps:  # else the last would be as long as the gap before it
        ends[-1] = times[-1] + usual
    return times, ends


def _rows_within(span: Span, centres: Floats) -> tuple[Indexes, Indexes]:
    """(frames,) first sample of each interval, and the first one behind it."""
    begins = np.searchsorted(centres, span[0] - SAME)
    ends = np.searchsorted(centres, span[1] - SAME)
    return begins, np.maximum(begins, ends)


def _sums(values: Values, begins: Indexes, ends: Indexes) -> Floats:
    """(intervals, columns) sums of the rows `[begin, end)`, none of them empty."""
    sums = np.empty((len(begins), values.shape[1]))
    for block in _blocks(begins, ends):
        first, last = int(begins[block].min()), int(ends[block].max())
        # `reduceat` sums from each index to the next: every other sum is one between two intervals.
        # The row of zeros lets an interval end with the values.
        padded = np.concatenate([values[first:last], np.zeros((1, values.shape[1]), values.dtype)])
        indexes = np.column_stack([begins[block] - first, ends[block] - first]).ravel()
        sums[block] = np.add.reduceat(padded, indexes, axis=0, dtype=np.float64)[::2]
    return sums


def _blocks(begins: Indexes, ends: Indexes) -> Iterator[slice]:
    """Slices of the intervals `[begin, end)` that have about `BLOCK` rows each, so that copies of
    their rows are small."""
    rows = int((ends - begins).sum())
    count = max(1, BLOCK * len(begins) // max(rows, 1))
    for start in range(0, len(begins), count):
        yield slice(start, start + count)


class Pooler:
    """Collects samples and pools them. `seconds` None with `mean`: the frame's interval; `mean`
    False: nearest. `gaps` and `usual` as in `frame_intervals`."""

    def __init__(
        self,
        times: Floats,
        *,
        mean: bool,
        seconds: float | None = None,
        delay: float = 0.0,
        gaps: Sequence[int] = (),
        usual: float = np.inf,
        reach: float = np.inf,
    ) -> None:
        self.times = times - delay
        self.reach = reach
        self.span: Span | None = None
        if mean and seconds is None:
            self.span = frame_intervals(self.times, gaps, usual)
        elif mean and seconds is not None:
            self.span = (self.times - seconds / 2, self.times + seconds / 2)
        self.distance = np.full(len(times), np.inf)
        self.closest: Values | None = None
        self.total: Floats | None = None
        self.count = np.zeros(len(times), dtype=np.int64)

    def add(self, centres: Floats, values: Values) -> None:
        """Add a block of samples: (samples,) centres that increase, within the block and from block
        to block, and (samples, columns) values."""
        if not len(centres):
            return
        if self.closest is None:
            self.closest = np.zeros((len(self.times), values.shape[1]), dtype=values.dtype)
        # The nearest sample is kept for every frame: the mean falls back on it.
        index = nearest(centres, self.times)
        distance = np.abs(centres[index] - self.times)
        nearer = distance < self.distance
        self.closest[nearer] = values[index[nearer]]
        self.distance[nearer] = distance[nearer]
        if self.span is not None:
            self._add_to_means(self.span, centres, values)

    def _add_to_means(self, span: Span, centres: Floats, values: Values) -> None:
        if self.total is None:
            self.total = np.zeros((len(self.times), values.shape[1]))
        begins, ends = _rows_within(span, centres)
        frames = np.flatnonzero(ends > begins)
        if not frames.size:
            return
        self.total[frames] += _sums(values, begins[frames], ends[frames])
        self.count[frames] += ends[frames] - begins[frames]

    @property
    def present(self) -> Flags:
        """(frames,) False where no sample lies in the frame's interval nor within reach."""
        return (self.count > 0) | (self.distance <= self.reach + SAME)

    def finish(self) -> Values | None:
        """(frames, columns) in the samples' type; None when no sample ever came."""
        if self.closest is None or self.total is None:
            return self.closest
        inside = self.count > 0
        self.closest[inside] = self.total[inside] / self.count[inside, None]
        return self.closest


@dataclass(frozen=True)
class FrameClock:
    """Times of frames: (frames,) seconds that increase, the `gaps` before which they jump, and the
    `usual` step in seconds."""

    times: Floats
    gaps: tuple[int, ...]
    usual: float


def pool_samples(
    centres: Floats, values: Floats, frames: FrameClock, *, how: str, reach: float
) -> Floats:
    """(frames, columns), NaN where a frame is missing; twice the columns, means before spreads, for
    `mean_spread`.

    `centres` (samples,) are on the frames' clock, delays taken off. `how` is nearest, mean,
    mean_spread or linear."""
    pooler = Pooler(
        frames.times, mean=how.startswith("mean"), gaps=frames.gaps, usual=frames.usual, reach=reach
    )
    pooler.add(centres, values)
    if not len(centres):
        width = values.shape[1] * (2 if how == "mean_spread" else 1)
        return np.full((len(frames.times), width), np.nan)
    pooled: Floats = np.asarray(pooler.finish(), dtype=np.float64)
    if how == "linear":
        pooled = _on_lines(centres, values, frames.times, pooled, reach)
    if how == "mean_spread":
        spreads = _spreads(centres, values, pooler, pooled)
        pooled = np.concatenate([pooled, spreads], axis=1)
    pooled[~pooler.present] = np.nan
    return pooled


def _on_lines(
    centres: Floats, values: Floats, times: Floats, otherwise: Floats, reach: float
) -> Floats:
    """(frames, columns) on the line between the samples around each of `times`; the value
    `otherwise` beyond the first and last sample and in holes."""
    if len(centres) < 2:
        return otherwise
    right = np.searchsorted(centres, times, side="right").clip(1, len(centres) - 1)
    steps = centres[right] - centres[right - 1]
    shares = (times - centres[right - 1]) / steps
    between = (shares >= 0) & (shares <= 1) & (steps <= 2 * (reach + SAME))
    lines = otherwise.copy()
    begins, share = right[between] - 1, shares[between, None]
    lines[between] = values[begins] * (1 - share) + values[begins + 1] * share
    return lines


def _spreads(centres: Floats, values: Floats, pooler: Pooler, means: Floats) -> Floats:
    """(frames, columns) standard deviations in the frames' intervals around their `means`; 0 where
    a frame has one sample or its nearest."""
    spreads = np.zeros(means.shape)
    assert pooler.span is not None
    begins, ends = _rows_within(pooler.span, centres)
    frames = np.flatnonzero(ends > begins)
    if not frames.size:
        return spreads
    begins, ends = begins[frames], ends[frames]
    for block in _blocks(begins, ends):
        # Intervals do not overlap: a sample belongs to one frame at most. A second pass over the
        # deviations keeps the digits that a difference of squares would lose.
        counts = ends[block] - begins[block]
        bounds = np.cumsum(counts) - counts
        rows = np.repeat(begins[block] - bounds, counts) + np.arange(counts.sum())
        squares = values[rows] - np.repeat(means[frames[block]], counts, axis=0)
        np.square(squares, out=squares)
        sums = np.add.reduceat(squares, bounds, axis=0)
        spreads[frames[block]] = np.sqrt(sums / counts[:, None])
    return spreads
