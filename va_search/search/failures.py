"""Failures of a search: the machine's and not the trials', and when to give up.

Conventions: settings are checked against the store before a search begins, and none of them names a
file. So whatever a training meets on a disk, in its home or in its store is no fault of its
settings; neither is a GPU whose process can't go on. `kind` groups outages that have one cause. A
missing piece of memory may be either: a trial that finds none while others train beside it is tried
again by itself, and fails only there.

The breaker counts outages and trials' own failures apart. A trial that is completed in this run
ends every row. A failure that repeats one of an earlier run says nothing of other trials, and is
not counted.
"""

from __future__ import annotations

import errno
import re
import socket
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

import pyarrow as pa

from va_search.errors import InputError, JobError
from va_search.files import NO_SPACE
from va_search.seals import Damaged
from va_search.storage.redaction import without_secrets
from va_search.storage.remote import Unreachable

Kind = Literal["disk", "files", "store", "gpu", "memory", "library"]

ADVICE: dict[Kind, str] = {
    "disk": "free some space where the home lies, or ask for a larger quota",
    "files": "see that the home and the store can be read and written",
    "store": "bring the store back as it was when the study began",
    "gpu": "look at the GPU (nvidia-smi); it may need a reset, or the machine a restart",
    "memory": "train fewer trials side by side (--concurrent), or smaller ones",
    "library": "install there what is installed here",
}
"""Advice before the same command is run again, by kind."""

OF_THE_GPU = (
    "CUDA error",
    "CUDA driver error",
    "cuDNN error",
    "CUDNN_STATUS",
    "CUBLAS_STATUS",
    "HIP error",
)
"""How PyTorch begins or names errors of a device in a RuntimeError; newer ones are of a type of
their own."""

OUT_OF_MEMORY = ("out of memory", "ALLOC_FAILED")
"""Words of errors of a device that mean no more than a lack of memory; the process can go on."""

NO_MEMORY = "can't allocate memory"
"""PyTorch's words, in a plain RuntimeError, for a CPU tensor that finds no memory."""

BY_NUMBER: dict[int, Kind] = {**dict.fromkeys(NO_SPACE, "disk"), errno.ENOMEM: "memory"}
"""Kinds by the system's error numbers; any other is of the kind `files`."""


SHARED_LIBRARY = "cannot open shared object file"
"""The system's words, in an OSError without a number, for a library that can't be loaded."""


class StoreGone(JobError):
    """A node can't open the store as it was when the search began."""


@dataclass(frozen=True)
class Outage:
    """One failure of the machine: `reason` in one line, with the name of the node it happened on.
    `node`: Ray's id of that node, `gpu`: the GPU, where they are known."""

    kind: Kind
    reason: str
    traceback: str
    node: str = ""
    gpu: str | None = None


def outage_of(error: BaseException) -> Outage | None:
    """Return the failure of the machine that an exception of a training stands for; None for the trial's
    own."""
    for cause in _causes(error):
        kind = _kind_of(cause)
        if kind is not None:
            text = without_secrets("".join(traceback.format_exception(error)))
            reason = without_secrets(_in_one_line(cause))
            return Outage(kind, f"on {socket.gethostname()}: {reason}", text)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, its cause, the cause of that, and so on."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _kind_of(error: BaseException) -> Kind | None:
    text = str(error)
    kind: Kind | None = None
    if isinstance(error, MemoryError) or _is_of("torch", "OutOfMemoryError", error):
        kind = "memory"
    elif _is_of_the_gpu(error):
        lacks_memory = any(words in text for words in OUT_OF_MEMORY)
        kind = "memory" if lacks_memory else "gpu"
    elif type(error) is RuntimeError and NO_MEMORY in text:
        kind = "memory"
    elif isinstance(error, ImportError) or _lacks_library(error):
        # A user's own code is imported by the search itself before anything is trained.
        kind = "library"
    elif isinstance(error, OSError) or type(error) in (JobError, Unreachable):
        # JobErrors of other classes are a trial's own.
        kind = BY_NUMBER.get(_number_of(error), "files")
    elif isinstance(error, StoreGone | Damaged | pa.ArrowException):
        kind = "store"
    elif _is_of("safetensors", "SafetensorError", error):
        # It has the system's error, if any, in its text alone.
        kind = "files"
    return kind


def _is_of_the_gpu(error: BaseException) -> bool:
    if _is_of("torch", "AcceleratorError", error):
        return True
    return type(error) is RuntimeError and any(sign in str(error) for sign in OF_THE_GPU)


def _lacks_library(error: BaseException) -> bool:
    return isinstance(error, OSError) and SHARED_LIBRARY in str(error)


