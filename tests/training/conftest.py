"""A small store with something to learn, for the tests of training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from training_world import write_store

from va_search.data.store import Store

MakeStore = Callable[..., Store]


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """`write_store` into a folder of this test; `name=` for a second one."""

    def make(name: str = "tiny", **options: object) -> Store:
        return write_store(tmp_path / name, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One store for all tests that only read."""
    return write_store(tmp_path_factory.mktemp("stores") / "tiny")
