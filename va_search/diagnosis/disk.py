"""The home's file system, the folder for Ray's sockets, temporary files and a store: each tried, not
guessed.

Conventions: what a check writes it removes. In a home that is not there yet nothing is made: its
nearest folder is tried, in a folder of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import statistics
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from va_search.data.store import Store
from va_search.diagnosis.checks import CheckResult, Subject, ok, problem, remark
from va_search.errors import InputError, JobError, VaSearchError
from va_search.locks import Lock, flock_holds_for_all, is_on_one_machine, mount_of
from va_search.search.ray_backend.folder import usable_place
from va_search.search.sizes import nearest
from va_search.storage.remote import Remote

LEAST_SPACE = 2**30
FLUSHES = 5
SLOW_FLUSH = 0.1
"""Seconds; a trial's end waits for about five flushes."""

CLOCKS_DIFFER = 5.0

OTHER_HOME = "give a home on another disk: --home"


@contextmanager
def _tried_folder(subject: Subject) -> Iterator[Path]:
    """Yield a new folder beside the home's files; removed at the end. OSError where none can be
    made."""
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=nearest(subject.home.root)) as folder:
        yield Path(folder)


def check_home(subject: Subject) -> CheckResult:
    """Return the home's place and kind of file system, and if files can be written there."""
    home = subject.home
    if home.url is not None:
        return _check_url(home.url)
    if home.root.exists() and not home.root.is_dir():
        return problem(f"{home.root} is a file", "give a folder as --home")
    text = str(home.root.absolute())
    if not home.root.is_dir():
        text += ", does not exist yet"
    mount = mount_of(nearest(home.root))
    if mount is not None:
        text += f", on {mount.kind}"
    try:
        with _tried_folder(subject) as folder:
            (folder / "written").write_text("1", encoding="utf-8")
            os.replace(folder / "written", folder / "renamed")
    except OSError as error:
        return problem(f"{text}: can't write there ({error.strerror})", OTHER_HOME)
    return ok(f"{text}: files are written and renamed")


def _check_url(url: str) -> CheckResult:
    """Try storage at a URL: write, read and remove a small object; compare the clocks."""
    remote, name = Remote(url).impatient(), f"probe-{uuid.uuid4().hex}.json"
    try:
        written = remote.write(name, b"{}")
        read_at = time.time()
        remote.read(name)
        remote.remove(name)
    except (VaSearchError, OSError) as error:
        return problem(
            str(error), "check the URL, the credentials and the network (docs/storage.md)"
        )
    if abs(read_at - written.time) > CLOCKS_DIFFER:
        return problem(
            f"{url}: its clock differs by {abs(read_at - written.time):.0f} s from this machine's",
            "set this machine's clock (timedatectl set-ntp true): leases of searches depend on it",
        )
    return ok(f"{url}: objects are written, read and removed")


def check_locks(subject: Subject) -> CheckResult:
    """Return if processes, also those of other machines, can lock files of the home."""
    if subject.home.url is not None:
        return ok("not needed: a home at a URL has a lease")
    with _tried_folder(subject) as folder:
        lock, second_lock = Lock(folder / "lock"), Lock(folder / "lock")
        try:
            is_taken, is_taken_twice = lock.take(), second_lock.take()
        except (InputError, OSError) as error:
            return problem(f"files can't be locked ({error})", OTHER_HOME)
        finally:
            second_lock.release()
            lock.release()
        # Two descriptors of one process exclude one another as two processes do.
        if not is_taken or is_taken_twice:
            return problem("two processes can hold one lock at a time", OTHER_HOME)
        if not flock_holds_for_all(folder / "lock"):
            return remark(
                "no flock for all machines here: lock files that are renewed are used instead"
            )
    shared = (
        "this machine's disk" if is_on_one_machine(subject.home.root) else "seen by all machines"
    )
    return ok(f"flock works, {shared}")


def check_links(subject: Subject) -> CheckResult:
    """Return if a file may have two names: studies then share trials without copies."""
    with _tried_folder(subject) as folder:
        (folder / "file").write_text("1", encoding="utf-8")
        try:
            os.link(folder / "file", folder / "link")
        except OSError as error:
            reason = error.strerror or "refused"
            return remark(f"no hard links ({reason}): trials that two studies share are copied")
    return ok("hard links work: studies share trials without copies")


def check_space(subject: Subject) -> CheckResult:
    """Return the free space for the home."""
    disk = shutil.disk_usage(nearest(subject.home.root))
    text = f"{disk.free / 2**30:.1f} of {disk.total / 2**30:.1f} GiB free"
    if disk.free < LEAST_SPACE:
        advice = "make room (va-search study clean STUDY), or give another --home"
        return problem(text, advice)
    return ok(text)


def check_flush(subject: Subject) -> CheckResult:
    """Return how long the home's disk takes to flush a small file, and if its clock is this
    machine's."""
    seconds = []
    with _tried_folder(subject) as folder:
        for number in range(FLUSHES):
            began = time.monotonic()
            with open(folder / f"{number}", "wb") as file:
                file.write(b"1" * 4096)
                file.flush()
                os.fsync(file.fileno())
            seconds.append(time.monotonic() - began)
        differs = abs((folder / f"{FLUSHES - 1}").stat().st_mtime - time.time())
    # The median: the first flush of a new folder takes longer.
    median = statistics.median(seconds)
    text = f"a small file is flushed in {1000 * median:.1f} ms"
    if differs > CLOCKS_DIFFER:
        return problem(
            f"{text}; the file server's clock differs by {differs:.0f} s from this machine's",
            "set both clocks (timedatectl set-ntp true)",
        )
    if median > SLOW_FLUSH:
        return remark(text, "slow: a home on a local disk makes short trials faster")
    return ok(f"{text}, its clock is this machine's")


def check_temporary(subject: Subject) -> CheckResult:
    """Return the folder for temporary files: its space, and if programs may run there."""
    folder = Path(tempfile.gettempdir())
    disk, mount = shutil.disk_usage(folder), mount_of(folder)
    text = f"{folder}: {disk.free / 2**30:.1f} GiB free"
    if disk.free < LEAST_SPACE:
        return problem(text, "make room there, or set TMPDIR to a folder on another disk")
    if mount is not None and "noexec" in mount.options:
        return remark(
            f"{text}, programs may not run there (noexec)",
            "for `compile: true` set TMPDIR to a folder without noexec",
        )
    return ok(text)


def check_sockets(subject: Subject) -> CheckResult:
    """Return the folder in which Ray would put its sockets, whose paths must be short."""
    try:
        folder = usable_place()
    except JobError as error:
        return problem(str(error).splitlines()[0], "set RAY_TMPDIR to a short path on a local disk")
    asked = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR")
    if asked is not None and Path(asked) != folder:
        return remark(f"{folder} is used: {asked} can't hold Ray's sockets (path too long?)")
    return ok(f"{folder} holds Ray's sockets")


def check_store(subject: Subject) -> CheckResult:
    """Return if the store can be opened and its files are whole."""
    assert subject.store is not None
    try:
        store = subject.store if isinstance(subject.store, Store) else Store.open(subject.store)
        store.check_files()
    except VaSearchError as error:
        command = shlex.join(["va-search", "data", "check", str(subject.store)])
        return problem(str(error).splitlines()[0], f"for all that is wrong with it: {command}")
    recordings = len(store.recordings)
    return ok(f"{store.place}: {recordings:,} recordings, {store.frames:,} frames")
