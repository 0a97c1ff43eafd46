"""Files that were verified: hashed once, and known again by what tells them from others.

That a file had a digest is remembered, by device, inode, size, time of its content and time of its
inode, in the process and in a file of the user's own cache. Nothing is remembered of a file that
was written within SETTLED seconds of the check, since a second write could leave the same times.
What is remembered is only ever the result of hashing here, so a lost or damaged cache costs another
hashing and nothing else."""

from __future__ import annotations

import os
import stat
import threading
import uuid
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from va_search.errors import InputError

SETTLED = 2.0
"""Seconds from which on a file's times tell one write from the next, on every file system."""

MOST_REMEMBERED = 8 << 20
"""Bytes at most of the cache's file, some 60,000 lines; the older half goes when it is full."""


@dataclass(frozen=True)
class Identity:
    """The facts that tell a file from others and from what it was before it was written to."""

    device: int
    inode: int
    size: int
    content_time: int
    inode_time: int

    @classmethod
    def of(cls, state: os.stat_result) -> Identity:
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


class Verified:
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

    def knows(self, path: Path, identity: Identity, sha256: str) -> bool:
        """Return True where this file was found to have this digest."""
        line = identity.line(sha256)
        with self._lock:
            if self._own.get(path) == (identity.times, sha256):
                return True
            if line not in self._lines:
                self._read_new()
            return line in self._lines

    def add(self, verified: Collection[tuple[Path, Identity, str]]) -> None:
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
