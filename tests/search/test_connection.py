"""The environment that Ray starts with."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from va_search.errors import InputError, JobError
from va_search.search.machine import Options
from va_search.search.ray_backend import connection, supervisor
from va_search.search.ray_backend.supervisor import RayLost

PRELOAD = "RAY_preload_python_modules"
LIMIT = "RAY_num_workers_soft_limit"


def preloaded(options: Options) -> str | None:
    with connection._preloading(options):
        return os.environ.get(PRELOAD)


def test_only_the_start_of_a_ray_of_our_own_preloads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(connection, "NVIDIA", tmp_path / "no-gpu")
    before = dict(os.environ)
    assert preloaded(Options(concurrent=3)) == connection.PRELOADED
    with connection._preloading(Options(concurrent=3)):
        assert os.environ[LIMIT] == "3"
    assert dict(os.environ) == before
    for options in (Options("auto"), Options(threads=2), Options(gpus_per_trial=0.25)):
        assert preloaded(options) is None
    monkeypatch.setattr(connection, "NVIDIA", tmp_path)
    assert preloaded(Options()) is None


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(connection, "NVIDIA", tmp_path / "no-gpu")
    monkeypatch.setenv(PRELOAD, "json")
    assert preloaded(Options()) == "json"
    assert os.environ[PRELOAD] == "json"


def why_not(folder: Path, error: Exception) -> str:
    """What the search says when Ray's start ends with this."""

    def call(*_: object, **__: object) -> None:
        raise error

    with pytest.raises(JobError) as raised:
        connection._started(Options(), folder, SimpleNamespace(call=call))  # type: ignore[arg-type]
    return str(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        Exception("The current node timed out during startup. This could happen because some of the "
                  "raylet failed to startup or the GCS has become overloaded."),
        TimeoutError("Timed out after 30 seconds while waiting for node to startup. Did not find …"),
        RuntimeError("Timed out waiting for node info for node_id=0b1c."),
        RayLost("Ray did not answer within 180 s"),
    ],
)  # fmt: skip
def test_a_start_that_takes_too_long_is_told_in_our_words(error: Exception, tmp_path: Path) -> None:
    text = why_not(tmp_path, error)
    assert text.startswith(
        "Ray could not be started on this machine: its processes were not ready in time. The "
        "machine may be too busy (a load of "
    )
    assert "node" not in text and "\n" not in text


def test_any_other_reason_of_a_start_stays(tmp_path: Path) -> None:
    text = why_not(tmp_path, RayLost("Ray's raylet process on this machine was ended by SIGKILL"))
    assert text.endswith("machine: Ray's raylet process on this machine was ended by SIGKILL")
    assert why_not(tmp_path, ValueError()).endswith("on this machine: ValueError")


class Starts:
    """Ray's start replaced: each attempt does the next of these, and its folder is noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *attempts: Callable[[], None]) -> None:
        self.folders: list[Path | None] = []
        self.ended = 0
        self._attempts = list(attempts)
        monkeypatch.setattr(supervisor, "_LEFT", [])
        monkeypatch.setattr(connection, "_start", self._start)
        monkeypatch.setattr(connection, "_shut_down", self._shut_down)
        monkeypatch.setattr(connection, "_resources", lambda *_: {"CPU": 2.0})

    def _start(self, options: Options, folder: Path | None) -> None:
        assert all(not earlier.exists() for earlier in self.folders if earlier is not None)
        self.folders.append(folder)
        self._attempts.pop(0)()

    def _shut_down(self) -> None:
        self.ended += 1


def works() -> None:
    """Start as Ray does when all is well."""


def times_out() -> None:
    raise Exception("The current node timed out during startup.")


def breaks() -> None:
    raise ValueError("no such library")


def test_a_ray_that_was_not_ready_in_time_is_started_once_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    starts = Starts(monkeypatch, times_out, works)
    with connection.ray_running(Options()) as ray:
        assert ray.resources == {"CPU": 2.0}
        assert starts.ended == 1, "Ray forgets the start that failed"
    assert len(starts.folders) == 2 and starts.ended == 2
    assert all(not folder.exists() for folder in starts.folders if folder is not None)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("Ray was not ready in time (a load of ")
    assert line.endswith("; it is started once more") and "\n" not in line


@pytest.mark.parametrize(
    ("attempts", "reason"),
    [
        ([times_out, times_out], "its processes were not ready in time. The machine may be too"),
        ([times_out, breaks], "no such library"),
        ([breaks], "no such library"),
    ],
)
def test_a_second_failure_or_any_other_one_is_told(
    monkeypatch: pytest.MonkeyPatch, attempts: list[Callable[[], None]], reason: str
) -> None:
    starts = Starts(monkeypatch, *attempts)
    with (
        pytest.raises(JobError, match=f"^Ray could not be started on this machine: {reason}"),
        connection.ray_running(Options()),
    ):
        pass
    assert len(starts.folders) == starts.ended == len(attempts)


def test_a_search_that_is_to_stop_starts_no_second_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(monkeypatch, times_out)
    with (
        pytest.raises(JobError, match="not ready in time"),
        connection.ray_running(Options(), lambda: bool(starts.folders)),
    ):
        pass


def test_a_cluster_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(monkeypatch, times_out)
    with (
        pytest.raises(InputError, match=r"10\.0\.0\.9"),
        connection.ray_running(Options("10.0.0.9:1")),
    ):
        pass
    assert starts.folders == [None]


@pytest.mark.parametrize("comes_out", [True, False])
def test_a_start_that_hangs_is_tried_again_only_once_its_thread_is_free(
    monkeypatch: pytest.MonkeyPatch, comes_out: bool
) -> None:
    free = threading.Event()
    starts = Starts(monkeypatch, lambda: free.wait(60) and None, works)
    monkeypatch.setattr(connection, "START_SECONDS", 0.3)
    monkeypatch.setattr(supervisor, "REJOIN_SECONDS", 0.5)
    if comes_out:  # as Ray's start does once its processes are gone
        monkeypatch.setattr(supervisor, "end_processes", lambda _: free.set())
        with connection.ray_running(Options()):
            assert not supervisor.is_left_behind()
        assert len(starts.folders) == starts.ended == 2
    else:
        with (
            pytest.raises(JobError, match="not ready in time"),
            connection.ray_running(Options()),
        ):
            pass
        assert len(starts.folders) == 1 and supervisor.is_left_behind()
        free.set()
