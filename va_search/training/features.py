"""Where a trial's features lie when a batch asks for their rows: mapped, resident on the GPU, or
streamed to it.

Conventions: rows come back on the training's device in the store's own type (float16 stays float16
until a batch is normalised), one tensor [row, column] per feature set. On a CPU they are read from
the store's mapped files. On a GPU the whole feature sets are put into its memory when they fit in a
`SHARE` of what is free, and stay for the next trial of this process that reads them; otherwise each
batch's rows go over pinned memory. The values are the same."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from va_search.data.store import FeatureSet, Store

LOG = logging.getLogger(__name__)

SHARE = 0.25
"""Of the GPU's free memory, for features: four processes that begin together on one GPU leave a
third of it."""

_resident: dict[tuple[str, str], Tensor] = {}
"""This process's feature sets in a GPU's memory, by content and device."""


class Features(Protocol):
    """Rows of some feature sets."""

    remarks: list[str]

    def rows(self, frame: Tensor) -> Iterable[Tensor]:
        """[row, column] of each feature set at these frames of the store, on the device; one after
        another, so that each may be gone before the next is read."""


class Mapped:
    """Rows of the store's mapped files, on the CPU."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors, self.remarks = tensors, list[str]()

    def rows(self, frame: Tensor) -> Iterable[Tensor]:
        """See `Features`."""
        return (one.index_select(0, frame) for one in self._tensors)


class Resident:
    """Rows of feature sets that lie on the device whole."""

    def __init__(self, tensors: Sequence[Tensor], device: torch.device) -> None:
        self._tensors, self._device, self.remarks = tensors, device, list[str]()

    def rows(self, frame: Tensor) -> list[Tensor]:
        """See `Features`."""
        there = to_device(frame, self._device)
        return [one.index_select(0, there) for one in self._tensors]


class Streamed:
    """Rows of the mapped files, sent to the device over pinned memory while the CPU goes on."""

    def __init__(self, tensors: Sequence[Tensor], device: torch.device, remark: str) -> None:
        self._tensors, self._device, self.remarks = tensors, device, [remark]

    def rows(self, frame: Tensor) -> list[Tensor]:
        """See `Features`."""
        return [self._sent(one, frame) for one in self._tensors]

    def _sent(self, one: Tensor, frame: Tensor) -> Tensor:
        pinned = self._device.type == "cuda"
        rows = torch.empty((len(frame), one.shape[1]), dtype=one.dtype, pin_memory=pinned)
        torch.index_select(one, 0, frame, out=rows)
        return rows.to(self._device, non_blocking=True)


def place(
    store: Store, feature_sets: Sequence[FeatureSet], device: torch.device, *, most: int | None
) -> Features:
    """The features of a trial, where they are best read from `device`. On a GPU they may take
    `most` bytes of its memory (None: a share of what is free); a CPU reads them where they are
    unless `most` is given."""
    tensors = [shared_tensor(store.features(one.name)) for one in feature_sets]
    if device.type == "cpu" and most is None:
        return Mapped(tensors)
    most = _free(device) if most is None else most
    size = sum(one.nbytes for one in tensors)
    if size > most:
        gib = 2**30
        remark = f"features are streamed to {device}: {size / gib:.2f} GiB, {most / gib:.2f} GiB would fit"
        LOG.info(remark)
        return Streamed(tensors, device, remark)
    keys = [(one.hash, str(device)) for one in feature_sets]
    kept = {key: _resident[key] for key in keys if key in _resident}
    _resident.clear()  # what the trial before read and this one doesn't makes room first
    lying = [
        kept[key] if key in kept else one.to(device, copy=True)
        for key, one in zip(keys, tensors, strict=True)
    ]
    _resident.update(zip(keys, lying, strict=True))
    return Resident(lying, device)


def _free(device: torch.device) -> int:
    """Bytes of a GPU's memory that features may take; those that lie there already are counted as
    free."""
    if device.type != "cuda":
        return 0
    kept = sum(tensor.nbytes for (_, where), tensor in _resident.items() if where == str(device))
    return int((torch.cuda.mem_get_info(device)[0] + kept) * SHARE)


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
