"""The privacy of a Ray of our own: what it is made of, without a Ray."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from va_search.errors import JobError
from va_search.search.ray_backend import privacy
from va_search.search.ray_backend.privacy import (
    Listener,
    environment,
    own_listeners,
    own_token,
    refuse_listeners_elsewhere,
)


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "read_token_again", lambda: None)


def test_a_token_is_new_each_time_and_only_its_user_may_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "the user's, of a cluster")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    tokens = []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        with own_token(folder):
            path = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
            assert path.is_relative_to(folder) and path.stat().st_mode & 0o777 == 0o600
            assert os.environ["RAY_AUTH_MODE"] == "token" and "RAY_AUTH_TOKEN" not in os.environ
            tokens.append(path.read_text())
        assert os.environ["RAY_AUTH_TOKEN"] == "the user's, of a cluster"
        assert not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    assert tokens[0] != tokens[1] and len(tokens[0]) == 64


def test_the_environment_comes_back_after_a_failure_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", "before")
    before = dict(os.environ)
    with pytest.raises(ValueError), environment({"A": "now", "B": "new"}, without=["HOME"]):
        assert (os.environ["A"], os.environ["B"], "HOME" in os.environ) == ("now", "new", False)
        raise ValueError
    assert dict(os.environ) == before


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the system has no /proc")
@pytest.mark.parametrize(
    ("family", "address", "private"),
    [
        (socket.AF_INET, "127.0.0.1", True),
        (socket.AF_INET, "127.0.0.2", True),
        (socket.AF_INET, "0.0.0.0", False),
        (socket.AF_INET6, "::1", True),
        (socket.AF_INET6, "::", False),
        (socket.AF_INET6, "::ffff:127.0.0.1", True),
    ],
)
def test_a_socket_is_private_where_only_this_machine_reaches_it(
    tmp_path: Path, family: socket.AddressFamily, address: str, private: bool
) -> None:
    before = own_listeners()
    with socket.socket(family) as server:
        try:
            server.bind((address, 0))
        except OSError:
            pytest.skip(f"this machine has no {address}")
        server.listen()
        new = set(own_listeners()) - set(before)
        (listener,) = new
        assert (listener.port, listener.is_private) == (server.getsockname()[1], private)
        if private:
            refuse_listeners_elsewhere(tmp_path, before)
        else:
            with pytest.raises(JobError, match=f"can be reached .* port {listener.port}"):
                refuse_listeners_elsewhere(tmp_path, before)
            refuse_listeners_elsewhere(tmp_path, new)
    assert Listener(1, "raylet", "::ffff:192.0.2.2", 5).is_private is False
