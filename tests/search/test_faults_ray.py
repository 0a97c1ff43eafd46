"""Faults injected into real searches: a kill between the bank and MLflow, a worker that is stopped
for long, a clock that is set back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ray_world import assert_tracked_once, children, command, run, trials, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

OFTEN = ("--checkpoint-seconds", "0")

KILLED = """
import os, signal
from va_search.tracking.study_runs import StudyRuns
StudyRuns.deliver = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from va_search.cli.main import app
app()
"""


def test_a_kill_between_the_bank_and_mlflow_costs_no_run_and_makes_none_twice(
    space: Callable[..., Path], store: Path, tmp_path: Path
) -> None:
    script, home, file = tmp_path / "killed.py", tmp_path / "home", space(rates="[0.001]", epochs=2)
    script.write_text(KILLED)
    killed = subprocess.run(
        [sys.executable, str(script), *command(file, store, home)[3:]],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = trials(home)
    assert before, "it was killed before a trial was in the bank: nothing is proven"

    code, summary, text = run(file, store, home)
    assert (code, summary["complete"], summary["undelivered"]) == (0, 2, 0), text
    records = trials(home)
    assert before.items() <= records.items(), "a complete trial was trained again"
    assert_tracked_once(home, records)


STOPPED_SECONDS = 90.0


def test_a_worker_that_is_stopped_for_long_goes_on_and_nothing_is_lost(
    space: Callable[..., Path],
    store: Path,
    tmp_path: Path,
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    home, file = tmp_path / "home", space(rates="[0.001]", epochs=200)
    process = started(file, store, home, "s", *OFTEN)
    wait_for(lambda: list(home.glob("studies/s/running/*/checkpoint.safetensors")))
    workers = children(process.pid, "ray::ResourceTrainable")
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    time.sleep(STOPPED_SECONDS)
    assert process.poll() is None and len(trials(home)) < 2, "none was stopped: nothing is proven"
    for worker in workers:
        os.kill(worker, signal.SIGCONT)
    out, text = process.communicate(timeout=250)
    summary = json.loads(out)
    assert (summary["complete"], summary["failed"]) == (2, 0), text
    records = trials(home)
    assert all(record["epochs"] == 200 for record in records.values())
    assert all("resumed_at" not in record for record in records.values()), "one was begun anew"
    assert_tracked_once(home, records)


SET_BACK = """
import time
from pathlib import Path
from va_search.search.ray_backend import actor

def set_clock_back():
    if not getattr(time, "is_set_back", False):
        true_time, flag = time.time, Path({flag!r})
        time.time = lambda: true_time() - (3600 if flag.exists() else 0)
        time.is_set_back = True

class LateActor(actor.TrialActor):
    def _advance(self):
        set_clock_back()
        return super()._advance()

set_clock_back()
actor.TrialActor = LateActor
from va_search.cli.main import app
app()
"""
"""The command line, in which and in whose actors the clock is an hour late once there is a file.
(libfaketime makes Python's waiting for threads hang.)"""


def test_a_clock_that_is_set_back_an_hour_costs_nothing(
    space: Callable[..., Path], store: Path, tmp_path: Path
) -> None:
    home, file = tmp_path / "home", space(rates="[0.001, 0.002]", epochs=3)
    script, flag = tmp_path / "late.py", tmp_path / "set-back"
    script.write_text(SET_BACK.format(flag=str(flag)))
    process = subprocess.Popen(
        [sys.executable, str(script), *command(file, store, home, "s", *OFTEN)[3:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(
            lambda: (
                process.poll() is not None
                or list(home.glob("studies/s/running/*/checkpoint.safetensors"))
            )
        )
        assert process.poll() is None and len(trials(home)) < 4
        flag.touch()
        out, text = process.communicate(timeout=250)
    finally:
        process.kill()
        process.communicate()
    summary = json.loads(out)
    assert (process.returncode, summary["complete"], summary["failed"]) == (0, 4, 0), text
    assert summary["undelivered"] == 0, text
    records = trials(home)
    assert all(record["seconds"] >= 0 for record in records.values())
    assert_tracked_once(home, records)
