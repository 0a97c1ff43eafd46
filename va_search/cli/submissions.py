"""`va-search submissions`: the paper's five submission strategies on one or several studies, and
Table 6."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.api.ensembles import track_all
from va_search.api.home import check_studies
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command
from va_search.cli.places import named_home

if TYPE_CHECKING:
    from va_search.submission.strategies import Submissions

EXAMPLE = "Example: va-search submissions paper paper_folds --labels hidden-labels --out paper-submissions"


def submissions(
    studies: Annotated[
        list[str], typer.Argument(help="One study or several; their trials are the candidates.")
    ],
    *,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="The folder to write, with one folder per strategy; earlier ones are replaced.",
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            help="Folder of test labels, one CSV per recording; without it no test scores.",
        ),
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option(
            "--prefix", help="The ensembles are named PREFIX-<strategy>; default: the first study."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="The store; default: the one the trials were trained on."),
    ] = None,
    tracking: Annotated[bool, typer.Option(help="Log the ensembles to MLflow.")] = True,
    tracking_uri: Annotated[
        str | None, typer.Option(help="An MLflow server; default: SQLite in the home.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Build the paper's five ensembles, write their submissions, and print Table 6, which also names
    strategies whose trials are missing."""
    with (
        command(as_json) as output,
        named_home(home).using("predictions", studies=studies, writes=True) as opened,
    ):
        import va_search as va

        files = opened.files
        check_studies(
            files, studies, lambda name, of: files.command("submissions", *of, "--out", str(out))
        )
        submitted = va.write_submissions(
            studies,
            out,
            labels=labels,
            prefix=prefix,
            store=data,
            home=opened,
            tracking=False,
            note=output.note,
        )
        show(output, submitted)
        output.show(f"saved {submitted.path}; submissions in {out}")
        output.done(submitted.document())
        if tracking:
            output.note("logging to MLflow …")
            track_all(opened, submitted.ensembles, tracking_uri, output.note)


def show(output: Output, made: Submissions) -> None:
    """Show Table 6."""
    from va_search.report.tables.submissions import table_6

    output.show(table_6(made.document()))
