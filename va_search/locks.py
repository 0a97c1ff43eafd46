"""Locks between processes: one holder at a time, freed when its process dies, on file systems with
`flock` and without.

    <path>           locked with flock; its text names the holder: "<pid> on <host>"
    <path>.holder    only where the file system has no flock, or one that other machines do not see (some Lustre, NFS
                     and FUSE mounts): a JSON document that exactly one process can create, and that its holder
                     renews every BEAT seconds

Conventions: a holder of the second kind counts as dead when its process is gone from this machine,
or when another machine has not renewed the file for SILENCE seconds by the file server's own clock,
and does not while it is watched: clocks differ, and may be set. All machines that share a folder
must mount it alike: a process that locks with flock is not seen by one that cannot. A machine
that exports a folder by NFS and uses it as its own disk locks for itself alone: search there through
a mount, as the others do. Whether flock holds for all machines is told by the mount's type and
options: on NFS it does (`lockd`, or version 4) but for `local_lock=flock` or `all`, on Lustre with
`flock`, on Ceph, GFS2 and OCFS2; of other file systems that machines share it is not taken for
granted.

A holder that slept (stopped, suspended, cut off) may have lost its lock meanwhile, as has one whose
file somebody deleted. So whoever writes under a lock for long asks before each write whether it is
still `held`. Between the question and the write a moment is left in which no such file system can
help."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

from va_search.errors import InputError

LOG = logging.getLogger(__name__)

WITHOUT_FLOCK = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
"""What `flock` answers on a file system that has no such locks."""

BEAT = 5.0
"""Seconds between two renewals of a holder file."""

SILENCE = 60.0
"""A holder file of another machine that was not renewed for so many seconds is of a dead
process."""

WATCHED = 1.5
"""A holder of another machine that seems dead is watched for so many beats: a living one renews its
file meanwhile."""

ON_ONE_MACHINE = {
    *("bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs"),
    *("zfs", "apfs", "hfs"),
}
"""File systems that one machine alone has mounted."""

MOUNTS = Path("/proc/self/mountinfo")

READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}

LOOK_AGAIN = 0.5
"""A lock is asked for during so many seconds: a process that only looks whether it is held holds it
for a moment."""


class Lock:
    """The lock at `path`, for this process. With `remove` its file goes when it is released."""

    def __init__(self, path: Path, *, remove: bool = False) -> None:
        self.path = path
        self._remove = remove
        self._file: TextIO | None = None
        self._token: str | None = None

    def take(self) -> bool:
        """Hold the lock; False when another living process holds it. InputError when its file can't
        be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115  (the lock lives as long as it is open)
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            raise InputError(_not_writable(self.path, error)) from error
        try:
            taken = self._lock(file)
        except BaseException:
            file.close()
            raise
        if not taken:
            file.close()
            return False
        self._file = file
        file.truncate(0)
        file.write(f"{os.getpid()} on {socket.gethostname()}")
        file.flush()
        return True

    def _lock(self, file: TextIO) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            holds_for_all = flock_holds_for_all(self.path)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in WITHOUT_FLOCK:
                raise
            holds_for_all = False
        if not holds_for_all:
            # The file that only one process can create decides.
            self._token = _create_holder_file(_holder_file(self.path))
            return self._token is not None
        # Its holder may have released and removed the file between our opening and locking it.
        return _is_at(self.path, file)

    @property
    def held(self) -> bool:
        """True while the lock is this process's: taken, not released, its file not deleted, and not
        taken over by another process while this one slept."""
        if self._file is None:
            return False
        if self._token is not None:
            document = _document(_holder_file(self.path))
            # Empty: it can't be read at the moment.
            return document is not None and document.get("token", self._token) == self._token
        return _is_at(self.path, self._file)

    def release(self) -> None:
        """Let go; nothing happens where the lock is not held."""
        if self._file is None:
            return
        if self._remove and self.held:
            self.path.unlink(missing_ok=True)
        if self._token is not None:
            _remove_holder_file(_holder_file(self.path), self._token)
            self._token = None
        self._file.close()
        self._file = None


