"""What lies below a URL: listed, read, brought to this machine whole, put there whole, removed.

Conventions: a file that was brought or put gets the time that storage gives it (whole seconds), so
that size and time together say that two copies are the same: see `RemoteFile.same`. Storage that
does not answer is asked again, longer apart each time, for about two minutes; "not there" and "not
allowed" are answers and not asked again.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from va_search.errors import InputError, JobError
from va_search.files import whole_file
from va_search.storage.objects import Bucket, Folder, Objects, RemoteFile, Version
from va_search.storage.places import checked_url
from va_search.storage.redaction import without_secrets

LOG = logging.getLogger(__name__)

PATIENCE = 120.0
"""Seconds for which a request is tried again."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 8.0

SMALL = 8 * 2**20
"""Bytes up to which a file is read at once before it is put, so that what grows meanwhile goes out
as it was."""

REFUSALS = (
    "NoSuchBucket", "redirect", "401 Unauthorized", "403 Forbidden", "AccessDenied",
    "AuthorizationHeaderMalformed", "ExpiredToken", "InvalidToken", "169.254.169.254",
)  # fmt: skip
"""Parts of messages of errors without a type of their own that no waiting changes: a wrong bucket,
a wrong region, keys that are refused, or none (a machine's role is then asked for at that
address)."""

Result = TypeVar("Result")


class Unreachable(JobError):
    """Storage that did not answer for as long as it was tried."""


class OtherSize(OSError):
    """A file that came is not as it was when it was looked at."""


class Remote:
    """The files below a URL; a call waits at most `patience` seconds for storage that does not
    answer."""

    def __init__(self, url: str, *, patience: float = PATIENCE) -> None:
        self.url = checked_url(url)
        parts = urlsplit(self.url)
        is_folder = parts.scheme == "file"
        self._objects: Objects = Folder(Path(parts.path)) if is_folder else Bucket(self.url)
        self._patience = patience
        self.is_conditional = True
        """False once storage turned out to know no conditional write (see `create`)."""

    def impatient(self) -> Remote:
        """Return the same place for what may as well be done later: one attempt a call."""
        return Remote(self.url, patience=0.0)

    def list(self, folder: str = "") -> dict[str, RemoteFile]:
        """Return the files below a folder, by name, sorted; none where there is no such folder.

        InputError for a name that would leave the folder it is brought to.
        """
        files = self._ask(folder, "list", lambda: self._objects.list(folder))
        names = [name for name in sorted(files) if not name.rpartition("/")[2].startswith(".")]
        return {checked_below(name, self.url): files[name] for name in names}

    def find(self, name: str) -> RemoteFile | None:
        """Return one file; None where there is none."""
        try:
            return self._ask(name, "look", lambda: self._objects.look(name))
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes:
        """Return the content of a small file; FileNotFoundError where there is none."""
        return self.read_version(name)[0]

    def read_version(self, name: str) -> tuple[bytes, Version]:
        """Return the content of a small file and its version, for `replace`."""
        return self._ask(name, "read", lambda: self._objects.read(name))

    def write(self, name: str, content: bytes) -> RemoteFile:
        """Put a small file, in the place of whatever is there."""
        self._ask(name, "write", lambda: self._objects.write(name, content))
        return self._checked(name, len(content))

    def create(self, name: str, content: bytes) -> Version | None:
        """Put a small file where there is none; None, and nothing done, where there is one.

        Of several machines that create at the same moment one succeeds. Storage that knows no such
        write is looked at before, and `is_conditional` says so from then on.
        """
        return self._write_if(name, content, None)

    def replace(self, name: str, content: bytes, expected: Version) -> Version | None:
        """Put a small file in the place of the expected version; None, and nothing done, where
        another version or none is there. Else as `create`."""
        return self._write_if(name, content, expected)

    def get(self, name: str, path: Path, listed: RemoteFile | None = None) -> None:
        """Bring a file, whole, to `path`. FileNotFoundError where there is none.

        `listed` is the file as it was listed; what a living search writes may have grown since.
        """

        def bring() -> None:
            try:
                self._copy(name, path, listed or self._objects.look(name))
            except OtherSize:
                self._copy(name, path, self._objects.look(name))

        self._ask(name, "bring", bring)

    def put(self, path: Path, name: str) -> RemoteFile:
        """Put a file there and give the one here storage's time. FileNotFoundError when it is gone
        from here."""
        before = path.stat()
        if before.st_size <= SMALL:
            put = self.write(name, path.read_bytes())
        else:
            self._ask(name, "write", lambda: self._objects.write(name, path))
            put = self._checked(name, before.st_size)
        # A file that was written to meanwhile keeps its own time, which says that it is newer.
        now = path.stat()
        is_unchanged = (now.st_mtime_ns, now.st_ino) == (before.st_mtime_ns, before.st_ino)
        if is_unchanged and now.st_size == put.size:
            os.utime(path, (put.time, put.time))
        return put

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        try:
            self._ask(name, "remove", lambda: self._objects.remove(name))
        except FileNotFoundError:
            return

    def _copy(self, name: str, path: Path, expected: RemoteFile) -> None:
        with whole_file(path) as beside:
            if expected.size <= SMALL:
                beside.write_bytes(self._objects.read(name)[0])
                is_as_listed = beside.stat().st_size == expected.size
            else:
                with open(beside, "wb") as target:
                    for part in self._objects.parts(name, expected.size):
                        target.write(part)
                # The parts are of one file only if it is the same after the last as it was listed.
                is_as_listed = self._objects.look(name) == expected
            if not is_as_listed:
                raise OtherSize(f"{name} changed while it was brought")
            os.utime(beside, (expected.time, expected.time))

    def _write_if(self, name: str, content: bytes, expected: Version | None) -> Version | None:
        def write() -> Version | None:
            if self.is_conditional:
                try:
                    return self._objects.write_if(name, content, expected)
                except NotImplementedError as error:
                    LOG.warning("%s: knows no conditional write (%s)", self.url, _reason(error))
                    self.is_conditional = False
            return self._look_and_write(name, content, expected)

        return self._ask(name, "write", write)

    def _look_and_write(
        self, name: str, content: bytes, expected: Version | None
    ) -> Version | None:
        try:
            _, current = self._objects.read(name)
        except FileNotFoundError:
            current = None
        if current != expected:
            return None
        self._objects.write(name, content)
        return self._objects.read(name)[1]

    def _ask(self, name: str, deed: str, action: Callable[[], Result]) -> Result:
        return patiently(f"{self.url}/{name} ({deed})", action, patience=self._patience)

    def _checked(self, name: str, size: int) -> RemoteFile:
        file = self.find(name)
        if file is None or file.size != size:
            has = "is not there" if file is None else f"has {file.size} bytes"
            raise JobError(
                f"{self.url}/{name}: {has} after {size} bytes were put; does something else write "
                "there?"
            )
        return file


