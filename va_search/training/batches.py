"""Model inputs by indexing features where they lie (features.py): on a CPU the store's mapped
files, copied nowhere.

Where a feature set is kept in float64 (a large offset, a tiny unit), features are normalised in
float64 first.

Conventions: a model step is `frame_step` consecutive frames of one gap-free stretch averaged into
one (the last of a stretch may be shorter: the mean of what is there). Features are normalised and
clipped per frame, then averaged; a step's label is the mean of its labelled frames, NaN where none
is, in [-1, 1]. Columns lie modality after modality, within one in the order of the feature sets'
names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from va_search.data.normalise import Normalisation
from va_search.data.segments import Ranges, cut, padded, stretches
from va_search.data.store import FeatureSet, Recording, Store, positions
from va_search.training.features import Features, place, to_device


def in_order(feature_sets: list[FeatureSet]) -> list[FeatureSet]:
    """The order of the feature sets in a model's input: one modality after another."""
    return sorted(feature_sets, key=lambda one: (one.modality, one.name))


def modality_dims(feature_sets: list[FeatureSet]) -> dict[str, int]:
    """Columns per modality, in the order of `in_order`."""
    dims: dict[str, int] = {}
    for one in in_order(feature_sets):
        dims[one.modality] = dims.get(one.modality, 0) + one.dim
    return dims


