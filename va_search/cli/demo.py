"""`va-search demo`: the whole job on a simulated challenge, scored on the labels that a challenge
would withhold."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.api.progress import duration
from va_search.cli.output import (
    DEFAULT_HOME,
    HomeOption,
    JsonOption,
    Output,
    command,
)
from va_search.cli.places import named_home
from va_search.cli.search import unfinished_shown
from va_search.table import number

if TYPE_CHECKING:
    from rich.table import Table

    from va_search.api.demo import Scores
    from va_search.home import Home

EXAMPLE = "Example: va-search demo"


def demo(
    home: HomeOption = DEFAULT_HOME,
    folder: Annotated[
        Path, typer.Option(help="Where the simulated challenge and the submission go.")
    ] = Path("demo"),
    as_json: JsonOption = False,
) -> None:
    """Simulate a challenge, audit its data, search, build an ensemble per target and score its
    submission."""
    with command(as_json) as output:
        import va_search as va
        from va_search.api.demo import NAME

        opened = named_home(home)
        started = time.monotonic()
        with unfinished_shown(output):
            scores = va.run_demo(folder, home=opened, show=output.show, note=output.note)
        output.show(_table(scores))
        output.show(f"the whole job took {duration(time.monotonic() - started)}")
        _next(output, opened.files, folder, NAME)
        output.done(scores)


def _table(scores: Scores) -> Table:
    from rich.table import Table

    table = Table(title="CCC on the simulated challenge", title_justify="left")
    table.add_column("")
    table.add_column("")
    measures = {
        "in_sample": "validation, in-sample",
        "out_of_fold": "validation, out-of-fold",
        "test": "test, unseen people",
    }
    for title in measures.values():
        table.add_column(title, justify="right")
    for name in scores["ensemble"]["test"] or ():
        for who, by_measure in scores.items():
            cells = [number((by_measure[measure] or {}).get(name)) for measure in measures]
            is_single = who == "best single"
            title = name if is_single else ""
            label = "best single trial per target" if is_single else who
            table.add_row(title, label, *cells, end_section=who == "ensemble")
    return table


def _next(output: Output, home: Home, folder: Path, study: str = "demo") -> None:
    """Show the commands that a user may want now."""
    from va_search.search.study import Study

    report = home.command("report", study, "--out", str(folder / "report"))
    output.show("next:")
    page = Study(home, study).trials_page
    if page is not None and page.command is not None:
        output.show(f"  .venv/bin/{page.command}    every trial, at")
        output.show(f"      {page.address}")
    output.show(f"  .venv/bin/{report}    tables and figures, one HTML page")
    output.show(
        "  .venv/bin/va-search data import table YOUR_FOLDER --to stores/mine    "
        "your own recordings (docs/data.md)"
    )
    output.show(
        "  .venv/bin/va-search fit search_spaces/any.yaml --data stores/mine --name mine --out mine-submission"
    )
