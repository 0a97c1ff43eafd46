"""A night of power cuts: the driver of a study is killed with all its processes ten times and then
let finish."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray_world import (
    alive,
    assert_tracked_once,
    children,
    command,
    run,
    trials,
    wait_for,
)
from safetensors import safe_open

from va_search.predictions.bank import Bank
from va_search.training.checkpoint import KEY

KILLS = 10
TRIALS = 30
EPOCHS = 40
OFTEN = ("--checkpoint-seconds", "0")
"""A checkpoint after every epoch, so that a kill may cost no more than the running ones."""


def kill_all(process: subprocess.Popen[Any]) -> None:
    """SIGKILL for the search and every process below it, whatever session or group Ray gave it."""
    pids = [process.pid, *children(process.pid, "")]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    while any(alive(pid) for pid in pids):
        time.sleep(0.05)


def begins(process: subprocess.Popen[Any], home: Path, before: float) -> bool:
    """Whether an actor has taken a trial since `before` (or the search is over)."""
    locks = (home / "claims" / "training").glob("*.lock")
    return process.poll() is not None or any(
        lock.stat().st_mtime > before for lock in locks if lock.exists()
    )


def begun(home: Path) -> dict[str, int]:
    """Epochs in the checkpoints of the trials that are not complete."""
    found = {}
    for path in (home / "studies" / "s" / "running").glob("*/checkpoint.safetensors"):
        if not Bank(home / "bank").is_complete("s", path.parent.name):
            with safe_open(str(path), framework="pt") as file:
                found[path.parent.name] = len(json.loads(file.metadata()[KEY])["history"])
    return found


def read_bank(home: Path) -> dict[str, tuple[int, ...]]:
    """Read every entry whole; inode and time of the files of each."""
    bank, found = Bank(home / "bank"), {}
    for trial in bank.trials("s"):
        about = bank.trial("s", trial).predictions
        for split, one in about.items():
            values = bank.read("s", trial, split, frames_hash=one.frames_hash)
            assert values.shape == (one.frames, 2) and np.isfinite(values).all()
        stats = [path.stat() for path in sorted(bank.folder("s", trial).iterdir())]
        found[trial] = tuple(number for stat in stats for number in (stat.st_ino, stat.st_mtime_ns))
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_kills_cost_the_running_epochs_alone(
    space: Callable[..., Path], store: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    file = space(
        rates=str([round(0.001 * (1 + i / 5), 4) for i in range(TRIALS // 2)]), epochs=EPOCHS
    )
    chance = random.Random(5)
    done: dict[str, tuple[int, ...]] = {}
    owed: dict[str, int] = {}
    for number in range(KILLS):
        began = time.time()
        process = subprocess.Popen(
            command(file, store, home, "s", *OFTEN),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        if number % 5 == 4:  # somewhere in the start
            time.sleep(chance.uniform(0.5, 6.0))
        else:
            wait_for(partial(begins, process, home, began))
            until = time.monotonic() + chance.uniform(0.1, 3.0)
            while (
                time.monotonic() < until and len(trials(home)) < len(done) + 2
            ):  # something is left on any machine
                time.sleep(0.01)
        kill_all(process)
        found = read_bank(home)
        assert done.items() <= found.items(), "a complete trial was written again"
        done = found
        owed |= begun(home)
    assert len(done) < TRIALS, "the study was finished before the last kill: nothing is proven"
    assert owed, "no trial was ever killed after an epoch"
    code, summary, text = run(file, store, home, "s", *OFTEN)
    assert (code, summary["complete"], summary["failed"]) == (0, TRIALS, 0), text
    assert summary["undelivered"] == 0, text
    found = read_bank(home)
    assert done.items() <= found.items() and len(found) == TRIALS
    records = trials(home)
    for trial, record in records.items():
        assert [epoch["epoch"] for epoch in record["history"]] == list(range(1, EPOCHS + 1)), trial
    for trial, epochs in owed.items():
        assert max(records[trial]["resumed_at"]) >= epochs, trial
    assert begun(home) == {} and not list((home / "studies" / "s" / "running").glob("*"))
    assert_tracked_once(home, records)
