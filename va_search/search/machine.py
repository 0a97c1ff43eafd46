"""The machine that a search runs on: the options, the cores and memory that a container leaves, GPUs
that PyTorch can use.

Conventions: control groups of version 2 (`cpu.max`, `memory.max`) and version 1
(`cpu.cfs_quota_us`, `memory.limit_in_bytes`) are read, each with those around it, since the
tightest one holds. In a job of SLURM its allocation bounds both, whether the cluster enforces it or
not. Memory is in bytes. None: no limit, or a system without control groups.

A GPU that Ray finds and PyTorch can't use would train everything on the CPU, one trial at a time,
without a word. So it is an error, and training on the CPU a choice: `--gpus-per-trial 0`, or
CUDA_VISIBLE_DEVICES=-1 for every command. No Ray is imported here.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from va_search.errors import InputError
from va_search.models.menu import ENCODERS
from va_search.search.listed import ListedSpace
from va_search.search.nvml import read_gpus
from va_search.search.saves import SECONDS

if TYPE_CHECKING:
    from va_search.search.configurations import Space

CONNECT_SECONDS = 10.0
"""How long a cluster's head may take to accept a connection; Ray itself would try for minutes."""


@dataclass(frozen=True)
class Options:
    """The ways to run, none of which changes a result: Ray's address, trials side by side, GPU share,
    tracking server, threads of a trial, seconds between its checkpoints, trials of one
    configuration trained as one model; the GPUs of this machine to train on, by number or identity
    (None: those that nobody else uses), and whether to train beside others' processes; seconds that
    a failing machine is waited for."""

    address: str | None = None
    concurrent: int | None = None
    gpus_per_trial: float | None = None
    tracking_uri: str | None = None
    threads: int = 1
    checkpoint_seconds: float = SECONDS
    fuse_seeds: int = 1
    gpus: tuple[str, ...] | None = None
    share_gpus: bool = False
    patience: float = 600.0


