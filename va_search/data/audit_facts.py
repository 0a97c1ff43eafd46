"""The parts of an audit that read every value, computed once for a content and kept with the store.

Conventions: a key holds whatever a part is computed from: the seals of the files, the recordings'
places, names and splits, the targets, and the source text of this package's rooms that compute it.
So no other store, fold, target or version of the code is told what was found for this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from va_search.data.baselines import Baseline, baselines
from va_search.data.columns import audit_columns
from va_search.data.computed import LEAST_VALUES, Computed, Facts
from va_search.data.copies import Copy, FrameHashes, Hashes, copied_recordings
from va_search.data.manifest import ADVICE, feature_file
from va_search.data.normalise import threads_allowed
from va_search.data.store import OFFICIAL, Store
from va_search.files import digest, file_hash
from va_search.seals import verify
from va_search.targets import targets_to_json


@dataclass(frozen=True)
class FeatureFacts:
    """An audit of one feature set: `hash` of its values as the import makes it, `hashes` (frames,)
    of its frames, and texts by level."""

    key: str
    hash: str
    errors: list[str]
    notes: list[str]
    warnings: list[str]
    hashes: Hashes


def feature_facts(store: Store, progress: Callable[[str], None]) -> dict[str, FeatureFacts]:
    """Audit each feature set, several at once; `progress` is called before each is waited for.

    Damaged where a file of the store is not as it was sealed."""
    verify(store.path, store.files, ADVICE)
    kept = Computed(store)
    if not store.feature_sets:
        return {}
    facts = {}
    with ThreadPoolExecutor(min(threads_allowed(), len(store.feature_sets))) as pool:
        running = {}
        for name in store.feature_sets:
            running[name] = pool.submit(_facts_of, store, name, kept)
        for name, future in running.items():
            progress(name)
            facts[name] = future.result()
    return facts


def _facts_of(store: Store, name: str, kept: Computed) -> FeatureFacts:
    """The audit of one feature set, as it is kept or made now."""
    feature_set = store.feature_sets[name]
    seal = store.files[feature_file(name)].sha256
    key = digest([_content(store, splits=False), name, seal, feature_set.to_json()])
    kind = f"audit-{name}"
    is_kept = feature_set.dim * store.frames >= LEAST_VALUES
    facts = kept.read(kind, key) if is_kept else None
    if facts is None:
        frames = FrameHashes(store.frames, name, feature_set.dim, feature_set.dtype)
        audit = audit_columns(store, name, frames)
        values = {
            "hash": audit.hash,
            "errors": [*audit.not_finite()],
            "notes": [*audit.lacking()],
            "warnings": [*audit.dirt()],
        }
        facts = Facts(values, {"hashes": frames.values})
        if is_kept:
            kept.write(kind, key, values, facts.arrays)
    return FeatureFacts(key=key, hashes=facts.arrays["hashes"], **facts.values)


def copies_of(store: Store, features: dict[str, FeatureFacts]) -> Iterator[Copy]:
    """Recordings that share frames, of the facts of all feature sets."""

    def compute() -> Any:
        hashes = np.zeros(store.frames, np.uint64)
        for facts in features.values():
            hashes += facts.hashes
        return [[copy.leaks, copy.where, copy.text] for copy in copied_recordings(store, hashes)]

    keys = [facts.key for facts in features.values()]
    for leaks, where, text in _computed_once(store, "copies", keys, compute):
        yield Copy(leaks, where, text)


def official_baselines(store: Store) -> tuple[Baseline, ...]:
    """Baselines of the official split."""

    def compute() -> Any:
        return [[entry.name, entry.cccs] for entry in baselines(store, [OFFICIAL])]

    scores = _computed_once(store, "baselines", _stimuli(store), compute)
    return tuple(Baseline(name, cccs) for name, cccs in scores)


def kept_baselines(store: Store) -> tuple[Baseline, ...] | None:
    """Baselines of the official split that an audit has kept; None where there are none."""
    scores = _computed_once(store, "baselines", _stimuli(store), lambda: None)
    return None if not scores else tuple(Baseline(name, cccs) for name, cccs in scores)


def _stimuli(store: Store) -> list[str | None]:
    return [recording.stimulus for recording in store.recordings]


def _computed_once(
    store: Store, kind: str, content: Sequence[Any], compute: Callable[[], Any]
) -> Any:
    """Return what `compute` does, a JSON document, as it is kept of the same content or as it is
    now; None is not kept."""
    frames = max(1, store.frames)
    if frames * sum(entry.dim for entry in store.feature_sets.values()) < LEAST_VALUES:
        return compute()
    kept = Computed(store)
    key = digest([_content(store, splits=True), content])
    facts = kept.read(kind, key)
    if facts is not None:
        return facts.values
    values = compute()
    if values is not None:
        kept.write(kind, key, values, {})
    return values


def _content(store: Store, *, splits: bool) -> str:
    """Digest of the store's values, recordings (with their `splits` and people) and targets, and of
    the code."""
    rows = []
    for recording in store.recordings:
        row = [recording.name, recording.start, recording.frames]
        if splits:
            row += [recording.split, recording.subject, recording.video, recording.fold]
        rows.append(row)
    names = [store.frames_file, *map(feature_file, store.feature_sets)]
    if not splits:
        # A feature set that is added changes nothing about the others.
        names = [store.frames_file]
    seals = [store.files[name].sha256 for name in names]
    hashes = [feature_set.hash for feature_set in store.feature_sets.values()] if splits else []
    return digest([_code(), rows, seals, hashes, targets_to_json(store.targets)])


@lru_cache(maxsize=1)
def _code() -> str:
    """Digest of the source text that an audit is computed with, and of NumPy's version."""
    room = Path(__file__).parent
    files = [*sorted(room.glob("*.py")), *sorted(room.parent.glob("*.py"))]
    return digest([[[file.name, file_hash(file)] for file in files], np.__version__])
