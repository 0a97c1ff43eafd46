"""Several hosts on one machine: network namespaces with an sshd each, for tests of Ray's cluster
launcher.

A host has its own network address (10.77.0.2, 10.77.0.3, …; this machine is 10.77.0.1), process
tree, host name, home folder (root's), /tmp and /mnt; of the rest of the disk it sees what this
machine sees. A folder can be mounted on all of them, as NFS would. Nothing leads out: the hosts
reach one another and 10.77.0.1 through a bridge, and nobody forwards their packets.

Needs root, iproute2, util-linux, openssh-server and rsync (`lacking` names what is absent). The
namespaces have no names: they end with the processes in them, and these with this one, however it
ends. What a kill can leave is the bridge, which the next `Hosts` removes. One `Hosts` at a time: a
lock file in /run tells."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

BRIDGE = "va-hosts"
NETWORK = "10.77.0"
LOCK = Path("/run/va-search-hosts.lock")
PROGRAMS = ("ip", "unshare", "setpriv", "mount", "ssh", "ssh-keygen", "rsync", "/usr/sbin/sshd")
STARTING_SECONDS = 20.0
HOME = pwd.getpwuid(0).pw_dir
OWN = {"tmp": "/tmp", "mnt": "/mnt", "home": HOME}
"""Folders that are each host's own: by their name in the host's folder."""

SSHD = """
Port 22
ListenAddress 0.0.0.0
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
UseDNS no
PidFile none
"""

INSIDE = """
set -e
mount --make-rprivate /
{binds}
mount -t tmpfs tmpfs /run
mkdir -m 755 /run/sshd
mount --bind {hosts} /etc/hosts
mount --bind /dev/null "$(readlink -f /etc/resolv.conf)"
hostname {name}
exec /usr/sbin/sshd -D -e -f {folder}/sshd_config
"""
"""Run as the first process of a host; when it ends, so does all that runs there."""


def lacking() -> str | None:
    """Why this machine can hold no hosts, in words; None when it can."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if os.geteuid() != 0:
        return "network namespaces need root"
    return (
        f"absent: {', '.join(absent)} (Debian: iproute2, openssh-server, rsync)" if absent else None
    )


@dataclass
class Host:
    """One host; `folder` holds its keys and home."""

    name: str
    address: str
    folder: Path
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def processes(self) -> list[int]:
        """Process ids, as seen from here, of all that runs on the host."""
        if self.process is None:
            return []
        namespace = _namespace(self.process.pid)
        found = [
            int(one.name)
            for one in Path("/proc").glob("[0-9]*")
            if namespace == _namespace(one.name)
        ]
        return found if namespace else []

    def power_off(self) -> None:
        """As if the plug were pulled: every process is killed at once and the address is gone."""
        if self.process is None:
            return
        before = self.processes()
        # its child is the host's first process, which dies with it and takes the others along
        self.process.kill()
        self.process.wait()
        until = time.monotonic() + STARTING_SECONDS
        # One that has ended may still wait for its parent outside to ask how.
        while left := [pid for pid in before if _runs(pid)]:
            if time.monotonic() > until:
                raise AssertionError(f"{self.name}: processes that outlive their host: {left}")
            time.sleep(0.02)
        self.process = None


