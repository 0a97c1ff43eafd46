"""The store: features and annotations of a challenge's recordings, memory-mapped.

    STORE/
      features/<set>.arrow   one column, FixedSizeList<float16|float32|float64>[dim], one row per frame
      frames.arrow           one column a target (float32, NaN unlabelled), time (float64), valid (bool);
                             where feature sets were added, frames-<digest>.arrow may have taken its place
      recordings.arrow       one row per recording
      raters.arrow           only where several raters were fused: their spread (raters.py)
      manifest.json          written last: names, dims, modalities, targets, content hashes, the stimulus
                             of each recording where stimuli are known, the seal of all files (manifest.py)
      folds.json             only where `data folds` made them: fold of each labelled recording, and what
                             training and validation may not share (`apart`), written once
      computed/              statistics and audits of the values, by content; may be missing (computed.py)

Conventions: frames of all recordings lie one after another in the order of the recordings, so a
frame has one position in every file; `[start, stop)` of a recording are such positions. Annotations
are on their targets' own scales; `to_unit` maps each range to [-1, 1], where training works. Features
are mapped and not copied: processes on one machine share the pages. A file is held against its seal
when the store is opened and again when the file is: it is hashed the first time, afterwards its
times are looked at. (`np.from_dlpack` rather than Arrow's `to_numpy`, which imports pandas.)"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from va_search.arrow_files import open_arrow
from va_search.data.arrays import Flags, Floats, Indexes, Values
from va_search.data.manifest import (
    ADVICE,
    FOLDS,
    FRAMES,
    RATERS,
    RECORDINGS,
    Manifest,
    feature_file,
)
from va_search.data.manifest import FeatureSet as FeatureSet  # noqa: PLC0414
from va_search.data.raters import ratings_schema
from va_search.errors import InputError, unknown_name
from va_search.files import Name, digest, read_json
from va_search.seals import FileSeals, Progress, check_inside, quiet, read_seal, verify
from va_search.storage.places import is_url
from va_search.targets import Target, names, targets_to_json, to_unit

SPLITS = ("train", "validation", "test")
OFFICIAL = "official"
MIX = "train_val_mix"
"""Fold keys beside the folds' numbers: the source's own split; train and validation together, none
to validate."""
FOLDS_ADVICE = "copy it again from where it is whole, or remove it and make the same folds again"
RECORDINGS_SCHEMA = pa.schema(
    {
        "name": pa.string(),
        "subject": pa.string(),
        "video": pa.string(),
        "split": pa.string(),
        "fold": pa.int32(),
        "start": pa.int64(),
        "frames": pa.int64(),
        "frames_per_second": pa.float64(),
        "gaps": pa.list_(pa.int64()),
    }
)


@dataclass(frozen=True)
class Recording:
    """One person in one video: `frames` consecutive frames at positions `[start, stop)` of the
    store.

    `gaps` are frame numbers within the recording (0 < gap < frames) before which time jumps; no
    segment crosses one. `fold` is None where the data has no folds. `video` names what two persons
    of one video share, its sound and place; `stimulus` what the person watched or heard, which
    others may have watched as well (None: not known)."""

    name: str
    subject: str
    video: str
    split: str
    fold: int | None
    start: int
    frames: int
    frames_per_second: float
    gaps: tuple[int, ...] = ()
    stimulus: str | None = None

    @property
    def stop(self) -> int:
        return self.start + self.frames

    @property
    def span(self) -> slice:
        """The recording's frames in an array of all frames."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class Fold:
    """Recordings to train, to validate and to predict: `key` is "official", the number of the
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
    targets: tuple[Target, ...]
    """In the order of the columns of annotations and predictions."""
    time_column: str | None
    feature_sets: dict[str, FeatureSet]
    recordings: tuple[Recording, ...]
    hashes: dict[str, str]
    folds_hash: str | None = None
    """Of folds that `data folds` made; None where the source has folds of its own, or there are
    none."""
    apart: tuple[str, ...] = ()
    """Facts of a recording (subject, stimulus) that a fold's training shares with none of its
    validation recordings: recordings that do are left out of that fold's training."""
    url: str | None = None
    """Where the store lies when `path` is this machine's copy of it."""
    raters_hash: str | None = None
    """Of the raters' spread; None where the store keeps none."""
    files: FileSeals = field(default_factory=dict, repr=False)
    """Seals of the files, against which each is held when it is opened."""
    frames_file: Name = FRAMES

    @classmethod
    def open(cls, place: Path | str, progress: Progress = quiet) -> Store:
        """Open the store at a path in milliseconds, or at a URL once this machine has it
        (storage/stores.py); the first time, its files are hashed, of which `progress` tells.

        InputError when it is none, unfinished or not as it was sealed.
        """
        path, url = Path(place), None
        # A store at a URL is copied first; storage is imported only where it is needed.
        if is_url(place):
            from va_search.storage.stores import brought

            url = str(place)
            path = brought(url)
        manifest = Manifest.read(path)
        if manifest.files is None:
            # Imported here: it is rarely needed, and stands on this module.
            from va_search.data.older_stores import sealed_manifest

            manifest = sealed_manifest(path, manifest, progress)
        files = manifest.files or {}
        verify(path, files, _advice(path, url), progress)
        store = replace(cls.of_manifest(path, manifest, files), url=url)
        if (path / FOLDS).is_file():
            recordings, folds_hash, apart = _with_folds(store.recordings, path)
            store = replace(store, recordings=recordings, folds_hash=folds_hash, apart=apart)
        return store

    @classmethod
    def of_manifest(cls, path: Path, manifest: Manifest, files: FileSeals) -> Store:
        """Return the store in a folder with this manifest, without folds of folds.json."""
        return cls(
            path=path,
            name=manifest.name,
            targets=manifest.targets,
            time_column=manifest.time_column,
            feature_sets=manifest.feature_sets,
            recordings=_read_recordings(path / RECORDINGS, manifest.stimuli),
            hashes=manifest.hashes,
            raters_hash=manifest.raters_hash,
            files=files,
            frames_file=manifest.frames_file,
        )

    @property
    def place(self) -> str:
        """Its URL, or its path, by which every machine finds it; `Store.open` takes it."""
        return self.url or str(self.path.resolve())

    @property
    def target_names(self) -> tuple[str, ...]:
        return names(self.targets)

    @property
    def frames(self) -> int:
        return self.recordings[-1].stop if self.recordings else 0

    def features(self, name: str) -> Values:
        """(frames, dim) of one feature set, read-only and mapped from the file.

        float32, or float16 as asked for at import, or float64 where float32 would round away what a
        column tells. NaN only in a set with `missing` values."""
        self._check_name(name, self.feature_sets)
        feature_set = self.feature_sets[name]
        values = pa.from_numpy_dtype(np.dtype(feature_set.dtype))
        schema = pa.schema({name: pa.list_(values, feature_set.dim)})
        table = self._table(feature_file(name), schema)
        flat = np.from_dlpack(_whole(table.column(0)).values)
        return np.asarray(flat).reshape(self.frames, feature_set.dim)

    def valid_of(self, name: str) -> Flags:
        """(frames,) True where the feature set has all its values; reads them all where some are
        missing."""
        values = self.features(name)
        valid = np.ones(self.frames, dtype=bool)
        if self.feature_sets[name].missing:
            for recording in self.recordings:
                valid[recording.span] = ~np.isnan(values[recording.span]).any(axis=1)
        return valid

    def _check_name(self, name: str, known: Collection[str]) -> None:
        if name not in known:
            raise InputError(f"{self.path}: " + unknown_name("feature set", name, known))

    def _table(self, name: str, schema: pa.Schema) -> pa.Table:
        """One file of the store with a row per frame, mapped; Damaged where it was touched since it
        was sealed."""
        verify(self.path, {name: self.files[name]}, _advice(self.path, self.url))
        return open_arrow(self.path / name, schema, self.frames, is_mapped=True)

    def check_files(self) -> None:
        """Damaged where a file was written to since it was sealed, by a look at its times: features
        are mapped, and what reads a page that was cut off is killed. A file that was removed stays
        mapped as it was."""
        files = {name: seal for name, seal in self.files.items() if (self.path / name).exists()}
        verify(self.path, files, _advice(self.path, self.url))

    def _frame_column(self, name: str) -> pa.Array:
        """One column of the frames' file, to be copied: what lies in memory outlives the file."""
        labels = {target: pa.float32() for target in self.target_names}
        schema = pa.schema({**labels, "time": pa.float64(), "valid": pa.bool_()})
        return _whole(self._table(self.frames_file, schema).column(name))

    @cached_property
    def annotations(self) -> NDArray[np.float32]:
        """(frames, targets) on the targets' own scales; NaN where a frame has no label for a target."""
        columns = [np.from_dlpack(self._frame_column(name)) for name in self.target_names]
        return np.stack(columns, axis=1)

    @cached_property
    def spread(self) -> NDArray[np.float32] | None:
        """(frames, targets) standard deviation of the raters who make a frame's label, on the
        targets' own scales, NaN for fewer than two; None where the store keeps none."""
        return self._ratings("spread")

    @cached_property
    def raters(self) -> NDArray[np.int16] | None:
        """(frames, targets) number of the raters who make a frame's label, 0 where it has none;
        None where the store keeps none."""
        return self._ratings("raters")

    def _ratings(self, kind: str) -> NDArray[Any] | None:
        if self.raters_hash is None:
            return None
        table = self._table(RATERS, ratings_schema(self.target_names))
        columns = []
        for name in self.target_names:
            columns.append(np.from_dlpack(_whole(table.column(f"{name}.{kind}"))))
        return np.stack(columns, axis=1)

    @cached_property
    def times(self) -> Floats:
        """(frames,) the source's time column as it stood there, NaN where the source has none."""
        return np.array(np.from_dlpack(self._frame_column("time")), dtype=np.float64)

    @cached_property
    def valid(self) -> Flags:
        """(frames,) False where the source had no face and features are the nearest valid frame's
        (paper 3.1)."""
        column = self._frame_column("valid")
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
        training, but for those that share what folds keep `apart`; or the mix.

        Test recordings are in no fold's training or validation. InputError for a fold the store
        does not have."""
        test = self.split("test")
        if key == OFFICIAL:
            return Fold(key, self.split("train"), self.split("validation"), test)
        if key == MIX:
            return Fold(key, self.labelled, (), test)
        validation = tuple(recording for recording in self.labelled if recording.fold == key)
        others = [recording for recording in self.labelled if recording.fold != key]
        if not validation:
            keys = map(str, [*self.fold_keys, MIX])
            raise InputError(f"{self.path}: " + unknown_name("fold", key, keys))
        return Fold(key, without_shared(others, validation, self.apart), validation, test)

    @property
    def fold_numbers(self) -> list[int]:
        """The folds that hold labelled recordings."""
        folds = {recording.fold for recording in self.labelled}
        return sorted(fold for fold in folds if fold is not None)

    @property
    def fold_keys(self) -> list[str | int]:
        """ "official", then the numbers of the folds that hold labelled recordings."""
        return [OFFICIAL, *self.fold_numbers]

    @property
    def official_fold(self) -> int | None:
        """The number of the fold that is the official split (its validation the same recordings);
        None without one."""
        official = self.fold(OFFICIAL)
        for number in self.fold_numbers:
            fold = self.fold(number)
            if {*fold.validation} == {*official.validation} and fold.train == official.train:
                return number
        return None

    def canonical_fold(self, key: str | int) -> str | int:
        """ "official" for the number of the fold that is the official split, so that it is not
        trained twice."""
        return OFFICIAL if key == self.official_fold else key

    def data_hash(
        self,
        feature_names: tuple[str, ...] | list[str],
        fold: str | int = OFFICIAL,
        *,
        spread: bool = False,
    ) -> str:
        """Hash of everything a trial on these feature sets reads (values, modalities, annotations,
        recordings).

        Folds that `data folds` made count only for the trials on them: those of the official split
        stay what they were. So does the raters' `spread`, for trials that weight frames by it."""
        sets = {}
        for name in feature_names:
            feature_set = self.feature_sets[name]
            sets[name] = [feature_set.hash, feature_set.modality]
        content = {**self.hashes, "feature_sets": sets, **targets_to_json(self.targets)}
        # Trials on the official split keep their ids when folds are made.
        if self.folds_hash is not None and fold not in (OFFICIAL, MIX):
            content["folds"] = self.folds_hash
        if spread:
            content["raters"] = self.raters_hash
        return digest(content)

    def to_unit(self, annotation: Values) -> NDArray[np.float32]:
        """Map (frames, targets) from the targets' own scales to [-1, 1]."""
        return to_unit(annotation, self.targets)


