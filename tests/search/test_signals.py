"""Stop signals, with real ones sent to real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from va_search.search.interruption import STOP_SIGNALS

ASKED = """
import time
from va_search.search import interruption
asked = []
with interruption.signals_taken(lambda: asked.append(interruption.Heard.name)):
    print("ready", flush=True)
    until = time.monotonic() + 20
    while not asked and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.3)
print(*asked, interruption.interrupted_by(), sep=" | ")
"""

HEARD = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a test run under nohup ignores it\n"
IGNORED = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); signal.signal(signal.SIGINT, signal.SIG_IGN)"

BLOCKED = """
import subprocess, sys, threading
from va_search.search.interruption import block_signals
def start():
    block_signals()
    child = subprocess.Popen(["sleep", "30"])
    print(child.pid, flush=True)
    sys.stdin.read()
    child.kill()
threading.Thread(target=start).start()
"""


def started(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program], stdin=-1, stdout=-1, stderr=-2, text=True
    )


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_each_stop_signal_asks_once_however_often_it_is_sent(number: signal.Signals) -> None:
    process = started(HEARD + ASKED)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for _ in range(3):  # as `timeout` does, which signals its child and then its group
        process.send_signal(number)
        time.sleep(0.05)
    out, _ = process.communicate(timeout=30)
    by = "interrupted" if number == signal.SIGINT else f"interrupted by {number.name}"
    assert (process.returncode, out) == (0, f"{number.name} | {by}\n")


def test_a_hangup_that_nohup_ignored_stays_ignored_and_ctrl_c_does_not() -> None:
    process = started(IGNORED + ASKED)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert out == "SIGINT | interrupted\n"


def test_a_process_started_with_signals_blocked_outlives_all_of_them() -> None:
    process = started(BLOCKED)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    try:
        for number in STOP_SIGNALS:
            os.kill(child, number)
        time.sleep(0.3)
        os.kill(child, 0)
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        process.communicate("", timeout=30)
