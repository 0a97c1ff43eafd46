"""The folder of a Ray of our own: private, short, removed at the end, whatever ends the search.

Conventions: Ray puts its sockets below a folder (`RAY_TMPDIR`, `TMPDIR` or /tmp, and there `ray`).
The path of a socket has at most 107 bytes, of which Ray's own names take 66; a SLURM job's TMPDIR
often leaves too few, and /tmp/ray belongs to whoever came first. So each search has a folder of its
own in the first place that is short enough, may be written and can hold a socket. Nobody else may
enter it: Ray opens to everybody what it makes, so it works in a folder (`RAY`) inside of ours, which
keeps mode 0700. The lock file is held by the process that searches, and names it. When that one is
killed, a guard (guard.py) ends Ray's processes and removes the folder; one whose lock is free (where
there are no locks: whose process, by id and start, is gone) was left when the guard was killed as
well, and the next search removes it."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from va_search.errors import JobError
from va_search.files import remove_folder
from va_search.locks import WITHOUT_FLOCK, is_gone, this_process
from va_search.search.ray_backend import guard as guard_script
from va_search.search.ray_backend.guard import end_processes

PREFIX = "va-ray-"
NODE_PREFIX = "va-node-"
"""The same for a node of a job's Ray (job_node.py), which other searches may connect to."""
LOCK = "lock"

LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107
"""Bytes in the path of a socket; the kernel's limit."""
RAY = "r"
"""Ray's own folder, in the private one; Ray gives it mode 0777."""

SESSION_NAME = f"{RAY}/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1"
"""The part of a socket's path below the private folder, at its longest."""

NEW_SECONDS = 60.0
"""A folder younger than this may be about to be locked."""

LOG = logging.getLogger(__name__)


@contextmanager
def private_folder(prefix: str = PREFIX) -> Iterator[Path]:
    """Yield a folder for Ray's session, of mode 0700; its processes are ended and it is removed at the
    end.

    JobError naming every place that was tried, and why it can't be used.
    """
    folder, lock = _make_folder(prefix)
    guard = subprocess.Popen(  # noqa: S603  (this package's own file)
        [sys.executable, "-I", "-S", guard_script.__file__, str(folder), str(os.getpid())],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield folder
    finally:
        end_processes(folder)
        remove_folder(folder)
        lock.close()
        guard.kill()
        guard.communicate()


def usable_place() -> Path:
    """Return the first folder in which a private one can be made; it is tried. JobError as in
    `private_folder`."""
    folder, lock = _make_folder(PREFIX)
    lock.close()
    remove_folder(folder)
    return folder.parent


def _make_folder(prefix: str) -> tuple[Path, IO[str]]:
    problems = []
    asked = os.environ.get("RAY_TMPDIR")
    for parent in _places():
        remove_left_folders(parent)
        try:
            folder, lock = _folder_in(parent, prefix)
        except OSError as error:
            problems.append(f"{parent}: {error.strerror or error}")
            if str(parent) == asked:
                LOG.warning("RAY_TMPDIR is not used: %s", problems[-1])
            continue
        return folder, lock
    room = LONGEST_SOCKET - len(f"/{prefix}12345678/{SESSION_NAME}")
    raise JobError(
        "no folder for Ray's sockets and logs on this machine:\n"
        + "\n".join(f"  {problem}" for problem in problems)
        + f"\nset RAY_TMPDIR to a folder on a local disk that you may write, with a path of at most {room} "
        "characters"
    )


def _places() -> list[Path]:
    """Return the folders in which it may be, the user's choice first."""
    named = [os.environ.get("RAY_TMPDIR"), os.environ.get("TMPDIR"), "/tmp", "/var/tmp"]  # noqa: S108
    named += [os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm"]  # noqa: S108
    return [Path(name) for name in dict.fromkeys(filter(None, named))]


def _folder_in(parent: Path, prefix: str) -> tuple[Path, IO[str]]:
    """Make a folder there and return it with its lock, held; OSError where Ray could not work in it."""
    longest = parent.absolute() / f"{prefix}12345678" / SESSION_NAME
    excess = len(os.fsencode(longest)) - LONGEST_SOCKET
    if excess > 0:
        raise OSError(
            f"the path is {excess} {'byte' if excess == 1 else 'bytes'} too long for Ray's sockets"
        )
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent.absolute()))
    try:
        with socket.socket(socket.AF_UNIX) as probe:  # some network file systems hold no sockets
            probe.bind(str(folder / "probe"))
        (folder / "probe").unlink()
        lock = open(folder / LOCK, "w", encoding="utf-8")  # noqa: SIM115  (held open: the lock lives as long)
        with suppress(OSError):  # where there are no locks, the process named here decides
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        json.dump(this_process(), lock)
        lock.flush()
    except OSError:
        remove_folder(folder)
        raise
    return folder, lock


def remove_left_folders(parent: Path) -> None:
    """Remove the folders in a place that killed searches of this user left, and end what still runs
    there."""
    for folder in [*parent.glob(f"{PREFIX}*"), *parent.glob(f"{NODE_PREFIX}*")]:
        with suppress(OSError):
            status = folder.lstat()
            if status.st_uid != os.getuid() or time.time() - status.st_mtime < NEW_SECONDS:
                continue
            with open(folder / LOCK, "a+", encoding="utf-8") as lock:
                if _is_left(lock):
                    end_processes(folder)
                    remove_folder(folder)


def _is_left(lock: IO[str]) -> bool:
    """Return True where the search that made this lock file lives no more; OSError while it holds
    the lock."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in WITHOUT_FLOCK:
            raise
        lock.seek(0)
        searcher = json.loads(lock.read() or "{}")
        return isinstance(searcher, dict) and "pid" in searcher and is_gone(searcher)
    return True