def _number_of(error: BaseException) -> int:
    """Return the system's number of an error or of what it was raised from; 0 where there is none."""
    return next(
        (cause.errno for cause in _causes(error) if isinstance(cause, OSError) and cause.errno), 0
    )


def _is_of(package: str, name: str, error: BaseException) -> bool:
    """Return True for an exception of a package's class of this name, without importing it."""
    kind = getattr(sys.modules.get(package), name, None)
    return kind is not None and isinstance(error, kind)


def _in_one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = lines[0] if lines else "no further word"
    ours = isinstance(error, InputError | JobError)
    return message if ours else f"{type(error).__name__}: {message}"


SAME_REASON = 3
"""So many failures for one reason, with nothing trained, end the study: the rest would fail
likewise. As many failures of the machine of one kind in a row pause it, whatever was trained
before (pause.py)."""

AT_ONCE = frozenset({"disk"})
"""Kinds of the machine's failures of which one is enough: what is trained can't be kept."""

IN_A_ROW = 10
"""So many trials' own failures for one reason in a row end a study in which trials were trained
before."""

OWN = "Diverged"
"""The exception of a training whose settings are to blame, however many of its neighbours share
them."""


class Breaker:
    """Counts what failed; `failed_before` has the reasons of earlier runs' failures by trial."""

    def __init__(self, failed_before: Mapping[str, str]) -> None:
        self._failed_before = {trial: alike(reason) for trial, reason in failed_before.items()}
        self._trained = False
        self._outages: list[Outage] = []  # since the last trial that was completed
        self._failures: list[tuple[str, dict[str, Any]]] = []  # likewise: reasons and settings
        self._worked: dict[str, set[str]] = {}  # by setting: its values in complete trials, by repr

    def works(self, settings: Mapping[str, Any]) -> None:
        """Note the settings of a complete trial, whoever trained it and when."""
        for name, value in settings.items():
            # Of values as JSON has them repr tells apart what JSON does, in a tenth of the time.
            self._worked.setdefault(name, set()).add(repr(value))

    def trained(self) -> None:
        """Note that a trial was completed in this run."""
        self._trained = True
        self._outages.clear()
        self._failures.clear()

    def failed_by_machine(self, outage: Outage) -> None:
        """Note a failure of the machine."""
        self._outages.append(outage)

    def failed(self, trial: str, reason: str, settings: dict[str, Any]) -> None:
        """Note a trial's own failure and its reason."""
        if self._failed_before.get(trial) != alike(reason):
            self._failures.append((reason, settings))

    @property
    def reason(self) -> str | None:
        """The reason to train no more, which lies with the trials; None while there is hope."""
        return self._all_alike() if self._trained else self._none_trained()

    def sick_machine(self) -> Outage | None:
        """Return the latest failure of a machine whose latest ones are of one kind; None where it
        may be worth another trial. Its count begins anew."""
        if not self._outages:
            return None
        latest = self._outages[-1]
        alike_in_a_row = takewhile(
            lambda outage: outage.kind == latest.kind, reversed(self._outages)
        )
        if len(list(alike_in_a_row)) < (1 if latest.kind in AT_ONCE else SAME_REASON):
            return None
        self._outages.clear()
        return latest

    def _none_trained(self) -> str | None:
        """Give up where nothing was trained and all failed for one reason."""
        reasons = [reason for reason, _ in self._failures]
        if len(reasons) < SAME_REASON or len({alike(reason) for reason in reasons}) != 1:
            return None
        return f"all {len(reasons)} trials failed for one reason: {reasons[0]}"

    def _all_alike(self) -> str | None:
        """Give up on the latest failures alike, after some trials were trained; unless it is one value of a setting
        that fails: of a grid, that is a whole block of trials in a row."""
        latest = self._failures[-IN_A_ROW:]
        if len(latest) < IN_A_ROW or len({alike(reason) for reason, _ in latest}) != 1:
            return None
        reason, settings = latest[-1]
        exception = reason.partition(":")[0]
        if exception.endswith(OWN) or any(self._is_to_blame(name, latest) for name in settings):
            return None
        return f"the last {len(latest)} trials failed for one reason, and none was completed in between: {reason}"

    def _is_to_blame(self, setting: str, failures: list[tuple[str, dict[str, Any]]]) -> bool:
        """Return True where these failures share a value of this setting that no complete trial has."""
        values = {repr(settings.get(setting)) for _, settings in failures}
        return len(values) == 1 and values.isdisjoint(self._worked.get(setting, values))


def alike(reason: str) -> str:
    """Return a reason without its numbers and ids."""
    return re.sub(r"\b[0-9a-f]*\d[0-9a-f.]*\b", "#", reason)
