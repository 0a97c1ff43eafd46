"""Records as a search writes them, and a real MLflow server on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from trial_world import make_trial

from va_search.tracking.door import open_client
from va_search.trial import Best, Epoch, Trial
from va_search.trial_settings import TrialSettings

FINISHED = "2025-01-02T10:00:00+00:00"
ENCODERS = ("lstm", "gru", "transformer", "transformer_lstm")


def trained(number: int, *, epochs: int = 3, **changes: Any) -> Trial:
    """A complete trial; its scores grow with `number`."""
    features = ("face", "voice") if number % 2 else ("voice",)
    settings = TrialSettings(features=features, encoder=ENCODERS[number % 4], seed=number)  # type: ignore[arg-type]
    history = [
        Epoch(
            epoch,
            loss=1.0 / epoch,
            cccs={"valence": 0.1 * epoch + 0.01 * number, "arousal": 0.2 * epoch + 0.01 * number},
            score=0.15 * epoch + 0.01 * number,
            learning_rate=1e-3,
            seconds=2.0,
            frames_per_second=1000.0,
        )
        for epoch in range(1, epochs + 1)
    ]
    last = history[-1]
    trial = make_trial(
        "night",
        f"{number:016x}",
        settings=settings,
        data_hash="ab" * 32,
        store="tiny",
        store_path="/stores/tiny",
        history=history,
        epochs=epochs,
        stopped=False,
        seconds=2.0 * epochs,
        frames_per_second=1000.0,
        device="cpu",
        package_version="0.1.0",
        finished_at=FINISHED,
    )
    best = {
        "valence": Best(last.ccc("valence"), epochs),
        "arousal": Best(last.ccc("arousal"), epochs),
        "score": Best(last.score, epochs),
    }
    return replace(trial, **{"best": best, **changes})


def failed(number: int, reason: str = "ValueError: the loss became nan") -> Trial:
    """A failed trial."""
    return make_trial(
        "night",
        f"{number:016x}",
        settings=trained(number).settings,
        package_version="0.1.0",
        finished_at=FINISHED,
        failed=f"Traceback (most recent call last):\n  …\n{reason}\n",
    )


def outside(name: str, ccc: float = 0.4) -> Trial:
    """A model from elsewhere."""
    return make_trial(
        "night",
        name,
        source="outside",
        ccc=ccc,
        epoch=None,
        data_hash="ab" * 32,
        package_version="0.1.0",
        finished_at=FINISHED,
    )


@pytest.fixture
def records() -> Any:
    """The makers of trials: `trained(n)`, `failed(n)`, `outside(name)`."""

    class Records:
        trained = staticmethod(trained)
        failed = staticmethod(failed)
        outside = staticmethod(outside)

    return Records


PARENT = {
    "params": {"sampler": "tpe", "store": "tiny"},
    "tags": {},
    "artifacts": {"space.yaml": {"sampler": "tpe"}},
}


@pytest.fixture
def parent() -> dict[str, Any]:
    """What a study says of itself."""
    return PARENT


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite store with MLflow's tables and nothing in them; making one takes seconds, copying
    it none."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    open_client(f"sqlite:///{path}")
    return path


class Server:
    """`mlflow server` on a free loopback port; ended by its own process group.

    Its store is SQLite in `folder` unless `store` is set to another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = f"sqlite:///{folder / 'mlflow.db'}"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("--backend-store-uri", self.store),
            *("--artifacts-destination", str(self.folder / "artifacts")),
        ]
        environment = {
            **os.environ,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        log = open(self.folder / "server.log", "ab")  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env=environment,
            cwd=self.folder,
            start_new_session=True,
        )
        until = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < until, "the server did not answer within a minute"
            time.sleep(0.2)

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[[], Server]]:
    """Makes servers that are not started yet; whatever was started is ended after the test."""
    made: list[Server] = []

    def make() -> Server:
        folder = tmp_path / f"server{len(made)}"
        folder.mkdir()
        made.append(Server(folder))
        return made[-1]

    yield make
    for server in made:
        server.stop()
