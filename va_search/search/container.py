"""Limits of a container: the processor time and the memory that it leaves a process of the machine.

Conventions: control groups of version 2 (`cpu.max`, `memory.max`) and version 1
(`cpu.cfs_quota_us`, `memory.limit_in_bytes`) are read, each with those around it, since the
tightest one holds. Memory is in bytes. None: no limit, or a system without control groups."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

MEMBERSHIP = Path("/proc/self/cgroup")
CONTROL_GROUPS = Path("/sys/fs/cgroup")
MEMORY = Path("/proc/meminfo")
NO_LIMIT = 2**60
"""Version 1 says a number near 2**63 where there is no limit."""


def cores() -> int:
    """The cores this process may use, at least 1: those of its affinity, or fewer by its
    container's quota."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return here if quota is None else max(1, min(here, int(quota)))


def cpu_quota(membership: Path = MEMBERSHIP, root: Path = CONTROL_GROUPS) -> float | None:
    """Cores' worth of processor time that the container may use: `docker --cpus 0.5` is 0.5."""
    quotas: list[float] = []
    for folder in _groups("cpu", membership, root):
        words = _text(folder / "cpu.max").split()
        if not words:
            words = [_text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")]
        if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]) > 0:
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def memory_limit(membership: Path = MEMBERSHIP, root: Path = CONTROL_GROUPS) -> int | None:
    """Bytes that the container may use in all."""
    return min((limit for limit, _ in _memory_groups(membership, root)), default=None)


def memory_available(
    membership: Path = MEMBERSHIP, root: Path = CONTROL_GROUPS, meminfo: Path = MEMORY
) -> int | None:
    """Bytes that new processes may take: what the machine has available, or the container has left
    if that is less."""
    left = [max(0, limit - used) for limit, used in _memory_groups(membership, root)]
    for line in _text(meminfo).splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            left.append(int(value.split()[0]) * 1024)
    return min(left, default=None)


def _memory_groups(membership: Path, root: Path) -> Iterator[tuple[int, int]]:
    """Limit and use of each group that has a limit; files that can be dropped any time are no use
    of memory."""
    for folder in _groups("memory", membership, root):
        second = (folder / "memory.max").is_file()
        limit = _text(folder / ("memory.max" if second else "memory.limit_in_bytes"))
        used = _text(folder / ("memory.current" if second else "memory.usage_in_bytes"))
        if not limit.isdigit() or int(limit) >= NO_LIMIT or not used.isdigit():
            continue
        droppable = 0
        for line in _text(folder / "memory.stat").splitlines():
            name, _, value = line.partition(" ")
            if name == ("inactive_file" if second else "total_inactive_file"):
                droppable = int(value)
        yield int(limit), max(0, int(used) - droppable)


def _groups(controller: str, membership: Path, root: Path) -> Iterator[Path]:
    """The folders of this process's group and of those around it, of either version of control
    groups."""
    for line in _text(membership).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            tops = [root, root / "unified"]
        elif controller in controllers.split(","):
            tops = [root / controllers, root / controller]
        else:
            continue
        steps = Path(path.lstrip("/")).parts
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
