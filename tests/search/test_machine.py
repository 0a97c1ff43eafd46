"""What a container leaves a process: control groups as files, made by the tests, of both
versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from va_search.search.machine import cores, cpu_quota, memory_available, memory_limit

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
