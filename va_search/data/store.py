"""The store: features and annotations of a challenge's recordings, memory-mapped.

    STORE/
      features/<set>.arrow   one column, FixedSizeList<float16|float32>[dim], one row per frame
      frames.arrow           valence, arousal (float32, NaN unlabelled), time (float64), valid (bool)
      recordings.arrow       one row per recording
      manifest.json          written last: names, dims, modalities, label range, content hashes

Conventions: frames of all recordings lie one after another in the order of the recordings, so a frame has one
position in every file; `[start, stop)` of a recording are such positions. Annotations are on the source's scale;
`to_unit` maps its label range to [-1, 1], where training works. Opening maps files and copies nothing: processes
on one machine share the pages. (`np.from_dlpack` rather than Arrow's `to_numpy`, which imports pandas.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from va_search.errors import InputError, unknown_name
from va_search.files import digest, read_json

LAYOUT = 1
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Recording:
    """One person in one video: `frames` consecutive frames at positions `[start, stop)` of the store.

    `gaps` are frame numbers within the recording (0 < gap < frames) before which time jumps; no segment crosses one.
    `fold` is None where the data has no folds. `video` names what two persons of one video share.
    """

    name: str
    subject: str
    video: str
    split: str
    fold: int | None
    start: int
    frames: int
    frames_per_second: float
    gaps: tuple[int, ...] = ()

    @property
    def stop(self) -> int:
        return self.start + self.frames


@dataclass(frozen=True)
class FeatureSet:
    """A named block of columns; `hash` is SHA-256 over its values, `columns` their names at the source."""

    name: str
    modality: str
    dim: int
    dtype: str
    hash: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fold:
    """Who trains, who validates, who is predicted: `key` is "official" or the number of the validation fold."""

    key: str | int
    train: tuple[Recording, ...]
    validation: tuple[Recording, ...]
    test: tuple[Recording, ...]


@dataclass(frozen=True)
class Store:
    """An open store; make one with `Store.open(path)`. Reading is lazy and shared between processes."""

    path: Path
    name: str
    label_range: tuple[float, float]
    time_column: str | None
    feature_sets: dict[str, FeatureSet]
    recordings: tuple[Recording, ...]
    hashes: dict[str, str]

    @classmethod
    def open(cls, path: Path) -> Store:
        """Open the store at `path` in milliseconds; InputError when it is none, unfinished or cut short."""
        manifest = _read_manifest(path)
        sets = [FeatureSet(**{**entry, "columns": tuple(entry["columns"])}) for entry in manifest["feature_sets"]]
        store = cls(
            path=path,
            name=manifest["name"],
            label_range=(manifest["label_range"][0], manifest["label_range"][1]),
            time_column=manifest["time_column"],
            feature_sets={feature_set.name: feature_set for feature_set in sets},
            recordings=_read_recordings(path / "recordings.arrow"),
            hashes=manifest["hashes"],
        )
        _check_sizes(path, manifest["bytes"])
        return store

    @property
    def frames(self) -> int:
        return self.recordings[-1].stop if self.recordings else 0

    def features(self, name: str) -> NDArray[np.floating]:
        """(frames, dim) of one feature set, float16 or float32, read-only and mapped from the file."""
        if name not in self.feature_sets:
            raise InputError(f"{self.path}: " + unknown_name("feature set", name, self.feature_sets))
        column = _map_table(self.path / "features" / f"{name}.arrow").column(0).chunk(0)
        values: NDArray[np.floating] = column.values.to_numpy(zero_copy_only=True)
        return values.reshape(self.frames, self.feature_sets[name].dim)

    @cached_property
    def annotations(self) -> NDArray[np.float32]:
        """(frames, 2) valence and arousal on the source's scale; NaN where a frame has no label."""
        table = _map_table(self.path / "frames.arrow")
        pair = [np.from_dlpack(table.column(dimension).chunk(0)) for dimension in ("valence", "arousal")]
        return np.stack(pair, axis=1)

    @cached_property
    def times(self) -> NDArray[np.float64]:
        """(frames,) the source's time column as it stood there, NaN where the source has none."""
        column = _map_table(self.path / "frames.arrow").column("time").chunk(0)
        return np.asarray(np.from_dlpack(column), dtype=np.float64)

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """(frames,) False where the source had no face and features are the nearest valid frame's (paper 3.1)."""
        valid: NDArray[np.bool_] = _map_table(self.path / "frames.arrow").column("valid").to_numpy()
        return valid

    def split(self, name: str) -> tuple[Recording, ...]:
        """Recordings of one split, in store order."""
        return tuple(recording for recording in self.recordings if recording.split == name)

    def fold(self, key: str | int) -> Fold:
        """The official split, or fold `key` as validation and all other labelled recordings as training.

        Test recordings are in no fold's training or validation. InputError for a fold the store does not have.
        """
        test = self.split("test")
        if key == "official":
            return Fold(key, self.split("train"), self.split("validation"), test)
        labelled = [recording for recording in self.recordings if recording.split != "test"]
        validation = tuple(recording for recording in labelled if recording.fold == key)
        if not validation:
            raise InputError(f"{self.path}: " + unknown_name("fold", key, map(str, self.fold_keys)))
        train = tuple(recording for recording in labelled if recording.fold != key)
        return Fold(key, train, validation, test)

    @property
    def fold_keys(self) -> list[str | int]:
        """ "official", then the numbers of the folds that hold labelled recordings."""
        numbers = {r.fold for r in self.recordings if r.split != "test" and r.fold is not None}
        return ["official", *sorted(numbers)]

    def data_hash(self, feature_names: tuple[str, ...] | list[str]) -> str:
        """Hash of everything a trial on these feature sets reads (values, modalities, annotations, recordings)."""
        sets = {name: [self.feature_sets[name].hash, self.feature_sets[name].modality] for name in feature_names}
        return digest({**self.hashes, "feature_sets": sets, "label_range": list(self.label_range)})

    def to_unit(self, annotation: NDArray[np.floating]) -> NDArray[np.float32]:
        """Source scale to [-1, 1]."""
        low, high = self.label_range
        return ((annotation - (low + high) / 2) / ((high - low) / 2)).astype(np.float32)


