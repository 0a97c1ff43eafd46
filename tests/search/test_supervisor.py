"""The supervisor of Ray, on processes that bear the names of Ray's, killed for real."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_world import alive, wait_for

from va_search.data.store import Store
from va_search.search.ray_backend import deaths as deaths_module
from va_search.search.ray_backend import supervisor as module
from va_search.search.ray_backend.deaths import Deaths, kernel_kills
from va_search.search.ray_backend.supervisor import RayLost, Supervisor


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """What tests leave behind must not end the process that tests."""
    monkeypatch.setattr(module, "_LEFT", [])


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in which a gcs_server and a raylet write logs: the program sleep under these
    names."""
    sleep = shutil.which("sleep")
    assert sleep is not None
    logs = tmp_path / "session_2026-01-01_00-00-00_000000_1" / "logs"
    logs.mkdir(parents=True)
    running = []
    for name in ("gcs_server", "raylet"):
        shutil.copy(sleep, tmp_path / name)
        with open(logs / f"{name}.out", "w", encoding="utf-8") as log:
            running.append(subprocess.Popen([tmp_path / name, "300"], stdout=log))
    yield tmp_path
    for process in running:
        process.kill()
        process.wait()


def named(folder: Path, name: str) -> int:
    return next(process for process, title in module.processes_in(folder).items() if title == name)


def test_results_and_errors_come_back_from_rays_thread() -> None:
    supervisor = Supervisor(None)
    assert supervisor.call(lambda: threading.current_thread().name) == "ray"
    with pytest.raises(ZeroDivisionError):
        supervisor.call(lambda: 1 / 0)
    assert list(supervisor.each(iter([1, None, 3]))) == [1, None, 3]
    ended = []
    supervisor.close(lambda: ended.append(threading.current_thread().name))
    assert ended == ["ray"] and not supervisor.abandoned


@pytest.mark.parametrize(("name", "title"), [("raylet", "raylet"), ("gcs_server", "GCS")])
def test_a_call_that_hangs_ends_when_a_process_of_rays_is_killed(
    folder: Path, name: str, title: str
) -> None:
    supervisor = Supervisor(folder)
    hang = threading.Event()
    victim, other = (
        named(folder, each)
        for each in sorted(("raylet", "gcs_server"), key=lambda each: each != name)
    )
    threading.Timer(1.5, os.kill, (victim, signal.SIGKILL)).start()
    with pytest.raises(
        RayLost, match=f"Ray's {title} process on this machine was ended by SIGKILL"
    ):
        supervisor.call(hang.wait)
    assert supervisor.abandoned and not alive(other), "the rest of Ray goes on"
    supervisor.close(lambda: None)  # does not wait for the thread that hangs
    hang.set()


def test_an_error_that_comes_of_a_dead_ray_says_so(folder: Path) -> None:
    supervisor = Supervisor(folder)
    log = folder / "session_2026-01-01_00-00-00_000000_1" / "logs" / "raylet.out"
    log.write_text(
        "[2026-01-01 00:00:00,000 E 12 12] (raylet) main.cc:1: no room for the object store\n"
    )

    def die() -> None:
        supervisor.lost()  # what lives is seen
        os.kill(named(folder, "raylet"), signal.SIGTERM)
        time.sleep(0.3)
        raise RuntimeError("a long story of Ray's")

    with pytest.raises(RayLost, match="raylet process on this machine was ended by SIGTERM"):
        supervisor.call(die)
    assert module._last_error(folder, "raylet") == "main.cc:1: no room for the object store"


def test_a_call_that_does_not_heed_a_stop_or_takes_too_long_is_left() -> None:
    asked: list[bool] = []
    supervisor = Supervisor(None, lambda: bool(asked))
    hang = threading.Event()
    threading.Timer(0.3, asked.append, (True,)).start()
    began = time.monotonic()
    with pytest.raises(RayLost, match="did not end running trials"):
        supervisor.call(hang.wait, patience=0.5)
    assert 0.7 < time.monotonic() - began < 10
    with pytest.raises(RayLost, match="did not answer within 0 s"):
        Supervisor(None).call(hang.wait, limit=0.2)
    hang.set()


def test_a_process_with_a_thread_left_behind_ends_with_its_own_exit_code(tmp_path: Path) -> None:
    program = """
import threading, time, typer
from va_search.cli.output import command
from va_search.errors import JobError
from va_search.search.ray_backend.supervisor import RayLost, Supervisor
with command() as output:
    try:
        Supervisor(None).call(lambda: time.sleep(60), limit=0.2)
    except RayLost as error:
        raise JobError(f"lost: {error}")
"""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=50
    )
    assert (done.returncode, done.stderr.strip()) == (
        1,
        "error: lost: Ray did not answer within 0 s",
    )
    assert time.monotonic() - began < 45


