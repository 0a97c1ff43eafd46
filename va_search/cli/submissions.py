"""`va-search submissions`: the paper's five submission strategies on one or several studies, and
Table 6."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command
from va_search.cli.places import check_complete, check_studies, opened

if TYPE_CHECKING:
    from va_search.data.store import Store
    from va_search.files import Home
    from va_search.submission.strategies import Submissions

EXAMPLE = "Example: va-search submissions paper paper_folds --labels hidden-labels --out paper-submissions"


def submissions(
    studies: Annotated[
        list[str], typer.Argument(help="One study or several; their trials are the candidates.")
    ],
    *,
    out: Annotated[
        Path,
        typer.Option("--out", help="A folder per strategy goes there; earlier ones are replaced."),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", help="Test labels to score on, a CSV per recording; default: withheld."
        ),
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option(
            "--prefix", help="The ensembles are named PREFIX-<strategy>; default: the first study."
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="The store; default: the trials' own.")
    ] = None,
    tracking: Annotated[bool, typer.Option(help="Log the ensembles to MLflow.")] = True,
    tracking_uri: Annotated[
        str | None, typer.Option(help="An MLflow server; default: SQLite in the home.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Build the paper's five ensembles, write their submissions, and print Table 6; names
    strategies without trials."""
    with (
        command(as_json) as output,
        opened(home, "predictions", studies=studies, writes=True) as at,
    ):
        from va_search.data.store import Store
        from va_search.report.standing import searched_now

        check_studies(
            at, studies, lambda name, of: at.command("submissions", *of, "--out", str(out))
        )
        check_complete(at, studies)
        for sentence in searched_now(at, studies):
            output.note(sentence)
        store = None if data is None else Store.open(data)
        made = make(output, at, studies, out=out, store=store, labels=labels, prefix=prefix)
        output.done(made.document())
        if tracking:
            log(output, at, made, tracking_uri)


def make(
    output: Output,
    home: Home,
    studies: list[str],
    *,
    out: Path,
    store: Store | None = None,
    labels: Path | None = None,
    prefix: str | None = None,
) -> Submissions:
    """Build, write and show all five."""
    from va_search.report.tables.submissions import table_6
    from va_search.submission.strategies import write_submissions

    def watch(strategy: str) -> None:
        output.note(f"{strategy} …")

    made = write_submissions(
        home, studies, out=out, store=store, labels=labels, prefix=prefix, watch=watch
    )
    for remark in made.remarks:
        output.note(f"warning: {remark}")
    output.show(table_6(made.document()))
    output.show(f"saved {made.path}; submissions in {out}")
    return made


def log(output: Output, home: Home, made: Submissions, tracking_uri: str | None) -> None:
    """Log the ensembles to MLflow; the first failure is a warning and ends it, since the next would
    fail alike."""
    from va_search.cli.ensemble import log as log_one

    for ensemble in made.ensembles:
        if not log_one(output, home, ensemble, tracking_uri):
            return
