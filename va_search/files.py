"""Files that appear whole or not at all, and names that are safe as paths.

Conventions: a file is written beside its place, flushed to the disk and moved there with
`os.replace`, so a process killed at any moment leaves the old file or the new one, never half of
either."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import unicodedata
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from va_search.errors import InputError, JobError, warn_once

NO_SPACE = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "no space left: the disk quota is used up",
}
"""Numbers of system errors that say that nothing more can be written, each in our words."""

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,126}")
LONGEST_NAME = 255
"""Bytes at most of a path component, on every usual file system."""


class Name(str):
    """One path component: the only thing from data, a document or the command line that a path is
    joined from. Never empty, `.` or `..`; without separators and control signs; at most 255 bytes.

    Made by `checked_name`, for names that people give to things, and by `file_name_of`, for names
    that things have already. ValueError for any other text."""

    __slots__ = ()

    def __new__(cls, text: str) -> Name:
        size = len(text.encode(errors="surrogatepass"))
        has_separator = "/" in text or "\\" in text
        has_controls = any(unicodedata.category(sign) == "Cc" for sign in text)
        is_component = text not in ("", ".", "..") and not has_separator and not has_controls
        if not is_component or size > LONGEST_NAME:
            raise ValueError(f"{text!r} is no name of a file")
        return super().__new__(cls, text)


def checked_name(name: str, what: str) -> Name:
    """`name`, if it can be one path component; InputError otherwise (`..`, separators, spaces, over
    127 characters)."""
    if not isinstance(name, str) or not SAFE_NAME.fullmatch(name):
        raise InputError(
            f"{what} {name!r} can't be used as a file name; allowed: letters, digits and . _ + -, starting with a "
            "letter or digit, at most 127 characters"
        )
    return Name(name)


def safe_names(paths: Iterable[Path], what: str) -> list[str]:
    """Return the names of these folders and files, without `.json`, each once and sorted. Those that
    `checked_name` refuses are passed over with a warning; hidden ones without."""
    names: set[str] = set()
    for path in paths:
        text = path.name.removesuffix(".json")
        if SAFE_NAME.fullmatch(text):
            names.add(Name(text))
        elif not path.name.startswith("."):
            warn_once(f"{path}: passed over, since its name can't be that of a {what}; rename it")
    return sorted(names)


UNSAFE_SIGNS = frozenset('%/\\:*?"<>|')
UNSAFE_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's control signs, halves of signs, and ends of lines and paragraphs."""
DEVICE_NAME = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE | re.DOTALL)
"""Names that Windows keeps for devices, with any ending."""
FILE_NAME_BYTES = 200
"""Bytes at most of a recording's name in a path: file systems allow 255, of which endings and the
names of files being written take a few."""


def file_name_of(recording: str) -> Name:
    """A recording's name as one path component that every file system allows, without ending;
    `recording_of` is its inverse.

    Letters of any script, digits, spaces and most signs stay as they are. Signs that some system
    refuses (`/ \\ : * ? " < > |`, control signs), `%` itself, a dot at the beginning or end, a space
    at the end and the first letter of a device's name (`con`) become %XX per UTF-8 byte. Different
    names have different file names, but two that differ only in case need a file system that tells
    case apart. InputError for an empty name or one of more than 200 bytes."""
    if not recording:
        raise InputError("a recording has an empty name")
    last = len(recording) - 1
    is_device = DEVICE_NAME.fullmatch(recording) is not None
    parts = []
    for index, sign in enumerate(recording):
        is_edge = (sign == "." and index in (0, last)) or (sign == " " and index == last)
        is_unsafe = sign in UNSAFE_SIGNS or unicodedata.category(sign) in UNSAFE_CATEGORIES
        if is_unsafe or is_edge or (is_device and index == 0):
            parts += [f"%{byte:02X}" for byte in sign.encode(errors="surrogatepass")]
        else:
            parts.append(sign)
    name = "".join(parts)
    if len(name.encode()) > FILE_NAME_BYTES:
        raise InputError(
            f"recording {recording!r} is too long for a file name: {len(name.encode())} bytes, "
            f"allowed: {FILE_NAME_BYTES}"
        )
    return Name(name)


