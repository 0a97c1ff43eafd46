"""One line of progress that keeps itself up to date, and a search's progress and end in words.

Conventions: progress goes to standard error, on a terminal as one line, elsewhere as a line now and
then; in a notebook as one output under the cell. Remarks stand beside it and stay."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from va_search.errors import counted
from va_search.table import number
from va_search.table.plain_text import plain_console, plain_text

if TYPE_CHECKING:
    from rich.console import Console

    from va_search.home import Home
    from va_search.report.standing import StudyProgress
    from va_search.search.pause import PauseState
    from va_search.search.summary import Progress, Summary

LINE_SECONDS = 15.0
"""Where standard error is no terminal, progress is a line this often."""

LEAST_LEFT = 0.5
"""Seconds; of less left nothing is said, since it would read `0 s`."""

KEPT = {
    "best": "in-sample best epoch",
    "last": "last epoch",
    "mean_last_5": "mean of the last five epochs",
    "ema": "moving average of the weights",
}
"""Words for the epochs that a trial's CCCs are of, by its setting `keep`."""

Note = Callable[[str], None]
"""Takes a sentence that whoever started the job should read."""


class ProgressLine:
    """Progress as lines on a stream that is no terminal: one now and then."""

    def __init__(self, note: Note, *, at_once: bool = True) -> None:
        self.note = note
        self._printed = time.monotonic() - (LINE_SECONDS if at_once else 0.0)

    def update(self, text: str, *, at_once: bool = False) -> None:
        """Show `text` in place of the text before, now or, unless `at_once`, when it is time."""
        if at_once or time.monotonic() - self._printed >= LINE_SECONDS:
            self._printed = time.monotonic()
            self.note(text)


class LiveLine(ProgressLine):
    """Progress as one line that is written over, by `write`."""

    def __init__(self, note: Note, write: Callable[[str], object]) -> None:
        super().__init__(note)
        self._write = write

    def update(self, text: str, *, at_once: bool = False) -> None:
        """Show `text` in place of the text before."""
        self._write(text)


def to_standard_error(text: str) -> None:
    """Print a sentence on standard error: the `note` of who gives none."""
    sys.stderr.write(f"{plain_text(text)}\n")
    sys.stderr.flush()


def silent(*_: Any) -> None:
    """Show nothing: the `note` or `progress` of who wants quiet."""


@cache
def error_console() -> Console:
    """The one console on standard error, so that a note never lands in the middle of a line of
    progress."""
    return plain_console()


@contextmanager
def progress_line(begins: str, *, at_once: bool = True) -> Iterator[ProgressLine]:
    """A line of progress, in the way that suits where the job runs; it begins with `begins`.

    Unless `at_once`, a job of a few seconds prints nothing where the line can't be written over."""
    if in_notebook():
        yield LiveLine(to_standard_error, notebook_output(begins))
        return
    console = error_console()

    def note(text: str) -> None:
        console.print(text, soft_wrap=True)

    if not console.is_terminal:  # a file or a pipe: nothing can be written over there
        yield ProgressLine(note, at_once=at_once)
        return
    with live_text(console, begins) as write:
        yield LiveLine(note, write)


@contextmanager
def live_text(console: Console, begins: str) -> Iterator[Callable[[str], None]]:
    """A line with a sign that turns, and the function that replaces its text; nothing where the
    console is no terminal."""
    from rich.text import Text

    # A text alone would be read as markup here, whatever the console is told.
    with console.status(Text(plain_text(begins))) as status:
        yield lambda text: status.update(Text(plain_text(text)))


