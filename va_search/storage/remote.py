"""Files below one URL: listed, read, brought to this machine whole, put there whole, removed.

Conventions: a name is relative to the URL, with `/`. A file that was brought or put has the time
that storage gives it (whole seconds), so that size and time together tell whether two copies are
the same: see `Found.same`. Objects appear whole by nature; at a file:// URL a file is written
beside its place and moved."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from va_search.errors import InputError, JobError
from va_search.files import whole_file
from va_search.storage.patience import PATIENCE, patiently
from va_search.storage.places import checked_url, open_place

SMALL = 8 * 2**20
"""Bytes up to which a file is read at once before it is put, so that what grows meanwhile goes out
as it was."""


@dataclass(frozen=True)
class Found:
    """A file at a URL: its bytes, and when it was put there, in whole seconds since 1970 by
    storage's clock."""

    size: int
    time: int

    def same(self, path: Path) -> bool:
        """Whether the file here is a copy of it."""
        try:
            stat = path.stat()
        except FileNotFoundError:
            return False
        return stat.st_size == self.size and int(stat.st_mtime) == self.time


class _OtherSize(OSError):
    """A file that came is not as long as it was when it was looked at."""


class Remote:
    """What lies below a URL. Every call waits for storage that does not answer (`patience.py`)."""

    def __init__(self, url: str, *, patience: float = PATIENCE) -> None:
        self.url = checked_url(url)
        self._fs, self._root = open_place(self.url)
        self._patience = patience

    def impatient(self) -> Remote:
        """The same place for what may as well be done later: one attempt."""
        return Remote(self.url, patience=0.0)

    def list(self, below: str = "") -> dict[str, Found]:
        """The files below a folder, by name, sorted; none where there is no such folder. InputError
        for a name that would leave the folder it is brought to."""
        from pyarrow import fs

        selector = fs.FileSelector(
            self._at(below) if below else self._root, recursive=True, allow_not_found=True
        )
        infos = self._ask(below, "list", lambda: self._fs.get_file_info(selector))
        cut = len(self._root) + 1
        files = [
            info
            for info in infos
            if info.type == fs.FileType.File and not info.base_name.startswith(".")
        ]
        names = {
            info.path[cut:]: _found(info) for info in sorted(files, key=lambda info: str(info.path))
        }
        return {checked_below(name, self.url): found for name, found in names.items()}

    def find(self, name: str) -> Found | None:
        """One file; None where there is none."""
        try:
            found: Found = self._ask(name, "look", lambda: self._look(name))
        except FileNotFoundError:
            return None
        return found

    def read(self, name: str) -> bytes:
        """The content of a small file; FileNotFoundError where there is none."""

        def read() -> bytes:
            with self._fs.open_input_file(self._at(name)) as source:
                return bytes(source.read())

        content: bytes = self._ask(name, "read", read)
        return content

    def write(self, name: str, content: bytes) -> Found:
        """Put a small file."""
        self._ask(name, "write", lambda: self._put_bytes(name, content))
        return self._checked(name, len(content))

    def get(self, name: str, to: Path, found: Found | None = None) -> None:
        """Bring a file, whole, to `to`. FileNotFoundError where there is none; JobError when it
        came cut short.

        `found` is what it was when it was listed. What a living search writes may have grown since.
        """

        def bring() -> None:
            try:
                self._copy(name, to, found or self._look(name))
            except _OtherSize:
                self._copy(name, to, self._look(name))

        self._ask(name, "bring", bring)

    def put(self, path: Path, name: str) -> Found:
        """Put a file there and give the one here storage's time. FileNotFoundError when it is gone
        from here."""
        before = path.stat()
        if before.st_size <= SMALL:
            content = path.read_bytes()
            found = self.write(name, content)
        else:
            self._ask(name, "write", lambda: self._put_file(name, path))
            found = self._checked(name, before.st_size)
        now = path.stat()
        if (now.st_mtime_ns, now.st_ino, now.st_size) == (
            before.st_mtime_ns,
            before.st_ino,
            found.size,
        ):
            os.utime(path, (found.time, found.time))
        return found

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        try:
            self._ask(name, "remove", lambda: self._fs.delete_file(self._at(name)))
        except FileNotFoundError:
            return

    def _look(self, name: str) -> Found:
        from pyarrow import fs

        info = self._fs.get_file_info(self._at(name))
        if info.type != fs.FileType.File:
            raise FileNotFoundError(f"{self.url}/{name}")
        return _found(info)

    def _copy(self, name: str, to: Path, expected: Found) -> None:
        with whole_file(to) as beside:
            with self._fs.open_input_stream(self._at(name)) as source, open(beside, "wb") as target:
                shutil.copyfileobj(source, target, SMALL)
            if beside.stat().st_size != expected.size:
                raise _OtherSize(f"{beside.stat().st_size} bytes came, expected {expected.size}")
            os.utime(beside, (expected.time, expected.time))

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _ask(self, name: str, deed: str, action: Any) -> Any:
        return patiently(f"{self.url}/{name} ({deed})", action, patience=self._patience)

    def _checked(self, name: str, size: int) -> Found:
        found = self.find(name)
        if found is None or found.size != size:
            has = "is not there" if found is None else f"has {found.size} bytes"
            raise JobError(
                f"{self.url}/{name}: {has} after {size} bytes were put; does something else write there?"
            )
        return found

    def _put_bytes(self, name: str, content: bytes) -> None:
        at = self._at(name)
        if self._fs.type_name != "local":
            with self._fs.open_output_stream(at) as target:
                target.write(content)
            return
        with whole_file(Path(at)) as beside:
            beside.write_bytes(content)

    def _put_file(self, name: str, path: Path) -> None:
        at = self._at(name)
        if self._fs.type_name != "local":
            with open(path, "rb") as source, self._fs.open_output_stream(at) as target:
                shutil.copyfileobj(source, target, SMALL)
            return
        with whole_file(Path(at)) as beside:
            shutil.copyfile(path, beside)


def checked_below(name: str, url: str) -> str:
    """`name`, if a file of that name stays below whatever folder it is brought to; InputError
    otherwise (`..`)."""
    if "\\" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise InputError(
            f"{url}: holds {name!r}, which can't be a file below a folder; remove it there"
        )
    return name


def _found(info: Any) -> Found:
    return Found(int(info.size), int(info.mtime.timestamp()))
