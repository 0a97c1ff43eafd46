"""A SLURM cluster on one machine: its controller here, two or more nodes that are hosts in
namespaces (hosts.py), all real; ended with the context, and nothing left of it.

This machine is the login node: `sbatch` and its like are called here, with the configuration of
this cluster alone (`SLURM_CONF`). All daemons are authenticated by one munged, whose socket lies in
the test's folder, as do configuration, state, spools and logs. Processes of a job are found by
their parents (proctrack/linuxproc), since a container rarely may write control groups: what a job
leaves behind is not swept away by SLURM, and the tests see it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hosts as machines
from hosts import NETWORK, Host, Hosts

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = Path(sys.prefix)
PROGRAMS = ("/usr/sbin/slurmctld", "/usr/sbin/slurmd", "/usr/sbin/munged", "sbatch", "nsenter")
STARTING_SECONDS = 30.0
DROPPED = ("RAY_", "VA_SEARCH_", "SLURM_", "SBATCH_", "CUDA_", "TMPDIR", "PYTEST_")
"""Beginnings of the variables that a job is not to inherit from whoever runs the tests."""

CONFIGURATION = """
ClusterName=va
SlurmctldHost={controller}({network}.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdPort=6818
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=10
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SwitchType=switch/none
ReturnToService=2
SlurmdTimeout=10
InactiveLimit=0
MinJobAge=300
KillWait=15
MessageTimeout=30
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


UNHURRIED = {"RAY_preload_python_modules": "", "RAY_enable_worker_prestart": "0"}
"""Ray gives up where its agents need more than 15 s to start: nothing else is to import meanwhile."""


def lacking() -> str | None:
    """Return why this machine can hold no SLURM cluster, in words; None when it can."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"absent: {', '.join(absent)} (Debian: slurm-wlm, munge)"
    return machines.lacking()


class Slurm:
    """The cluster of one test; made by `running_slurm`."""

    def __init__(self, folder: Path, hosts: Hosts, cores: int) -> None:
        self.folder, self.hosts, self.cores = folder, hosts, cores
        self._daemons: list[subprocess.Popen[bytes]] = []
        kept = {name: value for name, value in os.environ.items() if not name.startswith(DROPPED)}
        self.environment = (
            kept
            | UNHURRIED
            | {
                "SLURM_CONF": str(folder / "slurm.conf"),
                "PATH": f"{ENVIRONMENT / 'bin'}:{os.environ['PATH']}",
                "PYTHONPATH": str(REPOSITORY),
            }
        )

    def start(self) -> None:
        """Write the configuration and start the daemons; returns when every node is idle."""
        nodes = [
            f"NodeName={host.name} NodeAddr={host.address} CPUs={self.cores} State=UNKNOWN"
            for host in self.hosts.hosts
        ]
        text = CONFIGURATION.format(
            controller=socket.gethostname(),
            network=NETWORK,
            port=_free_port(),
            folder=self.folder,
            nodes="\n".join(nodes),
        )
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "state").mkdir()
        self._start_munge()
        self._start("slurmctld", "-D")
        for host in self.hosts.hosts:
            self.start_node(host)
        self.wait_for_idle()

    def _start_munge(self) -> None:
        munge = self.folder / "munge"
        munge.mkdir(mode=0o755)
        (munge / "key").write_bytes(secrets.token_bytes(128))
        (munge / "key").chmod(0o600)
        paths = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log"}
        options = [f"--{option}={munge / name}" for option, name in paths.items()]
        self._start("munged", "--foreground", "--force", f"--seed-file={munge / 'seed'}", *options)
        until = time.monotonic() + STARTING_SECONDS
        while not (munge / "socket").exists():
            assert time.monotonic() < until, (self.folder / "munged.log").read_text()
            time.sleep(0.05)

    def start_node(self, host: Host) -> None:
        """Start a node's slurmd; the node ends with its host."""
        assert host.process is not None
        first = _child(host.process.pid)
        inside = ["nsenter", "--target", str(first), "--all"]
        self._start("slurmd", "-D", "-N", host.name, prefix=inside)

    def _start(self, program: str, *options: str, prefix: Sequence[str] = ()) -> None:
        with open(self.folder / f"{program}.out", "ab") as log:
            daemon = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *prefix, f"/usr/sbin/{program}", *options],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._daemons.append(daemon)

    def run(self, *command: str, expect: int = 0) -> str:
        """Run one of SLURM's commands, or another, as on the login node; its standard output."""
        done = subprocess.run(
            command,
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == expect, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def state(self, job: str) -> str:
        """Return the state of a job, such as PENDING, RUNNING, COMPLETED; of an array all states."""
        shown = self.run("scontrol", "--oneliner", "show", "job", job)
        states = [word.partition("=")[2] for word in shown.split() if word.startswith("JobState=")]
        return " ".join(sorted(set(states)))

    def restarts(self, job: str) -> int:
        """Return how often a job was queued again."""
        shown = self.run("scontrol", "--oneliner", "show", "job", job).split()
        (restarts,) = [word.partition("=")[2] for word in shown if word.startswith("Restarts=")]
        return int(restarts)

    def node_states(self) -> dict[str, str]:
        lines = self.run("sinfo", "--noheader", "--Node", "--format", "%N %T").splitlines()
        return dict(line.split() for line in lines)

    def wait_for_idle(self) -> None:
        """Wait until no node has a job, and all are up."""
        until = time.monotonic() + STARTING_SECONDS
        while True:
            with contextlib.suppress(AssertionError):  # the controller starts
                states = self.node_states()
                if set(states.values()) == {"idle"}:
                    return
            if time.monotonic() > until:
                raise AssertionError(f"{self.run('sinfo', '--Node', '--long')}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End the daemons, those on nodes first."""
        for daemon in reversed(self._daemons):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait(STARTING_SECONDS)


@contextmanager
def running_slurm(folder: Path, names: Sequence[str], cores: int = 2) -> Iterator[Slurm]:
    """A SLURM cluster of these nodes for as long as the context."""
    seen = (REPOSITORY, ENVIRONMENT, Path(sys.base_prefix))
    with machines.running_hosts(folder, names, mounts={path: path for path in seen}) as hosts:
        slurm = Slurm(folder, hosts, cores)
        try:
            slurm.start()
            yield slurm
        finally:
            slurm.stop()


def _child(process: int) -> int:
    """Return the first process inside of a host: the only child of the one that made it."""
    until = time.monotonic() + STARTING_SECONDS
    while time.monotonic() < until:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.02)
    raise AssertionError("the host has no first process")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
    return port
