"""The store: features and annotations of a challenge's recordings, memory-mapped.

    STORE/
      features/<set>.arrow   one column, FixedSizeList<float16|float32|float64>[dim], one row per frame
      frames.arrow           valence, arousal (float32, NaN unlabelled), time (float64), valid (bool)
      recordings.arrow       one row per recording
      manifest.json          written last: names, dims, modalities, label range, content hashes
      folds.json             only where `data folds` made them: fold of each labelled recording, written once

Conventions: frames of all recordings lie one after another in the order of the recordings, so a
frame has one position in every file; `[start, stop)` of a recording are such positions. Annotations
are on the source's scale; `to_unit` maps its label range to [-1, 1], where training works. Opening
maps files and copies nothing: processes on one machine share the pages. (`np.from_dlpack` rather
than Arrow's `to_numpy`, which imports pandas.)"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from va_search.errors import InputError, unknown_name
from va_search.files import digest, read_json
from va_search.storage.places import is_url

LAYOUT = 1
SPLITS = ("train", "validation", "test")
OFFICIAL = "official"
MIX = "train_val_mix"
"""Fold keys beside the folds' numbers: the source's own split; train and validation together, none
to validate."""


@dataclass(frozen=True)
class Recording:
    """One person in one video: `frames` consecutive frames at positions `[start, stop)` of the
    store.

    `gaps` are frame numbers within the recording (0 < gap < frames) before which time jumps; no
    segment crosses one. `fold` is None where the data has no folds. `video` names what two persons
    of one video share."""

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
    """A named block of columns; `hash` is SHA-256 over its values, `columns` their names at the
    source."""

    name: str
    modality: str
    dim: int
    dtype: str
    hash: str
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fold:
    """Who trains, who validates, who is predicted: `key` is "official", the number of the
    validation fold, or "train_val_mix", where every labelled recording trains and none validates
    (paper 4.7)."""

    key: str | int
    train: tuple[Recording, ...]
    validation: tuple[Recording, ...]
    test: tuple[Recording, ...]


@dataclass(frozen=True)
class Store:
    """An open store; make one with `Store.open(path)`. Reading is lazy and shared between
    processes."""

    path: Path
    name: str
    label_range: tuple[float, float]
    time_column: str | None
    feature_sets: dict[str, FeatureSet]
    recordings: tuple[Recording, ...]
    hashes: dict[str, str]
    folds_hash: str | None = None
    """Of folds that `data folds` made; None where the source has folds of its own, or there are
    none."""
    url: str | None = None
    """Where the store lies when `path` is this machine's copy of it."""

    @classmethod
    def open(cls, place: Path | str) -> Store:
        """Open the store at a path in milliseconds, or at a URL once this machine has it
        (storage/stores.py).

        InputError when it is none, unfinished or cut short.
        """
        url = str(place) if is_url(place) else None
        path = Path(place)
        if url is not None:
            from va_search.storage.stores import brought

            path = brought(url)
        manifest = _read_manifest(path)
        sets = [
            FeatureSet(**{**entry, "columns": tuple(entry["columns"])})
            for entry in manifest["feature_sets"]
        ]
        recordings, folds_hash = _with_folds(
            _read_recordings(path / "recordings.arrow"), path / "folds.json"
        )
        store = cls(
            path=path,
            name=manifest["name"],
            label_range=(manifest["label_range"][0], manifest["label_range"][1]),
            time_column=manifest["time_column"],
            feature_sets={feature_set.name: feature_set for feature_set in sets},
            recordings=recordings,
            hashes=manifest["hashes"],
            folds_hash=folds_hash,
            url=url,
        )
        _check_sizes(path, manifest["bytes"])
        return store

    @property
    def place(self) -> str:
        """Where every machine finds it: its URL, or its path; `Store.open` takes it."""
        return self.url or str(self.path.resolve())

    @property
    def frames(self) -> int:
        return self.recordings[-1].stop if self.recordings else 0

    def features(self, name: str) -> NDArray[np.floating]:
        """(frames, dim) of one feature set, read-only and mapped from the file.

        float32, or float16 as asked for at import, or float64 where float32 would round away what a
        column tells."""
        if name not in self.feature_sets:
            raise InputError(
                f"{self.path}: " + unknown_name("feature set", name, self.feature_sets)
            )
        column = _map_table(self.path / "features" / f"{name}.arrow").column(0).chunk(0)
        values = np.asarray(np.from_dlpack(column.values))
        return values.reshape(self.frames, self.feature_sets[name].dim)

    @cached_property
    def annotations(self) -> NDArray[np.float32]:
        """(frames, 2) valence and arousal on the source's scale; NaN where a frame has no label."""
        table = _map_table(self.path / "frames.arrow")
        pair = [
            np.from_dlpack(table.column(dimension).chunk(0)) for dimension in ("valence", "arousal")
        ]
        return np.stack(pair, axis=1)

    @cached_property
    def times(self) -> NDArray[np.float64]:
        """(frames,) the source's time column as it stood there, NaN where the source has none."""
        column = _map_table(self.path / "frames.arrow").column("time").chunk(0)
        return np.asarray(np.from_dlpack(column), dtype=np.float64)

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """(frames,) False where the source had no face and features are the nearest valid frame's
        (paper 3.1)."""
        column = _map_table(self.path / "frames.arrow").column("valid").chunk(0)
        bits = np.frombuffer(column.buffers()[1], np.uint8)  # DLPack has no bits
        return np.unpackbits(bits, count=len(column), bitorder="little").astype(bool)

    def split(self, name: str) -> tuple[Recording, ...]:
        """Recordings of one split, in store order."""
        return tuple(recording for recording in self.recordings if recording.split == name)

    @property
    def labelled(self) -> tuple[Recording, ...]:
        """Recordings of train and validation, in store order."""
        return tuple(recording for recording in self.recordings if recording.split != "test")

    def fold(self, key: str | int) -> Fold:
        """The official split; fold `key` as validation and all other labelled recordings as
        training; or the mix.

        Test recordings are in no fold's training or validation. InputError for a fold the store
        does not have."""
        test = self.split("test")
        if key == OFFICIAL:
            return Fold(key, self.split("train"), self.split("validation"), test)
        if key == MIX:
            return Fold(key, self.labelled, (), test)
        validation = tuple(recording for recording in self.labelled if recording.fold == key)
        if not validation:
            raise InputError(
                f"{self.path}: " + unknown_name("fold", key, map(str, [*self.fold_keys, MIX]))
            )
        train = tuple(recording for recording in self.labelled if recording.fold != key)
        return Fold(key, train, validation, test)

    @property
    def fold_numbers(self) -> list[int]:
        """The folds that hold labelled recordings."""
        return sorted({r.fold for r in self.labelled if r.fold is not None})

    @property
    def fold_keys(self) -> list[str | int]:
        """ "official", then the numbers of the folds that hold labelled recordings."""
        return [OFFICIAL, *self.fold_numbers]

    @property
    def official_fold(self) -> int | None:
        """The number of the fold that is the official split (its validation the same recordings);
        None without one."""
        official = {recording.name for recording in self.split("validation")}
        for number in self.fold_numbers:
            fold = self.fold(number)
            if {
                recording.name for recording in fold.validation
            } == official and fold.train == self.split("train"):
                return number
        return None

    def canonical_fold(self, key: str | int) -> str | int:
        """ "official" for the number of the fold that is the official split, so that it is not
        trained twice."""
        return OFFICIAL if key == self.official_fold else key

    def data_hash(
        self, feature_names: tuple[str, ...] | list[str], fold: str | int = OFFICIAL
    ) -> str:
        """Hash of everything a trial on these feature sets reads (values, modalities, annotations,
        recordings).

        Folds that `data folds` made count only for the trials on them: those of the official split
        stay what they were."""
        sets = {
            name: [self.feature_sets[name].hash, self.feature_sets[name].modality]
            for name in feature_names
        }
        read = {**self.hashes, "feature_sets": sets, "label_range": list(self.label_range)}
        if self.folds_hash is not None and fold not in (OFFICIAL, MIX):
            read["folds"] = self.folds_hash
        return digest(read)

    def to_unit(self, annotation: NDArray[np.floating]) -> NDArray[np.float32]:
        """Source scale to [-1, 1]."""
        low, high = self.label_range
        return ((annotation - (low + high) / 2) / ((high - low) / 2)).astype(np.float32)


