"""An S3 server for this room's tests, and a cache of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_world import S3, s3_server


@pytest.fixture(scope="session")
def server() -> Iterator[S3]:
    pytest.importorskip("moto")
    with s3_server() as running:
        yield running


@pytest.fixture
def s3(server: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[S3]:
    """The server, its environment set here."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VA_SEARCH_CACHE", str(tmp_path / "cache"))
    yield server
    server.go_on()


@pytest.fixture
def url(s3: S3, request: pytest.FixtureRequest) -> str:
    """A prefix of the bucket that no other test uses."""
    return f"{s3.url}/{request.node.name[:60].replace('[', '-').replace(']', '')}"
