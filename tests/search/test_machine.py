"""What a container leaves a process: control groups as files, made by the tests, of both
versions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from va_search.search.machine import (
    confined_to,
    cores,
    cpu_quota,
    memory_available,
    memory_limit,
)

MIB = 2**20


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n")


def member(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "cgroup"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("written", "expected"), [("50000 100000", 0.5), ("250000 100000", 2.5), ("max 100000", None)]
)
def test_version_2_says_processor_time_in_cpu_max(
    tmp_path: Path, written: str, expected: float | None
) -> None:
    write(tmp_path / "root" / "job", cpu__max=written)
    assert cpu_quota(member(tmp_path, "0::/job"), tmp_path / "root") == expected


def test_the_tightest_of_the_groups_around_holds(tmp_path: Path) -> None:
    write(
        tmp_path / "root" / "slice",
        cpu__max="100000 100000",
        memory__max=str(900 * MIB),
        memory__current="0",
    )
    write(
        tmp_path / "root" / "slice" / "job",
        cpu__max="max 100000",
        memory__max="max",
        memory__current="0",
    )
    membership = member(tmp_path, "0::/slice/job")
    assert cpu_quota(membership, tmp_path / "root") == 1.0
    assert memory_limit(membership, tmp_path / "root") == 900 * MIB


def test_version_1_says_it_in_quota_and_period(tmp_path: Path) -> None:
    group = tmp_path / "root" / "cpu,cpuacct" / "docker" / "abc"
    write(group, **{"cpu.cfs_quota_us": "150000", "cpu.cfs_period_us": "100000"})
    membership = member(tmp_path, "4:memory:/docker/abc", "3:cpu,cpuacct:/docker/abc", "0::/")
    assert cpu_quota(membership, tmp_path / "root") == 1.5
    write(group, **{"cpu.cfs_quota_us": "-1"})
    assert cpu_quota(membership, tmp_path / "root") is None


def test_a_container_sees_its_own_group_at_the_top(tmp_path: Path) -> None:
    """Without a namespace of its own its path is the host's, which is not there."""
    write(tmp_path / "root", cpu__max="200000 100000")
    assert cpu_quota(member(tmp_path, "0::/kubepods/pod7/abc"), tmp_path / "root") == 2.0


def test_memory_left_is_the_least_of_machine_and_container_and_files_can_be_dropped(
    tmp_path: Path,
) -> None:
    root, meminfo = tmp_path / "root", tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  8000000 kB\nMemAvailable:  4194304 kB\n")
    write(
        root / "job",
        memory__max=str(1000 * MIB),
        memory__current=str(700 * MIB),
        memory__stat=f"anon 1\ninactive_file {300 * MIB}\nactive_file 9",
    )
    membership = member(tmp_path, "0::/job")
    assert memory_available(membership, root, meminfo) == 600 * MIB
    meminfo.write_text("MemAvailable:  1024 kB\n")
    assert memory_available(membership, root, meminfo) == MIB


def test_version_1_without_a_limit_says_a_huge_number(tmp_path: Path) -> None:
    group = tmp_path / "root" / "memory"
    write(group, **{"memory.limit_in_bytes": "9223372036854771712", "memory.usage_in_bytes": "5"})
    assert memory_limit(member(tmp_path, "4:memory:/"), tmp_path / "root") is None
    write(
        group, **{"memory.limit_in_bytes": str(512 * MIB), "memory.usage_in_bytes": str(100 * MIB)}
    )
    assert memory_limit(member(tmp_path, "4:memory:/"), tmp_path / "root") == 512 * MIB


def test_a_system_without_control_groups_has_no_limits(tmp_path: Path) -> None:
    nowhere = tmp_path / "none"
    assert (
        cpu_quota(nowhere, nowhere)
        is memory_limit(nowhere, nowhere)
        is memory_available(nowhere, nowhere, nowhere)
    )
    assert cores() >= 1


