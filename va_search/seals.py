"""Seals: the digests of a folder's files, kept in the folder's own document, and the check that
what is read is what was sealed.

    {..., "seal": {"files": {"test.arrow": {"bytes": 4242, "sha256": "…"}}, "document": "…"}}

Conventions: a document is a folder's JSON file that is written last (manifest.json, trial.json, an
ensemble's). `files` are named relative to its folder, with `/`; `document` is the digest of the
document itself, with `files` and without `document`. A file is hashed once: that it had a digest is
remembered, by device, inode, size, time of its content and time of its inode, in the process and in
a file of the user's own cache. Nothing is remembered of a file that was written within SETTLED
seconds of the check, since a second write could leave the same times. What is remembered is only
ever the result of hashing here, so a lost or damaged cache costs another hashing and nothing else.

A seal finds damage and mix-ups. It does not stop somebody who may write to the folder: they can
write a new seal as well."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from va_search.errors import InputError
from va_search.files import check_regular, digest

if TYPE_CHECKING:
    import pyarrow as pa

SEAL = "seal"
"""The key of a document under which its seal stands."""

SETTLED = 2.0
"""Seconds from which on a file's times tell one write from the next, on every file system."""

AT_ONCE = 1 << 20
"""Bytes that are hashed at once."""

MOST_THREADS = 8
MOST_REMEMBERED = 8 << 20
"""Bytes at most of the cache's file, some 60,000 lines; the older half goes when it is full."""

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
    content[SEAL]["document"] = _own_digest(content)
    return content


def read_seal(path: Path | str, document: Mapping[str, Any], advice: str) -> FileSeals | None:
    """Return the seals of files in the document at `path`; None for one that was written before
    there were seals.

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
    """Return True for a document with a seal over it as it is."""
    try:
        return bool(document[SEAL]["document"] == _own_digest(document))
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return False


def _own_digest(document: Mapping[str, Any]) -> str:
    """Digest of a document as it is read back from its file, without the digest in its seal."""
    content = {**document, SEAL: {"files": document[SEAL]["files"]}}
    # Keys that are numbers become texts in a file, and are then sorted otherwise.
    return digest(json.loads(json.dumps(content, allow_nan=False)))


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
    """Damaged where `name` in a folder is a link, or behind one, that leads out of the folder,
    which may be a link itself."""
    if not _is_inside(folder, folder / name):
        raise Damaged(
            f"{folder / name}: a link that leads out of {folder}; put the file itself there"
        )


def _is_inside(folder: Path, path: Path) -> bool:
    root = os.path.realpath(folder)
    return os.path.realpath(path).startswith(root.rstrip(os.sep) + os.sep)


def is_verified(path: Path, sha256: str) -> bool:
    """Return True where the file at `path` was found to have this digest, and was not touched
    since; nothing is hashed."""
    try:
        return _VERIFIED.knows(path, _Identity.of(path.stat()), sha256)
    except OSError:
        return False


@dataclass(frozen=True)
class _Identity:
    """The facts that tell a file from others and from what it was before it was written to."""

    device: int
    inode: int
    size: int
    content_time: int
    inode_time: int

    @classmethod
    def of(cls, state: os.stat_result) -> _Identity:
        return cls(state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)

    @property
    def times(self) -> tuple[int, int, int]:
        """Size and times, which change whenever the file at a path is written to or replaced."""
        return self.size, self.content_time, self.inode_time

    def line(self, sha256: str) -> bytes:
        """The line of the cache's file which says that this file had this digest."""
        facts = (self.device, self.inode, self.size, self.content_time, self.inode_time)
        return " ".join([*map(str, facts), sha256]).encode()

    def is_settled(self, began: float, ended: float) -> bool:
        """True where a write while the file was hashed, or after, must have changed its times."""
        for nanoseconds in (self.content_time, self.inode_time):
            if began - SETTLED <= nanoseconds / 1e9 <= ended + SETTLED:
                return False
        return True


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
            if not _is_inside(self._folder, self.path):
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
        return _VERIFIED.knows(self.path, _Identity.of(state), expected.sha256)

    def _look(self, state: os.stat_result) -> None:
        self.size = state.st_size
        expected = self._expected
        if not stat.S_ISREG(state.st_mode):
            self.problem = "not a regular file"
        elif expected is not None and state.st_size != expected.bytes:
            self.problem = f"{state.st_size} bytes, expected {expected.bytes} bytes"

    def hash(self, add: Callable[[int], None]) -> _Identity | None:
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
                identity = _Identity.of(os.fstat(descriptor))
        except OSError as error:
            self.problem = _reason(error)
            return None
        if identity != _Identity.of(state):
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
    _VERIFIED.add(verified)


def user_cache() -> Path:
    """Return the folder of this user's caches: VA_SEARCH_CACHE, or va-search in XDG_CACHE_HOME or
    ~/.cache. InputError for a user without a home folder where neither is set."""
    cache = os.environ.get("VA_SEARCH_CACHE")
    if cache:
        return Path(cache).resolve()
    try:
        user_folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise InputError("this user has no home folder; set VA_SEARCH_CACHE to a folder") from error
    return (Path(user_folder) / "va-search").resolve()


