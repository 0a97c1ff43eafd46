"""Ctrl-C and SIGTERM while a session runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from va_search.errors import Interrupted, JobError, TimeIsUp
from va_search.search.session import Session


@contextmanager
def stoppable(session: Session) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask the session to stop; a second one stops at once. Then raise what became of it."""
    before = listen(session)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # the latter from Ray's own SIGTERM handler, while it starts
        session.interrupted = True
    except (JobError, RuntimeError):  # such as a Ray that was stopped while it started
        if not session.interrupted:
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if session.interrupted:
        done = len(session.finished)
        if session.out_of_wall_time and not session.asked_to_stop:
            raise TimeIsUp(
                f"--stop-after: the time is up; trials complete and saved: {done}, running ones kept their "
                "checkpoints; the same command again goes on from there"
            )
        by = f"stopped by `va-search stop {session.study.name}`" if session.asked_to_stop else "interrupted"
        raise Interrupted(f"{by}: {done} trials are complete and saved; the same command again goes on from there")


def listen(session: Session) -> dict[int, Any]:
    """Take SIGINT and SIGTERM for this session (Ray takes SIGTERM when it starts); returns the handlers before."""

    def ask(_signal: int, _frame: Any) -> None:
        if session.interrupted:
            raise KeyboardInterrupt
        session.interrupted = True

    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