def positions(recordings: tuple[Recording, ...]) -> NDArray[np.int64]:
    """Frame positions of these recordings, one after another: the row order of a prediction file."""
    parts = [np.arange(recording.start, recording.stop) for recording in recordings]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def frames_hash(recordings: tuple[Recording, ...]) -> str:
    """Hash of names and lengths in order: two prediction files line up exactly when theirs are equal."""
    return digest([[recording.name, recording.frames] for recording in recordings])


def _map_table(path: Path) -> pa.Table:
    with pa.memory_map(str(path), "r") as source:
        return pa.ipc.open_file(source).read_all()


def _read_manifest(path: Path) -> dict[str, Any]:
    if not (path / "manifest.json").is_file():
        found = "no such folder" if not path.exists() else "it has no manifest.json, so it is no store or unfinished"
        raise InputError(f"{path}: not a store: {found}; make one with `va-search data import … --to {path}`")
    manifest: dict[str, Any] = read_json(path / "manifest.json")
    if manifest.get("layout") != LAYOUT:
        raise InputError(f"{path}: store layout {manifest.get('layout')!r}, expected {LAYOUT}; import the data again")
    return manifest


def _read_recordings(path: Path) -> tuple[Recording, ...]:
    with pa.memory_map(str(path), "r") as source:
        rows = pa.ipc.open_file(source).read_all().to_pylist()
    return tuple(Recording(**{**row, "gaps": tuple(row["gaps"])}) for row in rows)


def _check_sizes(path: Path, expected: dict[str, int]) -> None:
    problems = []
    for name, size in expected.items():
        file = path / name
        found = file.stat().st_size if file.is_file() else None
        if found != size:
            state = "missing" if found is None else f"{found} bytes"
            problems.append(
                f"{file}: {state}, expected {size} bytes; the store was changed or cut short: import it again"
            )
    if problems:
        raise InputError(*problems)
