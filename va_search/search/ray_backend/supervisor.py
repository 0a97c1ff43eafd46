"""Ray on a thread of its own, watched by the thread that asked for it.

Ray's client code hangs, or ends the whole process, when one of Ray's processes dies or a cluster's
head no longer answers. So Ray is only ever called from one thread, made for it; the thread that
waits for a result (the main one, which signals reach) looks after Ray's processes meanwhile, and
when they are gone it leaves the other thread behind, ends what is left of Ray and goes on with what
is saved.

The thread has the stop signals blocked, as have Ray's processes, which inherit that: a signal to
all processes of a job stops the search as Ctrl-C does. On Linux Ray's processes die with the thread
that started them, so it lives as long as Ray."""

from __future__ import annotations

import math
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from va_search.errors import JobError
from va_search.files import remove_folder
from va_search.search.interruption import block_signals, retake_signals
from va_search.search.ray_backend.guard import end_processes, processes_in

T = TypeVar("T")

VITAL = {"gcs_server": "GCS", "raylet": "raylet"}
"""The processes without which Ray does nothing more, by the name the system has for them."""

TURN_SECONDS = 0.2
LOOK_SECONDS = 1.0
"""So often Ray's processes are looked at."""

STOP_SECONDS = 9.0
"""How long Ray may take to end running trials after a request to stop; Tune itself waits 5 s for
their checkpoints."""
END_SECONDS = 10.0
"""How long Ray itself may take to end once no trial runs any more."""

REJOIN_SECONDS = 60.0
"""How long Ray's start may take to notice that its processes are gone: it looks for its node for up
to 30 s, twice."""

PROBE_SECONDS = 5.0
SILENT_SECONDS, SILENT_CLUSTER_SECONDS = 20.0, 45.0
"""How long the GCS may leave every question unanswered: on this machine, and of a cluster."""


class RayLost(JobError):
    """Ray can't go on: its processes are gone, or it does not answer."""


_LEFT: list[Path | None] = []
"""The folders of those Rays that a thread of this process still is in; None for a cluster's."""


def leave_process(code: int, defect: BaseException | None = None) -> None:
    """End this process at once if a thread of it was left behind in Ray, which would hang or abort
    its end.

    Returns where no thread was. The traceback of a defect is shown.
    """
    if not _LEFT:
        return
    if defect is not None:
        traceback.print_exception(defect)
    sys.stdout.flush()
    sys.stderr.flush()
    for folder in filter(None, _LEFT):
        remove_folder(folder)  # that thread may have written there again
    os._exit(code)


def is_left_behind() -> bool:
    """Return True where a thread of this process still is in a Ray, so that no other can begin."""
    return bool(_LEFT)


class _Call:
    """One call on Ray's thread, and what came of it."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self._work()
        except BaseException as error:  # raised again in the thread that waits
            self.error = error
        self.done.set()


class Supervisor:
    """Ray's thread; `folder` is where a Ray of our own has its logs, None for a cluster. `stop`
    says whether the work was asked to end."""

    def __init__(self, folder: Path | None, stop: Callable[[], bool] = lambda: False) -> None:
        self.abandoned = False
        self._asked_to_stop: float | None = None
        self.folder = folder
        self._stop = stop
        self._seen: dict[int, str] = {}
        self._ended_before = _ended_children()  # of an earlier Ray of this process
        self._looked = float("-inf")
        self._probe: _Probe | None = None
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._call: _Call | None = None  # the last one
        self._thread = threading.Thread(target=self._serve, name="ray", daemon=True)
        self._thread.start()

    def call(
        self, work: Callable[[], T], *, patience: float = STOP_SECONDS, limit: float = math.inf
    ) -> T:
        """Return `work()`, called on Ray's thread.

        RayLost when Ray is lost meanwhile, takes longer than `limit` seconds, or does not end
        within `patience` seconds of a request to stop."""
        call = self._call = _Call(work)
        self._calls.put(call)
        began = time.monotonic()
        try:
            while not call.done.wait(TURN_SECONDS):
                retake_signals()
                problem = self._problem(patience)
                if problem is None and time.monotonic() - began > limit:
                    problem = f"Ray did not answer within {limit:.0f} s"
                if problem is not None:
                    raise RayLost(problem)
        except (RayLost, KeyboardInterrupt):
            self.abandon()
            raise
        retake_signals()
        if call.error is not None:
            problem = self.lost()  # what Ray raises then says little
            if problem is not None:
                self.abandon()
                raise RayLost(problem) from call.error
            raise call.error
        result: T = call.result
        return result

    def each(self, values: Iterable[T]) -> Iterator[T]:
        """The values of an iterator that calls Ray for each of them."""
        iterator = iter(values)
        end = object()
        while True:
            value = self.call(lambda: next(iterator, end))
            if value is end:
                return
            yield value  # type: ignore[misc]

    def began(self, address: str, node: str) -> None:
        """Ray runs: from now on its GCS at this address is asked whether it and this machine's node
        live."""
        self._probe = _Probe(address, node)

    def lost(self) -> str | None:
        """Return why Ray can't go on, looked at now; None while it can. Any thread may ask."""
        return self._death() or (self._probe.problem(self.folder is None) if self._probe else None)

    def abandon(self) -> None:
        """Leave Ray as it is and end its processes on this machine, if they are ours."""
        self.abandoned = True
        _LEFT.append(self.folder)
        if self._probe is not None:
            self._probe.end()
        if self.folder is not None:
            end_processes(self.folder)

    def rejoin(self) -> None:
        """Wait until the thread that was left behind comes out of Ray after all, now that Ray's
        processes are gone; as if it had not been left then. Not after a request to stop."""
        if not self.abandoned or self._call is None:
            return
        until = time.monotonic() + REJOIN_SECONDS
        while not self._call.done.wait(TURN_SECONDS):
            retake_signals()
            if self._stop() or time.monotonic() > until:
                return
        _LEFT.remove(self.folder)
        self.abandoned = False

    def close(self, work: Callable[[], Any]) -> None:
        """Call `work`, which ends Ray, and be done; Ray is left behind where it does not end."""
        if self._probe is not None:
            self._probe.end()
        if not self.abandoned:
            call = _Call(work)
            self._calls.put(call)
            try:
                ended = call.done.wait(END_SECONDS)
            except KeyboardInterrupt:
                ended = False
            if not ended:
                self.abandon()
        self._calls.put(None)

    def _serve(self) -> None:
        block_signals()
        while (call := self._calls.get()) is not None:
            call.run()

    def _problem(self, patience: float) -> str | None:
        if self._stop():
            self._asked_to_stop = self._asked_to_stop or time.monotonic()
            if time.monotonic() - self._asked_to_stop > patience:
                return f"Ray did not end running trials within {patience:.0f} s"
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return None
        self._looked = time.monotonic()
        return self.lost()

    def _death(self) -> str | None:
        """Return which of the vital processes is gone since it was first seen."""
        if self.folder is None:
            return None
        if len(set(self._seen.values())) < len(VITAL):
            # One that dies as soon as it starts has no files open any more, but is still our child.
            running = processes_in(self.folder) | _ended_children()
            self._seen |= {
                process: name
                for process, name in running.items()
                if name in VITAL and process not in self._ended_before
            }
        for process, name in self._seen.items():
            if not _lives(process):
                return (
                    f"Ray's {VITAL[name]} process on this machine {self._how_ended(process, name)}"
                )
        return None

    def _how_ended(self, process: int, name: str) -> str:
        code = _exit_code(process)
        if code is not None and code < 0:
            with suppress(ValueError):
                return f"was ended by {signal.Signals(-code).name}"
        error = _last_error(self.folder, name)
        exited = "ended" if code is None else f"ended with exit code {code}"
        return f"{exited}: {error}" if error else exited


