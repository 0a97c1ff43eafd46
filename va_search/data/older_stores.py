"""Stores from before there were seals: checked against what their manifests say of their values,
then given a seal; and that check for all stores.

Conventions: times, `valid`, the name and the time column of such a store are in no hash, so its
seal takes them as they are at its first use. The manifest is written anew, whole; where that is not
allowed, the sealed manifest is kept in the cache of whoever opens the store."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from va_search.data.manifest import ADVICE, FOLDS, MANIFEST, Manifest, write_manifest
from va_search.data.raters import hash_of_ratings
from va_search.data.store import Store
from va_search.errors import InputError, JobError
from va_search.files import digest, read_json, write_json
from va_search.seals import SEAL, Damaged, FileSeals, Progress, quiet, seal_files, sealed
from va_search.verified import user_cache

LOG = logging.getLogger(__name__)

VALUES_AT_ONCE = 4_000_000
OTHER_VALUES = "values on the disk are not those that were imported (content hash differs)"


def sealed_manifest(folder: Path, manifest: Manifest, progress: Progress = quiet) -> Manifest:
    """Return the manifest of a store without a seal as it is with one, and write it.

    Damaged where the store is not what was imported."""
    cached = user_cache() / "manifests" / f"{_content_of(folder, manifest)}.json"
    if cached.is_file():
        try:
            return Manifest.of(read_json(cached), cached)
        except InputError:
            cached.unlink(missing_ok=True)  # damaged: the store is looked at again
    _check_sizes(folder, manifest)
    files = seal_files(folder, manifest.read_files, progress)
    problems = []
    for what, text in value_changes(Store.of_manifest(folder, manifest, files)):
        problems.append(f"{folder}: {what}: {text}; {ADVICE}")
    if problems:
        raise Damaged(*problems)
    _write(folder, manifest, files, cached)
    document = sealed(manifest.document, files)
    return Manifest.of(document, folder / MANIFEST)


def _write(folder: Path, manifest: Manifest, files: FileSeals, cached: Path) -> None:
    """Write the seal into the store, or into the user's cache."""
    if read_json(folder / MANIFEST) != manifest.document:
        return  # another process has sealed or extended it meanwhile
    try:
        write_manifest(folder, manifest.document, files)
        _seal_folds(folder / FOLDS)
    except (OSError, JobError) as error:
        _write_elsewhere(folder, sealed(manifest.document, files), cached, error)
        return
    LOG.warning("%s: made before stores had seals; sealed as it is now", folder)


def _write_elsewhere(
    folder: Path, document: dict[str, Any], cached: Path, error: OSError | JobError
) -> None:
    """Write the sealed manifest of a store that can't be written to into the user's cache."""
    outcome = "and checked as it is now"
    try:
        write_json(cached, document)
    except (OSError, JobError):
        outcome = "so it is checked again whenever it is opened"
    reason = getattr(error, "strerror", None) or error
    words = "made before stores had seals, and can't be given one"
    LOG.warning("%s: %s (%s), %s", folder, words, reason, outcome)


def _seal_folds(path: Path) -> None:
    if path.is_file():
        document = read_json(path)
        if isinstance(document, dict) and SEAL not in document:
            write_json(path, sealed(document, {}))


def _content_of(folder: Path, manifest: Manifest) -> str:
    return digest([str(folder.resolve()), manifest.document])


def _check_sizes(folder: Path, manifest: Manifest) -> None:
    problems = []
    for name in manifest.read_files:
        file = folder / name
        size = manifest.sizes[name]
        state = f"{file.stat().st_size} bytes" if file.is_file() else "missing"
        if state != f"{size} bytes":
            problems.append(f"{file}: {state}, expected {size} bytes; {ADVICE}")
    if problems:
        raise Damaged(*problems)


def value_changes(store: Store) -> Iterator[tuple[str, str]]:
    """Yield all that is not what was imported, by the manifest's hashes of values, each with words
    for it; reads every value."""
    yield from frame_changes(store)
    for name in store.feature_sets:
        yield from feature_changes(store, name, _hash_of(store, name))


def frame_changes(store: Store) -> Iterator[tuple[str, str]]:
    """As `value_changes`, of recordings, annotations and raters; reads no features."""
    rows = []
    for recording in store.recordings:
        row = {**vars(recording), "gaps": list(recording.gaps)}
        del row["stimulus"]  # it stands in the manifest
        rows.append(row)
    if digest(rows) != store.hashes["recordings"]:
        yield "recordings", OTHER_VALUES
    labels = np.nan_to_num(store.annotations, nan=1e30)
    if hashlib.sha256(labels.tobytes()).hexdigest() != store.hashes["annotations"]:
        yield "annotations", OTHER_VALUES
    spread, raters = store.spread, store.raters
    if spread is not None and raters is not None:
        spans = [recording.span for recording in store.recordings]
        if hash_of_ratings((spread[span], raters[span]) for span in spans) != store.raters_hash:
            yield "raters", OTHER_VALUES


def feature_changes(store: Store, name: str, content: str) -> Iterator[tuple[str, str]]:
    """As `value_changes`, of one feature set whose values have this hash."""
    if content != store.feature_sets[name].hash:
        yield f"feature set {name}", OTHER_VALUES


def _hash_of(store: Store, name: str) -> str:
    """The hash of a feature set's values, as the import made it."""
    values = store.features(name)
    dim = values.shape[1]
    sha = hashlib.sha256(f"{dim}:{values.dtype}".encode())
    rows = max(1, VALUES_AT_ONCE // max(1, dim))
    for start in range(0, len(values), rows):
        sha.update(np.ascontiguousarray(values[start : start + rows]).data)
    return sha.hexdigest()
