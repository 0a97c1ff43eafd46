"""Claims: which trials are being trained right now, so that two searches over one home never train
the same one.

A claim is a lock on a small file, held by the searching process; a process that dies in any way
lets go of it."""

from __future__ import annotations

from pathlib import Path

from va_search.files import checked_name
from va_search.locks import Lock, in_use


class Claims:
    """The claims held by this process under one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, Lock] = {}

    def take(self, trial: str) -> bool:
        """Claim a trial; False when another living process holds it."""
        lock = Lock(self._folder / f"{checked_name(trial, 'trial')}.lock", remove=True)
        if not lock.take():
            return False
        self._held[trial] = lock
        return True

    def release(self, trial: str) -> None:
        """Let go of a trial that is complete, failed or given up."""
        lock = self._held.pop(trial, None)
        if lock is not None:
            lock.release()

    def is_held(self, trial: str) -> bool:
        """Return True while a living process (this one too) trains the trial: a file that a killed
        search left is no claim."""
        return in_use(self._folder / f"{checked_name(trial, 'trial')}.lock")

    def release_all(self) -> None:
        for trial in list(self._held):
            self.release(trial)
