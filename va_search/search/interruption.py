"""Requests to end a command: signals, all of which act as Ctrl-C does, and a bound of wall time.

Conventions: SLURM announces the end of a job by the signal that `--signal` names (USR1 as a rule)
and ends it by TERM, LSF and SGE by USR2 and XCPU, a terminal that closes by HUP, `timeout` and
systemd by TERM. Some send it to one process, some to every process of the job, some twice within a
moment: a repeated signal means no more than the first one, but for a second Ctrl-C, which does not
wait.

A search with `--stop-after` begins to stop `EARLY` seconds before its time, or a quarter of a short
one, since running trials need some seconds to write their checkpoints and Ray to end. The first
signal is the one of Ctrl-C; two thirds of that time later comes the second, which does not wait;
and when the time is up the process ends at once. A search that is killed so loses no more than one
that is killed otherwise: the work of running trials since their last checkpoint.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from va_search.errors import Interrupted, TimeIsUp, VaSearchError, counted

if TYPE_CHECKING:
    from va_search.search.study import Study

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
# Windows lacks some of them.
STOP_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
"""The signals that stop a command; Ray's own processes are started with all of them blocked."""

REPEATED_SECONDS = 10.0
"""A signal that comes again within this time is the same request."""
REPEATED_CTRL_C_SECONDS = 0.5
"""The same for Ctrl-C: a person who presses it twice means to stop at once."""

LOOK_SECONDS = 0.5
"""So often the study's folder is looked at for a request to stop."""

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
        repeated = REPEATED_CTRL_C_SECONDS if number == signal.SIGINT else REPEATED_SECONDS
        if since < repeated:
            return
        if 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= RAYS_ALARM_SECONDS:
            signal.alarm(0)
        Heard.name, Heard.when = signal.Signals(number).name, time.monotonic()
        ask()

    handlers: dict[int, Any] = {}
    for number in STOP_SIGNALS:
        handler = signal.getsignal(number)
        if handler is not signal.SIG_IGN or number == signal.SIGINT:
            handlers[number] = handler
            signal.signal(number, hear)
    try:
        yield
    finally:
        for number, handler in handlers.items():
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
    """Return the words by which a message names the interruption."""
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


EARLY = 15.0
"""So many seconds before its time a search begins to stop."""

SHARE = 0.25
"""Of a short time no more than this part is kept for stopping."""


class Deadline:
    """Reminds the main thread, by signals from a thread of its own, of the end of its time."""

    def __init__(self, seconds: float) -> None:
        early = min(EARLY, SHARE * seconds)
        seconds = min(seconds, threading.TIMEOUT_MAX)
        self._end = time.monotonic() + seconds
        self._stop = self._end - early
        self._hurry = self._end - early / 3
        self._over = threading.Event()
        threading.Thread(target=self._remind, name="deadline", daemon=True).start()

    @property
    def near(self) -> bool:
        """True when the search must stop now to be over in time."""
        return time.monotonic() >= self._stop

    def _remind(self) -> None:
        """Signal twice, then end the process, unless the search is over before."""
        main = threading.main_thread().ident
        assert main is not None
        for moment in (self._stop, self._hurry):
            if self._over.wait(max(0.0, moment - time.monotonic())):
                return
            signal.pthread_kill(main, signal.SIGINT)
        if self._over.wait(max(0.0, self._end - time.monotonic())):
            return
        sys.stderr.write("error: --stop-after: the time is up; what is finished is saved\n")
        sys.stderr.flush()
        os._exit(TimeIsUp.exit_code)

    def cancel(self) -> None:
        """The search is over."""
        self._over.set()


@contextmanager
def ending_in(seconds: float | None) -> Iterator[Deadline | None]:
    """Around a search that may take so many seconds, None: any number. TimeIsUp when they did not
    suffice."""
    if seconds is None:
        yield None
        return
    handler = signal.getsignal(signal.SIGINT)
    is_ignored = handler == signal.SIG_IGN and threading.current_thread() is threading.main_thread()
    if is_ignored:  # as in a shell's background, where the deadline must be heard all the same
        signal.signal(signal.SIGINT, signal.default_int_handler)
    deadline = Deadline(seconds)
    try:
        yield deadline
    except KeyboardInterrupt:  # while nothing was trained yet, or any more
        if not deadline.near:
            raise
        raise TimeIsUp("--stop-after: the time is up; what is finished is saved") from None
    finally:
        deadline.cancel()
        if is_ignored:
            signal.signal(signal.SIGINT, handler)


class StopRequest:
    """A request that a search of `study` ends: by a signal, by `va-search stop`, or since its
    deadline is near. Once made it stays."""

    def __init__(self, study: Study, deadline: Deadline | None = None) -> None:
        self.interrupted = False
        self.by_command = False
        self._study = study
        self._deadline = deadline
        self._looked = 0.0

    @property
    def out_of_time(self) -> bool:
        """True once the search must end to be over in time."""
        return self._deadline is not None and self._deadline.near

    def interrupt(self) -> None:
        """Make the request, as a signal does."""
        self.interrupted = True

    def heed(self) -> None:
        """Notice a request of `va-search stop` or of the deadline; cheap to call at any time."""
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            with suppress(OSError):  # a home that can't be read at the moment asks for nothing
                self.by_command = self.by_command or self._study.stop_asked
            self.interrupted = self.interrupted or self.by_command or self.out_of_time

    @contextmanager
    def heard(self, finished: Callable[[], int]) -> Iterator[None]:
        """Context in which stop signals make the request; a second Ctrl-C stops at once. At its end
        raise what became of it: TimeIsUp or Interrupted, with the number of `finished` trials."""
        heard = False

        def ask() -> None:
            nonlocal heard
            # The first signal of a deadline may come after the search itself has noticed that its
            # time is near.
            if heard or self.by_command:
                raise KeyboardInterrupt
            heard = True
            self.interrupt()

        try:
            with signals_taken(ask):
                yield
        except KeyboardInterrupt:
            self.interrupt()
        except (VaSearchError, RuntimeError):  # such as a Ray that was stopped while it started
            if not self.interrupted:
                raise
        if self.interrupted:
            raise self._interruption(finished())

    def _interruption(self, finished: int) -> Interrupted | TimeIsUp:
        if self.out_of_time and not self.by_command:
            return TimeIsUp(
                f"--stop-after: the time is up; trials complete and saved: {finished}, running "
                "ones kept their checkpoints; the same command again goes on from there"
            )
        by = interrupted_by()
        if self.by_command:
            by = f"stopped by `va-search stop {self._study.name}`"
        verb = "is" if finished == 1 else "are"
        saved = f"{counted(finished, 'trial')} {verb} complete and saved"
        return Interrupted(f"{by}: {saved}; the same command again goes on from there")
