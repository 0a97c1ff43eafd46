"""The manifest of a store, its typed reader and its only writer.

    STORE/manifest.json    names, dims, modalities, targets, content hashes, remarks of the import,
                           and the seal of every file that a training reads (seals.py)

Conventions: it is written last, and whole. What a trial's id depends on (`hashes`, a feature set's
`hash`, `raters.hash`) is over values and stays when files are written anew; the seal is over bytes
and finds damage. A store from before there were seals has none (`older_stores.py` gives it one).
Every name in it that becomes part of a path is a `Name`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from va_search.errors import InputError
from va_search.files import Name, checked_name, digest, read_json, write_json
from va_search.seals import SEAL, Damaged, FileSeal, FileSeals, check_inside, read_seal, sealed
from va_search.targets import Target, targets_from_json

LAYOUT = 1
MANIFEST, FOLDS = "manifest.json", "folds.json"
RECORDINGS, FRAMES, RATERS = "recordings.arrow", Name("frames.arrow"), "raters.arrow"
MOST_COLUMNS = 2**31
DTYPES = ("float16", "float32", "float64")
ADVICE = "copy the store again from where it is whole, or import the data again"


@dataclass(frozen=True)
class FeatureSet:
    """A named block of columns; `hash` is SHA-256 over its values, `columns` their names at the
    source. `missing`: some of its values are NaN, since the source has none there; without it, all
    are numbers. InputError for a name that can't be a file's."""

    name: str
    modality: str
    dim: int
    dtype: str
    hash: str
    columns: tuple[str, ...] = ()
    missing: bool = False

    def __post_init__(self) -> None:
        checked_name(self.name, "feature set")

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> FeatureSet:
        """Return the feature set of an entry that `to_json` made."""
        return cls(**{**entry, "columns": tuple(entry["columns"])})

    def to_json(self) -> dict[str, Any]:
        """Return the entry of a manifest or a weights file: `missing` only where it is so."""
        entry = {**vars(self), "columns": list(self.columns)}
        if not self.missing:
            del entry["missing"]
        return entry

    def summary(self) -> dict[str, object]:
        """Name, modality, dim and dtype, as `--json` has them."""
        return {"name": self.name, "modality": self.modality, "dim": self.dim, "dtype": self.dtype}


def feature_file(name: str) -> str:
    """Return the file of a feature set below its store; InputError for a name that would lead
    elsewhere."""
    return f"features/{checked_name(name, 'feature set')}.arrow"


@dataclass(frozen=True)
class Manifest:
    """A manifest as it was read; `document` is all of it, `files` the seals of the store's files,
    None for a store from before there were seals.

    `frames_file` has the frames' annotations, times and validity: frames.arrow, or the file that
    took its place when feature sets were added. `sizes` are bytes by file."""

    document: dict[str, Any]
    name: str
    targets: tuple[Target, ...]
    time_column: str | None
    feature_sets: dict[str, FeatureSet]
    hashes: dict[str, str]
    sizes: dict[str, int]
    stimuli: dict[str, str]
    raters_hash: str | None
    frames_file: Name
    files: FileSeals | None

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of the store in a folder; InputError where there is none, or it is not
        as it was written."""
        if not (folder / MANIFEST).is_file():
            raise InputError(f"{folder}: not a store: {_other_content(folder)}")
        check_inside(folder, MANIFEST)
        return cls.of(read_json(folder / MANIFEST), folder / MANIFEST)

    @classmethod
    def of(cls, document: Any, path: Path) -> Manifest:
        """Return the manifest in a document that was read from `path`."""
        layout = document.get("layout") if isinstance(document, dict) else None
        if layout != LAYOUT:
            raise InputError(
                f"{path.parent}: store layout {layout!r}, expected {LAYOUT}; import the data again"
            )
        files = read_seal(path, document, _advice(document))
        targets = _targets_of(document, path)
        try:
            manifest = cls(
                document=document,
                name=_text(document["name"]),
                targets=targets,
                time_column=_text_or_none(document["time_column"]),
                feature_sets=_feature_sets_of(document),
                hashes=_hashes_of(document),
                sizes={_text(name): int(size) for name, size in document["bytes"].items()},
                stimuli=_texts(document.get("stimuli", {})),
                raters_hash=_text_or_none(document.get("raters", {}).get("hash")),
                frames_file=checked_name(_text(document.get("frames_file", FRAMES)), "file"),
                files=files,
            )
        except InputError as error:
            raise InputError(*(f"{path}: {problem}" for problem in error.problems)) from error
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise InputError(f"{path}: not a store's manifest ({error!r}); {ADVICE}") from error
        unsealed = {*manifest.read_files} - {*(files or manifest.sizes)}
        if unsealed:
            listed = ", ".join(sorted(unsealed))
            raise Damaged(f"{path}: nothing to check {listed} against; {ADVICE}")
        return manifest

    @property
    def read_files(self) -> list[str]:
        """The files that trainings read, below the store."""
        files = [RECORDINGS, self.frames_file, *map(feature_file, self.feature_sets)]
        if self.raters_hash is not None:
            files.append(RATERS)
        return files


