"""A study whose home and store lie on S3: found again from anywhere, though every cache is
empty."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_world import command, wait_for
from s3_world import S3, s3_server

from va_search.storage.remote import Remote

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    pytest.importorskip("moto")
    with s3_server() as running:
        yield running


@pytest.fixture
def s3(server: S3, store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    """The server with the store at s3://…/store, reached from here as well."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    remote = Remote(f"{server.url}/store")
    for path in sorted(store.rglob("*"), key=lambda path: path.name == "manifest.json"):
        if path.is_file():
            remote.write(path.relative_to(store).as_posix(), path.read_bytes())
    yield server
    server.go_on()


@pytest.fixture
def on(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command on a machine of this name: a cache of its own, and no other folder."""
    processes: list[subprocess.Popen[str]] = []

    def start(machine: str, arguments: list[str]) -> subprocess.Popen[str]:
        cwd = tmp_path / machine
        cwd.mkdir(exist_ok=True)
        environment = {**os.environ, "VA_SEARCH_CACHE": str(cwd / "cache")}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(arguments, cwd=cwd, env=environment, **pipes))
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


def ended(process: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    out, text = process.communicate(timeout=500)
    assert process.returncode == 0, text
    return json.loads(out), text


def searching(space: Path, s3: S3, *more: str) -> list[str]:
    return command(space, f"{s3.url}/store", f"{s3.url}/{space.parent.name}", "s", *more)  # type: ignore[arg-type]


def cli(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "va_search.cli.main", *arguments, "--json"]


def times(remote: Remote) -> dict[str, int]:
    """When each trial was put there: once."""
    return {
        name: found.time
        for name, found in remote.list("bank").items()
        if name.endswith("trial.json")
    }


def test_from_the_search_to_the_submission_on_several_machines(
    space: Callable[..., Path], s3: S3, on: Callable[..., Any]
) -> None:
    file = space()
    home = f"{s3.url}/{file.parent.name}"
    summary, _ = ended(on("head", searching(file, s3)))
    assert (summary["trained"], summary["complete"], summary["failed"], summary["undelivered"]) == (
        4,
        4,
        0,
        0,
    )
    remote, before = Remote(home), times(Remote(home))
    assert (
        len(before) == 4
        and remote.find("lease.json") is None
        and not remote.list("studies/s/running")
    )

    status, _ = ended(on("laptop", cli("status", "s", "--home", home)))
    assert (
        len(status["complete"]) == 4
        and not status["searching"]
        and status["store_path"] == f"{s3.url}/store"
    )
    again, _ = ended(on("new head", searching(file, s3)))
    assert (again["trained"], again["found"], again["undelivered"]) == (0, 4, 0)
    assert times(remote) == before

    ended(
        on(
            "laptop",
            cli(
                "ensemble",
                "s",
                "--recipe",
                "greedy",
                "--name",
                "e",
                "--no-tracking",
                "--home",
                home,
            ),
        )
    )
    submitted, _ = ended(on("other laptop", cli("submit", "e", "--out", "sub", "--home", home)))
    assert submitted["recordings"] > 0
    predicted, _ = ended(
        on(
            "third laptop",
            cli("predict", "e", "--data", f"{s3.url}/store", "--out", "p", "--home", home),
        )
    )
    assert predicted["from_bank"] < 1e-3


def test_half_a_minute_without_storage_and_then_a_dead_head(
    space: Callable[..., Path], s3: S3, on: Callable[..., Any]
) -> None:
    file = space(rates="[0.001, 0.002, 0.003, 0.004, 0.005]", epochs=12)
    remote = Remote(f"{s3.url}/{file.parent.name}")
    arguments = searching(file, s3, "--checkpoint-seconds", "0")
    first = on("head", arguments)
    wait_for(lambda: time.sleep(1) or len(times(remote)) >= 1 or first.poll() is not None)
    s3.pause()
    time.sleep(30)
    s3.go_on()
    wait_for(lambda: time.sleep(1) or len(times(remote)) >= 4 or first.poll() is not None)
    assert first.poll() is None, first.communicate()
    first.kill()
    text = first.communicate()[1]
    assert "answers again after" in text
    before = times(remote)
    summary, text = ended(on("new head", arguments))
    assert (summary["complete"], summary["failed"], summary["undelivered"]) == (10, 0, 0), text
    assert summary["found"] + summary["trained"] == 10 and summary["found"] >= len(before)
    assert before.items() <= times(remote).items(), "a complete trial was written again"