def positions(recordings: tuple[Recording, ...]) -> NDArray[np.int64]:
    """Frame positions of these recordings, one after another: the row order of a prediction
    file."""
    parts = [np.arange(recording.start, recording.stop) for recording in recordings]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def frames_hash(recordings: tuple[Recording, ...]) -> str:
    """Hash of names and lengths in order: two prediction files line up exactly when theirs are
    equal."""
    return digest([[recording.name, recording.frames] for recording in recordings])


def _map_table(path: Path) -> pa.Table:
    with pa.memory_map(str(path), "r") as source:
        return pa.ipc.open_file(source).read_all()


def _read_manifest(path: Path) -> dict[str, Any]:
    if not (path / "manifest.json").is_file():
        raise InputError(f"{path}: not a store: {_found_instead(path)}")
    manifest: dict[str, Any] = read_json(path / "manifest.json")
    if manifest.get("layout") != LAYOUT:
        raise InputError(
            f"{path}: store layout {manifest.get('layout')!r}, expected {LAYOUT}; import the data again"
        )
    return manifest


def _found_instead(path: Path) -> str:
    """What lies at a path that is no store, and what to do about it."""
    if not path.exists():
        return "no such folder; if the store was moved, give the folder where it is now"
    if not path.is_dir():
        return "it is a file, and a store is a folder that `va-search data import` made"
    if path.name.endswith(".partial"):
        return "it is an unfinished import; run that import again, and use the store that it makes"
    inside = sorted(manifest.parent for manifest in path.glob("*/manifest.json"))
    if inside:
        return f"it has no manifest.json, but stores are in it; give one of them: {', '.join(map(str, inside[:5]))}"
    return _source_instead(path)


