"""Model inputs by indexing features where they lie: mapped files, a GPU's memory, or a stream to it.

Conventions: rows come back on the training's device in the store's own type (float16 stays float16
until a batch is normalised), one tensor [row, column] per feature set; columns lie modality after
modality, within one in the order of the feature sets' names, of each set view after view. On a CPU rows are read from the
store's mapped files, copied nowhere. On a GPU the whole feature sets are put into its memory when
they fit in a `SHARE` of what is free, and stay for the next trial of this process that reads them;
otherwise each batch's rows go over pinned memory. The values are equal.

Features are normalised and clipped per frame, then averaged over those frames of a model step that
have the value. A step without any gets zero, or a value that stands in (data/stand_ins.py): that of
its first frame, normalised and clipped like any other, zero where there is none; with "none" it stays
NaN. A feature set with
missing values has one column more, behind its own: the share of its values that are there. Where a
feature set is kept in float64 (a large offset, a tiny unit), it is normalised in float64."""

from __future__ import annotations

import gc
import logging
import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from va_search.data.normalise import (
    Normalisation,
    input_columns,
    normalisation,
    side_by_side,
)
from va_search.data.segments import Ranges, padded
from va_search.data.stand_ins import StandIns
from va_search.data.store import FeatureSet, Fold, Store
from va_search.models.menu import NORMALISERS
from va_search.training.batches import Steps
from va_search.trial_settings import TrialSettings

LOG = logging.getLogger(__name__)

SHARE = 0.25
"""Of the GPU's free memory, for features: four processes that begin together on one GPU leave a
third of it."""

LAID_OUT = 8_000_000
"""Values of a split's frames, at most, whose steps are laid out once and for all epochs: 32 MB."""

STRETCHES = 32
"""So many are laid out at a time."""

AT_ONCE = 500_000
"""Values of a batch's frames that a CPU gathers at a time, at least one segment's: 2 MB, which stay in
its cache while they are normalised, clipped and averaged over the frames of each step."""

Statistics = tuple[NDArray[np.floating], NDArray[np.floating]]
"""Shift and scale (columns,) of the training recordings."""

_resident: dict[tuple[str, str], Tensor] = {}
"""This process's feature sets in a GPU's memory, by content and device."""


def in_order(feature_sets: list[FeatureSet]) -> list[FeatureSet]:
    """The order of the feature sets in a model's input: one modality after another."""
    return sorted(feature_sets, key=lambda feature_set: (feature_set.modality, feature_set.name))


def modality_dims(feature_sets: list[FeatureSet], views: int = 1) -> dict[str, int]:
    """Columns of a model's input per modality, in the order of `in_order`."""
    dims: dict[str, int] = {}
    for feature_set in in_order(feature_sets):
        columns = input_columns(feature_set, views)
        dims[feature_set.modality] = dims.get(feature_set.modality, 0) + columns
    return dims


def share_columns(feature_sets: list[FeatureSet], views: int) -> list[list[int]]:
    """For each modality, in the order of `in_order`, the columns (counted within its own) that hold
    the shares of its feature sets' values; empty where one of them lacks none."""
    ends: dict[str, int] = {}
    shares: dict[str, list[int]] = {}
    whole: set[str] = set()
    for feature_set in in_order(feature_sets):
        modality = feature_set.modality
        ends[modality] = ends.get(modality, 0) + input_columns(feature_set, views)
        shares.setdefault(modality, []).append(ends[modality] - 1)
        if not feature_set.missing:
            whole.add(modality)
    return [[] if modality in whole else columns for modality, columns in shares.items()]


def normalised_views(
    settings: TrialSettings,
    store: Store,
    feature_sets: list[FeatureSet],
    fold: Fold,
    *,
    of_training: Statistics | None = None,
) -> Normalisation:
    """The statistics of a trial's views, side by side; columns in the order of `feature_sets`.

    `of_training` are those of a model that was trained elsewhere, for the view that needs them."""
    views: list[Normalisation] = []
    for name in settings.views:
        normaliser = NORMALISERS[name]
        if normaliser.of_training and of_training is not None:
            everyone = (*fold.train, *fold.validation, *fold.test)
            views.append(Normalisation.same_for_all(*of_training, everyone))
            continue
        statistics = normalisation(
            store,
            [feature_set.name for feature_set in feature_sets],
            fold,
            grouped=normaliser.load(),
            normalise_by=settings.normalise_by,
        )
        views.append(statistics)
    return side_by_side(views, [feature_set.dim for feature_set in feature_sets])


