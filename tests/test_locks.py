"""Locks between real processes, on file systems with flock and without."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from no_flock import CAN_REFUSE, start_without_flock

from va_search import locks
from va_search.errors import InputError
from va_search.locks import Lock, in_use, is_gone, one_after_another, only_one, this_process

HOLD = """
import sys, time
from pathlib import Path
from va_search.locks import only_one
with only_one(Path({path!r}), 'study x'):
    print('held', flush=True)
    time.sleep(60)
"""
TAKE = """
from pathlib import Path
from va_search.errors import InputError
from va_search.locks import in_use, only_one
path = Path({path!r})
print(in_use(path))
try:
    with only_one(path, 'study x'):
        print('held')
except InputError as error:
    print(error)
"""

Start = Callable[[str], "subprocess.Popen[str]"]


def start_with_flock(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE)


needs_filter = pytest.mark.skipif(
    not CAN_REFUSE, reason="the kernel can't be asked to refuse flock here"
)


@pytest.fixture(
    params=[
        pytest.param(start_with_flock, id="flock"),
        pytest.param(start_without_flock, id="ENOLCK", marks=needs_filter),
        pytest.param(
            lambda code: start_without_flock(code, errno.ENOSYS), id="ENOSYS", marks=needs_filter
        ),
        pytest.param(
            lambda code: start_without_flock(code, errno.EOPNOTSUPP),
            id="EOPNOTSUPP",
            marks=needs_filter,
        ),
    ]
)
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    processes: list[subprocess.Popen[str]] = []

    def begin(code: str) -> subprocess.Popen[str]:
        processes.append(request.param(code))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def holding(start: Start, path: Path) -> subprocess.Popen[str]:
    process = start(HOLD.format(path=str(path)))
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_has_one_living_holder_who_is_named_with_its_host(
    start: Start, tmp_path: Path
) -> None:
    path = tmp_path / "lock"
    held = holding(start, path)
    said, _ = start(TAKE.format(path=str(path))).communicate(timeout=30)
    assert said.splitlines() == [
        "True",
        f"study x is in use by process {held.pid} on {socket.gethostname()}; wait for it or stop it",
    ]


def test_a_killed_holder_frees_its_lock(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = holding(start, path)
    held.kill()
    held.wait()
    said, _ = start(TAKE.format(path=str(path))).communicate(timeout=30)
    assert said.splitlines() == ["False", "held"]


@needs_filter
def test_claims_of_two_processes_without_flock_never_meet(tmp_path: Path) -> None:
    code = """
