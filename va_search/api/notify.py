"""A command of the user's own that is run when something happens to a search: `--notify`.

Conventions: the command is given as one text, split as a shell would split it, and run without a
shell, so nothing but what the user wrote is on its command line. Events: `best` (a trial is better
than all before; at most one a minute), `done`, `failed`, `interrupted` (Ctrl-C, a signal, the end of
`--stop-after`). The event is a JSON object on standard input:

    {"event": "best", "study": "first", "score": 0.61, "finished": 12, "failed": 0, "planned": 40,
     "seconds": 512.0, "message": null, "at": "2026-11-30T12:00:00.000+00:00"}

and its name, the study's and the score stand in VA_SEARCH_EVENT, VA_SEARCH_STUDY and
VA_SEARCH_SCORE ("" where there is none). Passwords in a message are replaced by ***. What the
command prints is not shown. It has 30 seconds (5 after an interruption, since whoever sent the signal
may kill); a command that fails is told of once and never ends the search."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from va_search.api.progress import Note
from va_search.errors import InputError, Interrupted, TimeIsUp
from va_search.storage.redaction import without_secrets

if TYPE_CHECKING:
    from va_search.search.summary import Progress, Summary

Kind = Literal["best", "done", "failed", "interrupted"]

BEST_SECONDS = 60.0
"""A new best trial is told of no sooner than so many seconds after the last one."""
COMMAND_SECONDS = 30.0
LAST_SECONDS = 5.0
"""The time that a command has after an interruption."""


@dataclass(frozen=True)
class Notice:
    """An event as the command gets it; numbers are None where they are not known."""

    event: Kind
    study: str
    score: float | None
    finished: int | None
    failed: int | None
    planned: int | None
    seconds: float | None
    message: str | None
    at: str


class Notifier:
    """Runs a command for the events of one study's search, one at a time."""

    def __init__(self, command: str, study: str, note: Note) -> None:
        """InputError for a command that can't be run."""
        self._words = _words(command)
        self._study, self._note = study, note
        self._progress: Progress | None = None
        self._score: float | None = None
        self._told: float | None = None
        self._told_at = -BEST_SECONDS
        self._running: threading.Thread | None = None
        self._has_failed = False

    def watch(self, progress: Progress) -> None:
        """Take the progress of a search into account; a new best trial runs the command, beside the
        search."""
        if self._progress is None:
            self._told = progress.score  # of earlier runs
        self._progress, self._score = progress, progress.score
        is_better = self._told is None or (self._score or 0.0) > self._told
        is_idle = self._running is None or not self._running.is_alive()
        waited = time.monotonic() - self._told_at >= BEST_SECONDS
        if self._score is not None and is_better and is_idle and waited:
            self._told, self._told_at = self._score, time.monotonic()
            notice = self._notice("best", None)
            self._running = threading.Thread(target=self._run, args=(notice, COMMAND_SECONDS))
            self._running.daemon = True
            self._running.start()

    def end(self, event: Kind, message: str | None = None) -> None:
        """Run the command for the end of the search, and wait for it."""
        seconds = LAST_SECONDS if event == "interrupted" else COMMAND_SECONDS
        if self._running is not None:
            self._running.join(seconds)
        self._run(self._notice(event, message), seconds)

    def finish(self, summary: Summary) -> None:
        """Take the summary of a search into account, which knows more than its last progress."""
        if summary.best:
            *_, (_, self._score) = summary.best.values()

    def _notice(self, event: Kind, message: str | None) -> Notice:
        from va_search.search.study import now

        progress = self._progress
        return Notice(
            event=event,
            study=self._study,
            score=self._score,
            finished=None if progress is None else progress.finished,
            failed=None if progress is None else progress.failed,
            planned=None if progress is None else progress.planned,
            seconds=None if progress is None else round(progress.seconds, 1),
            message=None if message is None else without_secrets(message),
            at=now(),
        )

    def _run(self, notice: Notice, seconds: float) -> None:
        problem = run_command(self._words, notice, seconds)
        if problem is not None and not self._has_failed:
            self._has_failed = True
            self._note(f"--notify: {problem}; the search goes on, and later failures are not told")


def _words(command: str) -> list[str]:
    """Return the words of a command; InputError where it can't be run."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InputError(f"--notify {command!r}: {error}") from error
    if not words:
        raise InputError("--notify: expected a command, found nothing")
    if shutil.which(words[0]) is None:
        raise InputError(f"--notify: no program {words[0]!r} that can be run was found")
    return words


def run_command(words: list[str], notice: Notice, seconds: float) -> str | None:
    """Run a command for an event; return what went wrong in words, None where nothing did. After so
    many seconds it is ended, with everything that it started."""
    score = "" if notice.score is None else f"{notice.score:.6g}"
    environment = {
        **os.environ,
        "VA_SEARCH_EVENT": notice.event,
        "VA_SEARCH_STUDY": notice.study,
        "VA_SEARCH_SCORE": score,
    }
    try:
        process = subprocess.Popen(  # noqa: S603 (the user's own command)
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        return f"{words[0]} can't be run ({error})"
    try:
        process.communicate(json.dumps(asdict(notice)).encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"{words[0]} took longer than {seconds:g} s and was ended"
    if process.returncode != 0:
        return f"{words[0]} ended with exit code {process.returncode}"
    return None


@contextmanager
def notifying(command: str | None, study: str, note: Note) -> Iterator[Notifier | None]:
    """Context of a job about which a command is told how it ended; wrong input is no end."""
    if command is None:
        yield None
        return
    notifier = Notifier(command, study, note)
    try:
        yield notifier
    except InputError:
        raise
    except (Interrupted, TimeIsUp, KeyboardInterrupt) as error:
        notifier.end("interrupted", str(error) or None)
        raise
    except Exception as error:
        notifier.end("failed", str(error))
        raise
    notifier.end("done")


def watched(
    watch: Callable[[Progress], None], notifier: Notifier | None
) -> Callable[[Progress], None]:
    """Return a watcher that has a notifier watch, too."""
    if notifier is None:
        return watch

    def both(progress: Progress) -> None:
        watch(progress)
        notifier.watch(progress)

    return both
