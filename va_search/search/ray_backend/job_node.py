"""One node of a Ray that spans the nodes of a job (SLURM and its like):

    python -m va_search.search.ray_backend.job_node HOST:PORT FOLDER

runs on every node of the job (`clusters/slurm.sh`, by `srun`). The node that has the address HOST
becomes Ray's head, which listens on PORT; the others join it. FOLDER is the job's own on the disk of
each node, which is removed at the end. With `--choose OTHER` instead, it prints HOST:PORT for a head
on this machine: the address by which it reaches the node OTHER, and a free port.

Conventions: the first line of standard input is the token, which so stands in no list of processes
and no environment; the second one is written once the head runs (it made the file `READY` in its
FOLDER), and the others join. The node lives as long as standard input is open: it ends with whoever
holds the other end, killed or not. The stop signals are blocked here and in Ray's processes, since SLURM sends
them to every process of a job at once, and running trials need some seconds for their checkpoints;
after SIGTERM the node ends `LEAVING_SECONDS` later, whatever happens. When the head's machine is lost,
and with it the batch shell, the others have SLURM queue the job again.

`ray symmetric-run` does the same for a job that has its nodes to itself. It refuses to begin where
any Ray runs on the machine, and ends with `ray stop`, which ends every Ray of the user there: with
it two jobs can't share a node."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from va_search.errors import JobError
from va_search.files import remove_folder
from va_search.search.interruption import block_signals
from va_search.search.machine import cores, gpus_seen
from va_search.search.ray_backend.connection import TOO_LATE
from va_search.search.ray_backend.folder import NODE_PREFIX, RAY, private_folder
from va_search.search.ray_backend.privacy import free_ports, own_token

TURN_SECONDS = 0.5
LEAVING_SECONDS = 20.0
"""So long after SIGTERM a node is over: SLURM kills 30 s after it (KillWait)."""

LOST_SECONDS = 20.0
"""So long the first node of a job leaves every question unanswered until it is taken for lost. Ray
itself has waited a minute for it then."""

READY, ENDED = "ready", "ended"
"""Files that the head makes in its FOLDER."""
STARTED = "Ray runtime started"

PORTS = (
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
)
"""Ports of Ray's agents, one of which would be the same for every Ray of the machine."""

OPTIONS = {
    # Any port: two Rays on one machine would take the same from Ray's own range.
    "min-worker-port": "0",
    "max-worker-port": "0",
    # What a search does not need.
    "object-store-memory": str(100 * 2**20),
    "include-log-monitor": "false",
}

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_raylet_start_wait_time_s": "90",
    "RAY_worker_register_timeout_seconds": "300",
}
"""With an environment on a busy shared file system a process takes minutes until it has imported
torch, which Ray's own limit (60 s) does not allow for."""


class LifeLine:
    """Standard input: lines, and at last the end of this node."""

    def __init__(self) -> None:
        self.ended = False
        self._read = b""
        self._until = float("inf")

    @property
    def lines(self) -> list[str]:
        """The whole lines so far."""
        return self._read.decode("ascii", errors="replace").split("\n")[:-1]

    def holds(self) -> bool:
        """Wait for a turn; False once the node is to end."""
        ready, _, _ = select.select([sys.stdin.fileno()], [], [], TURN_SECONDS)
        if ready:
            text = os.read(sys.stdin.fileno(), 4096)
            self._read += text
            self.ended = not text
        if self._until == float("inf") and signal.SIGTERM in signal.sigpending():
            self._until = time.monotonic() + LEAVING_SECONDS
        return not self.ended and time.monotonic() < self._until

    def wait_for_line(self, number: int) -> bool:
        """Wait for so many lines; False where the node is to end before."""
        while len(self.lines) < number:
            if not self.holds():
                return False
        return True


