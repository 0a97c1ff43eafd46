"""The user's machine in the tests of the cluster launcher: a home with a token, the launcher's
file, its commands."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hosts import Hosts

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = REPOSITORY / "clusters" / "on_premises.yaml"
ENVIRONMENT = Path(sys.prefix)
DROPPED = ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "VA_SEARCH_HOME", "PYTHONPATH")


class Laptop:
    """Runs the documented commands as a user would, with a home folder of its own."""

    def __init__(self, folder: Path, hosts: Hosts) -> None:
        self.folder, self.hosts = folder, hosts
        self.home = folder / "laptop"
        (self.home / "tmp").mkdir(parents=True)
        self.cluster = self.home / "on_premises.yaml"
        self.environment = {
            name: value for name, value in os.environ.items() if name not in DROPPED
        } | {
            "HOME": str(self.home),
            "PATH": f"{ENVIRONMENT / 'bin'}:{os.environ['PATH']}",
            "TMPDIR": str(self.home / "tmp"),
            "RAY_TMPDIR": str(self.home / "tmp"),
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def configure(self) -> None:
        """The shipped file with this cluster's addresses, user and key; all else is what the
        repository ships."""
        document = yaml.safe_load(SHIPPED.read_text())
        head, *workers = [host.address for host in self.hosts.hosts]
        own: dict[tuple[str, ...], Any] = {
            (
                "cluster_name",
            ): f"va-search-test-{os.getpid()}",  # names the launcher's sockets below /tmp
            ("provider", "head_ip"): head,
            ("provider", "worker_ips"): workers,
            ("max_workers",): len(workers),
            ("auth", "ssh_user"): "root",
            ("auth", "ssh_private_key"): str(self.hosts.key),
        }
        for path, value in own.items():
            place = document
            for name in path[:-1]:
                place = place[name]
            assert path[-1] in place, f"{SHIPPED}: no {'.'.join(path)} any more"
            place[path[-1]] = value
        self.cluster.write_text(yaml.safe_dump(document, sort_keys=False))

    def run(self, *command: str, timeout: float = 120.0, expect: int = 0) -> str:
        """Run a command in the repository's folder; its standard output, after its exit code is as
        expected."""
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        said = f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == expect, f"exit code {done.returncode}: {said}"
        return done.stdout

    @contextmanager
    def tunnel(self, remote: int) -> Iterator[int]:
        """`ray dashboard` for as long as the context: a port of ours that leads to one of the
        head's own."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        command = [
            "ray",
            "dashboard",
            str(self.cluster),
            "--port",
            str(port),
            "--remote-port",
            str(remote),
        ]
        log = self.home / f"tunnel-{remote}.log"
        with open(log, "ab") as out:
            process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            until = time.monotonic() + 60
            while not _open(port):
                assert process.poll() is None and time.monotonic() < until, log.read_text()
                time.sleep(0.1)
            yield port
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(20)

    def clean(self) -> None:
        """Remove what the launcher leaves below /tmp: the sockets of its SSH connections."""
        if self.cluster.is_file():
            name = yaml.safe_load(self.cluster.read_text())["cluster_name"]
            shutil.rmtree(control_path(name), ignore_errors=True)


def control_path(cluster_name: str) -> Path:
    """Where the launcher keeps its SSH connections' sockets, as Ray names it."""
    from ray.autoscaler._private.command_runner import SSHCommandRunner

    runner = SSHCommandRunner("", "", None, {"ssh_user": "root"}, cluster_name, subprocess, True)
    return Path(str(runner.ssh_control_path))


def install(hosts: Hosts) -> None:
    """What the file's install step would find done: this Python environment at ~/.va-search, from
    these versions.

    The hosts have no way to a package index. The package itself is the source that `ray up` copies
    to them."""
    for host in hosts.hosts:
        at = host.home / ".va-search"
        at.mkdir()
        for name in ("bin", "lib", "pyvenv.cfg"):
            (at / name).symlink_to(ENVIRONMENT / name)
        versions = [REPOSITORY / name for name in ("pyproject.toml", "constraints.txt")]
        (at / "installed-from").write_bytes(b"".join(path.read_bytes() for path in versions))
        (host.home / ".bashrc").write_text('export PYTHONPATH="$HOME/va-search"\n')


def _open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