class Hosts:
    """The hosts of one test and the key that opens them; made by `running_hosts`.

    `mounts`: folders of this machine by where the hosts have them, needed below /tmp, /mnt and
    root's home."""

    def __init__(self, folder: Path, names: Sequence[str], mounts: Mapping[Path, Path]) -> None:
        self.folder = folder
        self.key = folder / "key"
        self.mounts = {folder: folder, **mounts}
        self.hosts = [
            Host(name, f"{NETWORK}.{n}", folder / name) for n, name in enumerate(names, start=2)
        ]

    def __getitem__(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    def prepare(self) -> None:
        """Keys, homes and the bridge."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(self.key))
        lines = [f"{host.address} {host.name}" for host in self.hosts]
        (self.folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines]) + "\n")
        for host in self.hosts:
            for name in OWN:
                (host.folder / name).mkdir(parents=True)
            _run(
                "ssh-keygen",
                "-q",
                "-t",
                "ed25519",
                "-N",
                "",
                "-C",
                host.name,
                "-f",
                str(host.folder / "host_key"),
            )
            shutil.copy(self.key.with_suffix(".pub"), host.folder / "authorized_keys")
            (host.folder / "sshd_config").write_text(SSHD.format(folder=host.folder))
            (host.home / ".bashrc").touch()  # the launcher sources it
        for link in left_links():  # by a test that was killed
            remove_link(link)
        _run("ip", "link", "add", BRIDGE, "type", "bridge")
        _run("ip", "address", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        _run("ip", "link", "set", BRIDGE, "up")

    def power_on(self, host: Host) -> None:
        """Start a host; returns when its sshd answers."""
        script = INSIDE.format(
            binds=self._binds(host), folder=host.folder, hosts=self.folder / "hosts", name=host.name
        )
        spaces = [
            "unshare",
            "--net",
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]
        with open(host.folder / "sshd.log", "ab") as log:
            host.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *spaces, "sh", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._connect(host)
        until = time.monotonic() + STARTING_SECONDS
        while not _answers(host.address, 22):
            if not host.running or time.monotonic() > until:
                raise AssertionError(
                    f"{host.name}: no sshd: {(host.folder / 'sshd.log').read_text()}"
                )
            time.sleep(0.05)

    def _binds(self, host: Host) -> str:
        """Commands that give a host the folders of its own, with what is mounted below them."""
        lines = []
        for seen, path in self.mounts.items():
            for name in (name for name, own in OWN.items() if seen.is_relative_to(own)):
                place = host.folder / name / seen.relative_to(OWN[name])
                place.mkdir(parents=True, exist_ok=True)
                lines.append(f"mount --bind {path} {place}")
        last = sorted(
            OWN, key=lambda name: self.folder.is_relative_to(OWN[name])
        )  # it hides what the others come from
        return "\n".join(
            [*lines, *(f"mount --rbind {host.folder / name} {OWN[name]}" for name in last)]
        )

    def _connect(self, host: Host) -> None:
        assert host.process is not None
        pid, cable = str(host.process.pid), f"va-{host.address.rpartition('.')[2]}"
        until = time.monotonic() + STARTING_SECONDS
        while _namespace(pid) == _namespace("self"):
            if time.monotonic() > until:
                raise AssertionError(f"{host.name}: no network namespace")
            time.sleep(0.01)
        remove_link(cable)  # of a host that was powered off a moment ago
        _run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", pid)
        _run("ip", "link", "set", cable, "master", BRIDGE, "up")
        for words in (
            ["address", "add", f"{host.address}/24", "dev", "eth0"],
            ["link", "set", "lo", "up"],
            ["link", "set", "eth0", "up"],
            [
                "route",
                "add",
                "default",
                "dev",
                "eth0",
            ],  # Ray finds its address by it; nobody answers beyond the bridge
        ):
            _run("nsenter", "--target", pid, "--net", "ip", *words)

    def ssh(self, host: Host) -> list[str]:
        """The ssh command that reaches a host with the test's key, and reads nobody's settings."""
        never = [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
            "LogLevel=ERROR",
        ]
        options = [word for one in never for word in ("-o", one)]
        return ["ssh", "-F", "/dev/null", "-i", str(self.key), *options, f"root@{host.address}"]


@contextmanager
def running_hosts(
    folder: Path, names: Sequence[str], *, mounts: Mapping[Path, Path]
) -> Iterator[Hosts]:
    """Hosts that run for as long as the context, and leave nothing."""
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.set_inheritable(lock.fileno(), False)
        hosts = Hosts(folder, names, mounts)
        try:
            hosts.prepare()
            for host in hosts.hosts:
                hosts.power_on(host)
            yield hosts
        finally:
            with _uninterrupted():
                for host in hosts.hosts:
                    host.power_off()
                for link in (
                    left_links()
                ):  # the kernel removes a namespace's cable some time after its last process
                    remove_link(link)


def remove_link(name: str) -> None:
    """Remove a network link of ours, unless it goes by itself this moment."""
    with contextlib.suppress(subprocess.CalledProcessError):
        _run("ip", "link", "delete", name)


def left_links() -> list[str]:
    """Network links of ours on this machine; none when no hosts run."""
    return sorted(path.name for path in Path("/sys/class/net").glob("va-*"))


def left_mounts(folder: Path) -> list[str]:
    """Mounts below a folder, as this machine sees them."""
    return [
        line
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if f" {folder}" in line
    ]


@contextmanager
def _uninterrupted() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=STARTING_SECONDS)


def _answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), 0.5) as connection:
            return connection.recv(4).startswith(b"SSH-")
    except OSError:
        return False


def _runs(pid: int) -> bool:
    """Return True while a process runs, seen from here; an ended one whose parent has not yet asked
    how does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def _namespace(pid: int | str) -> str | None:
    """The network namespace of a process; None when it has ended."""
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return None