def in_notebook() -> bool:
    """Tell if this process is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def notebook_output(begins: str) -> Callable[[str], object]:
    """Return the function that replaces the text of an output under the running cell."""
    from IPython.display import display

    handle = display({"text/plain": begins}, raw=True, display_id=True)
    return lambda text: handle.update({"text/plain": plain_text(text)}, raw=True)


@contextmanager
def search_progress() -> Iterator[Callable[[Progress], None]]:
    """Yield the function that shows a search on a line of progress; in a notebook its running
    trials too."""
    from va_search.api.running import running_lines

    with progress_line("starting Ray …") as line:
        remarked = 0
        stopping = False

        def show(progress: Progress) -> None:
            nonlocal remarked, stopping
            # a remark stays, while the line is written over
            for remark in progress.remarks[remarked:]:
                line.note(remark)
            remarked = len(progress.remarks)
            text = progress_text(progress)
            if in_notebook():
                text = "\n".join([text, *running_lines(progress.trials)])
            line.update(text, at_once=progress.stopping != stopping)
            stopping = progress.stopping

        yield show


def progress_text(progress: Progress) -> str:
    """Finished of planned, running, failed, the best so far, time left: one line."""
    # the last phase first: while MLflow is updated the counts of training mean nothing
    if progress.undelivered is not None:
        to_go = counted(progress.undelivered, "trial")
        return f"training done · checking MLflow: {to_go} to go (Ctrl-C leaves this to the next search)"
    if progress.stopping:
        return f"stopping: {progress.finished} finished are saved; Ctrl-C again stops at once"
    if progress.pause is not None:
        return pause_text(progress.pause)
    if progress.lacks is not None:
        return f"{progress.finished} finished · {progress.lacks} (Ctrl-C stops)"
    finished, running = str(progress.finished), f"{progress.running} running"
    if progress.planned is not None:  # None where only time bounds the trials
        finished += f"/{progress.planned}"
    if progress.device is not None:
        running += f" on {progress.device}"
    parts = [f"{finished} finished", running, f"{progress.failed} failed"]
    if progress.best:
        parts += [f"best {target} {number(ccc)}" for target, ccc in progress.best.items()]
        parts[-1] += " (validation)"
    if progress.gain is not None:
        parts.append(f"ensemble gains about {number(progress.gain.expected, 4)} CCC an hour")
    parts.append(duration(progress.seconds))
    if progress.seconds_left is not None and progress.seconds_left >= LEAST_LEFT:
        parts.append(f"about {duration(progress.seconds_left)} left")
    return " · ".join(parts)


def standing_text(progress: StudyProgress, spent: float) -> str:
    """Progress of a study in a line, with the seconds that were `spent` so far."""
    complete = f"{counted(progress.complete, 'trial')} complete"
    if progress.planned is not None and progress.complete > progress.planned:
        complete += f" ({progress.planned:,} planned in the space as it is now)"
    elif progress.planned is not None:
        complete = f"{progress.complete:,} of {counted(progress.planned, 'planned trial')} complete"
    state = "searching now" if progress.searching else "not searching"
    if progress.processes > 1:
        state += f" by {progress.processes} processes"
    if progress.running is not None:
        state += f" ({progress.running:,} running)"
    text = f"study {progress.study}: {complete}, {progress.failed:,} failed, {state}; "
    # The time spent is noted every half a minute, the present search's every second.
    text += f"{duration(max(spent, progress.seconds))} spent"
    if progress.seconds_left is not None and progress.seconds_left >= LEAST_LEFT:
        text += f"; about {duration(progress.seconds_left)} left"
    elif progress.searching and progress.complete < (progress.planned or 0):
        text += "; how long it takes is not known yet"
    return text


def pause_text(pause: PauseState) -> str:
    """Failure that a search waits for to go away, since when, and for how long it will."""
    left = duration(pause.seconds_left)
    return (
        f"paused since {pause.since} ({duration(pause.seconds)}): {pause.reason}; {pause.advice}; "
        f"waits {left} more (Ctrl-C stops)"
    )


def summary_lines(summary: Summary, home: Home) -> Iterator[str]:
    """The end of a search in a few lines: counts, the best trials, failures, tracking."""
    for warm in summary.warm_start:
        yield warm_start_text(**warm)
    if summary.found:
        verb = "was" if summary.found == 1 else "were"
        yield f"resumed: {counted(summary.found, 'trial')} {verb} complete already"
    yield f"study {summary.study}: {counts_text(summary)} in {duration(summary.seconds)}"
    for reason, count in summary.beside.items():
        verb = "trial is" if count == 1 else "trials are"
        not_counted = "not counted here, but by status, ensemble and report"
        yield f"{count} more complete {verb} {reason}: {not_counted}"
    if summary.devices:
        devices = [f"{count} on {device}" for device, count in summary.devices.items()]
        yield f"trained now: {', '.join(devices)}"
    yield from _best_lines(summary, home)
    if summary.gain is not None:
        yield f"a greedy ensemble of all has {_gain_text(summary.gain)}"
    if summary.recovered:
        times = counted(summary.recovered, "time")
        yield f"{times} a trial's process ended before it and another one went on with it"
    if summary.pauses:
        times = counted(summary.pauses, "time")
        yield f"paused {times}, {duration(summary.paused_seconds)} in all: the machine failed"
    if summary.failed:
        status = home.command("status", summary.study)
        yield f"failed trials keep their traceback ({status}); search again retries them"
    if summary.reason:
        yield f"stopped: {summary.reason}"
    yield from _tracking_lines(summary)


def _gain_text(gain: Mapping[str, float]) -> str:
    """The score of an ensemble and what a further hour may add, with its spread."""
    spread = f"{number(gain['low'], 4)} to {number(gain['high'], 4)}"
    return (
        f"{number(gain['score'])} (out-of-fold mean CCC); a further hour of searching would add about "
        f"{number(gain['expected'], 4)} ({spread})"
    )


def _best_lines(summary: Summary, home: Home) -> Iterator[str]:
    """The best trial by measure and the Pareto set, or that nothing can be ranked."""
    from va_search.predictions.bank import Bank
    from va_search.trial import SCORE

    bank = Bank(home.bank)

    def measured(name: str) -> str:
        """Where a trial's CCCs are from."""
        trial = bank.readable_trial(summary.study, name)
        rule = "best" if trial is None else trial.keep
        return f"validation, {KEPT.get(rule, rule)}  trial {name}"

    targets = len(summary.best) - 1  # besides the score
    for measure, (trial, value) in summary.best.items():
        line = f"best {measure:8} {number(value)}  {measured(trial)}"
        if measure == SCORE and targets > 1:
            line += f"  best single trial for {'both' if targets == 2 else 'all targets'}"
        yield line
    if summary.best and summary.generalises_to:
        yield f"validation is of {summary.generalises_to}"
    if summary.pareto:
        other = "the other" if targets == 2 else "another"
        yield f"Pareto set: no other trial beats these on one target without losing on {other}"
    for point in summary.pareto or ():
        cccs = [f"{target} {number(ccc)}" for target, ccc in point.items() if target != "trial"]
        yield f"  {'  '.join(cccs)}  {measured(point['trial'])}"
    if summary.complete and not summary.best:
        yield (
            "no validation (train_val_mix): nothing to rank by; "
            "the bank has each trial's test predictions"
        )


