"""Failures of a search: the machine's and not the trials', deaths of processes, and when to give up.

Conventions: settings are checked against the store before a search begins, and none of them names a
file. So whatever a training meets on a disk, in its home or in its store is no fault of its
settings; neither is a GPU whose process can't go on. `kind` groups outages that have one cause. A
missing piece of memory may be either: a trial that finds none while others train beside it is tried
again by itself, and fails only there.

To Ray all deaths of a trial's process look alike. What tells them apart is Ray's own message, the
process's log (a crash leaves the signal's name there) and the kernel's counters of processes that
it killed for memory, which are compared with those when the search began.

The breaker counts outages and trials' own failures apart. A trial that is completed in this run
ends every row. A failure that repeats one of an earlier run says nothing of other trials, and is
not counted.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

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

NO_MEMORY = "can't allocate memory"
"""PyTorch's words, in a plain RuntimeError, for a CPU tensor that finds no memory."""

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
    """Return the outage that a process ended with, in Ray's text of its error; None where it ended
    otherwise."""
    mark, outage = NothingToReport.MARK, None
    for line in text.splitlines():
        if mark in line:
            outage = Outage(**json.loads(line.partition(mark)[2]), traceback=text)
    return outage


def outage_of(error: BaseException) -> Outage | None:
    """Return the failure of the machine that an exception of a training stands for; None for the trial's
    own."""
    for cause in _causes(error):
        kind = _kind_of(cause)
        if kind is not None:
            text = "".join(traceback.format_exception(error))
            return Outage(kind, f"on {socket.gethostname()}: {_in_one_line(cause)}", text)
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
    kind: Kind | None = None
    if isinstance(error, MemoryError) or _is_of_torch(error, "OutOfMemoryError"):
        kind = "memory"
    elif _is_of_torch(error, "AcceleratorError"):
        kind = "gpu"
    elif isinstance(error, OSError) or type(error) in (JobError, Unreachable):
        # JobErrors of other classes are a trial's own.
        kind = BY_NUMBER.get(_number_of(error), "files")
    elif isinstance(error, StoreGone | pa.ArrowException):
        kind = "store"
    elif type(error) is RuntimeError and any(sign in str(error) for sign in OF_THE_GPU):
        kind = "gpu"
    elif type(error) is RuntimeError and NO_MEMORY in str(error):
        kind = "memory"
    return kind


def _number_of(error: BaseException) -> int:
    """Return the system's number of an error or of what it was raised from; 0 where there is none."""
    return next(
        (cause.errno for cause in _causes(error) if isinstance(cause, OSError) and cause.errno), 0
    )


def _is_of_torch(error: BaseException, name: str) -> bool:
    """Return True for an exception of PyTorch's class of this name, without importing PyTorch."""
    kind = getattr(sys.modules.get("torch"), name, None)
    return kind is not None and isinstance(error, kind)


def _in_one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = lines[0] if lines else "no further word"
    ours = isinstance(error, InputError | JobError)
    return message if ours else f"{type(error).__name__}: {message}"


_SIGNALS = {
    "SIGSEGV": "invalid memory access",
    "SIGBUS": "invalid memory access, or a full disk or /dev/shm below a mapped file",
    "SIGABRT": "a library gave up",
    "SIGFPE": "invalid arithmetic",
    "SIGILL": "an instruction that this processor does not have",
}
MONITOR = re.compile(r"low on memory|out of memory|OutOfMemoryError", re.IGNORECASE)
"""Ray's words for a process that its memory monitor killed."""
LESS = "fewer trials at a time (--concurrent), or smaller batches, need less"


@dataclass(frozen=True)
class Death:
    """The cause of a process's death in one sentence; `for_memory` where memory ran out."""

    reason: str
    for_memory: bool = False