class Mapped:
    """Rows of the store's mapped files, on the CPU."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = tensors
        self.remarks: list[str] = []

    def rows(self, frame: Tensor) -> Iterable[Tensor]:
        """[row, column] of each feature set at these frames of the store, on the device; one after
        another, so that each may be gone before the next is read."""
        return (tensor.index_select(0, frame) for tensor in self._tensors)


class Resident(Mapped):
    """Rows of feature sets that lie on the device whole."""

    def rows(self, frame: Tensor) -> Iterable[Tensor]:
        """See `Mapped`."""
        return super().rows(to_device(frame, self._tensors[0].device))


class Streamed(Mapped):
    """Rows of the mapped files, sent to the device over pinned memory while the CPU goes on."""

    def __init__(self, tensors: Sequence[Tensor], device: torch.device, remark: str) -> None:
        super().__init__(tensors)
        self._device = device
        self.remarks = [remark]

    def rows(self, frame: Tensor) -> Iterable[Tensor]:
        """See `Mapped`."""
        for tensor in self._tensors:
            shape = (len(frame), tensor.shape[1])
            pinned = self._device.type == "cuda"
            rows = torch.empty(shape, dtype=tensor.dtype, pin_memory=pinned)
            torch.index_select(tensor, 0, frame, out=rows)
            yield rows.to(self._device, non_blocking=True)


def place(
    store: Store, feature_sets: Sequence[FeatureSet], device: torch.device, *, most: int | None
) -> Mapped:
    """The features of a trial, where they are best read from `device`. On a GPU they may take
    `most` bytes of its memory (None: a share of what is free); a CPU reads them where they are
    unless `most` is given."""
    tensors = [shared_tensor(store.features(feature_set.name)) for feature_set in feature_sets]
    if device.type == "cpu" and most is None:
        return Mapped(tensors)
    most = _free(device) if most is None else most
    size = sum(tensor.nbytes for tensor in tensors)
    if size > most:
        gib = 2**30
        remark = (
            f"features are streamed to {device}: {size / gib:.2f} GiB, {most / gib:.2f} GiB would "
            "fit"
        )
        LOG.info(remark)
        return Streamed(tensors, device, remark)
    keys = [(feature_set.hash, str(device)) for feature_set in feature_sets]
    # what the trial before read and this one doesn't makes room first
    for key in set(_resident) - set(keys):
        del _resident[key]
    for key, tensor in zip(keys, tensors, strict=True):
        if key not in _resident:
            _resident[key] = tensor.to(device, copy=True)
    return Resident([_resident[key] for key in keys])


def free_gpu_memory() -> None:
    """Give back the memory of the GPU that this process keeps for later: features that lie there, and
    what PyTorch has cached."""
    _resident.clear()
    gc.collect()  # a failed training's tensors may refer to one another
    torch.cuda.empty_cache()  # without effect where no GPU was used


def _free(device: torch.device) -> int:
    """Bytes of a GPU's memory that features may take; those that lie there already are counted as
    free."""
    if device.type != "cuda":
        return 0
    taken = sum(tensor.nbytes for (_, name), tensor in _resident.items() if name == str(device))
    return int((torch.cuda.mem_get_info(device)[0] + taken) * SHARE)


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on the device; to a GPU by way of pinned memory, without waiting."""
    if device.type != "cuda":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def shared_tensor(values: NDArray[np.floating]) -> Tensor:
    """A tensor on the very memory of a read-only array; it must not be written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(values)


@dataclass(frozen=True)
class BatchInputs:
    """Segments as a model takes them, on the device: x [row, step, feature], mask [row, step] True
    where a step is real, label [row, step, target] (NaN: none), recording [row], the place of a
    segment's recording among those of its steps, weight [row, step, target] of a label in the loss
    (None: all weigh alike)."""

    x: Tensor
    mask: Tensor
    label: Tensor
    recording: Tensor
    weight: Tensor | None = None


class Lookup:
    """A table of values that stand in, on the device, asked for columns of a model's input."""

    def __init__(
        self, table: StandIns, frames: int, dims: Sequence[int], views: int, device: torch.device
    ) -> None:
        self._frames = frames
        self._key = torch.from_numpy(table.key).to(device)
        self._value = torch.from_numpy(table.value).to(device)
        # all views of a column look up the same
        columns = torch.split(torch.arange(sum(dims)), list(dims))
        self._source = torch.cat([own.repeat(views) for own in columns]).to(device)

    def at(self, column: Tensor, frame: Tensor) -> Tensor:
        """(cells,) float64 of columns of the input at frames of the store that are missing there."""
        key = self._source[column] * self._frames + frame
        return self._value[torch.searchsorted(self._key, key, right=True) - 1]


