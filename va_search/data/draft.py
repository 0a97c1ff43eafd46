"""A store being written: recordings go in one by one, survive a kill, and become a store at the
end.

A draft lives in `<store>.partial` beside the store's place. Each recording is one part, written
whole: the values of its features into a file that becomes the store's (value_runs.py), then a small
file that names their places. An import that was killed finds its parts and reads only the sources
that are new or changed. `finish` makes the store's files of all parts, writes the manifest last and
moves the folder into place with one rename.

Conventions: a feature set is kept in float32 (or float16, where that is asked for), or in float64
where float32 would lose what one of its columns has (precision.py): only all recordings together
decide that."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from va_search.data import precision
from va_search.data.arrays import Flags, Floats, Indexes, Values
from va_search.data.manifest import (
    FRAMES,
    LAYOUT,
    MANIFEST,
    RATERS,
    RECORDINGS,
    FeatureSet,
    Manifest,
    feature_file,
    write_manifest,
)
from va_search.data.raters import Ratings, write_ratings
from va_search.data.store import RECORDINGS_SCHEMA, SPLITS, Store
from va_search.data.value_runs import RunWriter, ValuePlace, lay
from va_search.errors import InputError
from va_search.files import checked_name, digest, read_json, remove_folder, whole_file, write_json
from va_search.seals import seal_files
from va_search.targets import Target, names, targets_to_json

COLUMNS_SHOWN = 3
HASHED_BYTES = 1 << 20
PLACES = "places"
"""The key of a part under which the places of its values stand."""
OTHER_SPLITS = {
    "val": "validation", "valid": "validation", "dev": "validation", "devel": "validation", "development": "validation",
    "training": "train", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
"""What people write for a split that is spelled otherwise."""
OTHER_SPLITS |= {split: split for split in SPLITS}  # in other case


@dataclass(frozen=True)
class Source:
    """A recording as an importer knows it before reading it.

    `stimulus` is no part of the fingerprint: trainings do not read it, and a store that was made
    without stimuli is given them by the same import again."""

    name: str
    subject: str
    video: str
    split: str
    fold: int | None
    frames_per_second: float
    files: tuple[Path, ...]
    stimulus: str | None = field(default=None, repr=False, kw_only=True)

    def fingerprint(self) -> str:
        """Changes when any source file changes size or modification time, or what is known of the
        recording does."""
        stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in self.files]
        return digest([repr(self), stats])


@dataclass(frozen=True)
class Part:
    """One recording, read: features by set (frames, dim), NaN where a value is missing; annotations
    (frames, targets) or None; times (frames,) or None; valid (frames,), all of them where it is
    None.

    `notes` are JSON-able facts for the audit; `kinds` are remarks that many files share, reported
    once with their number; `shares` are remarks with rows that they are on and rows in all, of which
    the sums are reported. `ratings` tell of several raters; None where there is one."""

    features: dict[str, Values]
    annotations: Values | None = None
    times: Values | None = None
    valid: Flags | None = None
    gaps: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()
    shares: tuple[tuple[str, int, int], ...] = ()
    ratings: Ratings | None = None

    @property
    def frames(self) -> int:
        return len(next(iter(self.features.values())))


@dataclass(frozen=True)
class Description:
    """The facts of a whole store; `feature_sets` maps a name to (modality, column names).

    `definitions` are hashes of how feature sets were extracted, kept in the manifest; empty for
    imported ones. They are no part of the draft's signature: `source` has them where they
    matter, as it has `rated`: some target has several raters, whose spread the store keeps."""

    name: str
    targets: tuple[Target, ...]
    feature_sets: dict[str, tuple[str, tuple[str, ...]]]
    dtype: str = "float32"
    time_column: str | None = None
    source: str = ""
    definitions: dict[str, str] = field(default_factory=dict, repr=False)
    rated: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        for name in self.feature_sets:
            checked_name(name, "feature set")

    def signed(self) -> str:
        """Return the text that a draft's signature is made of: for valence and arousal on one range
        the same as ever, so that a store made before is found again."""
        targets = targets_to_json(self.targets)
        if "label_range" not in targets:
            return repr(self)
        low, high = targets["label_range"]
        return (
            f"Description(name={self.name!r}, label_range={(low, high)!r}, "
            f"feature_sets={self.feature_sets!r}, dtype={self.dtype!r}, "
            f"time_column={self.time_column!r}, source={self.source!r})"
        )


@dataclass(frozen=True)
class CastPart:
    """One recording's part as it is written: features (frames, dim) by set, in the draft's types,
    and all else in small arrays by name."""

    features: dict[str, NDArray[Any]]
    facts: dict[str, NDArray[Any]]

    @property
    def bytes(self) -> int:
        """Bytes of the features."""
        return sum(values.nbytes for values in self.features.values())


def _take_out(targets: Sequence[str]) -> str:
    return f"take {', '.join(targets)} out of `targets`"


class Draft:
    """Parts of a store on the disk; `recordings` fixes their order before the first is read.

    `remarks` are the importer's warnings on the source as a whole, `left_out` recordings that the
    source has and the store has not; `advice_without` says what to write in order to leave targets
    out."""

    def __init__(self, to: Path, description: Description, recordings: Sequence[Source]) -> None:
        self.to = to
        self.folder = to.with_name(to.name + ".partial")
        self.description = description
        self.recordings = list(recordings)
        self.remarks: list[str] = []
        self.left_out: list[str] = []
        self.advice_without: Callable[[Sequence[str]], str] = _take_out
        self._fingerprints = [source.fingerprint() for source in self.recordings]
        sources = [repr(source) for source in self.recordings]
        self.signature = digest([description.signed(), self._fingerprints, sources])
        # Parts can be used again when other recordings are added, but not with another description.
        self._kind = digest([description.signed()])
        self._run = RunWriter(self.folder / "values")
        self._facts: dict[int, dict[str, NDArray[Any]]] = {}
        if not self.already_finished():
            self._begin()

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs, without what was read of parts."""
        return {**vars(self), "_facts": {}}

    def _begin(self) -> None:
        if self.to.exists():
            self._refuse_other_content()
        note = self.folder / "draft.json"
        if note.is_file() and read_json(note) != {"kind": self._kind}:
            remove_folder(self.folder)
        write_json(note, {"kind": self._kind})

    def _refuse_other_content(self) -> None:
        """InputError unless the store's place is an empty folder, which the store can take."""
        if (self.to / MANIFEST).is_file():
            raise InputError(
                f"{self.to}: this store is already there and was made from other sources or "
                "options; choose another --to, or remove this store to make it anew"
            )
        if not self.to.is_dir():
            raise InputError(
                f"{self.to}: a file, and a store is a folder; choose another path for --to"
            )
        if any(self.to.iterdir()):
            raise InputError(
                f"{self.to} is a folder with other things in it and not a store; choose a new path "
                f"for --to, such as {self.to / 'NAME'}"
            )

    def already_finished(self) -> bool:
        """True when the store stands at its place, made from these very sources and options."""
        if not (self.to / MANIFEST).is_file():
            return False
        document = read_json(self.to / MANIFEST)
        return isinstance(document, dict) and document.get("signature") == self.signature

    @property
    def _stimuli(self) -> dict[str, str]:
        """The stimulus of each recording that has one."""
        stimuli = {}
        for source in self.recordings:
            if source.stimulus is not None:
                stimuli[source.name] = source.stimulus
        return stimuli

    def _finished_store(self) -> Store:
        """Open the store that is there already, which is given its stimuli where it has none;
        InputError where it has others, which folds may have been made of."""
        if not give_stimuli(self.to, self._stimuli):
            self._refuse_other_content()
        return Store.open(self.to)

    def _file(self, index: int) -> Path:
        content = [self._kind, self.recordings[index].name, self._fingerprints[index], PLACES]
        # A part that an earlier version read lacks the raters' spread: it is read again.
        if self.description.rated:
            content.append("rated")
        key = digest(content)[:24]
        return self.folder / "parts" / f"{key}.npz"

    def has(self, index: int) -> bool:
        """True when a recording's part is there, with the values that it names."""
        if not self._file(index).is_file():
            return False
        places = self._places_of(index)
        return all(place.is_written(self._run.folder, name) for name, place in places.items())

    def missing(self) -> list[int]:
        """Indexes of the recordings whose part is not there yet."""
        return [index for index in range(len(self.recordings)) if not self.has(index)]

    def add(self, index: int, part: Part) -> None:
        """Write one recording's part, whole. Safe to call from several processes, for different
        recordings."""
        self.write(index, self.cast(part))

    def cast(self, part: Part) -> CastPart:
        """Return what is to be written of a part; InputError for values that float16, where it is
        asked for, does not hold."""
        dtype = np.dtype(self.description.dtype)
        features = {}
        facts: dict[str, Any] = {}
        coarse = []
        for name, values in part.features.items():
            cast = precision.cast_features(values, dtype, name)
            features[name] = cast.values
            facts |= {f"{key}.{name}": columns for key, columns in cast.facts.items()}
            if cast.is_missing:
                facts[f"missing.{name}"] = np.ones(1, dtype=bool)
            # Told, not refused: float16 was asked for.
            if cast.is_coarse:
                coarse.append(name)
        unlabelled = np.full((part.frames, len(self.description.targets)), np.nan)
        timeless = np.full(part.frames, np.nan)
        facts["annotations"] = unlabelled if part.annotations is None else part.annotations
        facts["times"] = timeless if part.times is None else part.times
        facts["valid"] = np.ones(part.frames, dtype=bool) if part.valid is None else part.valid
        facts["gaps"] = np.asarray(part.gaps, dtype=np.int64)
        facts["warnings"] = np.asarray(part.warnings, dtype=np.str_)
        facts["kinds"] = np.asarray(part.kinds, dtype=np.str_)
        if part.shares:
            facts["shares"] = np.asarray([text for text, _, _ in part.shares], dtype=np.str_)
            facts["share_rows"] = np.asarray([rows for _, *rows in part.shares], dtype=np.int64)
        facts["coarse"] = np.asarray(coarse, dtype=np.str_)
        facts["notes"] = np.asarray(json.dumps(part.notes, allow_nan=False))
        if self.description.rated:
            ratings = part.ratings or Ratings.of_one(facts["annotations"])
            agreements = {target: asdict(entry) for target, entry in ratings.agreements.items()}
            facts["spread"] = np.asarray(ratings.spread, dtype=np.float32)
            facts["raters"] = np.asarray(ratings.raters, dtype=np.int16)
            facts["agreements"] = np.asarray(json.dumps(agreements, allow_nan=False))
        return CastPart(features, facts)

    def write(self, index: int, part: CastPart) -> None:
        """Write what `cast` made of one recording's part, whole. A store is finished soonest where
        its recordings are written in their order, by one process."""
        places = {}
        for name, values in part.features.items():
            places[name] = asdict(self._run.append(name, values))
        facts: dict[str, Any] = {**part.facts, PLACES: np.asarray(json.dumps(places))}
        # The part is there when its file is, which names the values.
        self._facts.pop(index, None)
        with whole_file(self._file(index)) as beside, open(beside, "wb") as handle:
            np.savez(handle, **facts)

    def _facts_of(self, index: int) -> dict[str, NDArray[Any]]:
        """Return all that a part has but its features; read once."""
        if index not in self._facts:
            with np.load(self._file(index), allow_pickle=False) as part:
                self._facts[index] = dict(part)
        return self._facts[index]

    def _places_of(self, index: int) -> dict[str, ValuePlace]:
        """Return the places of a part's values, by feature set."""
        places = json.loads(str(self._facts_of(index)[PLACES]))
        return {name: ValuePlace(**place) for name, place in places.items()}

    def _parts(self, key: str) -> Iterator[NDArray[Any]]:
        """The array `key` of each part that is there and has it, in the recordings' order."""
        for index in range(len(self.recordings)):
            if self._file(index).is_file() and key in self._facts_of(index):
                yield self._facts_of(index)[key]

    def targets_without_labels(self) -> list[str]:
        """A problem for each target that no training recording has a label of, where they have some
        of another: nothing could be learnt of it. Data without any label are for predicting."""
        targets = names(self.description.targets)
        labelled = np.zeros(len(targets), dtype=bool)
        recordings = 0
        for source, labels in zip(self.recordings, self._parts("annotations"), strict=True):
            if source.split == "train":
                recordings += 1
                labelled |= ~np.isnan(labels).all(axis=0)
            if labelled.all():
                return []
        if not labelled.any():
            return []
        lacking = [
            name for name, is_labelled in zip(targets, labelled, strict=True) if not is_labelled
        ]
        advice = self.advice_without(lacking)
        return [
            f"target {name!r}: no frame of the {recordings} training recordings has a label; "
            f"declare only those that have some: {advice}"
            for name in lacking
        ]

    def warnings(self) -> list[str]:
        """Remarks on the source as a whole and on the recordings read so far."""
        texts = list(self.remarks)
        coarse: Counter[str] = Counter()
        kinds: Counter[str] = Counter()
        for part in self._parts("warnings"):
            texts += part.tolist()
        for part in self._parts("kinds"):
            kinds.update(part.tolist())
        for part in self._parts("coarse"):
            coarse.update(part.tolist())
        # Remarks that many files share are one line with their number.
        for kind, count in kinds.items():
            texts.append(f"{kind} in {count} of {len(self.recordings)} recordings")
        texts += self._shares()
        for name in self.description.feature_sets:
            texts += self._precision_remark(name)
        for name, count in coarse.items():
            texts.append(
                f"feature set {name!r}: float16 rounds away more than a tenth of a column's spread "
                f"in {count} of {len(self.recordings)} recordings; import with float32"
            )
        return texts

    def _shares(self) -> list[str]:
        """Remarks with the rows that they are on, over all recordings read so far."""
        rows_of: dict[str, Indexes] = {}
        for texts, counts in zip(self._parts("shares"), self._parts("share_rows"), strict=True):
            for text, rows in zip(texts.tolist(), counts, strict=True):
                rows_of[text] = rows_of.get(text, np.zeros(2, dtype=np.int64)) + rows
        remarks = []
        for text, rows in rows_of.items():
            count, total = rows.tolist()
            remarks.append(f"{text}: {count:,} of {total:,} rows ({count / max(1, total):.1%})")
        return remarks

    def _rounded(self, name: str) -> Indexes:
        """Indexes of the columns of a feature set for which float32 is not enough."""
        rounded = list(self._parts(f"rounded.{name}"))
        if not rounded:
            return np.zeros(0, dtype=np.int64)
        # A column may be constant in each recording and differ between them by less than float32.
        merged = precision.merged_constants(np.stack([*self._parts(f"constant.{name}")]))
        small = precision.too_small(np.stack([*self._parts(f"largest.{name}")]))
        return np.flatnonzero(np.any(rounded, axis=0) | merged | small)

    def _precision_remark(self, name: str) -> list[str]:
        columns = self._rounded(name).tolist()
        if not columns:
            return []
        _, names = self.description.feature_sets[name]
        shown = ", ".join(
            names[column] if names else str(column) for column in columns[:COLUMNS_SHOWN]
        )
        if len(columns) > COLUMNS_SHOWN:
            shown += f" and {len(columns) - COLUMNS_SHOWN} more"
        return [
            f"feature set {name!r} is kept in float64, twice the space: float32 would round too "
            f"much of column {shown} (a large offset, or a tiny or huge unit); `normalise: none` "
            "would train on rounded values"
        ]

    def finish(self) -> Store:
        """Lay all parts into the store's files and move the store into place."""
        if self.already_finished():
            # Left when a kill came between the store's rename and the draft's removal.
            remove_folder(self.folder)
            return self._finished_store()
        # What a kill left of an earlier try is made anew.
        build = self.folder / "store"
        remove_folder(build)
        (build / "features").mkdir(parents=True)
        rows = self._rows()
        write_arrow(build / RECORDINGS, pa.Table.from_pylist(rows, schema=RECORDINGS_SCHEMA))
        pair = np.concatenate([*self._parts("annotations")]).astype(np.float32)
        times = np.concatenate([*self._parts("times")]).astype(np.float64)
        valid = np.concatenate([*self._parts("valid")]).astype(bool)
        write_frames(build / FRAMES, self.description.targets, pair, times, valid)
        feature_sets = []
        places = [self._places_of(index) for index in range(len(self.recordings))]
        for name in self.description.feature_sets:
            own = [by_name[name] for by_name in places]
            feature_sets.append(self._write_feature_set(build, name, own))
        annotations_hash = hashlib.sha256(np.nan_to_num(pair, nan=1e30).tobytes()).hexdigest()
        hashes = {"recordings": digest(rows), "annotations": annotations_hash}
        raters: dict[str, Any] = {}
        if self.description.rated:
            raters = {"raters": self._write_ratings(build)}
        self._write_manifest(build, feature_sets, hashes, raters)
        # The manifest is in it: from here on the store is whole.
        os.replace(build, self.to)
        remove_folder(self.folder)
        return Store.open(self.to)

    def _rows(self) -> list[dict[str, Any]]:
        rows, start = [], 0
        gaps = self._parts("gaps")
        for source, times in zip(self.recordings, self._parts("times"), strict=True):
            row = {
                "name": source.name,
                "subject": source.subject,
                "video": source.video,
                "split": source.split,
                "fold": source.fold,
                "start": start,
                "frames": len(times),
                "frames_per_second": source.frames_per_second,
                "gaps": next(gaps).tolist(),
            }
            rows.append(row)
            start += len(times)
        return rows

    def _write_feature_set(
        self, build: Path, name: str, places: Sequence[ValuePlace]
    ) -> FeatureSet:
        """Lay the values at these places, of all recordings in order, into the store's file."""
        modality, columns = self.description.feature_sets[name]
        dtype = np.dtype(self.description.dtype)
        if self._rounded(name).size:
            dtype = np.dtype(np.float64)
        file = build / feature_file(name)
        start = lay(self._run.folder, name, places, dtype, file)
        dim = places[0].dim
        # The audit hashes the same bytes again: a change of this order changes every trial's id.
        sha = hashlib.sha256(f"{dim}:{dtype}".encode())
        with open(file, "rb") as handle:
            handle.seek(start)
            remaining = sum(place.frames for place in places) * dim * dtype.itemsize
            while remaining:
                block = handle.read(min(HASHED_BYTES, remaining))
                sha.update(block)
                remaining -= len(block)
        missing = any(True for _ in self._parts(f"missing.{name}"))
        return FeatureSet(name, modality, dim, str(dtype), sha.hexdigest(), columns, missing)

    def _write_ratings(self, build: Path) -> dict[str, Any]:
        """Write raters.arrow, a recording at a time; the manifest's entry: the hash, and agreements
        by recording and target, None where no two raters share enough frames."""
        targets = names(self.description.targets)
        parts = zip(self._parts("spread"), self._parts("raters"), strict=True)
        content = write_ratings(build / RATERS, targets, parts)
        agreements = {}
        for source, part in zip(self.recordings, self._parts("agreements"), strict=True):
            agreements[source.name] = json.loads(str(part))
        return {"hash": content, "agreements": agreements}

    def _write_manifest(
        self,
        build: Path,
        feature_sets: list[FeatureSet],
        hashes: dict[str, str],
        raters: dict[str, Any],
    ) -> None:
        files = [str(path.relative_to(build)) for path in sorted(build.rglob("*.arrow"))]
        seals = seal_files(build, files)
        entries = [entry.to_json() for entry in feature_sets]
        manifest = {
            "layout": LAYOUT,
            "name": self.description.name,
            **targets_to_json(self.description.targets),
            "time_column": self.description.time_column,
            "source": self.description.source,
            "signature": self.signature,
            "feature_sets": entries,
            "hashes": hashes,
            "bytes": {name: seals[name].bytes for name in files},
            "warnings": self.warnings(),
            **raters,
        }
        if self.description.definitions:
            manifest["definitions"] = self.description.definitions
        if self._stimuli:
            manifest["stimuli"] = self._stimuli
        if self.left_out:
            manifest["left_out"] = self.left_out
        notes = [json.loads(str(part)) for part in self._parts("notes")]
        if any(notes):
            names = [source.name for source in self.recordings]
            manifest["notes"] = dict(zip(names, notes, strict=True))
        write_manifest(build, manifest, seals)


