"""Trials that are being trained: who trains which, and their checkpoints.

    claims/<trial>.lock                held by the search that has handed the trial out
    claims/training/<trial>.lock       held by the process that trains it
    studies/<study>/running/<trial>/checkpoint.safetensors     gone once the trial is complete

A claim is a lock on a small file: two searches over one home never train the same trial, and a
process that dies in any way lets go of it.

Conventions: a trial that finishes sooner than the first checkpoint is due leaves none. A checkpoint
costs at most one part in `COST` of the training's time. The process that trains holds a lock, so
that what a killed search left running for another moment never writes beside its successor. With a
home at a URL checkpoints lie there too: any node goes on."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from va_search.errors import JobError, VaSearchError
from va_search.files import checked_name
from va_search.home import Home
from va_search.locks import Lock, in_use
from va_search.storage.homes import shared

if TYPE_CHECKING:
    from va_search.training.fit import Fit

LOG = logging.getLogger(__name__)

SECONDS = 30.0
"""So long a training runs between two checkpoints, unless the user says otherwise."""

COST = 20
"""Writing may take one part in so many of the time: the larger the model, the rarer its
checkpoints."""

PATIENCE = 60.0
"""So long a training waits for a process that still trains the same trial, which then was left by a
killed search."""


class Claims:
    """The claims held by this process under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[str, Lock] = {}

    def take(self, trial: str) -> bool:
        """Claim a trial; False when another living process holds it."""
        lock = Lock(self.path(trial), remove=True)
        if not lock.take():
            return False
        self._held[trial] = lock
        return True

    def holds(self, trial: str) -> bool:
        """Return True while the claim is this process's: taken, and not lost while it slept."""
        return trial in self._held and self._held[trial].held

    def release(self, trial: str) -> None:
        """Let go of a trial that is complete, failed or given up."""
        lock = self._held.pop(trial, None)
        if lock is not None:
            lock.release()

    def is_held(self, trial: str) -> bool:
        """Return True while a living process (this one too) trains the trial: a file that a killed
        search left is no claim."""
        return in_use(self.path(trial))

    def path(self, trial: str) -> Path:
        """Return the file of a trial's claim."""
        return self.folder / f"{checked_name(trial, 'trial')}.lock"

    def release_all(self) -> None:
        for trial in list(self._held):
            self.release(trial)


class StillTrained(JobError):
    """Another process trains the same trial and does not end."""


class TakenOver(StillTrained):
    """Another process took the trial over while this one slept, or its lock file was deleted."""


class Saves:
    """The checkpoints of one trial being trained by this process."""

    def __init__(self, home: Home, study: str, trial: str, seconds: float = SECONDS) -> None:
        self.folder = home.running(study, trial)
        self._study, self._trial, self._seconds = study, trial, seconds
        self._shared = shared(home)
        self._claims = Claims(home.root / "claims" / "training")
        self._due = time.monotonic() + seconds
        self._begun = False

    def begin(self, fit: Fit) -> None:
        """Be the only process that trains the trial, and go on where the one before was.
        StillTrained when another one does not end."""
        until = time.monotonic() + PATIENCE
        while not self._claims.take(self._trial):
            if time.monotonic() > until:
                raise StillTrained(
                    f"trial {self._trial} is still trained by another process, which does not end"
                )
            time.sleep(0.2)
        self._shared.bring_checkpoint(self._study, self._trial)
        self._begun = True
        fit.resume(self.folder)
        self._due = time.monotonic() + self._seconds

    def after_epoch(self, fit: Fit) -> None:
        """Write a checkpoint when one is due."""
        if time.monotonic() >= self._due:
            self.write(fit)

    def check_held(self) -> None:
        """Return where this process still is the one that trains the trial. TakenOver where it is
        not, and must write nothing of it any more."""
        if not self._claims.holds(self._trial):
            raise TakenOver(
                f"trial {self._trial} was taken over by another process while this one slept, or "
                f"its lock file was deleted ({self._claims.folder})"
            )

    def write(self, fit: Fit) -> None:
        """Write a checkpoint now. One that can't be written is no reason to give up the
        training."""
        if self._begun and not self._claims.holds(self._trial):
            LOG.warning("no checkpoint of trial %s: another process took it over", self._trial)
            return
        began = time.monotonic()
        try:
            fit.save(self.folder)
            self._shared.put_checkpoint(self._study, self._trial)
        except (OSError, VaSearchError) as error:
            LOG.warning("no checkpoint of trial %s: %s", self._trial, error)
        now = time.monotonic()
        self._due = now + max(self._seconds, COST * (now - began))

    def end(self, *, keep: bool) -> None:
        """This process trains the trial no more; its checkpoint is kept for another one to go on
        from, or removed.

        One that this process never got to is kept: what failed before says nothing of it, or
        another one trains on."""
        if self._begun and not keep and self._claims.holds(self._trial):
            self._remove()
        self._begun = False
        self._claims.release_all()

    def _remove(self) -> None:
        try:
            self._shared.remove_checkpoint(self._study, self._trial)
        except VaSearchError as error:  # the next search removes what complete trials left
            LOG.warning("the checkpoint of trial %s is still there: %s", self._trial, error)