def check_options(options: Options) -> None:
    """Refuse what Ray would wait on for minutes or for ever."""
    gpus, address = options.gpus_per_trial, options.address
    if gpus is not None and (gpus < 0 or (gpus > 1 and gpus != int(gpus))):
        raise InputError(
            f"--gpus-per-trial {gpus:g}: expected a share of a GPU from 0 to 1, or a whole number"
        )
    if address is None or address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(
            f"--address {address!r}: expected host:port of a Ray cluster's head, or auto"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise InputError(f"--address {address}: no Ray cluster answers there ({error})") from error


def check_fusing(space: Space, trials: int) -> None:
    """Refuse `--fuse-seeds` where it can't work or would do nothing."""
    where, problems = f"--fuse-seeds {trials}", []
    if trials == 1:
        return
    if space.early_stopping is not None:
        problems.append(
            f"{where}: trials trained as one can't be stopped one by one; leave out `early_stopping`"
        )
    if isinstance(space, ListedSpace):
        problems.append(f"{where}: trials that a space lists are trained one by one")
    elif len(space.seeds) == 1:
        problems.append(
            f"{where}: the space has one seed, {space.seeds[0]}; give it several, such as seeds: [0, 1, 2]"
        )
    encoders = space.declared("encoder")
    if not any(ENCODERS[name].stackable for name in encoders):
        stackable = [entry.name for entry in ENCODERS.values() if entry.stackable]
        problems.append(
            f"{where}: encoder {' and '.join(encoders)} can't be trained as one model, only "
            f"{' and '.join(stackable)} can"
        )
    if problems:
        raise InputError(*problems)


def has_token() -> bool:
    """True where this user has a token of Ray's, wherever Ray looks for one."""
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    return bool(named) or (Path.home() / ".ray" / "auth_token").is_file()


def token_hint() -> str:
    """Advice for a cluster that may ask for a token which this user has but Ray was not told to
    use; else ""."""
    if not has_token() or os.environ.get("RAY_AUTH_MODE"):
        return ""
    return "; if this cluster asks for a token, set RAY_AUTH_MODE=token (a token is there) and run the command again"


def side_by_side(resources: dict[str, float], gpus: float, threads: int) -> int:
    """Return the number of trials that the resources bear at a time, at least one."""
    by_cpu = int(resources.get("CPU", 1) // threads)
    by_gpu = int(resources.get("GPU", 0) / gpus) if gpus else by_cpu
    return max(1, min(by_cpu, by_gpu))


MEMBERSHIP = Path("/proc/self/cgroup")
CONTROL_GROUPS = Path("/sys/fs/cgroup")
MEMORY = Path("/proc/meminfo")
NO_LIMIT = 2**60
"""Version 1 says a number near 2**63 where there is no limit."""


def cores() -> int:
    """Return the cores this process may use, at least 1: those of its affinity, or fewer by its
    container's quota or its SLURM job."""
    usable = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    bounds = [usable, cpu_quota(), _of_slurm("SLURM_CPUS_ON_NODE")]
    return max(1, int(min(bound for bound in bounds if bound is not None)))


def in_slurm_job() -> bool:
    """Return True in a job of SLURM, on the node that runs it: not in a shell that `salloc` leaves on
    the login node."""
    return "SLURM_JOB_ID" in os.environ and "SLURMD_NODENAME" in os.environ


def confined_to() -> str:
    """Name whatever limits the memory of this process."""
    return "the SLURM job" if in_slurm_job() else "the container"


def _of_slurm(name: str) -> int | None:
    """Return a number of this node's allocation; None outside of SLURM, or where it is 0: all of the
    node."""
    number = os.environ.get(name, "")
    return int(number) if in_slurm_job() and number.isdigit() and int(number) else None


def _memory_of_slurm() -> int | None:
    """Return the bytes that SLURM gave the job on this node."""
    mib = _of_slurm("SLURM_MEM_PER_NODE")
    per_core, cores_given = _of_slurm("SLURM_MEM_PER_CPU"), _of_slurm("SLURM_CPUS_ON_NODE")
    if mib is None and per_core is not None and cores_given is not None:
        mib = per_core * cores_given
    return None if mib is None else mib * 2**20


def cpu_quota(membership: Path = MEMBERSHIP, root: Path = CONTROL_GROUPS) -> float | None:
    """Return the cores' worth of processor time that the container may use: `docker --cpus 0.5` is 0.5."""
    quotas: list[float] = []
    for folder in _groups("cpu", membership, root):
        words = _text(folder / "cpu.max").split()
        if not words:
            words = [_text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")]
        if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]) > 0:
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def memory_limit(membership: Path = MEMBERSHIP, root: Path = CONTROL_GROUPS) -> int | None:
    """Return the bytes that the container or the SLURM job may use in all."""
    limits = [limit for limit, _ in _memory_groups(membership, root)]
    of_job = _memory_of_slurm()
    if of_job is not None:
        limits.append(of_job)
    return min(limits, default=None)


def memory_available(
    membership: Path = MEMBERSHIP, root: Path = CONTROL_GROUPS, meminfo: Path = MEMORY
) -> int | None:
    """Return the bytes that new processes may take: what the machine has available, or the container has left
    if that is less."""
    left = [max(0, limit - used) for limit, used in _memory_groups(membership, root)]
    of_job = _memory_of_slurm()
    if of_job is not None:
        left.append(of_job)
    for line in _text(meminfo).splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            left.append(int(value.split()[0]) * 1024)
    return min(left, default=None)


def _memory_groups(membership: Path, root: Path) -> Iterator[tuple[int, int]]:
    """Yield limit and use of each group that has a limit; files that can be dropped any time are no use
    of memory."""
    for folder in _groups("memory", membership, root):
        second = (folder / "memory.max").is_file()
        # Beyond `memory.high`, which SLURM sets too, the kernel slows a group down to a crawl.
        names = ("memory.max", "memory.high") if second else ("memory.limit_in_bytes",)
        numbers = [_text(folder / name) for name in names]
        limits = [int(number) for number in numbers if number.isdigit()]
        used = _text(folder / ("memory.current" if second else "memory.usage_in_bytes"))
        if not limits or min(limits) >= NO_LIMIT or not used.isdigit():
            continue
        droppable = 0
        for line in _text(folder / "memory.stat").splitlines():
            name, _, value = line.partition(" ")
            if name == ("inactive_file" if second else "total_inactive_file"):
                droppable = int(value)
        yield min(limits), max(0, int(used) - droppable)


def _groups(controller: str, membership: Path, root: Path) -> Iterator[Path]:
    """Yield the folders of this process's group and of those around it, of either version of control
    groups."""
    for line in _text(membership).splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:
            tops = [root, root / "unified"]
        elif controller in controllers.split(","):
            tops = [root / controllers, root / controller]
        else:
            continue
        # A path with `..` is that of a group outside of this process's namespace.
        steps = () if ".." in path else Path(path.lstrip("/")).parts
        for top in tops:
            for depth in range(len(steps), -1, -1):
                folder = top.joinpath(*steps[:depth])
                if folder.is_dir():
                    yield folder


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


DEVICES = Path("/dev")
"""The folder where a file `nvidia0`, `nvidia1`, … stands for each NVIDIA GPU, or `dxg` for those of Windows
around a Linux."""

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable that says which GPUs CUDA shows a process."""

PROBE = "import torch; torch.zeros(1, device='cuda').add_(1).item()"
PROBE_SECONDS = 120.0


def gpus_seen() -> float:
    """Count the GPUs that Ray will find, as far as that can be known without Ray."""
    if hidden_by_user():
        return 0.0
    with suppress(ValueError, TypeError, AttributeError):
        override = json.loads(os.environ.get("RAY_OVERRIDE_RESOURCES", "{}")).get("GPU")
        if override is not None:
            return float(override)
    gpus = read_gpus()
    number = gpu_files() if gpus is None else len(gpus)
    visible = os.environ.get(VISIBLE)
    return float(number if visible is None else min(number, len(visible.split(","))))


def gpu_files() -> int:
    """Count the GPUs by the files that the system has for them."""
    names = [path.name.removeprefix("nvidia") for path in DEVICES.glob("nvidia*")]
    number = len([name for name in names if name.isdigit()])
    if number == 0 and any((DEVICES / name).exists() for name in ("nvidiactl", "dxg")):
        number = 1
    return number


def hidden_by_user() -> bool:
    """True where CUDA_VISIBLE_DEVICES says that no GPU is to be used."""
    return os.environ.get(VISIBLE, "unset").strip() in ("", "-1", "NoDevFiles")


def gpu_problem(
    asked: float | None, seen: float, visible: tuple[str, ...] | None = None
) -> str | None:
    """Describe what is wrong where trials take `asked` GPUs each (None: one, if there is one) and
    Ray has `seen`, which are `visible` (None: all)."""
    if asked == 0 or (asked is None and (seen < 1 or hidden_by_user())):
        return None
    if asked is not None and seen <= 0:
        return f"--gpus-per-trial {asked:g}: this machine has no GPU that Ray can use; {LEAVE_OUT}"
    if asked is not None and asked > seen:
        return (
            f"--gpus-per-trial {asked:g}: this machine has {seen:g} that Ray can use; {LEAVE_OUT}"
        )
    reason = torch_problem(visible)
    if reason is None:
        return None
    option = "" if asked is None else f"--gpus-per-trial {asked:g}: "
    return f"{option}this machine has a GPU, but PyTorch can't use it ({reason}); mend that, or {ON_CPU}"


LEAVE_OUT = "leave the option out to train on what there is"
ON_CPU = "train on the CPU: set CUDA_VISIBLE_DEVICES=-1 (or search with --gpus-per-trial 0)"


def gpus_each(options: Options, of_ray: float) -> float:
    """Return the GPUs that each trial takes on this machine, where Ray has found `of_ray`. InputError where it
    can't be so."""
    asked = options.gpus_per_trial
    problem = gpu_problem(asked, of_ray, options.gpus)
    if problem is not None:
        raise InputError(problem)
    if asked is None:
        return 1.0 if of_ray >= 1 and not hidden_by_user() else 0.0
    return asked


@cache
def torch_problem(visible: tuple[str, ...] | None = None) -> str | None:
    """Try PyTorch on a GPU, of the `visible` ones (None: of all), in another process, which a broken
    driver may end; the reason it fails, or None."""
    environment = dict(os.environ)
    if visible is not None:
        environment[VISIBLE] = ",".join(visible)
    try:
        probe = subprocess.run(  # noqa: S603 (our own interpreter)
            [sys.executable, "-c", PROBE],
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=False,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        return f"it did not answer within {PROBE_SECONDS:.0f} s"
    if probe.returncode == 0:
        return None
    lines = [line.strip() for line in probe.stderr.splitlines() if line.strip()]
    return lines[-1][:200] if lines else f"its process ended with {probe.returncode}"


def device_in_words(gpus: float) -> str:
    """Name the device of trials that take so many GPUs."""
    if gpus == 0:
        return "the CPU"
    return "one GPU each" if gpus == 1 else f"{gpus:g} GPU each"