def without_shared(
    recordings: Iterable[Recording], held: Iterable[Recording], facts: Collection[str]
) -> tuple[Recording, ...]:
    """Return the recordings that share none of the `facts` (subject, stimulus) with those `held`."""
    values = {fact: {getattr(recording, fact) for recording in held} for fact in facts}
    unshared = []
    for recording in recordings:
        if not any(getattr(recording, fact) in values[fact] for fact in facts):
            unshared.append(recording)
    return tuple(unshared)


def positions(recordings: tuple[Recording, ...]) -> Indexes:
    """Frame positions of these recordings, one after another: the row order of a prediction
    file."""
    parts = [np.arange(recording.start, recording.stop) for recording in recordings]
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


def frames_hash(recordings: tuple[Recording, ...]) -> str:
    """Hash of names and lengths in order: two prediction files line up exactly when theirs are
    equal."""
    return digest([[recording.name, recording.frames] for recording in recordings])


def _advice(path: Path, url: str | None) -> str:
    """Advice on a damaged file of a store, or of this machine's copy of one at a URL."""
    return ADVICE if url is None else f"remove {path}, and it is copied here again"


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array; not copied where the file has it in one batch."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _read_recordings(path: Path, stimuli: Mapping[str, str]) -> tuple[Recording, ...]:
    """Return the recordings of recordings.arrow; `stimuli` by recording are the manifest's.

    InputError where they do not lie one after another."""
    recordings = []
    start = 0
    for row in open_arrow(path, RECORDINGS_SCHEMA, None, nulls=["fold"]).to_pylist():
        facts = {**row, "gaps": tuple(row["gaps"]), "stimulus": stimuli.get(row["name"])}
        recording = Recording(**facts)
        if recording.start != start or recording.frames < 0 or recording.split not in SPLITS:
            raise InputError(
                f"{path}: recording {recording.name!r} has {recording.frames} frames from "
                f"{recording.start}, split {recording.split!r}; expected from {start}, split one of "
                f"{', '.join(SPLITS)}; {ADVICE}"
            )
        start = recording.stop
        recordings.append(recording)
    return tuple(recordings)


