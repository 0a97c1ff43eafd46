"""A store being written: recordings go in one by one, survive a kill, and become a store at the
end.

A draft lives in `<store>.partial` beside the store's place. Each recording is one part, written
whole; an import that was killed finds its parts and reads only the sources that are new or changed.
`finish` lays all parts into the store's files, writes the manifest last and moves the folder into
place with one rename."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from va_search.data.precision import (
    constants,
    largest,
    merged_constants,
    rounded_columns,
    too_small,
)
from va_search.data.store import LAYOUT, SPLITS, FeatureSet, Store
from va_search.errors import InputError
from va_search.files import digest, read_json, remove_folder, whole_file, write_json

NAMES = pa.schema([
    ("name", pa.string()), ("subject", pa.string()), ("video", pa.string()), ("split", pa.string()),
    ("fold", pa.int32()), ("start", pa.int64()), ("frames", pa.int64()), ("frames_per_second", pa.float64()),
    ("gaps", pa.list_(pa.int64())),
])  # fmt: skip


COLUMNS_SHOWN = 3
OTHER_SPLITS = {
    "val": "validation", "valid": "validation", "dev": "validation", "devel": "validation", "development": "validation",
    "training": "train", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
"""What people write for a split that is spelled otherwise."""
OTHER_SPLITS |= {split: split for split in SPLITS}  # in other case
ROUNDED = 0.1
"""Share of a column's spread (largest minus smallest) beyond which rounding to float16 is told."""


@dataclass(frozen=True)
class Source:
    """What an importer knows of a recording before reading it."""

    name: str
    subject: str
    video: str
    split: str
    fold: int | None
    frames_per_second: float
    files: tuple[Path, ...]

    def fingerprint(self) -> str:
        """Changes when any source file changes size or modification time, or what is known of the
        recording does."""
        stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in self.files]
        return digest([repr(self), stats])