def _tracking_lines(summary: Summary) -> Iterator[str]:
    """Trials that MLflow did not take, with the reason; nothing where it has everything."""
    if summary.undelivered:
        them = "it" if summary.undelivered == 1 else "them"
        lacks = counted(summary.undelivered, "trial")
        yield f"MLflow lacks {lacks}; the next search delivers {them}"
        yield f"tracking: {summary.tracking_problem or 'too slow to take them all'}"
    elif summary.tracking_problem:
        yield f"tracking: {summary.tracking_problem}"


def counts_text(summary: Summary) -> str:
    """Trials that are complete, of how many if not all are, and what became of the others."""
    parts = [f"{summary.trained} trained now", f"{summary.failed} failed"]
    if summary.elsewhere:
        parts.append(f"{summary.elsewhere} by other processes")
    if summary.adopted:
        parts.append(f"{summary.adopted} taken from other studies")
    complete = counted(summary.complete, "trial")
    if summary.missing:
        parts.append(f"{summary.missing} missing")
        complete = f"{summary.complete:,} of {counted(summary.planned or 0, 'trial')}"
    return f"{complete} complete ({', '.join(parts)})"


def warm_start_text(study: str, used: int, outside: int, unscored: int, other_data: int) -> str:
    """Lessons of an earlier study for the sampler: counts of its trials, as in `Summary.warm_start`."""
    text = f"warm start from {study}: {counted(used, 'trial')} learnt"
    unused = []
    if outside:
        unused.append(f"{outside} outside this space")
    if unscored:
        unused.append(f"{unscored} without a score")
    if unused:
        text += f" ({', '.join(unused)})"
    if other_data:
        text += f"; {other_data} are of other data, of which only the ranking is meaningful"
    return text


def duration(seconds: float | None) -> str:
    """Seconds as a person says them: 42 s, 2.5 min, 3.5 h."""
    if seconds is None:
        return "?"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 600:
        return f"{seconds / 60:.1f} min"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
