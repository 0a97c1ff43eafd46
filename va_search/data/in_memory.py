"""A store whose arrays lie in memory: what a trained model predicts when features come as a table,
not as files.

Conventions: as in `store`; annotations and times are NaN, every frame is valid. Nothing is read or
written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.store import FeatureSet, Recording, Store
from va_search.errors import InputError, unknown_name


@dataclass(frozen=True)
class MemoryStore(Store):
    """`arrays`: (frames, dim) by feature set; make one with `MemoryStore.of`."""

    arrays: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        name: str,
        feature_sets: Sequence[FeatureSet],
        arrays: Mapping[str, NDArray[np.floating]],
        recordings: Sequence[Recording],
        label_range: tuple[float, float],
    ) -> MemoryStore:
        """A store named `name` in messages; the feature sets' hashes are made from the arrays, as
        statistics of frames are remembered by them."""
        sets = {
            one.name: replace(
                one,
                dtype=str(arrays[one.name].dtype),
                hash=hashlib.sha256(arrays[one.name].tobytes()).hexdigest(),
            )
            for one in feature_sets
        }
        return cls(Path(name), name, label_range, None, sets, tuple(recordings), {}, arrays=arrays)

    def features(self, name: str) -> NDArray[np.floating]:
        """(frames, dim) of one feature set."""
        if name not in self.arrays:
            raise InputError(f"{self.path}: " + unknown_name("feature set", name, self.arrays))
        return self.arrays[name]

    @cached_property
    def annotations(self) -> NDArray[np.float32]:
        """(frames, 2) NaN: nothing is labelled."""
        return np.full((self.frames, 2), np.nan, np.float32)

    @cached_property
    def times(self) -> NDArray[np.float64]:
        """(frames,) NaN: there is no time column."""
        return np.full(self.frames, np.nan)

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """(frames,) True."""
        return np.ones(self.frames, dtype=bool)