def test_half_a_core_is_one_trial_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for quota, expected in ((0.5, 1), (1.9, 1), (10_000.0, cores())):
        monkeypatch.setattr("va_search.search.machine.cpu_quota", lambda quota=quota: quota)
        assert cores() == expected


def test_a_group_that_is_slowed_down_is_as_good_as_full(tmp_path: Path) -> None:
    """SLURM sets both: at `memory.high` a job crawls long before it is killed."""
    root = tmp_path / "root"
    scope = root / "system.slice" / "slurmstepd.scope" / "job_7"
    write(scope, memory__max=str(900 * MIB), memory__high=str(800 * MIB), memory__current="0")
    step = "0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0"
    assert memory_limit(member(tmp_path, step), root) == 800 * MIB


def test_a_group_outside_of_the_namespace_is_not_looked_for(tmp_path: Path) -> None:
    write(tmp_path / "other", cpu__max="100000 100000")
    write(tmp_path / "root", cpu__max="300000 100000")
    assert cpu_quota(member(tmp_path, "0::/../other"), tmp_path / "root") == 3.0


@pytest.fixture
def slurm_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1", "SLURM_CPUS_ON_NODE": "1", "SLURM_MEM_PER_CPU": "700",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)


def test_a_slurm_job_takes_no_more_than_it_was_given(
    slurm_job: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = tmp_path / "none"
    assert cores() == 1 and memory_limit(nowhere, nowhere) == 700 * MIB
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "2048")
    assert memory_limit(nowhere, nowhere) == 2048 * MIB and confined_to() == "the SLURM job"
    monkeypatch.delenv("SLURMD_NODENAME")  # the shell that salloc leaves on the login node
    assert memory_limit(nowhere, nowhere) is None and confined_to() == "the container"


MEMORY = Path("/sys/fs/cgroup/memory")
CPU = Path("/sys/fs/cgroup/cpu")


@pytest.fixture
def confined() -> Iterator[list[str]]:
    """A command that runs what follows in real groups, with half a core and 300 MiB, the limits
    set on the groups around."""
    if os.geteuid() != 0 or not (MEMORY / "memory.limit_in_bytes").is_file():
        pytest.skip("control groups of version 1, and root")
    name = f"va-search-{os.getpid()}"
    for controller, file, value in (
        (MEMORY, "memory.limit_in_bytes", "300M"),
        (CPU, "cpu.cfs_quota_us", "50000"),
    ):
        (controller / name / "step").mkdir(parents=True)
        (controller / name / file).write_text(value)
    joined = [f"echo $$ > {controller}/{name}/step/cgroup.procs" for controller in (MEMORY, CPU)]
    yield ["sh", "-c", " && ".join([*joined, 'exec "$0" "$@"'])]
    for controller in (MEMORY, CPU):
        (controller / name / "step").rmdir()
        (controller / name).rmdir()


def test_real_limits_of_the_groups_around_are_seen(confined: list[str]) -> None:
    program = "from va_search.search.machine import *; print(cpu_quota(), cores(), memory_limit(), memory_available())"
    done = subprocess.run(
        [*confined, sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    quota, usable, limit, available = done.stdout.split()
    assert (quota, usable, int(limit)) == ("0.5", "1", 300 * MIB)
    assert 0 < int(available) < 300 * MIB


KILLED = """
import subprocess, sys
from pathlib import Path
from va_search.search.ray_backend.deaths import Deaths
deaths = Deaths(Path("/nowhere"))
victim = subprocess.Popen([sys.executable, "-c", "bytearray(600 * 2**20)"])
assert victim.wait() == -9
print(deaths.explain(f"The actor died.\\tpid: {victim.pid}").reason)
"""


def test_a_kill_at_a_real_limit_names_the_limit(confined: list[str]) -> None:
    command = [*confined, sys.executable, "-c", KILLED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kernel = "killed by the kernel: no memory was left of the 300 MiB that the container may use"
    assert kernel in done.stdout
