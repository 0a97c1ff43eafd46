"""Killed workers and killed searches on real Ray: trials go on from their checkpoints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray_world import alive, children, run, trials, wait_for

from va_search.predictions.bank import Bank

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

OFTEN = ("--checkpoint-seconds", "0.2")
WORKER = "ray::ResourceTrainable"

Started = Callable[..., subprocess.Popen[str]]


def checkpoints(home: Path) -> list[Path]:
    return sorted((home / "studies" / "s" / "running").glob("*/checkpoint.safetensors"))


def resumed(home: Path) -> dict[str, dict[str, Any]]:
    return {trial: record for trial, record in trials(home).items() if record.get("resumed_at")}


def assert_whole(record: dict[str, Any]) -> None:
    """Every epoch once, whoever trained it."""
    epochs = [epoch["epoch"] for epoch in record["history"]]
    assert (
        epochs == list(range(1, record["epochs"] + 1))
        and record["epochs"] == record["settings"]["epochs"]
    )


def predictions(home: Path, trial: str) -> np.ndarray:
    about = trials(home)[trial]["predictions"]["test"]
    return Bank(home / "bank").read("s", trial, "test", frames_hash=about["frames_hash"])


def test_a_killed_worker_costs_nothing_but_its_epoch(
    space: Callable[..., Path], store: Path, tmp_path: Path, started: Started
) -> None:
    home, file = tmp_path / "home", space(epochs=100)
    process = started(file, store, home, "s", *OFTEN)
    wait_for(lambda: len(checkpoints(home)) == 2)
    os.kill(children(process.pid, WORKER)[0], signal.SIGKILL)
    out, text = process.communicate(timeout=400)
    assert process.returncode == 0, text
    summary = json.loads(out)
    assert (summary["trained"], summary["failed"], summary["recovered"]) == (4, 0, 1), text
    assert len(resumed(home)) == 1 and not checkpoints(home)
    for record in trials(home).values():
        assert_whole(record)
    undisturbed = tmp_path / "undisturbed"
    assert run(file, store, undisturbed)[0] == 0
    for trial in resumed(home):
        assert (predictions(home, trial) == predictions(undisturbed, trial)).all()


def test_a_worker_killed_again_and_again_charges_no_trial_and_search_again_goes_on(
    space: Callable[..., Path], store: Path, tmp_path: Path, started: Started
) -> None:
    home, file = tmp_path / "home", space(rates="[0.001]", epochs=300)
    process = started(file, store, home, "s", *OFTEN)
    wait_for(lambda: len(checkpoints(home)) == 2)
    before: list[int] = []
    while process.poll() is None:
        time.sleep(0.05)
        found = [pid for pid in children(process.pid, WORKER) if pid not in before]
        if found and checkpoints(home):
            before.append(found[0])
            os.kill(found[0], signal.SIGKILL)
    out, text = process.communicate(timeout=200)
    summary = json.loads(out)
    assert process.returncode == 1 and summary["exit_code"] == 1, text
    assert "2 trials could not be trained, through no fault of their own" in summary["error"], text
    assert "SIGKILL" in text and not list((home / "studies" / "s" / "failures").glob("*.json"))
    assert len(before) >= 6  # each trial three times
    code, again, text = run(file, store, home)
    assert (code, again["trained"], again["failed"]) == (0, 2, 0), text
    assert (
        resumed(home)
        and not checkpoints(home)
        and not list((home / "studies" / "s" / "failures").glob("*.json"))
    )
    for record in trials(home).values():
        assert_whole(record)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_search_that_ended_in_the_middle_goes_on_there(
    space: Callable[..., Path],
    store: Path,
    tmp_path: Path,
    started: Started,
    number: signal.Signals,
) -> None:
    home, file = tmp_path / "home", space(rates="[0.001]", epochs=200)
    often = OFTEN if number == signal.SIGKILL else ()
    process = started(file, store, home, "s", *often)
    if number == signal.SIGKILL:
        wait_for(lambda: len(checkpoints(home)) == 2)
    else:
        wait_for(lambda: len(children(process.pid, WORKER)) == 2)
        wait_for(lambda: list((home / "claims" / "training").glob("*.lock")))
    pids = children(process.pid, WORKER)
    process.send_signal(number)
    _, text = process.communicate(timeout=200)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130), text
    wait_for(lambda: not any(alive(pid) for pid in pids), 60)
    begun = {path.parent.name for path in checkpoints(home)}
    assert begun
    code, summary, text = run(file, store, home)
    assert (code, summary["complete"], summary["failed"]) == (0, 2, 0), text
    assert resumed(home).keys() == begun
    for record in trials(home).values():
        assert_whole(record)