class _Probe:
    """Asks a GCS again and again, on a thread of its own, whether it answers and a node is
    alive."""

    def __init__(self, address: str, node: str) -> None:
        self._address, self._node = address, node
        self._answered = time.monotonic()
        self._silent = 0.0
        self._node_alive = True
        self._ended = threading.Event()
        threading.Thread(target=self._ask, name="ray-probe", daemon=True).start()

    def problem(self, cluster: bool) -> str | None:
        if not self._node_alive:
            return (
                "this machine's node left the Ray cluster"
                if cluster
                else "Ray's raylet process no longer answers"
            )
        if self._silent < (SILENT_CLUSTER_SECONDS if cluster else SILENT_SECONDS):
            return None
        ray = f"the Ray cluster at {self._address}" if cluster else "Ray on this machine"
        return f"{ray} has not answered for {self._silent:.0f} s"

    def end(self) -> None:
        self._ended.set()

    def _ask(self) -> None:
        # Ray's public calls (ray.nodes, ray status) wait for the GCS as long as it likes, on the
        # very connection that hangs; this client, which they use themselves, takes a time-out.
        from ray._raylet import GcsClient, NodeID  # type: ignore[attr-defined]

        block_signals()
        client, node = GcsClient(address=self._address), NodeID.from_hex(self._node)
        while not self._ended.wait(PROBE_SECONDS if self._silent == 0 else 1.0):
            began = time.monotonic()
            try:
                (self._node_alive,) = client.check_alive([node], timeout=PROBE_SECONDS)
                self._silent = 0.0
            except Exception:  # whatever it is, there was no answer
                # Only time spent asking counts: a machine that slept was not silent.
                self._silent += min(time.monotonic() - began + 1.0, PROBE_SECONDS + 2.0)


def _lives(process: int) -> bool:
    """Return True while a process runs; one that ended and was not yet waited for does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _ended_children() -> dict[int, str]:
    """Return the names, by id, of this process's children that have ended and were not yet waited for."""
    names = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            name, _, fields = (process / "stat").read_text().rpartition(")")
            state, parent = fields.split()[:2]
            if state in "ZX" and int(parent) == os.getpid():
                names[int(process.name)] = name.partition("(")[2]
    return names


def _exit_code(process: int) -> int | None:
    """Return how a process that Ray started here ended: its exit code, or minus the signal; None where
    unknown."""
    with suppress(OSError):  # WNOWAIT leaves it to Ray to wait for it
        status = os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if status is not None:
            return status.si_status if status.si_code == os.CLD_EXITED else -status.si_status
    return None


def _last_error(folder: Path | None, name: str) -> str:
    """Return the last error that a process of Ray's wrote to its log; empty when there is none."""
    lines: list[str] = []
    for log in [] if folder is None else sorted(folder.glob(f"**/session_2*/logs/{name}.*")):
        text = log.read_text(encoding="utf-8", errors="replace")
        lines += re.findall(r"^\[[^\]]* [EFC] \d+ \d+\] (?:\(\w+\) )?(.*)$", text, re.MULTILINE)
    return lines[-1].strip()[:300] if lines else ""