@dataclass(frozen=True)
class Part:
    """One recording, read: features by set (frames, dim); annotations (frames, 2) or None; times
    (frames,) or None."""

    features: dict[str, NDArray[np.floating]]
    annotations: NDArray[np.floating] | None = None
    times: NDArray[np.floating] | None = None
    valid: NDArray[np.bool_] | None = None
    gaps: tuple[int, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    notes: dict[str, Any] = field(
        default_factory=dict
    )  # what an audit wants to know of the recording, JSON-able
    kinds: tuple[str, ...] = ()  # remarks that many files share, reported once with their number

    @property
    def frames(self) -> int:
        return len(next(iter(self.features.values())))


@dataclass(frozen=True)
class Description:
    """What holds for the whole store; `feature_sets` maps a name to (modality, column names).

    `definitions` are hashes of how feature sets were extracted, kept in the manifest; empty for
    imported ones."""

    name: str
    label_range: tuple[float, float]
    feature_sets: dict[str, tuple[str, tuple[str, ...]]]
    dtype: str = "float32"
    time_column: str | None = None
    source: str = ""
    definitions: dict[str, str] = field(
        default_factory=dict, repr=False
    )  # told by `source` where they matter


class Draft:
    """Parts of a store on the disk; `recordings` fixes their order before the first is read."""

    def __init__(self, to: Path, description: Description, recordings: Sequence[Source]) -> None:
        self.to = to
        self.folder = to.with_name(to.name + ".partial")
        self.description = description
        self.recordings = list(recordings)
        self.remarks: list[str] = []  # warnings of the importer on the source as a whole
        self.left_out: list[str] = []  # recordings that the source has and the store has not
        self._fingerprints = [source.fingerprint() for source in self.recordings]
        self.signature = digest(
            [repr(description), self._fingerprints, [repr(s) for s in self.recordings]]
        )
        self._kind = digest([repr(description)])
        self._begin()

    def _begin(self) -> None:
        if self.to.exists() and not self.already_finished():
            self._refuse_place()
        note = self.folder / "draft.json"
        if note.is_file() and read_json(note) != {"kind": self._kind}:
            remove_folder(self.folder)
        if not self.already_finished():
            write_json(note, {"kind": self._kind})

    def _refuse_place(self) -> None:
        """InputError unless the store's place is an empty folder, which the store can take."""
        if (self.to / "manifest.json").is_file():
            raise InputError(
                f"{self.to}: this store is already there and was made from other sources or options; choose another "
                "--to, or remove this store to make it anew"
            )
        if not self.to.is_dir():
            raise InputError(
                f"{self.to}: a file, and a store is a folder; choose another path for --to"
            )
        if any(self.to.iterdir()):
            raise InputError(
                f"{self.to} is a folder with other things in it and not a store; choose a new path for --to, such as "
                f"{self.to / 'NAME'}"
            )

    def already_finished(self) -> bool:
        """True when the store stands at its place, made from these very sources and options."""
        manifest = self.to / "manifest.json"
        return manifest.is_file() and read_json(manifest).get("signature") == self.signature

    def _part(self, index: int) -> Path:
        key = digest([self._kind, self.recordings[index].name, self._fingerprints[index]])[:24]
        return self.folder / "parts" / f"{key}.npz"

    def missing(self) -> list[int]:
        """Indexes of the recordings whose part is not there yet."""
        return [index for index in range(len(self.recordings)) if not self.has(index)]

    def has(self, index: int) -> bool:
        """Whether a recording's part is there."""
        return self._part(index).is_file()

    def add(self, index: int, part: Part) -> None:
        """Write one recording's part, whole. Safe to call from several processes, for different
        recordings."""
        dtype = np.dtype(self.description.dtype)
        arrays: dict[str, Any] = {}
        coarse = []
        for name, values in part.features.items():
            cast = _cast(values, dtype, name)
            if _is_coarse(values, cast):
                coarse.append(name)
            if dtype == np.float32 and not np.array_equal(cast, values, equal_nan=True):
                # Only all recordings together decide whether float32 is enough: until then nothing
                # is rounded.
                cast = np.ascontiguousarray(values, dtype=np.float64)
                finite = cast if np.isfinite(cast).all() else np.where(np.isfinite(cast), cast, 0.0)
                arrays[f"rounded.{name}"] = rounded_columns(finite)
                arrays[f"constant.{name}"] = constants(finite)
                arrays[f"largest.{name}"] = largest(finite)
            arrays[f"f.{name}"] = cast
        n = part.frames
        arrays["annotations"] = (
            np.full((n, 2), np.nan) if part.annotations is None else part.annotations
        )
        arrays["times"] = np.full(n, np.nan) if part.times is None else part.times
        arrays["valid"] = np.ones(n, dtype=bool) if part.valid is None else part.valid
        arrays["gaps"] = np.asarray(part.gaps, dtype=np.int64)
        arrays["warnings"] = np.asarray(part.warnings, dtype=np.str_)
        arrays["kinds"] = np.asarray(part.kinds, dtype=np.str_)
        arrays["coarse"] = np.asarray(coarse, dtype=np.str_)
        arrays["notes"] = np.asarray(json.dumps(part.notes, allow_nan=False))
        with whole_file(self._part(index)) as beside, open(beside, "wb") as handle:
            np.savez(handle, **arrays)

    def warnings(self) -> list[str]:
        """What the importer remarked on the source as a whole and on the recordings read so far."""
        found = list(self.remarks)
        coarse: Counter[str] = Counter()
        kinds: Counter[str] = Counter()
        for index in range(len(self.recordings)):
            if self._part(index).is_file():
                with np.load(self._part(index), allow_pickle=False) as part:
                    found += part["warnings"].tolist()
                    coarse.update(part["coarse"].tolist())
                    kinds.update(part["kinds"].tolist() if "kinds" in part else [])
        for kind, count in kinds.items():
            found.append(f"{kind} in {count} of {len(self.recordings)} recordings")
        for name in self.description.feature_sets:
            found += self._precision_remark(name)
        for name, count in coarse.items():
            found.append(
                f"feature set {name!r}: float16 rounds away more than a tenth of a column's spread in {count} of "
                f"{len(self.recordings)} recordings; import with float32"
            )
        return found

    def _rounded(self, name: str) -> NDArray[np.bool_]:
        """(dim,) True for the columns of a feature set for which float32 is not enough; (0,) where
        all fit it."""
        rounded, constant, magnitude = [], [], []
        for index in range(len(self.recordings)):
            if not self.has(index):
                continue
            with np.load(self._part(index), allow_pickle=False) as part:
                if f"rounded.{name}" in part:
                    rounded.append(part[f"rounded.{name}"])
                    constant.append(part[f"constant.{name}"])
                    magnitude.append(part[f"largest.{name}"])
        if not rounded:
            return np.zeros(0, dtype=bool)
        of_all = (
            np.any(rounded, axis=0)
            | merged_constants(np.stack(constant))
            | too_small(np.stack(magnitude))
        )
        return np.asarray(of_all, dtype=bool)

    def _precision_remark(self, name: str) -> list[str]:
        columns = np.flatnonzero(self._rounded(name))
        if not columns.size:
            return []
        names = self.description.feature_sets[name][1]
        shown = ", ".join(
            names[column] if names else str(column) for column in columns[:COLUMNS_SHOWN].tolist()
        )
        more = f" and {columns.size - COLUMNS_SHOWN} more" if columns.size > COLUMNS_SHOWN else ""
        return [
            f"feature set {name!r} is kept in float64, twice the space: float32 would round too much of column {shown}"
            f"{more} (a large offset, or a tiny or huge unit); `normalise: none` would train on rounded values"
        ]

    def finish(self) -> Store:
        """Lay all parts into the store's files and move the store into place."""
        if self.already_finished():
            return Store.open(self.to)
        build = self.folder / "store"
        remove_folder(build)
        (build / "features").mkdir(parents=True)
        rows = self._rows()
        hashes = {"recordings": digest(rows)}
        write_arrow(build / "recordings.arrow", pa.Table.from_pylist(rows, schema=NAMES))
        hashes["annotations"] = self._write_frames(build)
        feature_sets = []
        for name in self.description.feature_sets:
            feature_sets.append(
                self._write_feature_set(build, name, rows[-1]["start"] + rows[-1]["frames"])
            )
        self._write_manifest(build, feature_sets, hashes)
        os.replace(build, self.to)
        remove_folder(self.folder)
        return Store.open(self.to)

    def _load(self, index: int, key: str) -> NDArray[Any]:
        with np.load(self._part(index), allow_pickle=False) as part:
            return part[key]  # type: ignore[no-any-return]

    def _notes(self, index: int) -> dict[str, Any]:
        with np.load(self._part(index), allow_pickle=False) as part:
            notes: dict[str, Any] = json.loads(str(part["notes"])) if "notes" in part else {}
        return notes

    def _rows(self) -> list[dict[str, Any]]:
        rows, start = [], 0
        for index, source in enumerate(self.recordings):
            with np.load(self._part(index), allow_pickle=False) as part:
                frames, gaps = len(part["times"]), part["gaps"].tolist()
            rows.append({
                "name": source.name, "subject": source.subject, "video": source.video, "split": source.split,
                "fold": source.fold, "start": start, "frames": frames,
                "frames_per_second": source.frames_per_second, "gaps": gaps,
            })  # fmt: skip
            start += frames
        return rows

    def _write_frames(self, build: Path) -> str:
        indexes = range(len(self.recordings))
        pair = np.concatenate([self._load(i, "annotations") for i in indexes]).astype(np.float32)
        times = np.concatenate([self._load(i, "times") for i in indexes]).astype(np.float64)
        valid = np.concatenate([self._load(i, "valid") for i in indexes]).astype(bool)
        columns = {"valence": pair[:, 0], "arousal": pair[:, 1], "time": times, "valid": valid}
        write_arrow(build / "frames.arrow", pa.table(columns))
        return hashlib.sha256(np.nan_to_num(pair, nan=1e30).tobytes()).hexdigest()

    def _write_feature_set(self, build: Path, name: str, frames: int) -> FeatureSet:
        """One pass over the parts into a mapped scratch file, then one record batch, so memory
        stays flat."""
        dtype = np.dtype("float64" if self._rounded(name).any() else self.description.dtype)
        modality, columns = self.description.feature_sets[name]
        dim = self._load(0, f"f.{name}").shape[1]
        scratch = build / f"{name}.scratch"
        sha = hashlib.sha256(f"{dim}:{dtype}".encode())
        with open(scratch, "wb") as handle:
            for index in range(len(self.recordings)):
                block = np.ascontiguousarray(self._load(index, f"f.{name}"), dtype=dtype)
                sha.update(block.data)
                handle.write(block.data)
        with pa.memory_map(str(scratch), "r") as source:
            values = pa.Array.from_buffers(
                pa.from_numpy_dtype(dtype), frames * dim, [None, source.read_buffer()]
            )
            rows = pa.FixedSizeListArray.from_arrays(values, dim)
            write_arrow(build / "features" / f"{name}.arrow", pa.table({name: rows}))
        scratch.unlink()
        return FeatureSet(name, modality, dim, str(dtype), sha.hexdigest(), columns)

    def _write_manifest(
        self, build: Path, feature_sets: list[FeatureSet], hashes: dict[str, str]
    ) -> None:
        files = sorted(build.rglob("*.arrow"))
        manifest = {
            "layout": LAYOUT,
            "name": self.description.name,
            "label_range": list(self.description.label_range),
            "time_column": self.description.time_column,
            "source": self.description.source,
            "signature": self.signature,
            "feature_sets": [
                {**vars(feature_set), "columns": list(feature_set.columns)}
                for feature_set in feature_sets
            ],
            "hashes": hashes,
            "bytes": {str(path.relative_to(build)): path.stat().st_size for path in files},
            "warnings": self.warnings(),
        }
        if self.description.definitions:
            manifest["definitions"] = self.description.definitions
        if self.left_out:
            manifest["left_out"] = self.left_out
        notes = {source.name: self._notes(index) for index, source in enumerate(self.recordings)}
        if any(notes.values()):
            manifest["notes"] = notes
        write_json(build / "manifest.json", manifest)


def check_sources(sources: Iterable[Source]) -> list[str]:
    """Problems that need no reading: repeated recordings, unknown splits, frame rates that are not
    positive."""
    problems: list[str] = []
    seen: set[str] = set()
    for source in sources:
        if source.name in seen:
            problems.append(f"recording {source.name!r} stands twice; names must be unique")
        seen.add(source.name)
        if source.split not in SPLITS:
            meant = OTHER_SPLITS.get(source.split.lower())
            hint = f"; did you mean {meant!r}?" if meant else ""
            problems.append(
                f"recording {source.name!r}: split {source.split!r}, allowed: {', '.join(SPLITS)}{hint}"
            )
        if source.frames_per_second <= 0:
            problems.append(
                f"recording {source.name!r}: frames_per_second {source.frames_per_second}, expected above 0"
            )
    return problems


def _cast(values: NDArray[np.floating], dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    """`values` in `dtype`; InputError for a finite one that would become infinite in float16."""
    with np.errstate(over="ignore", under="ignore"):
        cast = np.ascontiguousarray(values, dtype=dtype)
    if dtype == np.float16:
        lost = np.isinf(cast) & np.isfinite(values)
        if lost.any():
            most = np.abs(values[lost]).max()
            raise InputError(
                f"feature set {name!r}: |value| {most:g} does not fit float16; import with float32"
            )
    return cast


def _is_coarse(values: NDArray[np.floating], cast: NDArray[Any]) -> bool:
    """Whether float16 rounded away more than a tenth of a column's spread (tiny units, large
    offsets)."""
    if cast.dtype != np.float16 or values.dtype == np.float16 or not len(values):
        return False
    for column in range(values.shape[1]):
        source = values[:, column].astype(np.float64)
        spread = float(np.ptp(source))
        error = float(np.abs(cast[:, column].astype(np.float64) - source).max())
        if spread > 0 and error > ROUNDED * spread:
            return True
    return False


def write_arrow(path: Path, table: pa.Table) -> None:
    """Write a table as one Arrow IPC file, whole."""
    with whole_file(path) as beside, pa.OSFile(str(beside), "wb") as sink:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