from pathlib import Path
from va_search.search.saves import Claims
claims = Claims(Path({folder!r}))
taken = [number for number in range(200) if claims.take(f"trial{{number}}")]
print(*taken, flush=True)
input()
claims.release_all()
"""
    processes = [
        start_without_flock(code.format(folder=str(tmp_path)), stdin=subprocess.PIPE)
        for _ in range(3)
    ]
    taken: list[int] = []
    for process in processes:
        assert process.stdout is not None
        taken += map(int, process.stdout.readline().split())
    for process in processes:
        _, complaint = process.communicate("\n", timeout=30)
        assert complaint == ""
    assert sorted(taken) == list(range(200))
    assert list(tmp_path.iterdir()) == []


def holder_file(path: Path, *, age: float, **changes: object) -> Path:
    """A holder file as a process of another machine would have left it, renewed `age` seconds
    ago."""
    document = {**this_process(), "host": "node7", "boot": "another boot", "token": "t", **changes}
    file = path.with_name(f"{path.name}.holder")
    path.touch()
    file.write_text(json.dumps(document))
    then = time.time() - age
    os.utime(file, (then, then))
    return file


@pytest.fixture
def without_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.usefixtures("without_flock")
def test_another_machines_lock_is_held_while_it_is_renewed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    file = holder_file(path, age=locks.SILENCE / 2)
    assert in_use(path)
    assert not Lock(path).take()
    assert json.loads(file.read_text())["host"] == "node7"


@pytest.mark.usefixtures("without_flock")
def test_another_machines_lock_is_free_once_it_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "BEAT", 0.1)
    path = tmp_path / "lock"
    file = holder_file(path, age=locks.SILENCE + 5)
    assert not in_use(path)
    lock = Lock(path)
    assert lock.take()
    assert json.loads(file.read_text())["pid"] == os.getpid()
    lock.release()
    assert not file.exists()


@pytest.mark.usefixtures("without_flock")
def test_a_held_lock_is_renewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "BEAT", 0.05)
    monkeypatch.setattr(locks, "RENEWAL", locks.Renewal())
    lock = Lock(tmp_path / "lock")
    assert lock.take()
    file = tmp_path / "lock.holder"
    os.utime(file, (1, 1))
    until = time.monotonic() + 10
    while file.stat().st_mtime == 1 and time.monotonic() < until:
        time.sleep(0.02)
    assert file.stat().st_mtime > time.time() - 60
    lock.release()


def test_a_reused_process_id_is_another_process() -> None:
    assert not is_gone(this_process())
    assert is_gone({**this_process(), "started": "1"})
    assert not is_gone({**this_process(), "started": "1", "host": "node7"})


def test_looking_whether_a_lock_is_held_refuses_nobody(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    with open(path, encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.1, lambda: fcntl.flock(file, fcntl.LOCK_UN)).start()
        with only_one(path, "study x"):
            assert path.read_text() == f"{os.getpid()} on {socket.gethostname()}"


def test_who_waits_for_a_lock_gets_it_in_the_end(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = holding(start_with_flock, path)
    threading.Timer(0.2, held.kill).start()
    with one_after_another(path):
        assert held.wait() != 0
    held.communicate()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_a_lock_file_of_another_user_is_refused_with_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch(mode=0o600)
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.owner() == "root" and folder.name.startswith(("pytest", "test", "popen")):
            folder.chmod(0o755)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            Lock(path).take()
            message = "taken"
        except InputError as error:
            message = str(error)
        os.write(writer, message.encode())
        os._exit(0)
    os.waitpid(child, 0)
    said = os.read(reader, 1000).decode()
    assert "no permission to use this lock file, which belongs to user root" in said


def test_a_lock_that_is_released_while_it_is_looked_at_is_not_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_file", lambda _: True)  # a moment before its holder removed it
    assert not in_use(tmp_path / "gone.lock")


@pytest.mark.usefixtures("without_flock")
@pytest.mark.parametrize("clock", [-3600.0, 3600.0], ids=["set back", "set forward"])
def test_no_clock_makes_a_living_holder_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: float
) -> None:
    """Its machine's clock, and so the time of its file, is an hour away from ours."""
    monkeypatch.setattr(locks, "BEAT", 0.2)
    file = holder_file(tmp_path / "lock", age=-clock)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(0.02):
            now = time.time() + clock
            os.utime(file, (now, now))

    holder = threading.Thread(target=renew)
    holder.start()
    try:
        assert not Lock(tmp_path / "lock").take()
    finally:
        ended.set()
        holder.join()
    assert json.loads(file.read_text())["host"] == "node7"


SLEEPER = """
import sys
from pathlib import Path
from va_search import locks
from va_search.search.saves import Claims
locks._boot = lambda: {boot!r}
locks.BEAT, locks.SILENCE = 0.2, 1.0
claims = Claims(Path({folder!r}))
for line in sys.stdin:
    print(claims.take("t") if line == "take\\n" else claims.holds("t"), flush=True)
claims.release_all()
"""


@needs_filter
def test_a_holder_that_slept_while_its_lock_was_taken_knows(tmp_path: Path) -> None:
    """Two machines that share a folder without flock; the first one is stopped for a while."""
    folder = str(tmp_path)
    first, second = (
        start_without_flock(SLEEPER.format(boot=boot, folder=folder), stdin=subprocess.PIPE)
        for boot in ("one machine", "another machine")
    )

    def answer(process: subprocess.Popen[str], question: str) -> str:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(f"{question}\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    try:
        assert answer(first, "take") == "True" and answer(first, "holds") == "True"
        assert answer(second, "take") == "False"
        os.kill(first.pid, signal.SIGSTOP)
        until = time.monotonic() + 20
        while answer(second, "take") == "False" and time.monotonic() < until:
            time.sleep(0.1)
        assert answer(second, "holds") == "True"
        os.kill(first.pid, signal.SIGCONT)
        assert answer(first, "holds") == "False"
        first.communicate(timeout=20)  # which releases what it no longer has
        assert answer(second, "holds") == "True"
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()


@pytest.mark.parametrize("kind", ["flock", "holder file"])
def test_who_deletes_a_lock_file_takes_the_lock_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, kind: str
) -> None:
    if kind == "holder file":
        request.getfixturevalue("without_flock")
    path = tmp_path / "lock"
    first, second = Lock(path, remove=True), Lock(path, remove=True)
    assert not first.held
    assert first.take() and first.held
    for file in list(tmp_path.iterdir()):
        file.unlink()
    assert not first.held
    assert second.take() and second.held and not first.held
    first.release()
    assert second.held, "who lost the lock removed the file of who has it"
    second.release()
    assert not second.held and list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_read_only_home_is_told_to_be_one(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(home)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("a disk can't be mounted here")
    try:
        for path in (home / "lock", home / "claims" / "lock"):
            with pytest.raises(InputError, match=r"lock: no lock file can be .* read-only"):
                Lock(path).take()
            assert not in_use(path)
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)