class Room:
    """Memory that is used again and again, in main memory: batches of tens of MiB, taken and given
    back, leave the heap in pieces. A GPU's allocator keeps them."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._memory = torch.empty(0)

    def of(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor of this shape, with anything in it; the next one overwrites it."""
        if self._device.type != "cpu":
            return torch.empty(shape, dtype=dtype, device=self._device)
        values = math.prod(shape)
        if self._memory.numel() < values or self._memory.dtype != dtype:
            self._memory = torch.empty(0)  # the old memory goes first
            self._memory = torch.empty(values, dtype=dtype)
        return self._memory[:values].view(*shape)


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
        missing: str = "zero",
        features: Mapped | None = None,
    ) -> None:
        feature_sets = in_order(feature_sets)
        self.features = features or place(store, feature_sets, device, most=None)
        self.shift = torch.from_numpy(statistics.shift).to(device)
        self.scale = torch.from_numpy(statistics.scale).to(device)
        self.frame_step, self.clip, self.device = frame_step, clip, device
        self._dims = [feature_set.dim for feature_set in feature_sets]
        self._views = statistics.shift.shape[1] // sum(self._dims)
        self._missing = [feature_set.missing for feature_set in feature_sets]
        self._stand_ins: Lookup | None = None
        self._fills = missing != "none"
        if missing not in ("zero", "none") and any(self._missing):
            recordings = [each for each in store.recordings if each.name in statistics.group]
            table = StandIns.of(missing, store, feature_sets, recordings)
            self._stand_ins = Lookup(table, store.frames, self._dims, self._views, device)
        # of the frames that are gathered at a time, and of a batch's inputs
        self._frames, self._inputs = Room(device), Room(device)
        # [step, column] of the steps of a split, and these
        self._laid_out: list[tuple[Steps, Tensor]] = []

    def inputs(self, steps: Steps, segments: Ranges) -> BatchInputs:
        """Return some segments of the steps as inputs of a model.

        Padded steps are zero, masked and unlabelled. In main memory the next call overwrites x.
        """
        position, mask = padded(segments)
        laid_out = self._lay_out(steps)
        if laid_out is None:
            x = self._features(steps, position)
        else:
            rows = laid_out.index_select(0, torch.from_numpy(position.reshape(-1)))
            x = rows.view(*position.shape, -1)
        real = to_device(torch.from_numpy(mask), self.device)
        if not mask.all():
            x.masked_fill_(~real[:, :, None], 0.0)
        label = np.where(mask[:, :, None], steps.label[position], np.float32(np.nan))
        recording = steps.recording[position[:, 0]]
        weight = None
        if steps.weight is not None:
            weight = to_device(torch.from_numpy(steps.weight[position]), self.device)
        return BatchInputs(
            x,
            real,
            to_device(torch.from_numpy(label), self.device),
            to_device(torch.from_numpy(recording), self.device),
            weight,
        )

    def _lay_out(self, steps: Steps) -> Tensor | None:
        """[step, column] of all these steps, made once where a CPU reads few values: a batch is a
        choice of its rows then. None elsewhere."""
        values = int(steps.count.sum()) * self.shift.shape[1]
        if self.device.type != "cpu" or values > LAID_OUT:
            return None
        for known, x in self._laid_out:
            if known is steps:
                return x
        parts: list[Tensor] = []
        for start in range(0, len(steps.stretches), STRETCHES):
            # a stretch lies in one recording, as a segment does
            position, mask = padded(steps.stretches[start : start + STRETCHES])
            parts.append(self._features(steps, position)[torch.from_numpy(mask)])
        laid_out = torch.cat(parts)
        self._laid_out.append((steps, laid_out))
        return laid_out

    def _features(self, steps: Steps, position: NDArray[np.int64]) -> Tensor:
        """[row, step, feature] of the steps at `position` [row, step].

        In main memory the next call overwrites it."""
        values = position.shape[1] * self.frame_step * self.shift.shape[1]  # of one segment
        size = max(1, AT_ONCE // max(values, 1))
        if self.device.type != "cpu" or self.frame_step == 1 or len(position) <= size:
            return self._of_segments(steps, position)
        x = torch.empty(0)
        for start in range(0, len(position), size):
            few = self._of_segments(steps, position[start : start + size])
            if start == 0:
                x = self._inputs.of((*position.shape, few.shape[2]), few.dtype)
            x[start : start + size] = few
        return x

    def _of_segments(self, steps: Steps, position: NDArray[np.int64]) -> Tensor:
        """As `_features`, of segments that are gathered at a time."""
        frame = torch.from_numpy(steps.frame[position])  # [row, step]
        count = torch.from_numpy(steps.count[position])
        if self.frame_step > 1:
            within = torch.minimum(torch.arange(self.frame_step), count[..., None] - 1)
            frame = frame[..., None] + within  # [row, step, frame]
        # a segment lies in one recording, so its first step tells the normalisation's row
        row = to_device(torch.from_numpy(steps.row[position[:, 0]]), self.device)
        x = self._normalised(frame.reshape(-1), row)  # [row, step * frame, feature]
        if self.clip is not None:
            x.clamp_(-self.clip, self.clip)
        shares = self._shares(x)
        if self.frame_step > 1:
            step_mean = _block_mean if shares is None else _block_mean_of_present
            x = step_mean(x.view(*position.shape, self.frame_step, -1), count)
        if shares is None:
            return x
        if self.frame_step > 1:
            shares = _block_mean(shares.view(*position.shape, self.frame_step, -1), count)
        if self._fills:
            self._fill(x, steps.frame[position], row)
        return self._with_shares(x, shares)

    def _normalised(self, frame: Tensor, row: Tensor) -> Tensor:
        """[row, step * frame, feature] of frames of the store, `row` that of the normalisation."""
        # [row * step * frame, feature]
        x = self._frames.of((len(frame), self.shift.shape[1]), torch.float32)
        in_float64 = self.shift.dtype == torch.float64
        start = 0
        for values in self.features.rows(frame):
            for _ in range(self._views):
                columns = slice(start, start + values.shape[1])
                start = columns.stop
                if not in_float64:
                    x[:, columns] = values
                    continue
                # float32 would round the offset
                shift, scale = self.shift[row, columns][:, None], self.scale[row, columns][:, None]
                wide = (values.double().view(len(row), -1, values.shape[1]) - shift) * scale
                x[:, columns] = wide.view(-1, values.shape[1])
        x = x.view(len(row), -1, start)
        if not in_float64:
            x.sub_(self.shift[row][:, None]).mul_(self.scale[row][:, None])
        return x

    def _shares(self, x: Tensor) -> Tensor | None:
        """[row, frame, feature set]: of each that may lack values the share that is there; None
        where none lacks any."""
        shares: list[Tensor] = []
        for values, has_missing in zip(self._blocks(x), self._missing, strict=True):
            if has_missing:
                shares.append(1.0 - values.isnan().float().mean(dim=-1))
        return torch.stack(shares, dim=-1) if shares else None

    def _fill(self, x: Tensor, frame: NDArray[np.int64], row: Tensor) -> None:
        """Put something into each NaN of x [row, step, feature]: zero, which is the mean of what
        was normalised, or a value that stands in. `frame` [row, step] is each step's first."""
        lacking = x.isnan()
        if self._stand_ins is None:
            x.masked_fill_(lacking, 0.0)
            return
        segment, step, column = lacking.nonzero(as_tuple=True)
        frames = to_device(torch.from_numpy(frame), self.device)[segment, step]
        shift, scale = self.shift[row[segment], column], self.scale[row[segment], column]
        values = (self._stand_ins.at(column, frames).to(shift.dtype) - shift) * scale
        if self.clip is not None:
            values.clamp_(-self.clip, self.clip)
        x[lacking] = values.nan_to_num(nan=0.0).to(x.dtype)

    def _with_shares(self, x: Tensor, shares: Tensor) -> Tensor:
        """[row, step, feature] with the share of each feature set behind its values."""
        parts: list[Tensor] = []
        columns = iter(torch.split(shares, 1, dim=-1))
        for values, has_missing in zip(self._blocks(x), self._missing, strict=True):
            parts.append(values)
            if has_missing:
                parts.append(next(columns))
        return torch.cat(parts, dim=-1)

    def _blocks(self, x: Tensor) -> Sequence[Tensor]:
        """The columns of each feature set, all its views."""
        sizes = [self._views * dim for dim in self._dims]
        return torch.split(x, sizes, dim=-1)


def _block_mean(x: Tensor, count: Tensor) -> Tensor:
    """[row, step, frame, feature] to [row, step, feature], over the first `count` frames of each
    step."""
    mean = x.mean(dim=2)
    # Only a recording's last step may have fewer frames.
    partial = count < x.shape[2]
    if bool(partial.any()):
        partial, frames = to_device(partial, x.device), to_device(count[partial], x.device)
        mean[partial] = _mean_of_first(x[partial], frames)
    return mean


def _mean_of_first(x: Tensor, count: Tensor) -> Tensor:
    """[step, frame, feature] to [step, feature], over the first `count` frames of each step."""
    real = torch.arange(x.shape[1], device=x.device) < count[:, None]
    return (x * real[:, :, None]).sum(dim=1) / count[:, None]


def _block_mean_of_present(x: Tensor, count: Tensor) -> Tensor:
    """As `_block_mean`, of each feature over the frames that have it; NaN where none has."""
    frames = to_device(count, x.device)
    real = torch.arange(x.shape[2], device=x.device) < frames[..., None]
    present = real[..., None] & ~x.isnan()
    return x.masked_fill(~present, 0.0).sum(dim=2) / present.sum(dim=2)
