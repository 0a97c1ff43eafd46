"""A bound of wall time, kept by real processes whatever they do."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer import BadParameter

from va_search.cli.search import seconds_of
from va_search.errors import TimeIsUp
from va_search.home import Home
from va_search.search.interruption import StopRequest, ending_in
from va_search.search.study import Study

WAITING = """
import signal, sys, time
from va_search.search.interruption import ending_in
if {stubborn!r}:
    signal.signal(signal.SIGINT, lambda number, frame: print("asked", flush=True))
try:
    with ending_in(2.0):
        until = time.monotonic() + 60
        while time.monotonic() < until:
            time.sleep(60)
except BaseException as error:
    print(type(error).__name__, flush=True)
    sys.exit(getattr(error, "exit_code", 1))
"""


@pytest.mark.parametrize(("stubborn", "printed"), [(False, "TimeIsUp"), (True, "asked\nasked")])
def test_a_process_ends_in_time_even_if_it_does_not_listen(stubborn: bool, printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WAITING.format(stubborn=stubborn)],
        capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (TimeIsUp.exit_code, printed) == (3, printed)
    assert ("the time is up" in done.stderr) == stubborn


def test_a_deadline_is_heard_in_a_shells_background_too() -> None:
    program = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + WAITING.format(
        stubborn=False
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=50
    )
    assert (done.returncode, done.stdout.strip()) == (TimeIsUp.exit_code, "TimeIsUp")


def test_a_process_that_is_forked_meanwhile_says_nothing() -> None:
    program = """
import os, time
from va_search.search.interruption import ending_in
with ending_in(60.0):
    time.sleep(0.1)
    if os.fork() == 0:
        os._exit(0)
    os.wait()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=50
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_first_signal_of_a_deadline_never_stops_at_once(tmp_path: Path) -> None:
    deadline: Any = SimpleNamespace(near=True)
    stop = StopRequest(Study(Home(tmp_path), "s"), deadline)
    until_the_end = []
    with pytest.raises(TimeIsUp, match="complete and saved: 1"), stop.heard(lambda: 1):
        stop.interrupt()  # noticed by the search itself, a moment earlier
        signal.raise_signal(signal.SIGINT)
        until_the_end.append(True)
        time.sleep(0.6)
        signal.raise_signal(signal.SIGINT)
        until_the_end.append(True)
    assert until_the_end == [True]


def test_what_ends_before_is_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    with ending_in(0.4) as deadline:
        assert deadline is not None and not deadline.near
    time.sleep(0.5)  # no signal comes
    assert signal.getsignal(signal.SIGINT) is before
    with ending_in(None) as none:
        assert none is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5400", 5400),
        ("90m", 5400),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1D2H", 93_600),
        ("1h30", 3630),
        ("1.5s", 1.5),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "0", "-5", "1:30:00", "30m1h", "1.5.2", "nan", "5 h 3 x", "1e3"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadParameter, match=r"expected a time"):
        seconds_of(text)