def _source_instead(path: Path) -> str:
    """How to import the folder, where its files are those of a source."""
    to = f"stores/{path.resolve().name}"
    if (path / "dataset.yaml").is_file():
        kind, advice = "source files", f"va-search data import table {path} --to {to}"
    elif any((folder / "Train_Set").is_dir() for folder in (path, *path.iterdir())):
        kind, advice = (
            "Aff-Wild2 annotations",
            f"va-search data import affwild2 {path} --visual … --audio … --to {to}",
        )
    else:
        return "it has no manifest.json, so it is no store or unfinished; `va-search data import` makes stores"
    return f"it is a folder of {kind}; import it with `{advice}` and use {to}"


def _read_recordings(path: Path) -> tuple[Recording, ...]:
    with pa.memory_map(str(path), "r") as source:
        rows = pa.ipc.open_file(source).read_all().to_pylist()
    return tuple(Recording(**{**row, "gaps": tuple(row["gaps"])}) for row in rows)


def _with_folds(
    recordings: tuple[Recording, ...], path: Path
) -> tuple[tuple[Recording, ...], str | None]:
    """Recordings with the folds of folds.json, and its hash; as they are where there is none."""
    if not path.is_file():
        return recordings, None
    document = read_json(path)
    folds = document.get("folds") if isinstance(document, dict) else None
    labelled = {recording.name for recording in recordings if recording.split != "test"}
    if (
        not isinstance(folds, dict)
        or set(folds) != labelled
        or not all(type(k) is int for k in folds.values())
    ):
        raise InputError(
            f"{path}: expected the fold of each of the {len(labelled)} labelled recordings; remove it"
        )
    return tuple(replace(one, fold=folds.get(one.name, one.fold)) for one in recordings), digest(
        folds
    )


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