def serve(address: str, job: Path) -> int:
    """Be a node of the job's Ray until standard input ends; return an exit code. `job` is the
    job's folder on this node's disk, which the batch shell made on the head."""
    block_signals()
    line = LifeLine()
    host, _, port = address.rpartition(":")
    is_head = _is_own(host)
    if not line.wait_for_line(1 if is_head else 2):
        return 0
    job.mkdir(mode=0o700, parents=True, exist_ok=True)
    if is_head:
        options = {"node-ip-address": host, "port": port, "include-dashboard": "false"}
    else:
        options = {"node-ip-address": own_address(host), "address": address}
    try:
        failure = _run(options, is_head, line, job / READY)
        if TOO_LATE.search(failure) and STARTED not in failure:
            # What Ray imports is in this node's cache by now.
            _say("Ray was not ready in time; it is started once more")
            failure = _run(options, is_head, line, job / READY)
        if not failure:
            return 0
        _say(f"Ray ended:\n{failure}")
        if not is_head and _is_lost(host, int(port), line):
            _queue_again(host)
        return 1
    finally:
        if is_head:
            (job / ENDED).touch()
        else:
            remove_folder(job)


def _run(options: dict[str, str], is_head: bool, line: LifeLine, ready: Path) -> str:
    """Run `ray start` with these options until the node is to end, or Ray ended by itself; return
    what Ray said then, empty in the first case. Nothing of it is left. The file `ready` is made once
    Ray runs."""
    with (
        private_folder(NODE_PREFIX) as folder,
        own_token(folder, line.lines[0]),
        (folder / "start.log").open("w+b") as output,
    ):
        ray = subprocess.Popen(  # noqa: S603 (our own interpreter)
            _command(options | {"temp-dir": str(folder / RAY)}, is_head),
            env=os.environ | SETTINGS,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        while line.holds():
            ended = ray.poll() is not None
            text = (folder / "start.log").read_text(encoding="utf-8", errors="replace")
            if STARTED in text and not ready.exists():
                ready.touch()
            if ended:
                return text or f"exit code {ray.returncode}"
    return ""


def _is_lost(host: str, port: int, line: LifeLine) -> bool:
    """Return True where the node on which the search runs is gone: nothing answers there, and
    nobody ends this node, as the batch shell would where only its Ray had failed."""
    until = time.monotonic() + LOST_SECONDS
    while line.holds():
        with suppress(OSError), socket.create_connection((host, port), LOST_SECONDS):
            return False
        if time.monotonic() > until:
            return True
    return False


def _queue_again(host: str) -> None:
    """Let SLURM begin the job again. With --no-kill it would not do so by itself: the job would
    keep the nodes that are left until its time is up, without a batch shell."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return
    _say(f"the first node of the job, {host}, is lost: job {job} is queued again")
    command = ["scontrol", "requeue", job]
    subprocess.run(command, stdin=subprocess.DEVNULL, check=False)  # noqa: S603 (no shell)


def _command(options: dict[str, str], is_head: bool) -> list[str]:
    """Return the words of `ray start`, with ports that are free now and what SLURM gave."""
    # Ray's client has a port on the head, whether it is wanted or not.
    names = [*PORTS, "ray-client-server-port"] if is_head else PORTS
    ports = free_ports(options["node-ip-address"], len(names))
    options = OPTIONS | options | {name: str(port) for name, port in zip(names, ports, strict=True)}
    # What SLURM gave: it may bind nothing where a cluster's control groups are not used.
    options |= {"num-cpus": str(cores()), "num-gpus": str(int(gpus_seen()))}
    words = [f"--{name}={value}" for name, value in options.items()]
    if is_head:
        words += ["--head", "--no-monitor"]  # nothing here starts or stops machines
    return [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *words]


def _say(text: str) -> None:
    sys.stderr.write(f"{socket.gethostname()}: {text}\n")
    sys.stderr.flush()


def own_address(other: str) -> str:
    """Return the address of this machine by which another one reaches it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((other, 9))  # sends nothing: it asks for the way there
        address: str = probe.getsockname()[0]
    return address


def _is_own(host: str) -> bool:
    """Return True where an address is one of this machine's: a socket can be bound to it."""
    with socket.socket() as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def main(first: str, second: str) -> int:
    """Run as the module's text says."""
    if first == "--choose":
        address = own_address(second)
        (port,) = free_ports(address, 1)
        sys.stdout.write(f"{address}:{port}\n")
        return 0
    try:
        return serve(first, Path(second))
    except JobError as error:
        _say(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
