"""`va-search submissions`: the paper's five submission strategies on one or several studies, and
Table 6."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.api.ensembles import track_all
from va_search.api.home import check_studies
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command, number
from va_search.cli.places import named_home
from va_search.errors import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from va_search.submission.strategies import Row, Submissions

EXAMPLE = "Example: va-search submissions paper paper_folds --labels hidden-labels --out paper-submissions"
SCORES = ("valence", "arousal", "score")


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
    """Table 6, what its validation scores were measured on, and why a strategy could not be
    made."""
    output.show(table_6(made))
    for measured in dict.fromkeys(_measured(row) for row in made.rows):
        if measured:
            output.show(measured)
    for row in made.rows:
        if row.problem:
            output.show(f"{row.strategy} could not be made: {row.problem}")
    if made.labels is None:
        output.show("test: withheld; give the labels with --labels FOLDER where you have them")


def table_6(made: Submissions) -> Table:
    """One row per submission; scores are valence / arousal / mean on validation, and columns on
    test."""
    from rich.table import Table

    table = Table(title="Table 6: the five submissions, CCC", title_justify="left")
    for name in ("", "strategy"):
        table.add_column(name, no_wrap=True)
    for name in (
        "members\nV / A",
        "validation, in-sample\nV / A / mean",
        "validation, out-of-fold\nV / A / mean",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("test\nvalence", "test\narousal", "test\nmean"):
        table.add_column(name, justify="right")
    for row in made.rows:
        members = (
            "–" if row.members is None else f"{row.members['valence']} / {row.members['arousal']}"
        )
        test = _test(row, withheld=made.labels is None)
        table.add_row(
            str(row.submission),
            row.strategy,
            members,
            _three(row.in_sample),
            _three(row.out_of_fold),
            *test,
        )
    return table


def _three(scores: Mapping[str, float | None] | None) -> str:
    return "–" if scores is None else " / ".join(number(scores[name]) for name in SCORES)


def _test(row: Row, *, withheld: bool) -> list[str]:
    if row.problem:
        return ["–"] * len(SCORES)
    return (
        ["withheld"] * len(SCORES)
        if withheld
        else [number((row.test or {}).get(name)) for name in SCORES]
    )


def _measured(row: Row) -> str:
    """In words, what a row's validation scores are of, or why there are none."""
    if row.measured_on is None:
        return ""
    fold, recordings = row.measured_on["fold"], row.measured_on["recordings"]
    if fold == "all":
        where = f"all {recordings} labelled recordings, each predicted by the trial of its own fold"
        return f"{row.strategy}: validation is {where}"
    if not recordings:
        return f"{row.strategy}: no validation score: {row.measured_on['reason']}"
    split = "the official split's" if fold == "official" else f"fold {fold}'s"
    return f"{row.strategy}: validation is {split} {counted(recordings, 'recording')}"
