"""`va-search status STUDY --watch`: how a study goes, until all of it is trained.

It reads the home's files and needs neither Ray nor a GPU: a login node will do. A study that nobody
searches at the moment (its job waits in a queue) is watched on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from va_search.api.progress import duration
from va_search.cli.output import Output
from va_search.cli.places import named_home
from va_search.errors import InputError, counted
from va_search.table import number

if TYPE_CHECKING:
    from va_search.home import Home
    from va_search.search.study import Study
    from va_search.trial import Trial

MOST_RUNNING = 8
"""So many running trials are shown."""


@dataclass
class Watched:
    """A study that is watched; records of complete trials are read once."""

    study: str
    _trials: dict[str, Trial] = field(default_factory=dict)

    def look(self, home: Home) -> tuple[list[str], bool]:
        """Return the lines to show now, and True once nobody searches and all that was planned is
        trained, or hours, GPU-hours or money are spent."""
        from va_search.cli.status import progress_text
        from va_search.report.standing import progress_of
        from va_search.search.study import Study

        study = Study(home, self.study)
        document = study.document()
        for trial in set(study.bank.trials(self.study)) - self._trials.keys():
            record = study.bank.readable_trial(self.study, trial)
            if record is not None:
                self._trials[trial] = record.compact()
        trials, failures = list(self._trials.values()), study.failures()
        progress = progress_of(home, self.study, trials, failures)
        lines = [progress_text(progress, document["seconds"])]
        if progress.tracking is not None:
            lines.append(f"tracking: {progress.tracking}")
        lines += [*_best_lines(trials), *_running_lines(study, self._trials)]
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


def _running_lines(study: Study, complete: dict[str, Trial]) -> Iterator[str]:
    """Yield a line for each of the first running trials: for how long, and where."""
    from va_search.locks import holder
    from va_search.search.saves import Claims

    claims = Claims(study.home.root / "claims")
    running = []
    for trial in study.asked():
        if trial.id not in complete and trial.id not in running and claims.is_held(trial.id):
            running.append(trial.id)
    for trial_id in running[:MOST_RUNNING]:
        path = claims.path(trial_id)
        with suppress(FileNotFoundError):  # it has just ended
            since = max(0.0, time.time() - path.stat().st_mtime)
            yield f"running {trial_id}  {duration(since)}, by process {holder(path)}"
    if len(running) > MOST_RUNNING:
        yield f"… and {counted(len(running) - MOST_RUNNING, 'more trial')} running"


def watch_study(
    output: Output, place: str, study: str | None, seconds: float, address: str | None
) -> None:
    """Show how a study goes, every so many seconds, until all of it is trained or Ctrl-C.

    In a terminal the lines are written over; elsewhere they come again when something but the time
    has changed. InputError for a study that the home does not have."""
    if study is None or address is not None or output.as_json:
        raise InputError(
            "--watch shows one study of a home: give its name, without --address and --json"
        )
    home = named_home(place)
    watched = Watched(study)
    with suppress(KeyboardInterrupt), _shown_over(output) as show:
        while True:
            with home.using() as opened:
                lines, is_over = watched.look(opened.files)
            show(lines)
            if is_over:
                break
            time.sleep(seconds)


@contextmanager
def _shown_over(output: Output) -> Iterator[Callable[[list[str]], None]]:
    """Yield a function that shows lines in place of those before, or below where that can't be."""
    from rich.live import Live
    from rich.text import Text

    from va_search.table.plain_text import plain_text

    if output.standard.is_terminal:
        with Live(console=output.standard, auto_refresh=False) as live:
            yield lambda lines: live.update(Text(plain_text("\n".join(lines))), refresh=True)
        return
    shown: list[str] = []

    def show(lines: list[str]) -> None:
        nonlocal shown
        unchanging = [_without_times(line) for line in lines]
        if unchanging != shown:
            shown = unchanging
            output.show("\n".join(lines))

    yield show


def _without_times(line: str) -> str:
    """Return a line without what changes by itself: the time spent, left or run."""
    if line.startswith("running "):
        return line.partition("  ")[0]
    return line.partition("; ")[0]
