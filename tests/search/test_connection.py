"""The environment that Ray starts with."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from va_search.errors import JobError
from va_search.search.machine import Options
from va_search.search.ray_backend import connection
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
