"""`va-search reproduce paper`: the paper's searches, folds, five submissions and tables, on any
store."""

from __future__ import annotations

import shlex
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.api.progress import duration
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, command
from va_search.cli.places import named_home
from va_search.cli.search import unfinished_shown

if TYPE_CHECKING:
    from va_search.submission.strategies import Submissions

EXAMPLE = (
    "Example: va-search data simulate --like affwild2 --scale 0.01 --to stores/like --hidden like-labels; "
    "va-search reproduce paper --data stores/like --labels like-labels --out paper-report"
)


class Work(StrEnum):
    """Publications that can be reproduced."""

    paper = "paper"


class ModelSize(StrEnum):
    """Model sizes and numbers of trials."""

    auto = "auto"
    small = "small"
    paper = "paper"


def reproduce(
    what: Annotated[Work, typer.Argument(help="What to reproduce.")],
    *,
    data: Annotated[
        Path, typer.Option("--data", help="The store; folds are made in it if it has none.")
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder for the report, the spaces and the submissions.")
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            help="Folder of test labels, one CSV per recording; without it no test scores.",
        ),
    ] = None,
    size: Annotated[
        ModelSize,
        typer.Option(
            help="paper: models as large as the paper's; small: for CPUs; auto: paper if there is a GPU."
        ),
    ] = ModelSize.auto,
    study: Annotated[
        str, typer.Option("--study", help="What the names of the four studies begin with.")
    ] = "paper",
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Run the paper's search, ablation, folds and Train-Val-Mix, write its five submissions and a
    report with its six tables.

    The same command again continues from what is finished.
    """
    with command(as_json) as output:
        import va_search as va
        from va_search.cli import submissions

        started = time.monotonic()

        def show_submissions(made: Submissions) -> None:
            submissions.show(output, made)
            output.show(f"saved {made.path}; submissions in {out / 'submissions'}")

        with unfinished_shown(output):
            reproduced = va.reproduce_paper(
                data,
                out,
                labels=labels,
                size=size.value,
                study=study,
                home=named_home(home),
                command=_command(data, out, labels=labels, size=size, study=study, home=home),
                show=output.show,
                show_submissions=show_submissions,
                note=output.note,
            )
        output.show(f"the whole reproduction took {duration(time.monotonic() - started)}")
        table_6 = reproduced.submissions
        output.done(
            {
                "report": str(reproduced.report),
                "studies": reproduced.studies,
                "submissions": None if table_6 is None else table_6.document(),
            }
        )


def _command(
    data: Path, out: Path, *, labels: Path | None, size: ModelSize, study: str, home: str
) -> str:
    """The command that the report says it was made by, with what differs from the defaults."""
    words = ["va-search", "reproduce", "paper", "--data", str(data), "--out", str(out)]
    if labels is not None:
        words += ["--labels", str(labels)]
    if size is not ModelSize.auto:
        words += ["--size", size.value]
    if study != "paper":
        words += ["--study", study]
    if home != DEFAULT_HOME:
        words += ["--home", home]
    return shlex.join(words)
