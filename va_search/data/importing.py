"""The loop every importer shares: read the recordings that are not there yet, on all cores, and
finish the store; and feature sets of one store added to another of the same recordings.

Conventions: threads, not processes: parsing and writing are C code without the interpreter lock,
and a small import must not wait seconds for processes to start. When feature sets are added, new
files are laid beside the old ones, which stay as they are; the manifest, written last with one
rename, is what makes them part of the store. Whoever reads the store meanwhile goes on reading what
it opened; hashes of the feature sets that were there, and so the ids of trials on them, stay."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from va_search.data.draft import CastPart, Description, Draft, Part, Source, write_frames
from va_search.data.manifest import FRAMES, Manifest, feature_file, write_manifest
from va_search.data.problems import refuse
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.files import Name, whole_file
from va_search.locks import only_one
from va_search.seals import seal_files

Progress = Callable[[int, int, str], None]
MOST_WORKERS = 8
MOST_AHEAD = 4
BYTES_AHEAD = 128 << 20
"""Recordings a worker, and bytes of features, that wait at most for one before them."""


def quiet(done: int, total: int, what: str) -> None:
    """The progress callback that shows nothing: recordings done, recordings in all, the one just
    read."""


@contextmanager
def drafting(to: Path, description: Description, recordings: list[Source]) -> Iterator[Draft]:
    """The draft of the store at `to`, held by this process alone."""
    lock = to.with_name(f".{to.name}.lock")
    with only_one(lock, f"{to}: an import into it"):
        try:
            yield Draft(to, description, recordings)
        finally:
            lock.unlink(missing_ok=True)


def read_all(
    draft: Draft,
    read: Callable[[int], Part],
    *,
    workers: int | None = None,
    progress: Progress = quiet,
) -> Store:
    """Read what the draft lacks and finish it; InputError with the problems of all recordings
    together.

    Recordings that were read stay in the draft whatever happens, so a second import reads only the
    others."""
    if draft.already_finished():
        return draft.finish()
    total, missing = len(draft.recordings), draft.missing()
    texts: list[str] = []
    progress(total - len(missing), total, "")
    workers = workers or min(os.cpu_count() or 1, MOST_WORKERS)
    with ThreadPoolExecutor(workers) as pool:
        try:
            reading: deque[_Reading] = deque()
            ahead = iter(missing)
            for done, index in enumerate(missing, total - len(missing) + 1):
                while (
                    _may_read_on(reading, workers) and (following := next(ahead, None)) is not None
                ):
                    reading.append(pool.submit(_read_part, draft, read, following))
                part = reading.popleft().result()
                # In their order, whichever was read first: their values then lie as the store's.
                if isinstance(part, CastPart):
                    draft.write(index, part)
                else:
                    texts += part
                progress(done, total, draft.recordings[index].name)
        # Ctrl-C: what is being read is finished, nothing new is begun.
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    refuse(texts or draft.targets_without_labels())
    return draft.finish()


_Reading = Future[CastPart | list[str]]


def _may_read_on(reading: Collection[_Reading], workers: int) -> bool:
    """True where another recording may be read beside those that are, or wait to be written: as
    many as there are `workers`, and small ones behind a large one."""
    if len(reading) < workers:
        return True
    waiting = 0
    for recording in reading:
        if not recording.done():
            continue
        part = recording.result()
        waiting += part.bytes if isinstance(part, CastPart) else 0
    return len(reading) < MOST_AHEAD * workers and waiting < BYTES_AHEAD


def _read_part(draft: Draft, read: Callable[[int], Part], index: int) -> CastPart | list[str]:
    """One recording's part as it is to be written, or its problems."""
    recording = f"recording {draft.recordings[index].name!r}"
    try:
        part = read(index)
    except InputError as error:
        return error.problems
    except MemoryError:
        return [f"{recording}: not enough memory to read it; cut it, or use --workers 1"]
    try:
        return draft.cast(part)
    except InputError as error:
        return [f"{recording}: {problem}" for problem in error.problems]


