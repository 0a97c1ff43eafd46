"""Signals that ask a command to end: all of them act as Ctrl-C does, whoever sends them.

Conventions: SLURM announces the end of a job by the signal that `--signal` names (USR1 as a rule)
and ends it by TERM, LSF and SGE by USR2 and XCPU, a terminal that closes by HUP, `timeout` and
systemd by TERM. Some send it to one process, some to every process of the job, some twice within a
moment: a repeated signal means no more than the first one, but for a second Ctrl-C, which does not
wait."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in _NAMES if hasattr(signal, name)
)  # Windows lacks some
"""The signals that stop a command; Ray's own processes are started with all of them blocked."""

REPEATED_SECONDS = 10.0
"""A signal that comes again within this time is the same request."""
REPEATED_CTRL_C_SECONDS = 0.5
"""The same for Ctrl-C: a person who presses it twice means to stop at once."""


RAYS_ALARM_SECONDS = 3.0
"""Ray's own handler of SIGTERM, which it installs as it starts, aborts the process after so
long."""


class Heard:
    """The last signal that this process was sent, and when."""

    name: str | None = None
    when: float = float("-inf")


@contextmanager
def signals_taken(ask: Callable[[], None]) -> Iterator[None]:
    """Context in which every stop signal calls `ask`, in the main thread; elsewhere without effect.

    What was ignored when the process began stays ignored, as `nohup` and `trap ''` mean it, but for
    Ctrl-C, which a shell ignores for whatever a script starts in the background.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def hear(number: int, _frame: Any) -> None:
        since = time.monotonic() - Heard.when
        known = REPEATED_CTRL_C_SECONDS if number == signal.SIGINT else REPEATED_SECONDS
        if since < known:
            return
        if 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= RAYS_ALARM_SECONDS:
            signal.alarm(0)
        Heard.name, Heard.when = signal.Signals(number).name, time.monotonic()
        ask()

    before: dict[int, Any] = {}
    for number in STOP_SIGNALS:
        handler = signal.getsignal(number)
        if handler is not signal.SIG_IGN or number == signal.SIGINT:
            before[number] = handler
            signal.signal(number, hear)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def retake_signals() -> None:
    """Install the handlers of this process again, which Ray's C++ replaces as it starts; the main
    thread's task."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in STOP_SIGNALS:
        handler = signal.getsignal(number)
        if handler is not None:
            signal.signal(number, handler)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Context in which every stop signal raises KeyboardInterrupt, as Ctrl-C does."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with signals_taken(interrupt):
        yield


def interrupted_by() -> str:
    """How a message names what interrupted the command."""
    if Heard.name in (None, "SIGINT"):
        return "interrupted"
    return f"interrupted by {Heard.name}"


def seconds_since_signal() -> float:
    """Seconds since the last stop signal; infinite where there was none."""
    return time.monotonic() - Heard.when


def block_signals() -> None:
    """Block the stop signals in this thread and in the processes that it starts from now on.

    Then a signal to every process of a job reaches the main thread alone, which ends the others in
    order; they would otherwise be gone before it could.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
