"""The private folder of a search's own Ray: where it is, and what becomes of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_world import alive, wait_for

from va_search.errors import JobError
from va_search.search.ray_backend import folder as folder_module
from va_search.search.ray_backend.folder import SESSION_NAME, private_folder, remove_left_folders
from va_search.search.ray_backend.guard import processes_in

HOLDER = """
import subprocess, sys, time
from va_search.search.ray_backend.folder import private_folder
with private_folder() as folder:
    log = open(folder / "raylet.out", "w")
    child = subprocess.Popen(["sleep", "300"], stdout=log, start_new_session=True)
    print(folder, child.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place of the test's own that is short enough for sockets, as TMPDIR."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as place:
        monkeypatch.delenv("RAY_TMPDIR", raising=False)
        monkeypatch.setenv("TMPDIR", place)
        yield Path(place)


def held(place: Path) -> tuple[subprocess.Popen[str], Path, int]:
    """A process that holds a private folder in which another one, of a session of its own,
    writes."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=-1,
        stdout=-1,
        text=True,
        env=os.environ | {"TMPDIR": str(place)},
    )
    assert holder.stdout is not None
    folder, child = holder.stdout.readline().split()
    return holder, Path(folder), int(child)


def test_a_folder_is_private_holds_rays_longest_socket_and_is_gone_afterwards(short: Path) -> None:
    with private_folder() as folder:
        assert folder.parent == short and folder.stat().st_mode & 0o777 == 0o700
        longest = folder / SESSION_NAME
        longest.parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(longest))
    assert list(short.iterdir()) == []


def test_where_tmpdir_is_too_long_or_not_to_be_written_another_place_is_taken(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (short / ("long" * 20), short / "absent", Path("/proc")):
        if place.name.startswith("long"):
            place.mkdir()
        monkeypatch.setenv("TMPDIR", str(place))
        with private_folder() as folder:
            assert not folder.is_relative_to(place)
            assert len(str(folder / SESSION_NAME)) <= 107


def test_rays_shared_folder_is_never_used(short: Path) -> None:
    (short / "ray").mkdir(mode=0o000)  # another user's
    with private_folder() as folder:
        assert folder.parent == short
    assert (short / "ray").exists()


def test_where_no_place_will_do_each_is_named_with_the_way_out(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = short / ("long" * 20)
    long.mkdir()
    monkeypatch.setattr(folder_module, "_places", lambda: [long, Path("/proc/nowhere")])
    with pytest.raises(JobError) as refused, private_folder():
        pass
    message = str(refused.value)
    assert (
        f"{long}: the path is" in message and "/proc/nowhere: No such file or directory" in message
    )
    assert (
        "set RAY_TMPDIR to a folder on a local disk that you may write, with a path of at most"
        in message
    )
    limit = int(message.rsplit("at most ", 1)[1].split(maxsplit=1)[0])
    assert len(f"{'x' * limit}/va-ray-12345678/{SESSION_NAME}") == folder_module.LONGEST_SOCKET


def test_when_its_process_is_killed_what_writes_there_is_ended_and_the_folder_removed(
    short: Path,
) -> None:
    holder, folder, child = held(short)
    assert list(processes_in(folder)) and processes_in(folder)[child] == "sleep"
    reader = subprocess.Popen(["tail", "-f", str(folder / "raylet.out")], stdout=subprocess.DEVNULL)
    try:
        holder.kill()
        holder.communicate()
        wait_for(lambda: not folder.exists() and not alive(child), seconds=20)
        assert reader.poll() is None, "a user who reads a log was killed"
    finally:
        reader.kill()
        reader.wait()


def test_what_a_killed_guard_left_is_removed_by_the_next_search_and_what_is_held_stays(
    short: Path,
) -> None:
    holder, folder, child = held(short)
    other, living, living_child = held(short)
    try:
        for guard in Path("/proc").glob("[0-9]*"):
            try:
                command = (guard / "cmdline").read_text()
            except OSError:
                continue
            if "guard.py" in command and str(folder) in command:
                os.kill(int(guard.name), signal.SIGKILL)
        holder.kill()
        holder.communicate()
        assert folder.is_dir() and alive(child)
        remove_left_folders(short)
        assert folder.is_dir(), "one as new as that may be about to be locked"
        long_ago = time.time() - 3600
        for path in (folder, living):
            os.utime(path, (long_ago, long_ago))
        remove_left_folders(short)
        assert not folder.exists() and not alive(child)
        assert living.is_dir() and alive(living_child)
    finally:
        other.communicate("", timeout=30)
    assert not living.exists() and not alive(living_child)
