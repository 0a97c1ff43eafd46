"""Cores, memory, shared memory and open files that this process may use."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from va_search.diagnosis.checks import CheckResult, Subject, ok, problem, remark
from va_search.search.machine import confined_to, cores, cpu_quota, memory_available, memory_limit
from va_search.search.readiness import LEAST_FILES

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (Ray's place, looked at alone)
LEAST_SHARED_MEMORY = 150 * 2**20
"""Ray's object store takes 100 MiB, and what else is there some."""

LEAST_MEMORY = 2 * 2**30
"""A trial's process takes .7 GB and Ray's own about one."""

OPEN_FILES = 1024


def check_cores(subject: Subject) -> CheckResult:
    """Return the cores of the machine and those that this process may use."""
    quota = cpu_quota()
    parts = [f"{cores()} of {os.cpu_count() or '?'} usable"]
    if hasattr(os, "sched_getaffinity"):  # macOS has none
        parts.append(f"{len(os.sched_getaffinity(0))} by affinity")
    if quota is not None:
        parts.append(f"{quota:g} by the quota of {confined_to()}")
    text = ", ".join(parts)
    if quota is not None and quota < 1:
        return remark(text, "less than one core: trials are slow (docker: --cpus)")
    return ok(f"{text}; as many trials side by side")


def check_memory(subject: Subject) -> CheckResult:
    """Return the memory that new processes may take."""
    limit, available = memory_limit(), memory_available()
    if available is None:
        return remark("the system does not say how much is available")
    text = f"{_gib(available)} available"
    if limit is not None:
        text += f", {_gib(limit)} is the limit of {confined_to()}"
    if available < LEAST_MEMORY:
        advice = "a search needs about 1 GB and .7 GB a trial side by side: end other programs, or give --concurrent 1"
        return problem(text, advice)
    return ok(text)


def check_shared_memory(subject: Subject) -> CheckResult:
    """Return the size of the shared memory, in which Ray keeps its objects."""
    try:
        disk = os.statvfs(SHARED_MEMORY)
    except OSError:
        return ok(f"no {SHARED_MEMORY}: Ray uses its own folder")
    size, free = disk.f_frsize * disk.f_blocks, disk.f_frsize * disk.f_bavail
    text = f"{_gib(free)} of {_gib(size)} free in {SHARED_MEMORY}"
    if not os.access(SHARED_MEMORY, os.W_OK):
        return remark(f"{SHARED_MEMORY} is not writable: Ray uses its own folder, which is slower")
    if free < LEAST_SHARED_MEMORY:
        return problem(
            text,
            f"Ray needs {LEAST_SHARED_MEMORY / 2**20:.0f} MB: remove what is left there, or in a "
            "container give --shm-size=1g",
        )
    return ok(text)


def check_open_files(subject: Subject) -> CheckResult:
    """Return how many files a process may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_bounded = hard != resource.RLIM_INFINITY
    text = f"{soft:,} a process"
    if is_bounded:
        text += f", at most {hard:,}"
    if is_bounded and hard < LEAST_FILES:
        return problem(text, f"raise it, at least to {LEAST_FILES}: ulimit -n {OPEN_FILES}")
    if soft < OPEN_FILES:
        return remark(text, f"with many trials side by side raise it: ulimit -n {OPEN_FILES}")
    return ok(text)


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
