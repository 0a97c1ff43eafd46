"""The processes that search one study at the same time.

    studies/<study>/lock                    held by one of them, the one that leads
    studies/<study>/searchers/<id>.lock     held by each of them that others may join
    studies/<study>/searchers/turn          held while one of them decides which trial is next

All share the trials: each proposes its own, tells the others by asked.jsonl, and trains what no other
holds the claim of (saves.py). The one that leads does what must be done once: it counts the hours and
delivers to MLflow. When it ends, or is killed, another one takes its place. A process that searches
alone (retry) holds the lock only, and so does a search of an older version: nobody joins those.

Conventions: a home at a URL is searched by one process at a time (storage/lease.py). A process in
its turn that hangs holds the others up for `TURN_SECONDS` each time; then they go on, and may begin
a trial more than the budget has."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from va_search.errors import InputError
from va_search.files import remove_folder
from va_search.locks import LOOK_AGAIN, Lock, holder, in_use

JOINING_SECONDS = 20.0
"""So long a process that joins waits for the one that leads to have begun."""

TURN_SECONDS = 10.0
"""So long a process waits for its turn."""

LEADING_SECONDS = 5.0
"""So often a process looks whether nobody leads any more."""


class Searchers:
    """The processes that search the study in this folder, and this one among them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._study = folder.name
        self._lead = Lock(folder / "lock")
        self._own: Lock | None = None
        self._looked = time.monotonic()

    # --- Coming and going -------------------------------------------------------------------------

    def enter(self, *, join: bool) -> None:
        """Search the study from now on, alone or, with `join`, beside those that do already.

        InputError where others do and `join` is False, or where the other one is not to be joined."""
        until = time.monotonic() + (JOINING_SECONDS if join else LOOK_AGAIN)
        while True:
            if self._lead.take():
                if join or not self.others():
                    return
                self._lead.release()  # the one that led has just ended, others go on
            elif join and self.others():
                return
            if time.monotonic() >= until:
                raise InputError(self._refusal(join=join))
            time.sleep(0.05)

    def announce(self) -> None:
        """Let others join from now on: the study's document is as this process searches it."""
        while self._own is None:
            lock = Lock(self._files / f"{uuid.uuid4().hex[:12]}.lock", remove=True)
            # False where another one took the new file for one that a dead process left.
            if lock.take():
                self._own = lock

    def leave(self) -> None:
        """Search the study no more."""
        if self._own is not None:
            self._own.release()
            self._own = None
        remove_folder(self.scratch)
        with suppress(OSError):  # not empty: of another process
            self.scratch.parent.rmdir()
        self._lead.release()

    def clear(self) -> None:
        """Remove what killed processes left; only where no other process searches."""
        for path in self._files.glob("*.lock"):
            if not in_use(path):
                path.unlink(missing_ok=True)
        remove_folder(self.scratch.parent)

    def _refusal(self, *, join: bool) -> str:
        text = f"study {self._study!r} is in use by process {self._leader()}; "
        if join:
            return f"{text}it trains alone (retry, or another version): wait for it or stop it"
        return f"{text}wait for it or stop it, or search together with it: --join"

    def _leader(self) -> str:
        names = self.others()
        return names[0] if names and not in_use(self._lead.path) else holder(self._lead.path)

    # --- Who searches -----------------------------------------------------------------------------

    @property
    def _files(self) -> Path:
        return self.folder / "searchers"

    @property
    def scratch(self) -> Path:
        """A folder of this process for Tune's own files."""
        return self.folder / "ray" / f"{socket.gethostname()}-{os.getpid()}"

    def others(self) -> list[str]:
        """Return the other processes that search the study and may be joined, as `<pid> on <host>`,
        sorted."""
        own = None if self._own is None else self._own.path
        return [holder(path) for path in self._held() if path != own]

    def all(self) -> list[str]:
        """Return all processes that search the study, this one too."""
        names = [holder(path) for path in self._held()]
        if not names and in_use(self._lead.path):
            names = [holder(self._lead.path)]
        return names

    def _held(self) -> list[Path]:
        return [path for path in sorted(self._files.glob("*.lock")) if in_use(path)]

    @property
    def leads(self) -> bool:
        """True where this process is the one that counts the hours and delivers to MLflow."""
        return self._lead.held

    def take_lead(self) -> bool:
        """Lead where nobody does any more; True where this process leads. Cheap to call often. With
        a home that is away nobody leads."""
        if self.leads:
            return True
        if time.monotonic() - self._looked < LEADING_SECONDS:
            return False
        self._looked = time.monotonic()
        if not self.folder.is_dir():
            return False
        with suppress(OSError):
            self._lead.release()  # one that was lost while this process slept
            return self._lead.take()
        return False

    def on_same_cores(self) -> list[int]:
        """Return the other processes that run on this machine and may use a core that this one may
        use; none where the system does not say."""
        processes = []
        for name in self.others():
            pid, _, host = name.partition(" on ")
            if host != socket.gethostname() or not pid.isdigit():
                continue
            with suppress(OSError, AttributeError):  # macOS has no affinity
                if os.sched_getaffinity(int(pid)) & os.sched_getaffinity(0):
                    processes.append(int(pid))
        return processes

    # --- One after another ------------------------------------------------------------------------

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Context in which no other process decides which trial is next, or notes one."""
        lock = Lock(self._files / "turn")
        until = time.monotonic() + TURN_SECONDS
        # A process that hangs must not hold up all the others for ever.
        while not lock.take() and time.monotonic() < until:
            time.sleep(0.02)
        try:
            yield
        finally:
            lock.release()
