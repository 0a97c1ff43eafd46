"""Files below a URL, one request each: `Bucket` asks an object store, `Folder` a file:// URL's folder.

Conventions: a name is relative to the URL, with `/`. Every method raises FileNotFoundError for a
name that is not there. A version marks one content of a file; another content has another one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from va_search.files import whole_file
from va_search.locks import one_after_another
from va_search.storage.places import connection

PART = 8 * 2**20
"""Bytes of a large file that one request brings."""

Version = tuple[str | None, str | None]
"""For a bucket the entity tag and the version, for a folder the file's inode and time."""


@dataclass(frozen=True)
class RemoteFile:
    """A file at a URL: its bytes, and when it was put there, in whole seconds since 1970 by
    storage's clock."""

    size: int
    time: int

    def same(self, path: Path) -> bool:
        """Return True where the file at `path` is a copy of it."""
        try:
            stat = path.stat()
        except FileNotFoundError:
            return False
        return stat.st_size == self.size and int(stat.st_mtime) == self.time


class Objects(Protocol):
    """The requests that a place for files must answer."""

    def list(self, folder: str) -> dict[str, RemoteFile]:
        """Return the files below a folder ("" for all) by name; none where there is no folder."""

    def look(self, name: str) -> RemoteFile:
        """Return what is known of one file."""

    def read(self, name: str) -> tuple[bytes, Version]:
        """Return the content of a small file and its version."""

    def parts(self, name: str, size: int) -> Iterator[bytes]:
        """Yield the first `size` bytes of a file in parts; fewer where it became shorter."""

    def write(self, name: str, content: bytes | Path) -> None:
        """Put these bytes, or those of the file at this path, in the place of whatever is there."""

    def write_if(self, name: str, content: bytes, expected: Version | None) -> Version | None:
        """Put a small file where this version is there (None: no file); None, and nothing done,
        elsewhere. NotImplementedError where storage knows no such write."""

    def remove(self, name: str) -> None:
        """Remove a file."""


class Bucket:
    """A prefix of a bucket, through object_store: every request is bounded in time."""

    def __init__(self, url: str) -> None:
        from obstore.store import from_url

        quick, bulk = connection(url)
        self._quick = from_url(url, **quick)
        self._bulk = from_url(url, **bulk)

    def list(self, folder: str) -> dict[str, RemoteFile]:
        """As in `Objects`."""
        import obstore

        files: dict[str, RemoteFile] = {}
        for batch in obstore.list(self._quick, folder or None, chunk_size=1000):
            for entry in batch:
                files[str(entry["path"])] = _file_of(entry)
        # Other programs mark folders by empty objects, whose names come without their slash.
        folders = {""}
        for name in files:
            folders.update(parent.as_posix() for parent in PurePosixPath(name).parents)
        for name in folders & files.keys():
            if files[name].size == 0:
                del files[name]
        return files

    def look(self, name: str) -> RemoteFile:
        """As in `Objects`."""
        import obstore

        return _file_of(obstore.head(self._quick, name))

    def read(self, name: str) -> tuple[bytes, Version]:
        """As in `Objects`."""
        import obstore

        answer = obstore.get(self._quick, name)
        meta = answer.meta
        return bytes(answer.bytes()), (meta["e_tag"], meta["version"])

    def parts(self, name: str, size: int) -> Iterator[bytes]:
        """As in `Objects`; each part is a request of its own, so that a slow line is no silence."""
        import obstore

        for start in range(0, size, PART):
            length = min(PART, size - start)
            try:
                yield bytes(obstore.get_range(self._bulk, name, start=start, length=length))
            except obstore.exceptions.BaseError:
                if self.look(name).size >= start + length:
                    raise
                return  # the file became shorter meanwhile

    def write(self, name: str, content: bytes | Path) -> None:
        """As in `Objects`; a large file goes in parts."""
        import obstore

        obstore.put(self._bulk, name, content)

    def write_if(self, name: str, content: bytes, expected: Version | None) -> Version | None:
        """As in `Objects`."""
        import obstore
        from obstore import exceptions

        mode: Any = "create"
        if expected is not None:
            marks = {"e_tag": expected[0], "version": expected[1]}
            mode = {mark: value for mark, value in marks.items() if value is not None}
        try:
            put = obstore.put(self._quick, name, content, mode=mode)
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError, FileNotFoundError):
            return None
        except exceptions.NotSupportedError as error:
            raise NotImplementedError(str(error)) from error
        except exceptions.BaseError as error:
            if "NotImplemented" in str(error):  # how servers that speak S3 in part answer
                raise NotImplementedError(str(error)) from error
            raise
        return put["e_tag"], put["version"]

    def remove(self, name: str) -> None:
        """As in `Objects`."""
        import obstore

        obstore.delete(self._quick, name)


class Folder:
    """A folder, which is made with the first file in it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def list(self, folder: str) -> dict[str, RemoteFile]:
        """As in `Objects`."""
        root = self._path / folder
        files: dict[str, RemoteFile] = {}
        if not root.is_dir():
            return files
        seen: set[tuple[int, int]] = set()
        for parent, subfolders, names in os.walk(root, followlinks=True, onerror=_raise):
            # A link may lead to another disk, and must not lead round in a circle.
            status = Path(parent).stat()
            if (status.st_dev, status.st_ino) in seen:
                subfolders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            for name in names:
                path = Path(parent) / name
                try:
                    if path.is_file():
                        files[path.relative_to(self._path).as_posix()] = _file_at(path)
                except FileNotFoundError:  # removed meanwhile
                    continue
        return files

    def look(self, name: str) -> RemoteFile:
        """As in `Objects`."""
        path = self._path / name
        if not path.is_file():
            raise FileNotFoundError(path)
        return _file_at(path)

    def read(self, name: str) -> tuple[bytes, Version]:
        """As in `Objects`."""
        with open(self._path / name, "rb") as source:
            return source.read(), _version_of(os.fstat(source.fileno()))

    def parts(self, name: str, size: int) -> Iterator[bytes]:
        """As in `Objects`."""
        remaining = size
        with open(self._path / name, "rb") as source:
            while part := source.read(min(PART, remaining)):
                yield part
                remaining -= len(part)

    def write(self, name: str, content: bytes | Path) -> None:
        """As in `Objects`."""
        with whole_file(self._path / name) as beside:
            if isinstance(content, Path):
                shutil.copyfile(content, beside)
            else:
                beside.write_bytes(content)

    def write_if(self, name: str, content: bytes, expected: Version | None) -> Version | None:
        """As in `Objects`; a lock beside the file makes looking and writing one step."""
        path = self._path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with one_after_another(path.with_name(f".{path.name}.lock")):
            try:
                current = _version_of(path.stat())
            except FileNotFoundError:
                current = None
            if current != expected:
                return None
            self.write(name, content)
            return _version_of(path.stat())

    def remove(self, name: str) -> None:
        """As in `Objects`."""
        (self._path / name).unlink()


def _raise(error: OSError) -> None:
    """Raise the error of a folder that can't be listed, unless it was removed meanwhile."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _file_of(meta: Any) -> RemoteFile:
    return RemoteFile(int(meta["size"]), int(meta["last_modified"].timestamp()))


def _file_at(path: Path) -> RemoteFile:
    stat = path.stat()
    return RemoteFile(stat.st_size, int(stat.st_mtime))


def _version_of(stat: os.stat_result) -> Version:
    return str(stat.st_ino), f"{stat.st_mtime_ns} {stat.st_size}"
