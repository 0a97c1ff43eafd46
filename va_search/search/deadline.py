"""`--stop-after`: a bound of wall time that a search keeps, whatever it is doing then.

Conventions: a search begins to stop `EARLY` seconds before its time, or a quarter of a short one,
since running trials need some seconds to write their checkpoints and Ray to end. The first signal
is the one of Ctrl-C; two thirds of that time later comes the second, which does not wait; and when
the time is up the process ends at once. A search that is killed so loses no more than one that is
killed otherwise: what running trials did since their last checkpoint."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from va_search.errors import TimeIsUp

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
        """Whether the search must stop now to be over in time."""
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
    before = signal.getsignal(signal.SIGINT)
    is_ignored = before == signal.SIG_IGN and threading.current_thread() is threading.main_thread()
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
            signal.signal(signal.SIGINT, before)
