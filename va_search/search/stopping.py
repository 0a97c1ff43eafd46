"""Ctrl-C and its like while a session runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from va_search.errors import Interrupted, TimeIsUp, VaSearchError, counted
from va_search.search.interruption import interrupted_by, signals_taken
from va_search.search.session import Session


@contextmanager
def stoppable(session: Session) -> Iterator[None]:
    """Stop signals ask the session to stop; a second Ctrl-C stops at once. Then raise what became
    of it."""
    heard = False

    def ask() -> None:
        nonlocal heard
        # The first signal of a deadline may come after the session itself has noticed that its time
        # is near.
        if heard or session.asked_to_stop:
            raise KeyboardInterrupt
        heard = session.interrupted = True

    try:
        with signals_taken(ask):
            yield
    except KeyboardInterrupt:
        session.interrupted = True
    except (VaSearchError, RuntimeError):  # such as a Ray that was stopped while it started
        if not session.interrupted:
            raise
    if session.interrupted:
        done = len(session.finished)
        if session.out_of_wall_time and not session.asked_to_stop:
            raise TimeIsUp(
                f"--stop-after: the time is up; trials complete and saved: {done}, running ones kept their "
                "checkpoints; the same command again goes on from there"
            )
        by = (
            f"stopped by `va-search stop {session.study.name}`"
            if session.asked_to_stop
            else interrupted_by()
        )
        saved = f"{counted(done, 'trial')} {'is' if done == 1 else 'are'} complete and saved"
        raise Interrupted(f"{by}: {saved}; the same command again goes on from there")