def write_manifest(
    folder: Path, document: Mapping[str, Any], files: Mapping[str, FileSeal]
) -> None:
    """Write a store's manifest, whole, with a new seal over these files; one that is there keeps
    its access rights."""
    path = folder / MANIFEST
    mode = path.stat().st_mode if path.exists() else None
    write_json(path, sealed(document, files))
    if mode is not None:
        path.chmod(mode)


def unsealed_digest(content: bytes) -> str:
    """Return a digest of a manifest's bytes by which two copies of a store are told to be the same:
    without the seal, which one of them may have and a copy from before has not."""
    try:
        document = json.loads(content)
        return digest({key: document[key] for key in document if key != SEAL})
    except (RecursionError, TypeError, ValueError):  # no manifest
        return hashlib.sha256(content).hexdigest()


def _advice(document: Mapping[str, Any]) -> str:
    """What to do about a manifest that is not as it was sealed."""
    try:
        names = [feature_file(entry["name"]) for entry in document["feature_sets"]]
        unsealed = {*names} - {*document[SEAL]["files"]}
    except (InputError, KeyError, TypeError):
        return ADVICE
    if not unsealed:
        return ADVICE
    # An earlier version leaves a seal as it is, whatever it adds.
    return (
        f"{ADVICE}; if an earlier version of va-search added {', '.join(sorted(unsealed))}, remove "
        f"the entry {SEAL!r} from it instead: its values are then checked, and it is sealed anew"
    )


def _targets_of(document: Mapping[str, Any], path: Path) -> tuple[Target, ...]:
    try:
        return targets_from_json(document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: targets: {error}; import the data again") from error


def _feature_sets_of(document: Mapping[str, Any]) -> dict[str, FeatureSet]:
    feature_sets = {}
    for entry in document["feature_sets"]:
        feature_set = FeatureSet.from_json(entry)
        dtype, dim = feature_set.dtype, feature_set.dim
        if dtype not in DTYPES or type(dim) is not int or not 0 <= dim < MOST_COLUMNS:
            raise ValueError(f"feature set {feature_set.name!r}: dtype {dtype!r}, dim {dim!r}")
        feature_sets[feature_set.name] = feature_set
    return feature_sets


def _hashes_of(document: Mapping[str, Any]) -> dict[str, str]:
    hashes = _texts(document["hashes"])
    missing = {"recordings", "annotations"} - {*hashes}
    if missing:
        raise ValueError(f"no hash of {', '.join(sorted(missing))}")
    return hashes


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, found {value!r}")
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {name: _text(value) for name, value in values.items()}


DATA_ENDINGS = {".csv", ".tsv", ".parquet", ".npy", ".npz", ".h5", ".mat", ".arff"}
"""Files of data, by which a folder is known that nobody described yet."""


def _other_content(path: Path) -> str:
    """Words for a path that is no store, and what to do about it."""
    if not path.exists():
        return "no such folder; if the store was moved, give the folder where it is now"
    if not path.is_dir():
        return "it is a file, and a store is a folder that `va-search data import` made"
    if path.name.endswith(".partial"):
        return "it is an unfinished import; run that import again, and use the store that it makes"
    inside = sorted(manifest.parent for manifest in path.glob("*/manifest.json"))
    if inside:
        return f"it has no manifest.json, but stores are in it; give one of them: {', '.join(map(str, inside[:5]))}"
    return _source_content(path)


def _source_content(path: Path) -> str:
    """Words for a folder that may be a source: how it is imported."""
    to = f"stores/{path.resolve().name}"
    if (path / "dataset.yaml").is_file():
        return _source_words("source files", f"table {path} --to {to}", to)
    if (path / "streams.yaml").is_file():
        return _source_words("source files", f"streams {path} --to {to}", to)
    if any((folder / "Train_Set").is_dir() for folder in (path, *path.iterdir())):
        options = f"affwild2 {path} --visual … --audio … --to {to}"
        return _source_words("Aff-Wild2 annotations", options, to)
    nearby = (*path.glob("*.*"), *path.glob("*/*.*"))
    if any(file.suffix.lower() in DATA_ENDINGS for file in nearby):
        return (
            "it has data files and no description of them; `va-search data init "
            f"{path}` drafts one, and `va-search data import` then makes a store"
        )
    return (
        "it has no manifest.json, so it is no store or unfinished; `va-search data import` makes "
        "stores"
    )


def _source_words(kind: str, options: str, to: str) -> str:
    command = f"va-search data import {options}"
    return f"it is a folder of {kind}; import it with `{command}` and use {to}"
