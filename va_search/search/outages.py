"""Failures that are the machine's and not the trial's: what they are, and what a search's user can
do about them.

Conventions: settings are checked against the store before a search begins, and none of them names a
file. So whatever a training meets on a disk, in its home or in its store is no fault of its
settings; neither is a GPU whose process can't go on. `kind` groups failures that have one cause. A
missing piece of memory may be either: a trial that finds none while others train beside it is tried
again by itself, and fails only there."""

from __future__ import annotations

import errno
import json
import socket
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from va_search.errors import InputError, JobError
from va_search.files import NO_SPACE
from va_search.storage.remote import Unreachable

Kind = Literal["disk", "files", "store", "gpu", "memory"]

ADVICE: dict[Kind, str] = {
    "disk": "free some space where the home lies, or ask for a larger quota",
    "files": "see that the home and the store can be read and written",
    "store": "bring the store back as it was when the study began",
    "gpu": "look at the GPU (nvidia-smi); it may need a reset, or the machine a restart",
    "memory": "train fewer trials side by side (--concurrent), or smaller ones",
}
"""What to do before the same command is run again."""

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

NO_MEMORY = "can't allocate memory"
"""What PyTorch says, in a plain RuntimeError, of a CPU tensor that finds no memory."""

BY_NUMBER: dict[int, Kind] = {**dict.fromkeys(NO_SPACE, "disk"), errno.ENOMEM: "memory"}
"""Kinds by the system's error numbers; any other is of the kind `files`."""


class StoreGone(JobError):
    """A node can't open the store as it was when the search began."""


@dataclass(frozen=True)
class Outage:
    """One failure of the machine: `reason` in one line, with the node it happened on."""

    kind: Kind
    reason: str
    traceback: str


class NothingToReport(Exception):
    """An outage where a training can report none: Ray passes an exception's text on, in which
    `outage_in` finds it."""

    MARK = "failure of the machine: "

    def __init__(self, outage: Outage) -> None:
        super().__init__(self.MARK + json.dumps({"kind": outage.kind, "reason": outage.reason}))


def outage_in(text: str) -> Outage | None:
    """The outage that a process ended with, in Ray's text of its error; None where it ended
    otherwise."""
    mark, found = NothingToReport.MARK, None
    for line in text.splitlines():
        if mark in line:
            found = Outage(**json.loads(line.partition(mark)[2]), traceback=text)
    return found


def outage_of(error: BaseException) -> Outage | None:
    """The failure of the machine that an exception of a training stands for; None for the trial's
    own."""
    for cause in _causes(error):
        kind = _kind_of(cause)
        if kind is not None:
            text = "".join(traceback.format_exception(error))
            return Outage(kind, f"on {socket.gethostname()}: {_in_one_line(cause)}", text)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception, what it was raised from, what that was raised from, and so on."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _kind_of(error: BaseException) -> Kind | None:
    kind: Kind | None = None
    if isinstance(error, MemoryError) or _is_of_torch(error, "OutOfMemoryError"):
        kind = "memory"
    elif _is_of_torch(error, "AcceleratorError"):
        kind = "gpu"
    elif isinstance(error, OSError) or type(error) in (
        JobError,
        Unreachable,
    ):  # other JobErrors are a trial's own
        kind = BY_NUMBER.get(_number_of(error), "files")
    elif isinstance(error, StoreGone | pa.ArrowException):
        kind = "store"
    elif type(error) is RuntimeError and any(sign in str(error) for sign in OF_THE_GPU):
        kind = "gpu"
    elif type(error) is RuntimeError and NO_MEMORY in str(error):
        kind = "memory"
    return kind


def _number_of(error: BaseException) -> int:
    """The system's number of an error or of what it was raised from; 0 where there is none."""
    return next(
        (cause.errno for cause in _causes(error) if isinstance(cause, OSError) and cause.errno), 0
    )


def _is_of_torch(error: BaseException, name: str) -> bool:
    """Whether an exception is of PyTorch's class of this name, without importing PyTorch."""
    kind = getattr(sys.modules.get("torch"), name, None)
    return kind is not None and isinstance(error, kind)


def _in_one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else "no further word"
    ours = isinstance(error, InputError | JobError)
    return said if ours else f"{type(error).__name__}: {said}"
