"""Trained trials for the tests of serving; trained once, copied where a test changes them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from serving_world import Served, make_served

from va_search.home import Home


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Read only."""
    return make_served(tmp_path_factory.mktemp("served"))


@pytest.fixture
def own(served: Served, tmp_path: Path) -> Served:
    """A copy of the home, to be changed; the store is shared."""
    shutil.copytree(served.home.root, tmp_path / "home")
    return Served(Home(tmp_path / "home"), served.store, served.ensemble)
