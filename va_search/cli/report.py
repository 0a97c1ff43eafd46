"""`va-search report`: the paper's tables and figures out of studies, as Markdown and as one HTML
page."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.api.home import check_ensemble, check_studies, studies_of
from va_search.cli.ensemble_tables import show_verdict
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command
from va_search.cli.places import named_home
from va_search.errors import InputError
from va_search.table import missing_text

if TYPE_CHECKING:
    from va_search.home import Home
    from va_search.report.pages import StudyReport

EXAMPLE = (
    "Example: va-search report first --out first-report; or va-search report first-best --out "
    "first-best.html"
)


def report(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="STUDIES | ENSEMBLE",
            help="One study or several, whose trials fill the tables; or an ensemble, with the "
            "studies that it was built of.",
        ),
    ],
    *,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="The folder for report.md and report.html; earlier ones are replaced. A name that "
            "ends in .html or .md: that one file.",
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
    """Write a report of one or several studies, or of an ensemble: the answer first, then tables
    and figures, and what is missing."""
    with command(as_json) as output, named_home(home).using() as opened_home:
        from va_search.data.store import Store
        from va_search.report.write import assemble, report_files, save

        files = report_files(out)
        if ensemble is not None:
            check_ensemble(
                opened_home.files,
                ensemble,
                lambda name: opened_home.files.command(
                    "report", *names, "--out", str(out), "--ensemble", name
                ),
            )
        studies, shown = _studies_and_ensemble(opened_home.files, names, ensemble)
        words = ["report", *names, "--out", str(out)]
        if ensemble is not None:
            words += ["--ensemble", ensemble]
        if data is not None:
            words += ["--data", data]
        if home != DEFAULT_HOME:
            words += ["--home", home]
        with opened_home.using("predictions", studies=studies):
            made = assemble(
                opened_home.files,
                studies,
                None if data is None else Store.open(data),
                ensemble=shown,
                command=shlex.join(["va-search", *words]),
                out=out,
            )
        save(made, out)
        _show(output, made)
        output.show(f"wrote {' and '.join(map(str, files.paths))}")
        verdict = made.verdict
        if verdict is not None and verdict.next_command is not None:
            output.show(f"next: {verdict.next_command}")
        figures = []
        for figure in made.figures():
            why = None if figure.missing is None else figure.missing.why
            figures.append({"title": figure.title, "missing": why})
        output.done(
            {
                "html": None if files.page is None else str(files.page),
                "markdown": None if files.markdown is None else str(files.markdown),
                "title": made.title,
                "subtitle": made.subtitle,
                "summary": [text for _, text in made.sections[0].facts],
                "verdict": None if verdict is None else verdict.document(),
                "tables": [table.document() for table in made.tables()],
                "figures": figures,
            }
        )


def _studies_and_ensemble(
    home: Home, names: list[str], ensemble: str | None
) -> tuple[list[str], str | None]:
    """Studies to report on, and the ensemble to show of them, None for the newest.

    A name that is no study's but an ensemble's stands for it and its studies. InputError for
    unknown names, and for more than one ensemble."""
    from va_search.ensemble.saved import known_ensembles, read_ensemble

    known, ensembles = studies_of(home), known_ensembles(home)
    studies: list[str] = []
    shown = [] if ensemble is None else [ensemble]
    for name in names:
        if name in known or name not in ensembles:
            studies.append(name)
        else:
            studies += read_ensemble(home, name).studies
            shown.append(name)
    check_studies(home, studies, lambda name, _: home.command("report", name))
    if len(set(shown)) > 1:
        raise InputError(
            f"a report shows one ensemble, but got {', '.join(dict.fromkeys(shown))}; make one for "
            "each"
        )
    return list(dict.fromkeys(studies)), shown[0] if shown else None


def _show(output: Output, made: StudyReport) -> None:
    """Show the answer and what is missing from the report."""
    output.show(f"{made.title}: {made.subtitle}")
    if made.verdict is not None:
        show_verdict(output, made.verdict)
    else:
        for label, text in made.sections[0].facts:
            output.show(f"  {label}: {text}")
    for title, missing in made.missing().items():
        output.show(f"not shown  {title}: {missing_text(missing)}")