def _with_folds(
    recordings: tuple[Recording, ...], folder: Path
) -> tuple[tuple[Recording, ...], str, tuple[str, ...]]:
    """Recordings with the folds of folds.json, its hash, and the facts that its folds keep apart;
    InputError where it is not whole, or not as it was written."""
    check_inside(folder, FOLDS)
    path = folder / FOLDS
    document = read_json(path)
    folds: dict[str, int] = {}
    apart: tuple[str, ...] = ()
    if isinstance(document, dict):
        read_seal(path, document, FOLDS_ADVICE)
    if isinstance(document, dict) and isinstance(document.get("folds"), dict):
        folds = document["folds"]
        apart = tuple(document.get("apart", ()))
    labelled = {recording.name for recording in recordings if recording.split != "test"}
    # Half a document would put recordings into no fold.
    unknown = {*apart} - {"subject", "stimulus"}
    whole = all(type(number) is int for number in folds.values())
    if set(folds) != labelled or not whole or unknown:
        raise InputError(
            f"{path}: expected the fold of each of the {len(labelled)} labelled recordings; remove "
            "it"
        )
    divided = []
    for recording in recordings:
        number = folds.get(recording.name, recording.fold)
        divided.append(replace(recording, fold=number))
    content: Any = folds
    # What a fold trains on depends on these facts as well.
    if apart:
        facts = [[getattr(recording, fact) for fact in apart] for recording in recordings]
        content = [folds, apart, facts]
    return tuple(divided), digest(content), apart


