"""One node of a Ray that spans the nodes of a job (SLURM and its like):

    python -m va_search.search.ray_backend.job_node HOST:PORT FOLDER

runs on every node of the job (`clusters/slurm.sh`, by `srun`). The node that has the address HOST
becomes Ray's head, which listens on PORT; the others join it. FOLDER is the job's own on the disk of
each node, which is removed at the end. With `--choose OTHER` instead, it prints HOST:PORT for a head
on this machine: the address by which it reaches the node OTHER, and a free port.

Conventions: the first line of standard input is the token, which so stands in no list of processes
and no environment. The node lives as long as standard input is open: it ends with whoever holds the
other end, killed or not. The stop signals are blocked here and in Ray's processes, since SLURM sends
them to every process of a job at once, and running trials need some seconds for their checkpoints;
after SIGTERM the node ends `LEAVING_SECONDS` later, whatever happens.

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
from contextlib import ExitStack
from pathlib import Path

from va_search.errors import JobError
from va_search.files import remove_folder
from va_search.search.interruption import block_signals
from va_search.search.machine import cores, gpus_seen
from va_search.search.ray_backend.folder import NODE_PREFIX, RAY, private_folder
from va_search.search.ray_backend.privacy import own_token

TURN_SECONDS = 0.5
JOINING_SECONDS = 300.0
"""How long the head may take to answer; nodes of a job begin within minutes of one another."""
LEAVING_SECONDS = 20.0
"""So long after SIGTERM a node is over: SLURM kills 30 s after it (KillWait)."""

READY = "ready"
STARTED = "Ray runtime started"

PORTS = ("dashboard-agent-listen-port", "dashboard-agent-grpc-port", "runtime-env-agent-port")
"""Ports that Ray would take fixed ones for, or wait half a minute for who tells them."""

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
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_worker_register_timeout_seconds": "300",
}
"""An environment on a busy shared file system takes minutes until a process has imported all of
it, which Ray's own limits (30 and 60 s) don't allow for."""


class StandardInput:
    """Standard input as the life line of this process: a token, and then nothing but its end."""

    def __init__(self) -> None:
        self.closed = False

    def token(self) -> str:
        """Return the first line. JobError where there is none."""
        line = bytearray()
        while not line.endswith(b"\n"):
            byte = os.read(sys.stdin.fileno(), 1)
            if not byte:
                raise JobError("standard input ended before it told the token")
            line += byte
        return line.decode("ascii").strip()

    def wait(self, seconds: float) -> None:
        """Wait so long, or until the end."""
        ready, _, _ = select.select([sys.stdin.fileno()], [], [], seconds)
        if ready and not os.read(sys.stdin.fileno(), 4096):
            self.closed = True


class Life:
    """The time until this node is to end."""

    def __init__(self, line: StandardInput) -> None:
        self._line = line
        self._until = float("inf")

    def lasts(self) -> bool:
        """Wait for a turn; False once the node is to end."""
        self._line.wait(TURN_SECONDS)
        if self._until == float("inf") and signal.SIGTERM in signal.sigpending():
            self._until = time.monotonic() + LEAVING_SECONDS
        return not self._line.closed and time.monotonic() < self._until


def serve(address: str, job: Path) -> int:
    """Be a node of the job's Ray until standard input ends; return an exit code. `job` is the
    job's folder on this node's disk, which the batch shell made on the head."""
    block_signals()
    line = StandardInput()
    token = line.token()
    life = Life(line)
    host, _, port = address.rpartition(":")
    is_head = _is_own(host)
    own_address = host if is_head else _joined_from(host, int(port), life)
    if own_address is None:
        return 0
    job.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with private_folder(NODE_PREFIX) as folder, own_token(folder, token):
            options = {**OPTIONS, "node-ip-address": own_address, "temp-dir": str(folder / RAY)}
            if is_head:
                options |= {"port": port, "include-dashboard": "false"}
            else:
                options["address"] = address
            return NodeOfRay(options, is_head, folder / "start.log").run(life, job / READY)
    finally:
        if not is_head:
            remove_folder(job)


class NodeOfRay:
    """`ray start` with these options, which runs as long as Ray does."""

    def __init__(self, options: dict[str, str], is_head: bool, log: Path) -> None:
        self._options, self._is_head, self._log = options, is_head, log
        self._until = time.monotonic() + JOINING_SECONDS
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        # Ray's client has a port on the head, whether it is wanted or not.
        names = [*PORTS, "ray-client-server-port"] if self._is_head else PORTS
        ports = free_ports(self._options["node-ip-address"], len(names))
        options = self._options | {name: str(port) for name, port in zip(names, ports, strict=True)}
        # What SLURM gave: it may bind nothing where a cluster's control groups are not used.
        options |= {"num-cpus": str(cores()), "num-gpus": str(int(gpus_seen()))}
        words = [f"--{name}={value}" for name, value in options.items()]
        if self._is_head:
            words += ["--head", "--no-monitor"]  # nothing here starts or stops machines
        with self._log.open("wb") as output:
            return subprocess.Popen(  # noqa: S603 (our own interpreter)
                [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *words],
                env=os.environ | SETTINGS,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def run(self, life: Life, ready: Path) -> int:
        """Wait until the node is to end, or Ray ended by itself; return an exit code. The file
        `ready` is made once Ray runs."""
        while life.lasts():
            text = self._log.read_text(encoding="utf-8", errors="replace")
            if STARTED in text and not ready.exists():
                ready.touch()
            if self._process.poll() is None:
                continue
            # A head that answers may not know its own node yet, which those that join need.
            if not self._is_head and not ready.exists() and time.monotonic() < self._until:
                self._process = self._start()
                continue
            sys.stderr.write(f"{socket.gethostname()}: Ray ended:\n{text}\n")
            return 1
        return 0


def free_ports(host: str, number: int) -> list[int]:
    """Return ports at an address of this machine that nobody has this moment, all different."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind((host, 0))
        return [probe.getsockname()[1] for probe in probes]


def head_address(other: str) -> str:
    """Return HOST:PORT for a head on this machine that another one is to reach."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((other, 9))  # sends nothing: it asks for the way there
        host: str = probe.getsockname()[0]
    (port,) = free_ports(host, 1)
    return f"{host}:{port}"


def _is_own(host: str) -> bool:
    """Return True where an address is one of this machine's: a socket can be bound to it."""
    with socket.socket() as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def _joined_from(host: str, port: int, life: Life) -> str | None:
    """Wait until the head answers, and return the address of this machine that reaches it; None
    where the node is to end before. JobError when the head does not answer in time."""
    until = time.monotonic() + JOINING_SECONDS
    while life.lasts():
        try:
            with socket.create_connection((host, port), TURN_SECONDS * 4) as connection:
                own: str = connection.getsockname()[0]
                return own
        except OSError as error:
            if time.monotonic() > until:
                raise JobError(f"Ray's head at {host}:{port} does not answer: {error}") from error
    return None


def main(first: str, second: str) -> int:
    """Run as the module's text says."""
    if first == "--choose":
        sys.stdout.write(f"{head_address(second)}\n")
        return 0
    try:
        return serve(first, Path(second))
    except JobError as error:
        sys.stderr.write(f"{socket.gethostname()}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
