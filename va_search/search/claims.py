"""Claims: which trials are being trained right now, so that two searches over one home never train the same one.

A claim is a lock on a small file, held by the searching process; a process that dies in any way lets go of it.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TextIO

from va_search.files import checked_name


class Claims:
    """The claims held by this process under one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, TextIO] = {}

    def take(self, trial: str) -> bool:
        """Claim a trial; False when another living process holds it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{checked_name(trial, 'trial')}.lock"
        handle = open(path, "a", encoding="utf-8")  # noqa: SIM115  (held open: the lock lives as long as it)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino != os.fstat(handle.fileno()).st_ino:
                raise FileNotFoundError  # released and removed between our opening and locking it
        except (BlockingIOError, FileNotFoundError):
            handle.close()
            return False
        self._held[trial] = handle
        return True

    def release(self, trial: str) -> None:
        """Let go of a trial that is complete, failed or given up."""
        handle = self._held.pop(trial, None)
        if handle is not None:
            (self._folder / f"{trial}.lock").unlink(missing_ok=True)
            handle.close()

    def release_all(self) -> None:
        for trial in list(self._held):
            self.release(trial)
