"""`va-search report`: the paper's tables and figures out of studies, as Markdown and as one HTML
page."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command
from va_search.cli.places import check_ensemble, check_studies, opened

if TYPE_CHECKING:
    from va_search.report.model import Report

EXAMPLE = "Example: va-search report first --out first-report"


def report(
    studies: Annotated[
        list[str], typer.Argument(help="One study or several; their trials fill the tables.")
    ],
    *,
    out: Annotated[
        Path,
        typer.Option("--out", help="The folder for report.md and report.html; replaced there."),
    ],
    ensemble: Annotated[
        str | None,
        typer.Option(
            "--ensemble",
            help="The ensemble of Tables 2 and 3; default: the newest of these studies.",
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="The store; default: the one of the studies.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Write tables and figures of finished studies; it also lists what is missing, and why."""
    with command(as_json) as output, opened(home, "predictions", studies=studies) as at:
        from va_search.data.store import Store
        from va_search.report.assemble import assemble
        from va_search.report.write import check_place, save

        check_place(out)
        check_studies(
            at,
            studies,
            lambda name, of: at.command("report", *of, "--ensemble", name, "--out", str(out)),
        )
        if ensemble is not None:
            words = ["report", *studies, "--out", str(out)]
            check_ensemble(at, ensemble, lambda name: at.command(*words, "--ensemble", name))
        store = None if data is None else Store.open(data)
        said = _command(studies, out, ensemble, data, home)
        made = assemble(at, studies, store, ensemble=ensemble, command=said, out=out)
        page = save(made, out)
        _show(output, made, page)
        output.done(
            {
                "html": str(page),
                "markdown": str(page.with_suffix(".md")),
                "title": made.title,
                "subtitle": made.subtitle,
                "summary": list(made.sections[0].paragraphs),
                "tables": [table.document() for table in made.tables()],
                "figures": [
                    {
                        "title": figure.title,
                        "missing": None if figure.missing is None else figure.missing.why,
                    }
                    for figure in made.figures()
                ],
            }
        )


def _command(
    studies: list[str], out: Path, ensemble: str | None, data: str | None, home: str
) -> str:
    words = ["va-search", "report", *studies, "--out", str(out)]
    words += ["--ensemble", ensemble] if ensemble is not None else []
    words += ["--data", data] if data is not None else []
    words += ["--home", home] if home != DEFAULT_HOME else []
    return shlex.join(words)


def _show(output: Output, made: Report, page: Path) -> None:
    """The summary, what is not in it, and where it is."""
    output.show(f"{made.title}: {made.subtitle}")
    for paragraph in made.sections[0].paragraphs:
        output.show(paragraph)
    parts = [(table.title, table.missing) for table in made.tables()]
    parts += [(figure.title, figure.missing) for figure in made.figures()]
    for title, missing in parts:
        if missing is not None:
            fill = "" if missing.command is None else f" To fill it: {missing.command}"
            output.show(f"not there  {title}: {missing.why}{fill}")
    output.show(f"wrote {page} and {page.with_suffix('.md').name}")
