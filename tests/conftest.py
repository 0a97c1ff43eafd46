"""Fixtures for all rooms."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from va_search.data.simulate import simulate
from va_search.data.store import Store


def pytest_configure() -> None:
    """One thread for torch, before it is imported: several wait for each other by spinning, ten
    times as long where other programs have the cores, and tests have a time limit."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # An example that takes long says something of the machine only.
    settings.register_profile("untimed", deadline=None)
    settings.load_profile("untimed")
    # Tests leave nothing in the cache of whoever runs them.
    os.environ["VA_SEARCH_CACHE"] = tempfile.mkdtemp(prefix="va-search-cache-")


def pytest_unconfigure() -> None:
    """Remove the cache of the tests."""
    shutil.rmtree(os.environ["VA_SEARCH_CACHE"], ignore_errors=True)


@pytest.fixture
def case_folder() -> Path:
    """The CASE recordings, where they are at hand; the test skips, visibly, where they are not."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "case"
    folder = Path(os.environ.get("VA_SEARCH_CASE", beside))
    if not (folder / "dataset.yaml").is_file():
        pytest.skip(f"the CASE recordings are not at {folder} (set VA_SEARCH_CASE)")
    return folder


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A simulated challenge of a few short recordings; read only."""
    return simulate(tmp_path_factory.mktemp("tiny") / "store", size="tiny")
