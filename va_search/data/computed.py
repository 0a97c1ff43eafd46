"""Facts computed from a store's values, kept so that no process computes them again.

    STORE/computed/<kind>-<key>.facts     or, where the store can't be written to,
    <user's cache>/computed/<kind>-<key>.facts

    first line    SHA-256 of all that follows
    second line   JSON: the whole key, facts, and name, type and shape of each array
    then          the arrays' values, one after another

Conventions: a key is a digest of everything that the facts were computed from, and of the version
of the code: facts are never changed, only replaced by those of another key. A file that is damaged
is told of once and computed again. Files appear whole, so that several processes may write the same
one; what can't be kept is computed whenever it is needed. No pickle."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.data.store import MemoryStore, Store
from va_search.errors import InputError, JobError, warn_once
from va_search.files import check_regular, whole_file
from va_search.locks import Lock
from va_search.seals import check_inside
from va_search.verified import user_cache

FOLDER = "computed"
LEAST_VALUES = 1_000_000
"""Values from which facts are worth a file: fewer are read in some milliseconds."""
KEPT = 24
"""Files of one kind that stay; the oldest go first."""
ABANDONED = 3600.0
"""Seconds after which a half-written file belongs to no living process."""
DTYPES = ("<f8", "<i8", "<u8", "|b1")

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Facts:
    """What was computed: `values` as JSON has them, and arrays by name, read-only."""

    values: Any
    arrays: Arrays


class Computed:
    """The facts kept for one store; nothing is kept for one that lies in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folders: list[Path] = []
        if not isinstance(store, MemoryStore):
            self._folders.append(store.path / FOLDER)
            with suppress(InputError):  # a user without a home folder
                self._folders.append(user_cache() / FOLDER)

    def read(self, kind: str, key: str) -> Facts | None:
        """Return the facts of this key; None where none are kept, or only damaged ones."""
        for folder in self._folders:
            path = folder / _file_name(kind, key)
            try:
                if not path.exists():
                    continue
                self._check_link(folder, path)
                check_regular(path, "a file of facts")
                return _parsed(path.read_bytes(), key)
            except (OSError, ValueError, KeyError, TypeError, RecursionError, InputError) as error:
                reason = str(error) or type(error).__name__
                warn_once(f"{path}: passed over and computed again ({reason})")
        return None

    def write(self, kind: str, key: str, values: Any, arrays: Arrays) -> None:
        """Keep facts with the store, or in the user's cache where it can't be written to.

        A full disk is told of once, and the facts are not kept."""
        content = _content(key, values, arrays)
        for folder in self._folders:
            path = folder / _file_name(kind, key)
            try:
                self._check_link(folder, path)
                with whole_file(path) as beside:
                    beside.write_bytes(content)
                _tidy(path, kind)
            except JobError as error:
                warn_once(f"{path}: not kept, computed again when needed ({error})")
            except (OSError, InputError):
                continue  # not ours to write: the next folder
            return

    @contextmanager
    def alone(self, kind: str, key: str, *, wait: bool) -> Iterator[bool]:
        """Hold the lock on computing these facts; True where no other process has it.

        With `wait`, wait for it. Where no lock can be had, as in a folder that is read-only, nothing
        keeps two processes from computing the same, which only costs time."""
        with ExitStack() as stack:
            yield self._is_ours(stack, f"{_file_name(kind, key)}.lock", wait=wait)

    def _is_ours(self, stack: ExitStack, name: str, *, wait: bool) -> bool:
        for folder in self._folders:
            lock = Lock(folder / name, remove=True)
            try:
                self._check_link(folder, lock.path)
                is_taken = lock.take()
                while wait and not is_taken:
                    time.sleep(0.1)
                    is_taken = lock.take()
            except (OSError, InputError):
                continue
            if is_taken:
                stack.callback(lock.release)
            return is_taken
        return True

    def _check_link(self, folder: Path, path: Path) -> None:
        """Damaged where a link in the store would lead out of it."""
        if folder.parent == self._store.path:
            check_inside(self._store.path, f"{FOLDER}/{path.name}")


def _file_name(kind: str, key: str) -> str:
    return f"{kind}-{key[:32]}.facts"


def _content(key: str, values: Any, arrays: Arrays) -> bytes:
    shapes = {name: [array.dtype.str, list(array.shape)] for name, array in arrays.items()}
    head = json.dumps({"key": key, "values": values, "arrays": shapes}).encode()
    body = b"\n".join([head, b"".join(array.tobytes() for array in arrays.values())])
    return b"\n".join([hashlib.sha256(body).hexdigest().encode(), body])


def _parsed(content: bytes, key: str) -> Facts:
    """Return the facts in a file's content; ValueError, KeyError or TypeError where it is not whole
    or of another key."""
    digest, _, body = content.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ValueError("damaged: its digest is another one")
    head, _, rest = body.partition(b"\n")
    document = json.loads(head)
    if document["key"] != key:
        raise ValueError("of another content than its name says")
    arrays = {}
    start = 0
    for name, (dtype, shape) in document["arrays"].items():
        if dtype not in DTYPES:
            raise ValueError(f"type {dtype!r}")
        count = math.prod(shape)
        values = np.frombuffer(rest, dtype, count, start)
        arrays[name] = values.reshape(shape)
        start += values.nbytes
    return Facts(document["values"], arrays)


def _tidy(path: Path, kind: str) -> None:
    """Remove all but the last files of a kind, and what killed processes left half written."""
    with suppress(OSError):
        changed = {file: file.stat().st_mtime for file in path.parent.iterdir()}
        of_kind = [file for file in changed if file.match(f"{kind}-*.facts") and file != path]
        of_kind.sort(key=lambda file: changed[file])
        for file in of_kind[: max(0, len(of_kind) + 1 - KEPT)]:
            file.unlink(missing_ok=True)
        for file, seconds in changed.items():
            if file.match(".*.facts.*.partial") and seconds < time.time() - ABANDONED:
                file.unlink(missing_ok=True)
