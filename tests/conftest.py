"""Fixtures for all rooms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def case_folder() -> Path:
    """The CASE recordings, where they are at hand; the test skips, visibly, where they are not."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "case"
    folder = Path(os.environ.get("VA_SEARCH_CASE", beside))
    if not (folder / "dataset.yaml").is_file():
        pytest.skip(f"the CASE recordings are not at {folder} (set VA_SEARCH_CASE)")
    return folder
