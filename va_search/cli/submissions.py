"""`va-search submissions`: the paper's five submission strategies on one or several studies, and
Table 6."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command, number
from va_search.cli.places import check_complete, check_studies, opened
from va_search.errors import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from va_search.data.store import Store
    from va_search.files import Home
    from va_search.submission.strategies import StrategyRow, Submissions

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
    from va_search.submission.strategies import write_submissions

    def watch(strategy: str) -> None:
        output.note(f"{strategy} …")

    made = write_submissions(
        home, studies, out=out, store=store, labels=labels, prefix=prefix, watch=watch
    )
    for remark in made.remarks:
        output.note(f"warning: {remark}")
    show(output, made)
    output.show(f"saved {made.path}; submissions in {out}")
    return made


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


def _test(row: StrategyRow, *, withheld: bool) -> list[str]:
    if row.problem:
        return ["–"] * len(SCORES)
    return (
        ["withheld"] * len(SCORES)
        if withheld
        else [number((row.test or {}).get(name)) for name in SCORES]
    )


def _measured(row: StrategyRow) -> str:
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


def log(output: Output, home: Home, made: Submissions, tracking_uri: str | None) -> None:
    """Log the ensembles to MLflow; the first failure is a warning and ends it, since the next would
    fail alike."""
    from va_search.cli.ensemble import log as log_one

    for ensemble in made.ensembles:
        if not log_one(output, home, ensemble, tracking_uri):
            return
