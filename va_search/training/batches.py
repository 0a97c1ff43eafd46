"""A store's frames as model steps, cut into segments, and the order in which these go through a
model.

Conventions: a model step is `frame_step` consecutive frames of one gap-free stretch (the last of a
stretch may have fewer). A step's label is the mean of its labelled frames, NaN where none is, in
[-1, 1]. Where annotations are said to follow the features by some seconds, a step has the label of
so much later, none at a stretch's end, and what is predicted from a step is of so much later, too.
Segments are told by their index into a (segments, 2) table of ranges of steps. A chain is
the segments of one stretch in order, `start` to `start + count - 1`. A batch that is not `fresh`
continues the one before: its rows are the first rows of that batch, each one segment on, so that an
encoder's state can be carried by position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from va_search.data.segments import Ranges, cut, stretches
from va_search.data.store import Recording, Store, positions

Indexes = NDArray[np.int64]
F = TypeVar("F", bound=np.floating)


@dataclass(frozen=True)
class Steps:
    """The model steps of some recordings, in their order.

    `frame` (steps,) is a step's first frame in the store, `count` (steps,) its frames, `label`
    (steps, targets) float32, `row` (steps,) the normalisation's row, `recording` (steps,) the
    place of its recording among `recordings`, `stretches` (stretches, 2) ranges of steps between
    gaps, `delay` (stretches,) the frames by which annotations follow, `weight` (steps, targets)
    float32 of labelled steps in the loss, None where all weigh alike."""

    recordings: tuple[Recording, ...]
    frame: Indexes
    count: Indexes
    label: NDArray[np.float32]
    row: Indexes
    recording: Indexes
    stretches: Ranges
    delay: Indexes
    weight: NDArray[np.float32] | None = None

    @classmethod
    def of(
        cls,
        store: Store,
        recordings: tuple[Recording, ...],
        frame_step: int,
        group: dict[str, int],
        label_delay: float = 0.0,
    ) -> Steps:
        """Lay out the steps; labels are read from the store and put on [-1, 1]. `group` maps a
        recording's name to its row of the normalisation; `label_delay` is in seconds."""
        starts: list[Indexes] = []
        counts: list[Indexes] = []
        rows: list[Indexes] = []
        owners: list[Indexes] = []
        ranges: list[tuple[int, int]] = []
        delays: list[int] = []
        total = 0
        for owner, recording in enumerate(recordings):
            for start, stop in stretches(recording):
                frames = np.arange(start, stop, frame_step)
                starts.append(frames)
                counts.append(np.minimum(frame_step, stop - frames))
                rows.append(np.full(len(frames), group[recording.name]))
                owners.append(np.full(len(frames), owner))
                ranges.append((total, total + len(frames)))
                delays.append(round(label_delay * recording.frames_per_second))
                total += len(frames)
        count = _joined(counts)
        table = np.array(ranges, dtype=np.int64).reshape(-1, 2)
        unit = store.to_unit(store.annotations[positions(recordings)])
        steps = cls(
            recordings,
            frame=_joined(starts),
            count=count,
            label=unit,
            row=_joined(rows),
            recording=_joined(owners),
            stretches=table,
            delay=np.array(delays, dtype=np.int64),
        )
        return replace(steps, label=_labels(steps.moved(unit, earlier=True), count))

    def weighted(self, weights: NDArray[np.float32]) -> Steps:
        """Return these steps with the (frames, targets) weights of labels, NaN where there is none:
        a step has the mean of its labelled frames, as its label is."""
        moved = self.moved(weights, earlier=True)
        return replace(self, weight=_labels(moved, self.count))

    def __len__(self) -> int:
        return len(self.frame)

    def segments(self, length: int, stride: int) -> tuple[Ranges, Indexes]:
        """All segments as ranges of steps, and how many of them each stretch has."""
        parts = [cut(int(stop - start), length, stride) + start for start, stop in self.stretches]
        table = np.concatenate([np.zeros((0, 2), np.int64), *parts])
        return table, np.array([len(part) for part in parts], dtype=np.int64)

    def labelled(self, segments: Ranges) -> Indexes:
        """(segments, targets) labelled steps in each segment."""
        sums = np.zeros((len(self) + 1, self.label.shape[1]), np.int64)
        np.cumsum(~np.isnan(self.label), axis=0, out=sums[1:])
        return sums[segments[:, 1]] - sums[segments[:, 0]]

    def frames_in(self, segments: Ranges) -> Indexes:
        """(segments,) frames of the store in each segment."""
        sums = np.concatenate([[0], np.cumsum(self.count)])
        frames: Indexes = sums[segments[:, 1]] - sums[segments[:, 0]]
        return frames

    def to_frames(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """(steps, k) to (frames, k): linear between the middles of a stretch's steps, constant at
        its ends."""
        if (self.count == 1).all():
            return self.moved(values.astype(np.float64), earlier=False)
        # within a stretch only: nothing is interpolated across a gap
        parts = [np.zeros((0, values.shape[1]))]
        for start, stop in self.stretches:
            middle = self.frame[start:stop] + (self.count[start:stop] - 1) / 2
            frames = np.arange(self.frame[start], self.frame[stop - 1] + self.count[stop - 1])
            columns = [np.interp(frames, middle, column) for column in values[start:stop].T]
            parts.append(np.stack(columns, axis=1))
        return self.moved(np.concatenate(parts), earlier=False)

    def moved(self, values: NDArray[F], *, earlier: bool) -> NDArray[F]:
        """(frames, k) of each stretch moved by its delay: labels `earlier`, NaN behind the last, or
        predictions later, the first one held."""
        if not self.delay.any():
            return values
        moved = np.full_like(values, np.nan)
        ends = np.cumsum(self.frames_in(self.stretches))
        starts = ends - self.frames_in(self.stretches)
        pairs = zip(starts.tolist(), ends.tolist(), self.delay.tolist(), strict=True)
        for start, end, delay in pairs:
            middle = min(start + delay, end)
            if earlier:
                moved[start : end - (middle - start)] = values[middle:end]
            else:
                moved[start:middle] = values[start]
                moved[middle:end] = values[start : end - (middle - start)]
        return moved


def _joined(parts: list[Indexes]) -> Indexes:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _labels(unit: NDArray[np.float32], count: Indexes) -> NDArray[np.float32]:
    """(frames, targets) to (steps, targets): mean of the labelled frames of each step, NaN where there is
    none."""
    if len(count) == 0 or (count == 1).all():
        return unit
    start = np.cumsum(count) - count
    # sums over the frames of each step, unlabelled ones left out
    labelled = ~np.isnan(unit)
    total = np.add.reduceat(np.where(labelled, unit, 0.0), start, axis=0)
    n = np.add.reduceat(labelled.astype(np.int64), start, axis=0)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan).astype(np.float32)


