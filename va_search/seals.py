"""Seals: the digests of a folder's files, kept in the folder's own document, and the check that
what is read is what was sealed.

    {..., "seal": {"files": {"test.arrow": {"bytes": 4242, "sha256": "…"}}, "document": "…"}}

Conventions: a document is a folder's JSON file that is written last (manifest.json, trial.json, an
ensemble's). `files` are named relative to its folder, with `/`; `document` is the digest of the
document itself, with `files` and without `document`. A file is hashed once: what was
verified is remembered (verified.py).

A seal finds damage and mix-ups. It does not stop somebody who may write to the folder: they can
write a new seal as well."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from va_search.errors import InputError
from va_search.files import digest
from va_search.verified import Identity, Verified

SEAL = "seal"
"""The key of a document under which its seal stands."""

AT_ONCE = 1 << 20
"""Bytes that are hashed at once."""

MOST_THREADS = 8

VERIFIED = Verified()
"""What this process, or this user, has verified."""

Progress = Callable[[int, int], None]
"""Called with the bytes that are hashed so far and in all; never called where nothing is hashed."""


class Damaged(InputError):
    """A file or document that is not as it was sealed."""


def quiet(hashed: int, total: int) -> None:
    """The progress callback that shows nothing."""


@dataclass(frozen=True)
class FileSeal:
    """Size and SHA-256 (64 hex digits) of one file."""

    bytes: int
    sha256: str

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> FileSeal:
        """Return the seal of a document's entry; ValueError where it is none."""
        size, sha256 = entry["bytes"], entry["sha256"]
        if type(size) is not int or type(sha256) is not str:
            raise ValueError(f"bytes {size!r} and sha256 {sha256!r}")
        return cls(size, sha256)


FileSeals = dict[str, FileSeal]
"""By the file's name relative to the sealed folder, with `/`."""


def sealed(document: Mapping[str, Any], files: Mapping[str, FileSeal]) -> dict[str, Any]:
    """Return the document with a new seal over these files and over itself."""
    entries = {name: vars(files[name]) for name in sorted(files)}
    content = {**document, SEAL: {"files": entries}}
    # Keys that are numbers become texts in a file, and are then sorted otherwise.
    written = json.loads(json.dumps(content, allow_nan=False))
    content[SEAL]["document"] = _own_digest(written)
    return content


def read_seal(path: Path | str, document: Mapping[str, Any], advice: str) -> FileSeals | None:
    """Return the seals of files in the document that was read from the file at `path`; None for one
    that was written before there were seals.

    Damaged, with `advice`, where the document is not as it was sealed."""
    if SEAL not in document:
        return None
    try:
        entry = document[SEAL]
        files = {}
        for name, facts in entry["files"].items():
            files[_checked_relative(name)] = FileSeal.from_json(facts)
        expected, actual = str(entry["document"]), _own_digest(document)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise Damaged(f"{path}: its seal can't be read ({error!r}); {advice}") from error
    if actual != expected:
        raise Damaged(
            f"{path}: changed since it was written: its digest is {actual[:12]}…, expected "
            f"{expected[:12]}…; {advice}"
        )
    return files


def is_as_sealed(document: Mapping[str, Any]) -> bool:
    """Return True for a document, read from a file, with a seal over it as it is."""
    try:
        return bool(document[SEAL]["document"] == _own_digest(document))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return False


def _own_digest(document: Mapping[str, Any]) -> str:
    """Digest of a document as it is read back from its file, without the digest in its seal."""
    return digest({**document, SEAL: {"files": document[SEAL]["files"]}})


def _checked_relative(name: str) -> str:
    """Return a name from a document that stays below its folder; ValueError otherwise."""
    path = PurePosixPath(name)
    is_inside = not path.is_absolute() and ".." not in path.parts and str(path) == name != "."
    if not is_inside or "\\" in name or not name.isprintable():
        raise ValueError(f"{name!r} is no name of a file in the folder")
    return name


def seal_files(folder: Path, names: Iterable[str], progress: Progress = quiet) -> FileSeals:
    """Hash these files of a folder, several at once, and return their seals.

    InputError for files that are missing, are not regular, can't be read or lie outside, all
    together."""
    checks = [_Check(folder, name, None) for name in names]
    _run(checks, progress)
    problems = [f"{check.path}: {check.problem}" for check in checks if check.problem]
    if problems:
        raise InputError(*problems)
    return {check.name: check.seal for check in checks if check.seal is not None}


def verify(
    folder: Path, files: Mapping[str, FileSeal], advice: str, progress: Progress = quiet
) -> None:
    """Damaged, with `advice` after each, for all files of a folder that are not as they were
    sealed."""
    problems = damages(folder, files, progress)
    if problems:
        raise Damaged(*(f"{folder / name}: {text}; {advice}" for name, text in problems.items()))


def damages(
    folder: Path, files: Mapping[str, FileSeal], progress: Progress = quiet
) -> dict[str, str]:
    """Return in words how the files of a folder differ from their seals, by name; none that are as
    they were sealed.

    Files that were verified before and not touched since cost a look at their times; the others
    are hashed, several at once."""
    checks = [_Check(folder, name, files[name]) for name in files]
    _run(checks, progress)
    return {check.name: check.problem for check in checks if check.problem}