class Deaths:
    """Explains the deaths of the processes of one Ray; `folder` is where its logs are, None for a
    cluster's."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._kills = kernel_kills()
        self._unexplained = (
            0  # kills by the kernel since the search began that no death was explained by
        )

    def explain(self, error: str, reported: int | None = None) -> Death:
        """Return the cause of the last death that Ray's messages are about.

        `reported` is the id of the process that the trial last reported from, None where it
        reported nothing. It counts where Ray's message names no process: on a busy machine Ray
        gives up waiting for the details."""
        error = error.rpartition("Failure #")[2]  # as Tune numbers them
        if MONITOR.search(error):
            monitor = "was killed by Ray's memory monitor: the machine's memory was nearly full"
            return Death(f"the trial's process {monitor}; {LESS}", for_memory=True)
        if "because its node has died" in error:
            return Death("the trial's process ended with its node, which left the cluster")
        processes = re.findall(r"\bpid: (\d+)|\bPID: (\d+)", error)
        process = int(next(filter(None, processes[-1]))) if processes else reported
        crash = self._crash(process)
        if crash is not None:
            return Death(f"the trial's process crashed: {crash}")
        if self._folder is None:
            return Death(
                "the trial's process was killed on its node (by its kernel where memory ran out, or by hand)"
            )
        if self._killed_by_kernel(process):
            kernel = "was killed by the kernel: no memory was left"
            return Death(f"the trial's process {kernel}; {LESS}", for_memory=True)
        by_hand = "by hand or by another program, since neither the kernel nor Ray reports a lack of memory"
        return Death(f"the trial's process was killed {by_hand}")

    def _crash(self, process: int | None) -> str | None:
        """Return the signal a process crashed with and where, from its log; None where it did not
        crash."""
        if self._folder is None or process is None:
            return None
        for log in self._folder.glob(f"session_*/logs/worker-*-{process}.err"):
            text = log.read_text(encoding="utf-8", errors="replace")
            signals = re.findall(r"\*\*\* (SIG[A-Z]+) received", text)
            if signals:
                where = re.search(r'^  File "(.*)", line (\d+) in (.*)$', text, re.MULTILINE)
                line = f" at {where[1]}:{where[2]} in {where[3]}" if where else ""
                meaning = _SIGNALS.get(signals[0])
                return f"{signals[0]}" + (f" ({meaning})" if meaning else "") + line
        return None

    def _killed_by_kernel(self, process: int | None) -> bool:
        """Return True where the kernel killed this process for memory: by its log, or, where that does not
        say so, by its counters. Each kill that they count explains one death, since several
        processes may be killed at once."""
        previous, self._kills = self._kills, kernel_kills()
        self._unexplained += max(
            (count - previous.get(name, count) for name, count in self._kills.items()), default=0
        )
        log = kernel_log()
        in_log = (
            bool(log)
            and process is not None
            and re.search(rf"Killed process {process} ", log) is not None
        )
        if not in_log and self._unexplained == 0:
            return False
        self._unexplained = max(0, self._unexplained - 1)
        return True


def kernel_kills() -> dict[str, int]:
    """Count the processes that the kernel has killed for memory, by the counter's path: this container's,
    this machine's."""
    counters = [Path("/proc/vmstat")]
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers == "":
                counters.append(Path(f"/sys/fs/cgroup{group}/memory.events"))
            elif controllers == "memory":
                counters.append(Path(f"/sys/fs/cgroup/memory{group}/memory.oom_control"))
    counters += [
        Path("/sys/fs/cgroup/memory.events"),
        Path("/sys/fs/cgroup/memory/memory.oom_control"),
    ]
    kills = {}
    for path in counters:
        with suppress(OSError):
            count = re.search(r"^oom_kill (\d+)$", path.read_text(), re.MULTILINE)
            if count:
                kills[str(path)] = int(count[1])
    return kills


def kernel_log() -> str:
    """Return the kernel's messages; empty where this user may not read them."""
    lines: list[bytes] = []
    try:
        messages = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        while True:
            try:
                lines.append(os.read(messages, 8192))  # one message each
            except (
                BrokenPipeError
            ):  # messages were overwritten meanwhile: go on with the oldest left
                continue
    except OSError:  # no more
        return b"".join(lines).decode("utf-8", errors="replace")
    finally:
        os.close(messages)


SAME_REASON = 3
"""So many failures for one reason, with nothing trained, end the study: the rest would fail
likewise. So do as many failures of the machine of one kind in a row, whatever was trained
before."""

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
        self._worked: dict[str, set[str]] = {}  # by setting: its values in complete trials, as JSON

    def works(self, settings: Mapping[str, Any]) -> None:
        """Note the settings of a complete trial, whoever trained it and when."""
        for name, value in settings.items():
            self._worked.setdefault(name, set()).add(json.dumps(value))

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
        """The reason to train no more; None while there is hope."""
        return self._sick_machine() or (
            self._all_alike() if self._trained else self._none_trained()
        )

    def _sick_machine(self) -> str | None:
        """Give up on a machine whose latest failures are of one kind."""
        if not self._outages:
            return None
        latest = self._outages[-1]
        alike_in_a_row = takewhile(
            lambda outage: outage.kind == latest.kind, reversed(self._outages)
        )
        if len(list(alike_in_a_row)) < (1 if latest.kind in AT_ONCE else SAME_REASON):
            return None
        advice = ADVICE[latest.kind]
        return (
            f"{latest.reason}\nThis is the machine's failure and not the trials': none is counted as failed, and all "
            f"keep their checkpoints. {advice[0].upper()}{advice[1:]}; then the same command goes on from there."
        )

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
        values = {json.dumps(settings.get(setting)) for _, settings in failures}
        return len(values) == 1 and values.isdisjoint(self._worked.get(setting, values))


def alike(reason: str) -> str:
    """Return a reason without its numbers and ids."""
    return re.sub(r"\b[0-9a-f]*\d[0-9a-f.]*\b", "#", reason)
