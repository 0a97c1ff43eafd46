"""A store, spaces and searches in processes of their own, for the tests on real Ray."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_gpus import fake_gpus, fake_library  # noqa: F401 (fixtures)
from ray_world import command, write_space

from va_search.data.simulate import simulate


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(tmp_path_factory.mktemp("data") / "store", size="tiny", hidden=None).path


@pytest.fixture
def space(tmp_path: Path, store: Path) -> Callable[..., Path]:
    def write(
        rates: str = "[0.001, 0.003]", epochs: int = 2, extra: str = "", file: str = "space.yaml"
    ) -> Path:
        return write_space(tmp_path / file, store, rates=rates, epochs=epochs, extra=extra)

    return write


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a search and be sure that it is gone afterwards."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()