@contextmanager
def only_one(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`; InputError when another living process holds it. A killed holder
    frees it."""
    lock = Lock(path)
    # A process that only looks whether the lock is held holds it for a moment.
    until = time.monotonic() + LOOK_AGAIN
    while not lock.take():
        if time.monotonic() >= until:
            raise InputError(f"{what} is in use by process {holder(path)}; wait for it or stop it")
        time.sleep(0.05)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def one_after_another(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, waiting until no other process does."""
    lock = Lock(path)
    while not lock.take():
        time.sleep(0.1)
    try:
        yield
    finally:
        lock.release()


def in_use(path: Path) -> bool:
    """True when a living process (this one too) holds the lock file `path`. InputError when it
    can't be read."""
    if not path.is_file():
        return False
    try:
        with open(path, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:  # its holder has released it just now
        return False
    except PermissionError as error:
        raise InputError(_not_writable(path, error)) from error
    except OSError as error:
        if error.errno not in WITHOUT_FLOCK:
            raise
        return _is_held(_holder_file(path))
    return not flock_holds_for_all(path) and _is_held(_holder_file(path))


def holder(path: Path) -> str:
    """The holder of the lock file `path`, for a message: "<pid> on <host>"; "?" where that is not
    known."""
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace").strip() or "?"
    return "?"


def is_on_one_machine(path: Path) -> bool:
    """Return True where a path is on a disk of this machine, as far as the system says."""
    mount = mount_of(path)
    return mount is None or mount.kind in ON_ONE_MACHINE


def flock_holds_for_all(path: Path) -> bool:
    """Return True where a lock with `flock` at a path is seen by all machines that share it."""
    mount = mount_of(path.parent)
    if mount is None or mount.kind in ON_ONE_MACHINE:
        return True
    if mount.kind in ("nfs", "nfs4"):
        return not mount.options & {"local_lock=flock", "local_lock=all", "nolock"}
    if mount.kind == "lustre":
        return "flock" in mount.options
    return mount.kind in ("ceph", "gfs2", "ocfs2")


@dataclass(frozen=True)
class Mount:
    """A mounted file system: its type and options."""

    kind: str
    options: frozenset[str]


@lru_cache(maxsize=256)
def mount_of(path: Path) -> Mount | None:
    """Return the mount that a path is on; None where the system does not say."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    resolved = path.resolve()
    folders = {str(folder) for folder in (resolved, *resolved.parents)}
    mount, longest = None, 0
    for line in lines:
        # Point and options of the mount, then type, source and options of its file system.
        of_mount, _, of_file_system = line.partition(" - ")
        fields, described = of_mount.split(), of_file_system.split()
        if len(fields) < 6 or len(described) < 3:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        # Of several mounts at one point the last one is on top.
        if point in folders and len(point) >= longest:
            options = {*fields[5].split(","), *described[2].split(",")}
            mount, longest = Mount(described[0], frozenset(options)), len(point)
    return mount


def this_process() -> dict[str, Any]:
    """The identity of this process among all processes of all machines: host, boot, pid and when it
    started."""
    return {
        "host": socket.gethostname(),
        "boot": _boot(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def is_gone(process: dict[str, Any]) -> bool:
    """True when a process, described as by `this_process`, ran on this machine and no longer
    does."""
    if process.get("boot") != _boot() or process.get("host") != socket.gethostname():
        return False
    try:
        pid = int(process["pid"])
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, KeyError, ValueError):
        return False
    started = process.get("started")
    return started is not None and started != _started(pid)


def _boot() -> str:
    """This boot of this machine, and its name space of processes; empty where the system does not
    say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When a process started, in clock ticks since the boot; None where the system does not say."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # The name of the program, in brackets, may hold spaces; the 20th field after it is the time.
    fields = text.rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else None


def _is_at(path: Path, file: TextIO) -> bool:
    """Return True where an open file is the one at `path`."""
    try:
        at_path = path.stat()
    except FileNotFoundError:
        return False
    opened = os.fstat(file.fileno())
    return (at_path.st_dev, at_path.st_ino) == (opened.st_dev, opened.st_ino)


def _not_writable(path: Path, error: OSError) -> str:
    if error.errno == errno.EROFS:
        return f"{path}: no lock file can be made there: the file system is read-only"
    if not os.path.exists(path):  # False where the folder can't be entered, too  # noqa: PTH110
        return f"{path}: no lock file can be made there: {error.strerror}"
    owner = "another user"
    with suppress(OSError, KeyError):
        owner = f"user {path.owner()}"
    return f"{path}: no permission to use this lock file, which belongs to {owner}; make it writable for your group"


# Locks where there is no flock: a file that only one process can create.


def _holder_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.holder")


def _create_holder_file(path: Path) -> str | None:
    """Create the holder file and keep it renewed; its token, or None when a living process holds
    it."""
    present = _document(path)
    if present is not None:
        if _is_alive(path, present) or _is_renewed(path):
            return None
        _put_aside(path, present)
    # Exactly one process can create the file; its token tells it from a later holder.
    token = uuid.uuid4().hex
    document = json.dumps({**this_process(), "token": token})
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return None
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(document)
    RENEWAL.add(path, token)
    return token


def _put_aside(path: Path, dead: dict[str, Any]) -> None:
    """Remove the holder file of a dead process; a living process that took its place meanwhile gets
    it back."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    with suppress(FileNotFoundError):
        path.rename(aside)
        moved = _document(aside)
        if moved is not None and moved.get("token") != dead.get("token"):
            with suppress(OSError):
                os.link(aside, path)
        aside.unlink()


def _remove_holder_file(path: Path, token: str) -> None:
    RENEWAL.discard(path)
    document = _document(path)
    if document is not None and document.get("token") == token:
        path.unlink(missing_ok=True)


def _is_held(path: Path) -> bool:
    document = _document(path)
    return document is not None and _is_alive(path, document)


def _is_alive(path: Path, document: dict[str, Any]) -> bool:
    """True when the process that wrote this content of a holder file still holds it, as far as can
    be known."""
    if document.get("boot") == _boot() and document.get("host") == socket.gethostname():
        return not is_gone(document)
    return _age(path) < SILENCE


def _is_renewed(path: Path) -> bool:
    """Return True where a holder that seems dead renews its file after all: its clock, or the file
    server's, was set or goes wrong."""
    document = _document(path) or {}
    if document.get("boot") == _boot() and document.get("host") == socket.gethostname():
        return False  # its process is gone
    before = _renewed_at(path)
    until = time.monotonic() + WATCHED * BEAT
    while time.monotonic() < until:
        time.sleep(BEAT / 10)
        if _renewed_at(path) != before:
            return True
    return False


def _renewed_at(path: Path) -> int | None:
    """Return when a holder file was renewed, in ns by whatever clock; None where there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _document(path: Path) -> dict[str, Any] | None:
    """The content of a holder file, empty while it is being written; None when there is no such
    file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError):
        return {}
    return document if isinstance(document, dict) else {}


def _age(path: Path) -> float:
    """Seconds since a file was renewed, by the clock of the file system, which two machines
    share."""
    probe = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
    finally:
        probe.unlink(missing_ok=True)


class Renewal:
    """The holder files of this process, renewed by one thread that begins with the first of
    them."""

    def __init__(self) -> None:
        self._tokens: dict[Path, str] = {}
        self._changed = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, path: Path, token: str) -> None:
        with self._changed:
            self._tokens[path] = token
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="lock-renewal", daemon=True)
                self._thread.start()

    def discard(self, path: Path) -> None:
        with self._changed:
            self._tokens.pop(path, None)

    def _run(self) -> None:
        while True:
            time.sleep(BEAT)
            with self._changed:
                held = dict(self._tokens)
            for path, token in held.items():
                document = _document(path)
                if document is None or document.get("token") not in (token, None):
                    LOG.warning("%s: another process took this lock over", path)
                    self.discard(path)
                    continue
                with suppress(OSError):
                    os.utime(path)


RENEWAL = Renewal()
