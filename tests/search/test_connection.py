"""The environment that Ray starts with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from va_search.search.machine import Options
from va_search.search.ray_backend import connection

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