@dataclass(frozen=True)
class MemoryStore(Store):
    """A store whose arrays lie in memory: what a trained model predicts when features come as a
    table, not as files.

    `arrays` are (frames, dim) by feature set; annotations and times are NaN, every frame is valid.
    Make one with `MemoryStore.of`."""

    arrays: Mapping[str, Values] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        name: str,
        feature_sets: Sequence[FeatureSet],
        arrays: Mapping[str, Values],
        recordings: Sequence[Recording],
        targets: Sequence[Target],
    ) -> MemoryStore:
        """A store named `name` in messages; the feature sets' hashes are made from the arrays, as
        statistics of frames are remembered by them."""
        sets = {}
        for entry in feature_sets:
            values = arrays[entry.name]
            sha = hashlib.sha256(values.tobytes()).hexdigest()
            sets[entry.name] = replace(entry, dtype=str(values.dtype), hash=sha)
        return cls(
            Path(name), name, tuple(targets), None, sets, tuple(recordings), {}, arrays=arrays
        )

    def features(self, name: str) -> Values:
        """(frames, dim) of one feature set."""
        self._check_name(name, self.arrays)
        return self.arrays[name]

    @cached_property
    def annotations(self) -> NDArray[np.float32]:
        """(frames, targets) NaN: nothing is labelled."""
        return np.full((self.frames, len(self.targets)), np.nan, np.float32)

    @cached_property
    def times(self) -> Floats:
        """(frames,) NaN: there is no time column."""
        return np.full(self.frames, np.nan)

    @cached_property
    def valid(self) -> Flags:
        """(frames,) True."""
        return np.ones(self.frames, dtype=bool)
