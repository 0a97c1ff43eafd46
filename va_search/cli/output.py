"""What every command shares: the home and --json options, where output goes, and exit codes.

Conventions: with --json one JSON document goes to standard output and everything else to standard
error; without it the result is for people, on standard output, and progress on standard error. Exit
codes: 0 done, 1 the job failed, 2 the input is wrong, 3 the time of `--stop-after` is up, 130
interrupted; state is saved by both."""

from __future__ import annotations

import errno
import json
import logging
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any

import typer
from rich.table import Table as RichTable

from va_search import home
from va_search.api.progress import error_console
from va_search.errors import VaSearchError
from va_search.table import Table, terminal_parts
from va_search.table import number as number  # noqa: PLC0414 (other commands import it from here)
from va_search.table.plain_text import plain_console

HomeOption = Annotated[
    str,
    typer.Option(
        "--home",
        envvar=home.HOME_VARIABLE,
        help="Folder or URL with studies, bank, ensembles and MLflow's database.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document to standard output.")
]
DEFAULT_HOME = home.DEFAULT_HOME
OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO}
OF_THE_PATH = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}
"""System errors reported in one line: the machine's (exit code 1) and a wrong path's (2)."""
WIDTH = 120
"""Columns of a table that goes to a file or a pipe."""


class Output:
    """Output of one command: `note` for progress and remarks, `show` and `done` for its
    result."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.error = error_console()
        stream = sys.stderr if as_json else sys.stdout
        width = None if stream.isatty() else WIDTH
        self.standard = plain_console(stream, width=width)
        self.home: str | None = None
        self._printed = False

    @classmethod
    def current(cls) -> Output | None:
        """The output of the command that runs now; None outside of one."""
        return _CURRENT.get()

    def name_home(self, words: str, place: str) -> None:
        """Say once which home the command reads or makes; with --json the document has its `place`
        too."""
        if self.home is None:
            self.note(words)
        self.home = place

    def note(self, text: str) -> None:
        self.error.print(text, soft_wrap=True)

    def show(self, part: Table | RichTable | str) -> None:
        """Print a part of the result for people; with --json it goes to standard error."""
        if isinstance(part, Table):
            for piece in terminal_parts(part):
                self.show(piece)
        elif isinstance(part, str):
            self.standard.print(part, soft_wrap=True)
        else:
            self.standard.print(part)

    def done(self, document: Any) -> None:
        """The whole result for programs; printed only with --json."""
        if self.as_json and not self._printed:
            self._printed = True
            if isinstance(document, dict) and self.home is not None and "error" not in document:
                document = {**document, "home": self.home}
            json.dump(finite(document), sys.stdout, indent=1, allow_nan=False, default=str)
            sys.stdout.write("\n")

    def failed(self, message: str, exit_code: int) -> typer.Exit:
        """Say what went wrong, with --json as a document too; the exception to raise."""
        from va_search.storage.redaction import without_secrets

        message = without_secrets(message)
        # An interrupted command, or one whose time is up, saved its state: that is no error.
        self.note(message if exit_code in (3, 130) else f"error: {message}")
        self.done({"error": message, "exit_code": exit_code})
        return typer.Exit(exit_code)


class _Remarks(logging.Handler):
    """Shows the package's warnings as notes: they may quote what stands in a file."""

    def __init__(self, output: Output) -> None:
        super().__init__(logging.WARNING)
        self.output = output

    def emit(self, record: logging.LogRecord) -> None:
        """Show one warning."""
        self.output.note(record.getMessage())


_CURRENT: ContextVar[Output | None] = ContextVar("output of the running command", default=None)


def finite(document: Any) -> Any:
    """The document with NaN and infinities as null, which is what JSON has."""
    if isinstance(document, dict):
        return {str(key): finite(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [finite(value) for value in document]
    if isinstance(document, float) and not math.isfinite(document):
        return None
    return document


@contextmanager
def command(as_json: bool = False) -> Iterator[Output]:
    """Run a command's body; errors become a message on standard error and an exit code.

    SIGTERM and its like act as Ctrl-C does. Where Ray hangs the process ends here, without waiting
    for it."""
    from va_search.search.interruption import signals_interrupt

    with _left_at_once(), signals_interrupt(), _errors_shown(as_json) as output:
        yield output


@contextmanager
def _left_at_once() -> Iterator[None]:
    """Context at whose end the process is left if a thread of it hangs in Ray, which would hang or
    abort it."""
    try:
        yield
    finally:
        supervisor = sys.modules.get("va_search.search.ray_backend.supervisor")
        if supervisor is not None:  # something has called Ray
            error = sys.exception()
            if error is None:
                supervisor.leave_process(0, defect=None)
            elif isinstance(error, typer.Exit):
                supervisor.leave_process(error.exit_code)
            else:
                supervisor.leave_process(1, defect=error)


@contextmanager
def _errors_shown(as_json: bool) -> Iterator[Output]:
    output = Output(as_json)
    token = _CURRENT.set(output)
    remarks = _Remarks(output)
    logger = logging.getLogger("va_search")
    logger.addHandler(remarks)
    try:
        yield output
    except VaSearchError as error:
        raise output.failed(str(error), error.exit_code) from None
    except KeyboardInterrupt:
        from va_search.search.interruption import interrupted_by

        resume = "the same command goes on from what is finished"
        raise output.failed(f"{interrupted_by()}; {resume}", 130) from None
    except BrokenPipeError:
        raise typer.Exit(1) from None
    except OSError as error:
        if error.errno not in OF_THE_DISK | OF_THE_PATH:
            output.done({"error": f"{type(error).__name__}: {error}", "exit_code": 1})
            raise
        exit_code = 2 if error.errno in OF_THE_PATH else 1
        # Where a file can't be put into its place, the place is what the user knows.
        path = error.filename2 or error.filename
        text = error.strerror if path is None else f"{path}: {error.strerror}"
        raise output.failed(str(text), exit_code) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:  # a defect of ours: its traceback follows
        output.done({"error": f"{type(error).__name__}: {error}", "exit_code": 1})
        raise
    finally:
        logger.removeHandler(remarks)
        _CURRENT.reset(token)