@dataclass(frozen=True)
class Steps:
    """The model steps of some recordings, in their order.

    `first` (steps,) is a step's first frame in the store, `count` (steps,) its frames, `label`
    (steps, 2) float32, `row` (steps,) the normalisation's row, `stretches` (stretches, 2) ranges of
    steps between gaps."""

    recordings: tuple[Recording, ...]
    first: NDArray[np.int64]
    count: NDArray[np.int64]
    label: NDArray[np.float32]
    row: NDArray[np.int64]
    stretches: Ranges

    @classmethod
    def of(
        cls, store: Store, recordings: tuple[Recording, ...], frame_step: int, group: dict[str, int]
    ) -> Steps:
        """Lay out the steps; labels are read from the store and put on [-1, 1]."""
        first, count, row, ranges, total = [], [], [], [], 0
        for recording in recordings:
            for start, stop in stretches(recording):
                at = np.arange(start, stop, frame_step)
                first.append(at)
                count.append(np.minimum(frame_step, stop - at))
                row.append(np.full(len(at), group[recording.name]))
                ranges.append((total, total + len(at)))
                total += len(at)
        counts = _joined(count)
        label = _labels(store.to_unit(store.annotations[positions(recordings)]), counts)
        table = np.array(ranges, dtype=np.int64).reshape(-1, 2)
        return cls(recordings, _joined(first), counts, label, _joined(row), table)

    def __len__(self) -> int:
        return len(self.first)

    def segments(self, length: int, stride: int) -> tuple[Ranges, NDArray[np.int64]]:
        """All segments as ranges of steps, and how many of them each stretch has."""
        parts = [cut(int(stop - start), length, stride) + start for start, stop in self.stretches]
        table = np.concatenate([np.zeros((0, 2), np.int64), *parts])
        return table, np.array([len(part) for part in parts], dtype=np.int64)

    def labelled(self, segments: Ranges) -> NDArray[np.int64]:
        """(segments, 2) labelled steps in each segment."""
        before = np.zeros((len(self) + 1, 2), np.int64)
        np.cumsum(~np.isnan(self.label), axis=0, out=before[1:])
        return before[segments[:, 1]] - before[segments[:, 0]]

    def frames_in(self, segments: Ranges) -> NDArray[np.int64]:
        """(segments,) frames of the store in each segment."""
        before = np.concatenate([[0], np.cumsum(self.count)])
        frames: NDArray[np.int64] = before[segments[:, 1]] - before[segments[:, 0]]
        return frames

    def to_frames(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """(steps, k) to (frames, k): linear between the middles of a stretch's steps, constant at
        its ends."""
        if (self.count == 1).all():
            return values.astype(np.float64)
        parts = [np.zeros((0, values.shape[1]))]
        for start, stop in self.stretches:
            middle = self.first[start:stop] + (self.count[start:stop] - 1) / 2
            frame = np.arange(self.first[start], self.first[stop - 1] + self.count[stop - 1])
            columns = [
                np.interp(frame, middle, values[start:stop, k]) for k in range(values.shape[1])
            ]
            parts.append(np.stack(columns, axis=1))
        return np.concatenate(parts)


class Gather:
    """Makes model inputs of one store and trial; shares the store's pages with every other
    process."""

    def __init__(
        self,
        store: Store,
        feature_sets: list[FeatureSet],
        statistics: Normalisation,
        *,
        frame_step: int,
        clip: float | None,
        device: torch.device,
        features: Features | None = None,
    ) -> None:
        self.features = features or place(store, in_order(feature_sets), device, most=None)
        self.shift = torch.from_numpy(statistics.shift).to(device)
        self.scale = torch.from_numpy(statistics.scale).to(device)
        self.frame_step, self.clip, self.device = frame_step, clip, device
        self._held = torch.empty(0)

    def inputs(self, steps: Steps, segments: Ranges) -> tuple[Tensor, Tensor, Tensor]:
        """x [row, step, feature], mask [row, step], label [row, step, 2] (NaN: none) of some
        segments, on the device.

        Padded steps are zero, masked and unlabelled. In main memory the next call overwrites x.
        """
        position, mask = padded(segments)
        x = self._features(steps, position)
        real = to_device(torch.from_numpy(mask), self.device)
        if not mask.all():
            x.masked_fill_(~real[:, :, None], 0.0)
        label = np.where(mask[:, :, None], steps.label[position], np.float32(np.nan))
        return x, real, to_device(torch.from_numpy(label), self.device)

    def _features(self, steps: Steps, position: NDArray[np.int64]) -> Tensor:
        frame = torch.from_numpy(steps.first[position])  # [row, step]
        row = to_device(
            torch.from_numpy(steps.row[position[:, 0]]), self.device
        )  # a segment lies in one recording
        count = torch.from_numpy(steps.count[position])
        if self.frame_step > 1:
            within = torch.arange(self.frame_step)
            frame = frame[..., None] + torch.minimum(
                within, count[..., None] - 1
            )  # [row, step, frame]
        flat = frame.reshape(-1)
        x = self._room(len(flat), self.shift.shape[1])  # [row * step * frame, feature]
        at = 0
        exactly = self.shift.dtype == torch.float64
        for rows in self.features.rows(flat):
            columns = slice(at, at + rows.shape[1])
            x[:, columns] = self._normalised(rows, row, columns) if exactly else rows
            at += rows.shape[1]
        x = x.view(len(position), -1, at)
        if not exactly:
            x.sub_(self.shift[row][:, None]).mul_(self.scale[row][:, None])
        if self.clip is not None:
            x.clamp_(-self.clip, self.clip)
        if self.frame_step > 1:
            x = _block_mean(x.view(*position.shape, self.frame_step, -1), count)
        return x

    def _normalised(self, rows: Tensor, row: Tensor, columns: slice) -> Tensor:
        """[row * step * frame, feature] of one feature set, normalised in float64: float32 would
        round its offset."""
        x = rows.double().view(len(row), -1, rows.shape[1])
        x = (x - self.shift[row, columns][:, None]) * self.scale[row, columns][:, None]
        return x.view(-1, rows.shape[1])

    def _room(self, rows: int, columns: int) -> Tensor:
        """[row, column], with anything in it. In main memory it is the same place every time:
        batches of tens of MiB, taken and given back, leave the heap in pieces. A GPU's allocator
        keeps them."""
        if self.device.type != "cpu":
            return torch.empty((rows, columns), device=self.device)
        if self._held.numel() < rows * columns:
            self._held = torch.empty(0)  # the old place goes first
            self._held = torch.empty(rows * columns)
        return self._held[: rows * columns].view(rows, columns)


def _block_mean(x: Tensor, count: Tensor) -> Tensor:
    """[row, step, frame, feature] to [row, step, feature], over the first `count` frames of each
    step."""
    if bool((count == x.shape[2]).all()):
        return x.mean(dim=2)
    there = to_device(count, x.device)
    real = torch.arange(x.shape[2], device=x.device) < there[..., None]
    return (x * real[..., None]).sum(dim=2) / there[..., None]


def _joined(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _labels(unit: NDArray[np.float32], count: NDArray[np.int64]) -> NDArray[np.float32]:
    """(frames, 2) to (steps, 2): mean of the labelled frames of each step, NaN where there is
    none."""
    if len(count) == 0 or (count == 1).all():
        return unit
    start = np.cumsum(count) - count
    there = ~np.isnan(unit)
    total = np.add.reduceat(np.where(there, unit, 0.0), start, axis=0)
    n = np.add.reduceat(there.astype(np.int64), start, axis=0)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan).astype(np.float32)
