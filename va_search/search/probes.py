"""Looks at the machine: is the cause gone for which a search is paused?

Conventions: a look costs little and changes nothing that stays. It sees what the machine that drives
the search sees; what a node of a cluster sees shows when a trial runs there again. Each look runs on
a thread of its own, since storage that does not answer may keep it for ever."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from va_search.data.store import Store
from va_search.errors import JobError, VaSearchError
from va_search.search.events import Looked
from va_search.search.failures import Outage
from va_search.search.machine import torch_problem
from va_search.search.study import Study
from va_search.storage.redaction import without_secrets
from va_search.storage.remote import Remote

LEAST_ROOM = 1 << 20
"""Bytes that must find room, however small a trial is: its checkpoint and records need some too."""

IMPORT_SECONDS = 120.0


@dataclass(frozen=True)
class Probe:
    """Looks at all that a search over `study` and `store` needs. `room`: bytes that its trials write
    at a time. `is_local`: trials are trained on this machine, on the GPUs `gpus` (None: all)."""

    study: Study
    store: Store
    room: int
    is_local: bool
    gpus: tuple[str, ...] | None = None

    def problem(self, outage: Outage) -> str | None:
        """Return what keeps the search from going on after such a failure; None for nothing."""
        try:
            self._try_home()
            self._try_store()
        except (VaSearchError, OSError, pa.ArrowException) as error:
            return without_secrets(str(error))
        if not self.is_local:
            return None
        if outage.kind == "gpu":
            torch_problem.cache_clear()
            problem = torch_problem(self.gpus)
            return None if problem is None else f"PyTorch can't use the GPU ({problem})"
        if outage.kind == "library":
            return import_problem(outage.reason)
        return None

    def _try_home(self) -> None:
        """Write as much as the next trials will, and remove it. OSError where that can't be done,
        Unreachable of a home at a URL."""
        home = self.study.home
        if not self.study.exists():
            raise JobError(f"{self.study.folder}: the study is not there")
        written = [self.study.folder]
        bank = home.bank / self.study.name  # which may be a disk of its own
        written += [folder for folder in (bank, home.bank) if folder.is_dir()][:1]
        for folder in written:
            path = folder / f".probe-{uuid.uuid4().hex[:8]}"
            _try_writing(path, max(LEAST_ROOM, self.room))
        if home.url is not None:
            remote, name = Remote(home.url), f"probe-{uuid.uuid4().hex}.json"
            remote.write(name, b"{}")
            remote.remove(name)

    def _try_store(self) -> None:
        """Open the store again. InputError where it can't be opened, or its content changed since the
        study began."""
        self.study.check(Store.open(self.store.place))


def _try_writing(path: Path, size: int) -> None:
    try:
        with open(path, "wb") as file:
            file.write(b"1")
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            file.flush()
            os.fsync(file.fileno())
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def import_problem(reason: str) -> str | None:
    """Return why a new process can't import what a training needs, and the module that `reason`
    names; None where it can."""
    modules = ["va_search.training.fit", *re.findall(r"No module named '([\w.]+)'", reason)]
    command = [sys.executable, "-c", f"import {', '.join(modules)}"]
    try:
        done = subprocess.run(  # noqa: S603 (our own interpreter)
            command, capture_output=True, text=True, check=False, timeout=IMPORT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"importing {', '.join(modules)} took more than {IMPORT_SECONDS:.0f} s"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"importing ended with exit code {done.returncode}"


class Look:
    """One look, begun now."""

    def __init__(self, look: Callable[[Outage], str | None], outage: Outage) -> None:
        self._look, self._outage = look, outage
        self._answer: Looked | None = None
        threading.Thread(target=self._run, name="look", daemon=True).start()

    @property
    def answer(self) -> Looked | None:
        """What was seen; None while the look lasts."""
        return self._answer

    def _run(self) -> None:
        try:
            problem = self._look(self._outage)
        except Exception as error:  # a look that fails has not seen the cause gone
            problem = without_secrets(f"{type(error).__name__}: {error}")
        self._answer = Looked(problem)
