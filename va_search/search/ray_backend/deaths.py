"""Deaths of trials' processes, and what killed them.

Conventions: to Ray all deaths of a trial's process look alike. What tells them apart is Ray's own
message, the process's log (a crash leaves the signal's name there) and the kernel's counters of
processes that it killed for memory, which are compared with those when the search began."""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from va_search.search.failures import Outage


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


_SIGNALS = {
    "SIGSEGV": "invalid memory access",
    "SIGBUS": "invalid memory access, or a full disk or /dev/shm below a mapped file",
    "SIGABRT": "a library gave up",
    "SIGFPE": "invalid arithmetic",
    "SIGILL": "an instruction that this processor does not have",
}
MONITOR = re.compile(r"low on memory|out of memory|OutOfMemoryError", re.IGNORECASE)
"""Ray's words for a process that its memory monitor killed."""
DYING_SECONDS = 1.0
"""How long a process that Ray calls dead may take to write where it crashed."""
LESS = "fewer trials at a time (--concurrent), or smaller batches, need less"


@dataclass(frozen=True)
class Death:
    """The cause of a process's death in one sentence; `for_memory` where memory ran out, `crashed`
    where the process did it itself."""

    reason: str
    for_memory: bool = False
    crashed: bool = False


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
            return Death(f"the trial's process crashed: {crash}", crashed=True)
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
        # Ray may tell of a death while the process still writes where it crashed.
        until = time.monotonic() + DYING_SECONDS
        while Path(f"/proc/{process}").exists() and time.monotonic() < until:
            time.sleep(0.02)
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