def patiently(what: str, action: Callable[[], Result], *, patience: float = PATIENCE) -> Result:
    """Return `action()`, tried again while storage does not answer.

    FileNotFoundError passes through. InputError for what storage refuses, Unreachable after
    `patience` seconds; with 0, after the first attempt. `what` names URL and deed in messages.
    """
    from obstore.exceptions import BaseError

    began, pause, warned = time.monotonic(), SHORTEST_PAUSE, False
    while True:
        try:
            result = action()
        except (OSError, BaseError) as error:
            reason = _reason(error)
            if _is_refusal(error):
                raise InputError(
                    f"{what}: refused ({reason}); check bucket, region, endpoint and credentials"
                ) from error
            if isinstance(error, FileNotFoundError):
                raise
            waited = time.monotonic() - began
            if waited + pause > patience:
                tried = f" for {waited:.0f} s" if patience else ""
                raise Unreachable(f"{what}: no answer{tried} ({reason})") from error
            if not warned and patience:
                LOG.warning(
                    "%s: no answer (%s); trying again for up to %.0f s", what, reason, patience
                )
                warned = True
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        else:
            if warned:
                LOG.warning("%s: answers again after %.0f s", what, time.monotonic() - began)
            return result


def _is_refusal(error: Exception) -> bool:
    from obstore import exceptions

    refusals = (PermissionError, exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return True
    return isinstance(error, refusals) or any(word in str(error) for word in REFUSALS)


def _reason(error: Exception) -> str:
    """Return the first line of an error, without secrets, at most 300 characters."""
    lines = without_secrets(str(error)).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def checked_below(name: str, url: str) -> str:
    """Return `name`, if a file of that name stays below whatever folder it is brought to;
    InputError otherwise (`..`)."""
    if "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise InputError(
            f"{url}: holds {name!r}, which can't be a file below a folder; remove it there"
        )
    return name