def recording_of(file_name: str) -> str:
    """The recording whose `file_name_of` is this name; a `%` without two hex digits stands for
    itself."""
    content = re.sub(
        rb"%([0-9A-Fa-f]{2})",
        lambda match: bytes.fromhex(match[1].decode()),
        file_name.encode(errors="surrogatepass"),
    )
    return content.decode(errors="surrogatepass")


def check_regular(path: Path, kind: str) -> None:
    """InputError unless a regular file stands at `path`, `kind` for short: a pipe would be waited
    for, a device has no end, and a link to itself is nothing at all."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # a link to itself, a name too long, a NUL in it
        raise InputError(f"{path}: not {kind} ({error})") from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
        raise InputError(f"{path}: not {kind}: it is {what}")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it is flushed and takes `path`'s place.

    JobError on a full disk or a used-up quota: known by the system's error number, which whoever
    writes must let through (not every library does: safetensors' `save_file` has it in a text
    only)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with saying_when_full(path):
            beside.touch()
            mode = beside.stat().st_mode
            yield beside
            # Some writers put a private file in its place, which a group could not read.
            beside.chmod(mode)
            # On the disk before the name points at it: a power cut leaves the old file or the new.
            with open(beside, "rb") as handle:
                os.fsync(handle.fileno())
            os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def saying_when_full(path: Path) -> Iterator[None]:
    """JobError, with `path` and what to do, on a full disk or a used-up quota."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        reason = NO_SPACE[error.errno]
        raise JobError(f"{path}: {reason}; free some and run the same command again") from error


def share_with_group(folder: Path) -> None:
    """Make what this process and its children create writable for the group, if `folder` is a
    group's.

    It is when its group may write to it or, where it is not there yet, when the folder it will be
    made in is a shared one (the group may write, and what is made in it belongs to the same group).
    """
    if folder.is_dir():
        is_shared = bool(folder.stat().st_mode & stat.S_IWGRP)
    else:
        parent_mode = folder.parent.stat().st_mode if folder.parent.is_dir() else 0
        is_shared = bool(parent_mode & stat.S_IWGRP and parent_mode & stat.S_ISGID)
    if is_shared:
        umask = os.umask(0o077)
        os.umask(umask & ~stat.S_IRWXG)


def write_json(path: Path, document: Any) -> None:
    """Write `document` whole; NaN and infinities are refused, since JSON has none."""
    with whole_file(path) as beside:
        beside.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Return the document in `path`; InputError when it is missing, can't be read or is not JSON."""
    check_regular(path, "a JSON document")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, lists in lists
        raise InputError(f"{path}: not a JSON document ({error})") from error


def digest(document: Any) -> str:
    """SHA-256 of a JSON-able document in canonical form (sorted keys), as 64 hex digits."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits; the file is not held in memory."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def remove_folder(path: Path) -> None:
    """Remove a folder and all below it, if it is there."""
    shutil.rmtree(path, ignore_errors=True)


def shipped(name: str) -> Path:
    """A file that comes with va-search, such as search_spaces/demo.yaml, wherever the command runs.

    A wheel has it in va_search/shipped (setup.py), a clone at its top. InputError where neither
    has it."""
    package = Path(__file__).resolve().parent
    for folder in (package / "shipped", package.parent):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{name}: no such file comes with va-search; install it again")


def written_or_shipped(path: Path, folder: str) -> Path:
    """`path` where a file is there; else the file of this name that comes with va-search.

    So `search_spaces/any.yaml`, or `any` with folder "search_spaces", works outside a clone too.
    A path to nothing is returned as it is, for its reader to refuse."""
    if path.exists() or path.is_absolute() or ".." in path.parts:
        return path
    name = path.as_posix() if path.suffix else f"{path.as_posix()}.yaml"
    in_folder = name if name.startswith(f"{folder}/") else f"{folder}/{name}"
    try:
        return shipped(in_folder)
    except InputError:
        return path
