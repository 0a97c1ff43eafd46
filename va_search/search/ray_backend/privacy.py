"""The privacy of a Ray of our own: a token that nobody else has, no socket that other machines
reach, and no secret in what Ray writes down.

Conventions: whoever reaches one of Ray's ports and has its token runs what they like as the user
who searches. On this machine every user reaches every port, so the token protects; it lies in the
private folder (folder.py) in a file that only its user reads, and Ray's processes know its path by
their environment. Credentials (AWS_…, MLFLOW_…) reach those processes by the environment that they
inherit, and never by one of Ray's runtime environments, which stand in its logs."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from va_search.errors import JobError
from va_search.search.ray_backend.folder import PREFIX
from va_search.search.ray_backend.guard import processes_in

LOOPBACK = "127.0.0.1"
"""The address of a Ray of our own: another network, a VPN or a firewall does no harm to it. At any
other address, 127.0.0.2 too, Ray's processes would listen on every network of the machine."""

ALONE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Set to 0: Ray takes 127.0.0.1 for what it is, as it does on macOS. On Linux it would otherwise
replace it by the address by which other machines reach this one."""

TOKEN_FILE = "token"  # noqa: S105  (a name)
TOKEN_BYTES = 32
AUTH = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
"""The variables in which Ray finds a token."""

PASSED_ON = ("RAY_", "TUNE_", "TRAIN_")
"""Beginnings of the variables that Tune may write into an actor's runtime environment."""

SOCKET = re.compile(r"socket:\[(\d+)\]")
LISTENING = "0A"
"""The state of a socket that listens, in /proc/net/tcp."""


@contextmanager
def own_token(folder: Path, token: str | None = None) -> Iterator[None]:
    """Within it this process, and those that it starts, know one token alone: this one, or one made
    for the Ray of this folder. Afterwards those that the user has set hold again."""
    path = folder / TOKEN_FILE
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(token or secrets.token_hex(TOKEN_BYTES))
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}
    try:
        with environment(variables, without=AUTH):
            yield
    finally:
        if "ray" in sys.modules:
            read_token_again()


def read_token_again() -> None:
    """Let Ray look anew where its token is: it remembers that of an earlier Ray of this process.
    Not while it runs."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    # In this order: in between a thread of an earlier Ray may ask for a token.
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def environment(new: dict[str, str], without: Iterable[str] = ()) -> Iterator[None]:
    """Within it these variables are set, and those of `without` that are not among them are
    absent."""
    names = {*new, *without}
    before = {name: os.environ[name] for name in names & os.environ.keys()}
    for name in names:
        os.environ.pop(name, None)
    os.environ.update(new)
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)


@contextmanager
def on_this_machine_alone() -> Iterator[None]:
    """Around Ray's start: its processes listen at `LOOPBACK` and nowhere else."""
    from ray._private import ray_constants

    # Ray reads the variable once, as it is imported, which may have been before.
    with environment({ALONE: "0"}), replaced(ray_constants, "ENABLE_RAY_CLUSTER", False):
        yield


def private_addresses() -> set[str]:
    """Return the addresses (host:port) of the Rays that searches on this machine, of any user,
    started for themselves, by the command lines of their processes. Empty without /proc."""
    addresses = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone meanwhile
            command = (process / "cmdline").read_text(encoding="utf-8", errors="replace")
            arguments = command.split("\0")
            if any(f"/{PREFIX}" in argument for argument in arguments):
                values = (argument.partition("--gcs-address=")[2] for argument in arguments)
                addresses |= {address for address in values if address}
    return addresses


@contextmanager
def without_command_line() -> Iterator[None]:
    """Around Ray's start: it notes the command line of this process among a cluster's jobs, which
    may hold an address with a password."""
    from ray._private import utils

    with replaced(utils, "get_entrypoint_name", lambda: "va-search"):
        yield


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Within it an attribute of one of Ray's modules has another value; without effect where Ray
    has no such attribute any more."""
    if not hasattr(owner, name):
        yield
        return
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def keep_secrets_from_tune(*, on_cluster: bool) -> None:
    """Let Tune write none of the user's credentials (AWS_SECRET_ACCESS_KEY and others) into its
    actors' runtime environment, which Ray logs: processes inherit them, on a cluster from the shell
    that started its node. Those of a Ray of our own inherit everything, and have no runtime
    environment at all (vital.py)."""
    from ray.tune.execution import class_cache

    names = {name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith(PASSED_ON)}
    class_cache.ENV_VARS_TO_PROPAGATE = names if on_cluster else set()


def free_ports(host: str, number: int) -> list[int]:
    """Return ports at an address of this machine that nobody has this moment, all different."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(number)]
        for probe in probes:
            probe.bind((host, 0))
        return [probe.getsockname()[1] for probe in probes]


@dataclass(frozen=True)
class Listener:
    """A TCP socket of a process that waits for connections: at which address and port."""

    process: int
    name: str
    address: str
    port: int

    @property
    def is_private(self) -> bool:
        """True where only this machine reaches it."""
        address = ipaddress.ip_address(self.address)
        mapped = getattr(address, "ipv4_mapped", None)
        return bool((mapped or address).is_loopback)

    def __str__(self) -> str:
        return f"{self.name} (process {self.process}) at {self.address}, port {self.port}"


def refuse_listeners_elsewhere(folder: Path, before: Iterable[Listener]) -> None:
    """JobError where a process of the Ray of this folder, or this one since `before`, can be
    reached from other machines. Nothing is known where the system has no /proc."""
    earlier = set(before)
    exposed = [
        str(listener)
        for listener in listeners(processes_in(folder)) + own_listeners()
        if not listener.is_private and listener not in earlier
    ]
    if exposed:
        raise JobError(
            "Ray on this machine can be reached from other machines, though it was told to listen "
            f"at {LOOPBACK} alone, so it was ended: " + "; ".join(exposed)
        )


def own_listeners() -> list[Listener]:
    """Return the TCP sockets on which this process listens: a notebook's kernel has some."""
    return listeners({os.getpid(): "this process"})


def listeners(processes: dict[int, str]) -> list[Listener]:
    """Return the TCP sockets on which these processes (names by id) listen."""
    owners: dict[str, int] = {}
    for process in processes:
        for inode in _sockets(process):
            owners[inode] = process
    sockets = []
    for table in ("tcp", "tcp6"):
        for inode, address, port in _listening(Path("/proc/net") / table):
            if inode in owners:
                process = owners[inode]
                sockets.append(Listener(process, processes[process], address, port))
    return sockets


def _sockets(process: int) -> list[str]:
    """Return the inodes of a process's sockets; none of one that is gone or another user's."""
    inodes = []
    with suppress(OSError):
        for link in Path(f"/proc/{process}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                match = SOCKET.fullmatch(str(link.readlink()))
                if match:
                    inodes.append(match[1])
    return inodes


def _listening(table: Path) -> list[tuple[str, str, int]]:
    """Return inode, address and port of the sockets in one of the kernel's tables that listen."""
    sockets = []
    with suppress(OSError):  # another system, or no IPv6
        for line in table.read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            local, state, inode = fields[1], fields[3], fields[9]
            if state == LISTENING:
                address, _, port = local.partition(":")
                sockets.append((inode, _address(address), int(port, 16)))
    return sockets


def _address(digits: str) -> str:
    """Return an address as the kernel prints it, words of four bytes each in the machine's order,
    in words of ours."""
    words = [bytes.fromhex(digits[start : start + 8]) for start in range(0, len(digits), 8)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    return str(ipaddress.ip_address(b"".join(words)))