def give_stimuli(path: Path, stimuli: Mapping[str, str]) -> bool:
    """Give the store at `path` the stimuli of its recordings where it has none; return False where
    it has others."""
    store = Store.open(path)
    manifest = Manifest.read(path)
    if manifest.stimuli == stimuli:
        return True
    if manifest.stimuli:
        return False
    write_manifest(path, {**manifest.document, "stimuli": dict(stimuli)}, store.files)
    return True


def check_sources(sources: Iterable[Source]) -> list[str]:
    """Problems that need no reading: repeated recordings, unknown splits, frame rates that are not
    positive."""
    problems: list[str] = []
    names: set[str] = set()
    # Everything wrong is told, not only the first.
    for source in sources:
        recording = f"recording {source.name!r}"
        if source.name in names:
            problems.append(f"{recording} stands twice; names must be unique")
        names.add(source.name)
        if source.split not in SPLITS:
            meant = OTHER_SPLITS.get(source.split.lower())
            hint = f"; did you mean {meant!r}?" if meant else ""
            problems.append(
                f"{recording}: split {source.split!r}, allowed: {', '.join(SPLITS)}{hint}"
            )
        if source.frames_per_second <= 0:
            problems.append(
                f"{recording}: frames_per_second {source.frames_per_second}, expected above 0"
            )
    return problems


def write_frames(
    path: Path, targets: Sequence[Target], annotations: Values, times: Floats, valid: Flags
) -> None:
    """Write a store's frames: annotations (frames, targets), times and valid (frames,)."""
    labels = dict(zip(names(targets), annotations.T, strict=True))
    table = pa.table({**labels, "time": times, "valid": valid})
    write_arrow(path, table)


def write_arrow(path: Path, table: pa.Table) -> None:
    """Write a table as one Arrow IPC file, whole."""
    with whole_file(path) as beside, pa.OSFile(str(beside), "wb") as sink:
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