@dataclass(frozen=True)
class Batch:
    """Segments (rows,) to be computed together; `fresh` when no state is carried into them."""

    segments: Indexes
    fresh: bool = True


@dataclass(frozen=True)
class Chains:
    """Segments that follow one another: (chains,) start and (chains,) count."""

    start: Indexes
    count: Indexes

    def batches_in(self, batch_size: int) -> int:
        """Batches of one pass side by side; equal for every shuffle."""
        return int(np.sort(self.count)[::-1][::batch_size].sum())

    def up_to_last_label(self, labelled: Indexes) -> Chains:
        """Chains without the segments behind their last label; those without any label are left
        out. `labelled` (segments, targets) counts labelled steps."""
        ends: list[int] = []
        for start, count in zip(self.start.tolist(), self.count.tolist(), strict=True):
            with_label = np.flatnonzero(labelled[start : start + count].any(axis=1))
            ends.append(int(with_label[-1]) + 1 if len(with_label) else 0)
        count = np.array(ends, dtype=np.int64)
        return Chains(self.start[count > 0], count[count > 0])


def independent(
    segments: Indexes, batch_size: int, generator: torch.Generator | None = None
) -> Iterator[Batch]:
    """Segments in batches, shuffled when a generator is given."""
    if generator is not None:
        segments = segments[torch.randperm(len(segments), generator=generator).numpy()]
    for start in range(0, len(segments), batch_size):
        yield Batch(segments[start : start + batch_size])


def side_by_side(
    chains: Chains, batch_size: int, generator: torch.Generator | None = None
) -> Iterator[Batch]:
    """`batch_size` chains at a time, segment after segment; a row ends where its chain does.

    Chains of equal count are put together so that few rows end early. With a generator, which
    chains of equal count meet and the order of the groups are drawn anew."""
    n = len(chains.count)
    drawn = np.arange(n) if generator is None else torch.randperm(n, generator=generator).numpy()
    longest_first = drawn[np.argsort(-chains.count[drawn], kind="stable")]
    groups = [longest_first[start : start + batch_size] for start in range(0, n, batch_size)]
    if generator is not None:
        order = torch.randperm(len(groups), generator=generator).tolist()
        groups = [groups[index] for index in order]
    for group in groups:
        # the longest chain comes first, so rows that end are always the last ones
        start, count = chains.start[group], chains.count[group]
        for step in range(int(count[0])):
            rows = int((count > step).sum())
            yield Batch(start[:rows] + step, fresh=step == 0)