SAID = "ray.exceptions.ActorDiedError: The actor died.\n\tpid: {}\n\tip: 127.0.0.2\nWorker unexpectedly exits"


def test_deaths_are_told_apart(tmp_path: Path) -> None:
    deaths = Deaths(tmp_path)
    logs = tmp_path / "session_2026-01-01_00-00-00_000000_1" / "logs"
    logs.mkdir(parents=True)
    crash = '*** SIGSEGV received at time=1 ***\nFatal Python error\n\n  File "/a/net.py", line 7 in forward\n  File "b"'
    (logs / "worker-abc-ffffffff-4711.err").write_text(crash)
    crashed = deaths.explain(SAID.format(4711))
    assert not crashed.for_memory
    assert (
        crashed.reason
        == "the trial's process crashed: SIGSEGV (invalid memory access) at /a/net.py:7 in forward"
    )
    by_hand = deaths.explain(SAID.format(4712))
    assert "with SIGKILL (signal 9) by hand or by another program" in by_hand.reason
    assert crashed.crashed and not by_hand.crashed
    without_details = (
        "ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task."
    )
    assert deaths.explain(without_details, 4711) == crashed
    assert deaths.explain(SAID.format(4711), 4712) == crashed
    monitor = "Task was killed due to the node running low on memory."
    monitored = deaths.explain(f"Failure # 1\n{SAID.format(1)}\nFailure # 2\n{monitor}")
    assert "Ray's memory monitor" in monitored.reason and monitored.for_memory
    numbers = (
        "2 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 127.0.0.1, "
        "ID: ab) was 15.21GB used / 16.00GB limit (0.951)\n (name=A, pid=8, actual memory used=0.20GB, worker "
        "ID=c)\n (name=B, pid=9, actual memory used=3.10GB, worker ID=d)"
    )
    assert (
        "nearly full (15.21 of 16.00 GB in use, 3.10 GB of it by this process)"
        in deaths.explain(numbers, 9).reason
    )
    by_hand = deaths.explain(f"Failure # 1\n{monitor}\nFailure # 2\n{SAID.format(1)}")
    assert "by hand" in by_hand.reason and not by_hand.for_memory
    assert (
        "its node" in deaths.explain("The actor died because its node has died. Node Id: ab").reason
    )
    of_ray = "Worker exits. Possible: (1) The process is killed by SIGKILL by OOM killer due to high memory usage"
    assert not deaths.explain(of_ray).for_memory


def test_each_kill_that_the_kernel_counts_explains_one_death(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counters = [{"container": 3, "machine": 9}, {"container": 5, "machine": 11, "new": 40}]
    monkeypatch.setattr(deaths_module, "kernel_kills", lambda: counters[0])
    monkeypatch.setattr(deaths_module, "kernel_log", lambda: "")
    deaths = Deaths(Path("/nowhere"))
    assert not deaths.explain(SAID.format(1)).for_memory
    del counters[0]
    explained = [deaths.explain(SAID.format(process)) for process in (2, 3, 4)]
    assert [death.for_memory for death in explained] == [True, True, False]
    assert "killed by the kernel: no memory was left" in explained[1].reason


@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/sys/fs/cgroup/memory/memory.oom_control").is_file(),
    reason="a memory limit needs root and the memory controller",
)
def test_a_process_that_the_kernel_kills_for_memory_is_said_to_be() -> None:
    group = Path(f"/sys/fs/cgroup/memory/va-search-{os.getpid()}")
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text("30M")
        deaths, before = Deaths(Path("/nowhere")), kernel_kills()
        program = f"import os; open('{group}/cgroup.procs', 'w').write(str(os.getpid())); bytearray(300 * 2**20)"
        victim = subprocess.Popen([sys.executable, "-c", program])
        assert victim.wait() == -signal.SIGKILL and kernel_kills() != before
        assert (
            "killed by the kernel: no memory was left"
            in deaths.explain(SAID.format(victim.pid)).reason
        )
    finally:
        wait_for(lambda: not (group / "cgroup.procs").read_text(), seconds=10)
        group.rmdir()


def test_a_store_that_was_touched_when_a_process_died_is_the_outage(store: Path) -> None:
    opened = Store.open(store)
    deaths = Deaths(None)
    assert deaths.outage_of_store() is None
    deaths.check_store = opened.check_files
    assert deaths.outage_of_store() is None
    features = store / "features" / "face.arrow"
    size = features.stat().st_size
    os.truncate(features, 100)
    outage = deaths.outage_of_store()
    assert outage is not None and outage.kind == "store"
    assert (
        "a file of the store was changed or cut off while it was read: "
        f"{features}: 100 bytes, expected {size} bytes"
    ) in outage.reason
    assert outage.reason.startswith("on ") and outage.traceback
