"""`va-search report`: the paper's tables and figures out of studies, as Markdown and as one HTML
page."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.api.home import check_ensemble, check_studies
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command
from va_search.cli.places import opened
from va_search.table import missing_text

if TYPE_CHECKING:
    from va_search.report.pages import StudyReport

EXAMPLE = "Example: va-search report first --out first-report"


def report(
    studies: Annotated[
        list[str], typer.Argument(help="One study or several; their trials fill the tables.")
    ],
    *,
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="The folder for report.md and report.html; earlier ones are replaced."
        ),
    ],
    ensemble: Annotated[
        str | None,
        typer.Option(
            "--ensemble",
            help="The ensemble of Tables 2 and 3; default: the newest of these studies.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="The store; default: the one the studies were trained on."),
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Write a report of one or several studies: the paper's tables, figures, and what is missing."""
    with command(as_json) as output, opened(home, "predictions", studies=studies) as opened_home:
        from va_search.data.store import Store
        from va_search.report.write import assemble, check_place, save

        check_place(out)
        words = ["report", *studies, "--out", str(out)]
        check_studies(
            opened_home,
            studies,
            lambda name, names: opened_home.command(
                "report", *names, "--ensemble", name, "--out", str(out)
            ),
        )
        if ensemble is not None:
            check_ensemble(
                opened_home, ensemble, lambda name: opened_home.command(*words, "--ensemble", name)
            )
            words += ["--ensemble", ensemble]
        if data is not None:
            words += ["--data", data]
        if home != DEFAULT_HOME:
            words += ["--home", home]
        made = assemble(
            opened_home,
            studies,
            None if data is None else Store.open(data),
            ensemble=ensemble,
            command=shlex.join(["va-search", *words]),
            out=out,
        )
        page = save(made, out)
        _show(output, made, page)
        figures = []
        for figure in made.figures():
            why = None if figure.missing is None else figure.missing.why
            figures.append({"title": figure.title, "missing": why})
        output.done(
            {
                "html": str(page),
                "markdown": str(page.with_suffix(".md")),
                "title": made.title,
                "subtitle": made.subtitle,
                "summary": [text for _, text in made.sections[0].facts],
                "tables": [table.document() for table in made.tables()],
                "figures": figures,
            }
        )


def _show(output: Output, made: StudyReport, page: Path) -> None:
    """Show the summary, what is missing from the report, and where it is."""
    output.show(f"{made.title}: {made.subtitle}")
    facts = made.sections[0].facts
    room = max((len(label) for label, _ in facts), default=0)
    for label, text in facts:
        output.show(f"  {label:{room}}  {text}")
    for title, missing in made.missing().items():
        output.show(f"not shown  {title}: {missing_text(missing)}")
    output.show(f"wrote {page} and {page.with_suffix('.md').name}")
