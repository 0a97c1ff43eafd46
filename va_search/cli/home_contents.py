"""What a home holds: its studies and ensembles, each in a line of a table."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from va_search.cli.output import Output, number
from va_search.cli.places import studies_of
from va_search.errors import counted

if TYPE_CHECKING:
    from rich.table import Table

    from va_search.files import Home
    from va_search.report.standing import Progress


def show_contents(output: Output, home: Home) -> None:
    """Show and hand out the home's studies and ensembles; InputError where the home does not
    exist."""
    from va_search.errors import InputError

    if home.url is None and not home.root.is_dir():
        raise InputError(
            f"home {home.root} (in {home.root.absolute().parent}) does not exist: give the right one with --home, or "
            "run this in the folder it is in"
        )
    studies = [_study(home, name) for name in studies_of(home)]
    ensembles = _ensembles(home)
    if studies:
        output.show(_studies_table(studies))
    if ensembles:
        output.show(_ensembles_table(ensembles))
    output.show(
        f"{counted(len(studies), 'study', 'studies')}, {counted(len(ensembles), 'ensemble')}"
    )
    if studies:
        output.show(f"next: {home.command('status', studies[0].study)}")
    output.done({"studies": [asdict(one) for one in studies], "ensembles": ensembles})


def _study(home: Home, name: str) -> Progress:
    """Where a study stands; damaged records are not counted here, the study's own status names
    them.

    No store is brought from a URL for this: a home may have studies of many.
    """
    from va_search.errors import InputError
    from va_search.report.standing import progress_of
    from va_search.search.study import Study

    study = Study(home, name)
    records = []
    for trial in study.bank.trials(name):
        try:
            records.append(study.bank.record(name, trial))
        except InputError:
            continue
    return progress_of(home, name, records, study.failures(), brings_store=False)


def _ensembles(home: Home) -> list[dict[str, Any]]:
    """Name, studies, recipe, time and scores of every ensemble, or why it can't be read."""
    from va_search.ensemble.saved import known_ensembles, read_ensemble
    from va_search.errors import InputError

    found: list[dict[str, Any]] = []
    for name in known_ensembles(home):
        try:
            one = read_ensemble(home, name)
        except InputError as error:
            found.append({"name": name, "problem": error.problems[0]})
            continue
        about = {
            "name": name,
            "studies": one.studies,
            "recipe": one.recipe,
            "built_at": one.created_at,
        }
        found.append({**about, "out_of_fold": one.scores.get("out_of_fold")})
    return found


def _studies_table(studies: list[Progress]) -> Table:
    from rich.table import Table

    table = Table(title="studies", title_justify="left")
    table.add_column("study", overflow="fold")
    for name in ("complete", "planned", "failed"):
        table.add_column(name, justify="right")
    table.add_column("")
    for one in studies:
        planned = "–" if one.planned is None else f"{one.planned:,}"
        state = "searching now" if one.searching else ""
        table.add_row(one.study, f"{one.complete:,}", planned, f"{one.failed:,}", state)
    return table


def _ensembles_table(ensembles: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(title="ensembles (score: CCC on validation, out-of-fold)", title_justify="left")
    for name in ("ensemble", "studies", "recipe", "built"):
        table.add_column(name, overflow="fold")
    table.add_column("score", justify="right")
    for one in ensembles:
        if "problem" in one:
            table.add_row(one["name"], "–", "can't be read", "–", "–")
            continue
        score = (one["out_of_fold"] or {}).get("score")
        table.add_row(
            one["name"], ", ".join(one["studies"]), one["recipe"], one["built_at"], number(score)
        )
    return table