class _Verified:
    """Files that were verified, in this process or by this user: <cache>/verified, a line each.

    The process knows its own by their paths, for file systems whose inode numbers do not last.
    Several processes append to the file at once. A line that is torn or damaged is like no file's,
    and the last one counts only when it is whole. The file is believed only if it is the user's
    own and nobody else may write to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._own: dict[Path, tuple[tuple[int, int, int], str]] = {}
        self._lines: set[bytes] = set()
        self._file: tuple[Path, int] | None = None  # path and inode of what was read
        self._read = 0  # bytes of it

    def knows(self, path: Path, identity: _Identity, sha256: str) -> bool:
        """Return True where this file was found to have this digest."""
        line = identity.line(sha256)
        with self._lock:
            if self._own.get(path) == (identity.times, sha256):
                return True
            if line not in self._lines:
                self._read_new()
            return line in self._lines

    def add(self, verified: Collection[tuple[Path, _Identity, str]]) -> None:
        """Remember these files and their digests; the cache's file is left alone where it can't be
        written."""
        if not verified:
            return
        with self._lock:
            for path, identity, sha256 in verified:
                self._own[path] = (identity.times, sha256)
        lines = [identity.line(sha256) for _, identity, sha256 in verified]
        with suppress(OSError, InputError):  # InputError: a user without a home folder
            self._append(b"\n".join([b"", *lines, b""]))

    @property
    def _path(self) -> Path:
        return user_cache() / "verified"

    def _read_new(self) -> None:
        """Read the lines that were added to the file since it was read last."""
        with suppress(OSError, InputError):
            path = self._path
            state = path.lstat()
            if not _is_private(state):
                return
            if self._file != (path, state.st_ino) or state.st_size < self._read:
                self._file, self._read = (path, state.st_ino), 0
            if state.st_size == self._read:
                return
            with open(path, "rb") as handle:
                handle.seek(self._read)
                content = handle.read(min(state.st_size - self._read, 2 * MOST_REMEMBERED))
            whole = content.rfind(b"\n") + 1
            self._read += whole
            self._lines.update(content[:whole].split(b"\n"))

    def _append(self, content: bytes) -> None:
        path = self._path
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
        try:
            if not _is_private(os.fstat(descriptor)):
                return
            # One write: lines of several processes do not mix.
            os.write(descriptor, content)
            is_full = os.fstat(descriptor).st_size > MOST_REMEMBERED
        finally:
            os.close(descriptor)
        if is_full:
            self._halve(path)

    def _halve(self, path: Path) -> None:
        """Put the newer half of the file in its place, whole; lines added meanwhile are lost."""
        newer = path.read_bytes()[-MOST_REMEMBERED // 2 :]
        beside = path.with_name(f".verified.{uuid.uuid4().hex[:8]}.partial")
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as handle:
                handle.write(newer[newer.find(b"\n") :])
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def _is_private(state: os.stat_result) -> bool:
    """True for a regular file of this user that nobody else may write to."""
    is_own = state.st_uid == os.geteuid()
    is_shared = bool(state.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    return stat.S_ISREG(state.st_mode) and is_own and not is_shared


_VERIFIED = _Verified()


def open_arrow(
    path: Path,
    schema: pa.Schema,
    rows: int | None,
    *,
    nulls: Collection[str] = (),
    is_mapped: bool = False,
) -> pa.Table:
    """Read an Arrow file, which was verified, and check all that NumPy then trusts: columns and
    their types, number of rows (None: any), offsets and indexes, and no null but at the top of the
    columns `nulls`.

    A file that is cut short while it is mapped kills whoever reads the missing pages, so the file
    is read into memory unless `is_mapped` asks for pages that processes share. InputError with the
    file, what was found and what was expected."""
    import pyarrow as pa

    check_regular(path, "an Arrow file")
    try:
        if is_mapped:
            with pa.memory_map(str(path), "r") as source:
                table = pa.ipc.open_file(source).read_all()
        else:
            with pa.OSFile(str(path), "r") as source:
                content = source.read_buffer()
            table = pa.ipc.open_file(content).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, MemoryError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise InputError(f"{path}: not a readable Arrow file ({reason})") from error
    if not table.schema.equals(schema):
        raise InputError(f"{path}: columns {_words(table.schema)}, expected {_words(schema)}")
    if rows is not None and table.num_rows != rows:
        raise InputError(f"{path}: {table.num_rows} rows, expected {rows}")
    for name, column in zip(table.column_names, table.columns, strict=True):
        if any(_has_nulls(chunk, name in nulls) for chunk in column.chunks):
            raise InputError(f"{path}: column {name!r} has nulls, expected a value in every row")
    return table


def _has_nulls(array: pa.Array, is_allowed: bool) -> bool:
    """True where an array, or the values of its lists, have nulls; at its top they may be
    allowed."""
    if array.null_count and not is_allowed:
        return True
    is_list = hasattr(array, "values")
    return is_list and _has_nulls(array.values, is_allowed=False)


def _words(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema) or "none"
