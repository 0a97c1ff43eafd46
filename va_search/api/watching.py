"""Watching a study: how it goes, from any shell or notebook, until all of it is trained.

It reads the home's files and needs neither Ray nor a GPU: a login node will do. A study that nobody
searches at the moment (its job waits in a queue) is watched on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from va_search.api.progress import (
    duration,
    error_console,
    in_notebook,
    notebook_output,
    standing_text,
)
from va_search.api.running import MOST_SHOWN, WIDTH, running_lines
from va_search.errors import counted
from va_search.table import number

if TYPE_CHECKING:
    from rich.console import Console

    from va_search.api.home import OpenHome
    from va_search.api.study import OpenStudy
    from va_search.home import Home
    from va_search.search.live import LiveSearch
    from va_search.search.study import Study
    from va_search.trial import Trial

LINE_SECONDS = 15.0
"""Where nothing can be written over, running trials come again this often."""

Show = Callable[[list[str]], object]
"""Shows lines in place of those before."""


@dataclass
class Watched:
    """A study that is watched; records of complete trials are read once."""

    study: str
    _trials: dict[str, Trial] = field(default_factory=dict)

    def look(self, home: Home, width: int = WIDTH) -> tuple[list[str], bool]:
        """Return the lines to show now, and True once nobody searches and all that was planned is
        trained, or hours, GPU-hours or money are spent."""
        from va_search.report.standing import progress_of
        from va_search.search.live import live_searches
        from va_search.search.study import Study

        study = Study(home, self.study)
        document = study.document()
        for trial in set(study.bank.trials(self.study)) - self._trials.keys():
            record = study.bank.readable_trial(self.study, trial)
            if record is not None:
                self._trials[trial] = record.compact()
        trials, failures = list(self._trials.values()), study.failures()
        progress = progress_of(home, self.study, trials, failures)
        lines = [standing_text(progress, document["seconds"])]
        if progress.pause is not None:
            lines.append(f"paused: {progress.pause}")
        if progress.tracking is not None:
            lines.append(f"tracking: {progress.tracking}")
        lines += _best_lines(trials)
        if progress.searching:
            searches = live_searches(home, self.study)
            lines += search_lines(searches)
            lines += _trial_lines(study, searches, self._trials, width)
        settled = progress.complete + progress.failed
        all_settled = progress.planned is not None and settled >= progress.planned
        is_spent = any(account.is_exhausted for account in progress.accounts)
        return lines, (all_settled or is_spent) and not progress.searching


def _best_lines(trials: list[Trial]) -> Iterator[str]:
    """Yield the best validation CCC so far by measure; nothing where no trial has a score."""
    best: dict[str, tuple[float, str]] = {}
    for trial in sorted(trials, key=lambda trial: trial.id):
        for measure, reached in trial.best.items():
            if measure not in best or reached.ccc > best[measure][0]:
                best[measure] = (reached.ccc, trial.id)
    for measure, (ccc, trial_id) in best.items():
        yield f"best {measure:8} {number(ccc)}  trial {trial_id}"


def search_lines(searches: list[LiveSearch]) -> Iterator[str]:
    """Yield a line for each process where several search, and what happened lately."""
    for search in searches:
        state = "starting Ray …"
        if search.device is not None:
            state = f"{search.running} running on {search.device}"
        if len(searches) > 1:
            yield f"process {search.process}: {state}"
        elif search.device is None:
            yield state
        if search.stopping:
            yield "stopping: running trials keep their last checkpoint"
        yield from search.remarks


def _trial_lines(
    study: Study, searches: list[LiveSearch], complete: dict[str, Trial], width: int
) -> list[str]:
    """Return lines of the running trials: as their search tells, else for how long and where."""
    running = []
    for search in searches:
        running += [trial for trial in search.trials if trial.id not in complete]
    if running:
        return running_lines(running, width)
    if searches:
        return []
    return list(_claim_lines(study, complete))


def _claim_lines(study: Study, complete: dict[str, Trial]) -> Iterator[str]:
    """Yield a line for each of the first trials that a search of an older version trains."""
    from va_search.locks import holder
    from va_search.search.saves import Claims

    claims = Claims(study.home.root / "claims")
    running = []
    for trial in study.asked():
        if trial.id not in complete and trial.id not in running and claims.is_held(trial.id):
            running.append(trial.id)
    for trial_id in running[:MOST_SHOWN]:
        path = claims.path(trial_id)
        with suppress(FileNotFoundError):  # it has just ended
            since = max(0.0, time.time() - path.stat().st_mtime)
            yield f"running {trial_id}  {duration(since)}, by process {holder(path)}"
    if len(running) > MOST_SHOWN:
        yield f"… and {counted(len(running) - MOST_SHOWN, 'more trial')} running"


def study_page(study: OpenStudy) -> str:
    """Return the state of a study as HTML: a sentence a line, running trials below."""
    from va_search.table.plain_text import html_text

    if study.summary is not None:
        lines = repr(study).splitlines()
    else:
        with study.home.using() as opened:
            if not study.files.exists():  # trials from elsewhere only: never searched
                return f"<pre>{html_text(repr(study))}</pre>"
            lines, _ = Watched(study.name).look(opened.files)
    return f"<pre>{html_text(chr(10).join(lines))}</pre>"


def watch_study(
    home: OpenHome, study: str, seconds: float = 2.0, console: Console | None = None
) -> None:
    """Show how a study goes, every so many seconds, until all of it is trained or Ctrl-C.

    In a terminal (`console`, by default on standard error) and in a notebook the lines are written
    over; elsewhere they come again when something but the time has changed, and now and then.
    InputError for a study that the home does not have."""
    watched = Watched(study)
    shown_on = error_console() if console is None else console
    width = WIDTH
    if shown_on.is_terminal and not in_notebook():
        width = shown_on.width
    with suppress(KeyboardInterrupt), _display(shown_on) as show:
        while True:
            with home.using() as opened:
                lines, is_over = watched.look(opened.files, width)
            show(lines)
            if is_over:
                break
            time.sleep(seconds)


@contextmanager
def _display(console: Console) -> Iterator[Show]:
    """Yield a function that shows lines in place of those before, or below where that can't be."""
    from rich.live import Live
    from rich.text import Text

    from va_search.table.plain_text import plain_text

    if in_notebook():
        write = notebook_output("")
        yield lambda lines: write("\n".join(lines))
    elif console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda lines: live.update(Text(plain_text("\n".join(lines))), refresh=True)
    else:
        yield _Below(console).show


class _Below:
    """Shows lines below those before, where they tell something new."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: list[str] = []
        self._shown_at = 0.0

    def show(self, lines: list[str]) -> None:
        """Show the lines if more than times and running trials have changed, or it is long ago."""
        steady = [_without_times(line) for line in lines]
        is_running = any(line.startswith("running ") for line in lines)
        is_due = is_running and time.time() - self._shown_at >= LINE_SECONDS
        if steady == self._shown and not is_due:
            return
        self._shown, self._shown_at = steady, time.time()
        self._console.print("\n".join(lines), soft_wrap=True)


def _without_times(line: str) -> str:
    """Return a line without what changes by itself: time spent or left, a running trial's course."""
    if line.startswith("running "):
        return line.partition("  ")[0]
    if line.startswith("        score by epoch"):
        return ""
    return line.partition("; ")[0]