def add_feature_sets(to: Path, new: Path) -> Store:
    """Add the feature sets of the store at `new` to the one at `to`; the same call again finds them
    there.

    Frames that have no face in `new` have none in the result; times are taken where `to` has none.
    InputError when the recordings, their splits, subjects, lengths or annotations differ, or a name
    is taken by other values."""
    store, addition = Store.open(to), Store.open(new)
    problems = differences(store, _recordings_of(addition), str(new))
    if not problems and store.hashes["annotations"] != addition.hashes["annotations"]:
        problems = [f"{new}: other annotations than in {to}; make both from the same"]
    refuse(problems)
    # The same call again finds its sets there; other values under a name are never replaced.
    added = []
    for name, feature_set in addition.feature_sets.items():
        if name not in store.feature_sets:
            added.append(name)
        elif store.feature_sets[name].hash != feature_set.hash:
            problems.append(
                f"{to}: feature set {name!r} is there with other values; name it otherwise"
            )
    refuse(problems)
    for name in added:
        _link(new / feature_file(name), to / feature_file(name))
    # Frames go into a file of another name: whoever has the store open reads the old one.
    frames_file = store.frames_file
    valid = store.valid & addition.valid
    times = np.where(np.isnan(store.times), addition.times, store.times)
    if not np.array_equal(valid, store.valid) or not np.array_equal(times, store.times, True):
        content = hashlib.sha256(times.tobytes() + valid.tobytes()).hexdigest()
        frames_file = Name(f"frames-{content[:16]}.arrow")
        write_frames(to / frames_file, store.targets, store.annotations, times, valid)
    manifest = Manifest.read(to)
    files = {**(manifest.files or store.files)}
    files |= {feature_file(name): addition.files[feature_file(name)] for name in added}
    if frames_file not in files:
        files |= seal_files(to, [frames_file])
    document = _merged(manifest, Manifest.read(new), added)
    document["bytes"] = {name: seal.bytes for name, seal in files.items()}
    if frames_file != FRAMES:
        document["frames_file"] = frames_file
    write_manifest(to, document, files)
    return Store.open(to)


def _link(file: Path, to: Path) -> None:
    """The file also at `to`, whole: a link, or a copy where the disk has no links or is another."""
    with whole_file(to) as beside:
        try:
            os.link(file, beside)
        except OSError:
            shutil.copyfile(file, beside)


Recordings = Mapping[str, tuple[str, str, int | None]]
"""Name -> split, subject and frames, None where these would have to be read first."""


def _recordings_of(store: Store) -> Recordings:
    recordings = {}
    for recording in store.recordings:
        recordings[recording.name] = (recording.split, recording.subject, recording.frames)
    return recordings


def differences(store: Store, recordings: Recordings, where: str) -> list[str]:
    """Differences between the store's recordings and those of `where`; none when all is the same,
    in order."""
    own = _recordings_of(store)
    problems = []
    for name in own:
        if name not in recordings:
            problems.append(f"{store.path}: recording {name!r} is not in {where}")
    for name in recordings:
        if name not in own:
            problems.append(f"{store.path}: no recording {name!r}, which is in {where}")
    for name in [name for name in own if name in recordings]:
        values = zip(("split", "subject", "frames"), own[name], recordings[name], strict=True)
        for field, value, other_value in values:
            if other_value is not None and other_value != value:
                problems.append(
                    f"recording {name!r}: {field} {value} in {store.path}, {other_value} in {where}"
                )
    # The order decides which frame lies where.
    if not problems and list(own) != list(recordings):
        problems = [f"{store.path}: its recordings are in another order in {where}"]
    return problems


def _merged(manifest: Manifest, new: Manifest, added: list[str]) -> dict[str, Any]:
    """The document of a manifest with the `added` feature sets of a new one; `bytes` and the seal
    are still to do."""
    document, addition = dict(manifest.document), new.document
    entries = list(document["feature_sets"])
    for name in added:
        entries.append(new.feature_sets[name].to_json())
    document["feature_sets"] = entries
    document["warnings"] = list(dict.fromkeys(document["warnings"] + addition["warnings"]))
    # Old entries stay as they are: ids of trials on them must not change.
    document["definitions"] = {
        **document.get("definitions", {}),
        **addition.get("definitions", {}),
    }
    notes = dict(document.get("notes", {}))
    for name, note in addition.get("notes", {}).items():
        notes[name] = {**notes.get(name, {}), **note}
    if notes:
        document["notes"] = notes
    return document