def check_inside(folder: Path, name: str) -> None:
    """Damaged where `name` in a folder, a relative path without `..`, is a link, or behind one, that
    leads out of the folder, which may be a link itself."""
    link = _link_out(folder, name)
    if link is not None:
        raise Damaged(
            f"{link}: a link that leads out of {folder}, which is not followed; put what it leads "
            "to in its place"
        )


def _link_out(folder: Path, name: str) -> Path | None:
    """Return the first link on the way from a folder to `name` in it that leads out of the folder.

    One that leads to itself does not, and can't be read."""
    path = str(folder)
    for part in name.split("/"):
        path = f"{path.rstrip(os.sep)}/{part}"
        # Looked at first, as it is quick: nearly nothing is a link. Texts: a path takes longer to
        # put together than to look at.
        if os.path.islink(path):  # noqa: PTH114
            root = os.path.realpath(folder).rstrip(os.sep)
            # Not Path.resolve, which raises RuntimeError for a link to itself.
            if not os.path.realpath(path).startswith(root + os.sep):
                return Path(path)
    return None


def is_verified(path: Path, sha256: str) -> bool:
    """Return True where the file at `path` was found to have this digest, and was not touched
    since; nothing is hashed."""
    try:
        return VERIFIED.knows(path, Identity.of(path.stat()), sha256)
    except OSError:
        return False


class _Check:
    """The check of one file, run by one thread: against `expected`, or to learn its seal."""

    def __init__(self, folder: Path, name: str, expected: FileSeal | None) -> None:
        self.name = name
        self.path = folder / name
        self.problem = ""
        self.seal: FileSeal | None = None
        self.size = 0
        self._folder = folder
        self._expected = expected

    def is_known(self) -> bool:
        """Look at the file: True where it need not be hashed, since it was before or is wrong."""
        try:
            if _link_out(self._folder, self.name) is not None:
                self.problem = f"a link that leads out of {self._folder}"
                return True
            state = self.path.stat()
        except OSError as error:
            self.problem = _reason(error)
            return True
        self._look(state)
        if self.problem:
            return True
        expected = self._expected
        if expected is None:
            return False
        return VERIFIED.knows(self.path, Identity.of(state), expected.sha256)

    def _look(self, state: os.stat_result) -> None:
        self.size = state.st_size
        expected = self._expected
        if not stat.S_ISREG(state.st_mode):
            self.problem = "not a regular file"
        elif expected is not None and state.st_size != expected.bytes:
            self.problem = f"{state.st_size} bytes, expected {expected.bytes} bytes"

    def hash(self, add: Callable[[int], None]) -> Identity | None:
        """Hash the file, with `add` called for every block. Return its identity, to be remembered;
        None where its times do not tell yet whether it is written to."""
        began = time.time()
        try:
            # Without waiting: a pipe may have taken the file's place since.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb", buffering=0) as handle:
                state = os.fstat(descriptor)
                self._look(state)
                if self.problem:
                    return None
                sha = hashlib.sha256()
                block = memoryview(bytearray(AT_ONCE))
                while count := handle.readinto(block):
                    sha.update(block[:count])
                    add(count)
                identity = Identity.of(os.fstat(descriptor))
        except OSError as error:
            self.problem = _reason(error)
            return None
        if identity != Identity.of(state):
            self.problem = "changed while it was read; is something writing to it?"
            return None
        self.seal = FileSeal(state.st_size, sha.hexdigest())
        expected = self._expected
        if expected is not None and self.seal != expected:
            self.problem = (
                f"changed since it was written: its SHA-256 is {self.seal.sha256[:12]}…, expected "
                f"{expected.sha256[:12]}…"
            )
            return None
        return identity if identity.is_settled(began, time.time()) else None


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "missing"
    return f"can't be read ({error.strerror or error})"


def _run(checks: list[_Check], progress: Progress) -> None:
    """Run the checks that need hashing, several at once, and remember what they found."""
    pending = [check for check in checks if not check.is_known()]
    if not pending:
        return
    total = sum(check.size for check in pending)
    hashed = 0
    lock = threading.Lock()

    def add(count: int) -> None:
        nonlocal hashed
        with lock:
            hashed += count
            progress(hashed, total)

    progress(0, total)
    # The largest first, so that no thread is left alone with it at the end.
    pending.sort(key=lambda check: -check.size)
    if len(pending) == 1:
        identities = [pending[0].hash(add)]
    else:
        threads = min(len(pending), os.cpu_count() or 1, MOST_THREADS)
        with ThreadPoolExecutor(threads) as pool:
            identities = list(pool.map(lambda check: check.hash(add), pending))
    verified = []
    for check, identity in zip(pending, identities, strict=True):
        if identity is not None and check.seal is not None:
            verified.append((check.path, identity, check.seal.sha256))
    VERIFIED.add(verified)
