"""`va-search status`: what a home holds, and where a study stands, read from its files."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from va_search.cli.output import (
    DEFAULT_HOME,
    HomeOption,
    JsonOption,
    Output,
    command,
    duration,
    number,
)
from va_search.cli.places import check_studies, opened
from va_search.errors import counted

if TYPE_CHECKING:
    from rich.table import Table

    from va_search.files import Home
    from va_search.report.standing import Progress

EXAMPLE = "Example: va-search status first; without a name: the home's studies and ensembles"

AddressOption = Annotated[
    str | None,
    typer.Option(help="Ask a cluster's head, through the tunnel: http://127.0.0.1:8265."),
]


def status(
    context: typer.Context,
    study: Annotated[
        str | None,
        typer.Argument(
            help="The study's name; without one, the home's studies and ensembles are listed."
        ),
    ] = None,
    *,
    home: HomeOption = DEFAULT_HOME,
    best: Annotated[int, typer.Option(min=1, help="How many of the best trials to show.")] = 10,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a study's finished and failed trials, its best ones, and what each fold gave; it may be
    searching now."""
    if address is not None:
        given = getattr(context.get_parameter_source("home"), "name", "") == "COMMANDLINE"
        ask_head(address, study, home if given else None, best, as_json)
        return
    with command(as_json) as output, opened(home) as at:
        if study is None:
            from va_search.cli.home_contents import show_contents

            show_contents(output, at)
        else:
            _show_study(output, at, study, best)


def _show_study(output: Output, home: Home, study: str, best: int) -> None:
    from va_search.cli.fold_tables import show_folds
    from va_search.report.standing import progress_of
    from va_search.search.outcomes import pareto
    from va_search.search.study import Study

    found = Study(home, study)
    if not found.exists():
        check_studies(home, [study], lambda name, of: home.command("status", of[0]))
    never_searched: dict[str, Any] = {
        "study": study,
        "space": {},
        "seconds": 0.0,
    }  # it has models from elsewhere only
    document = found.document() if found.exists() else never_searched
    records = found.bank.records(study)
    failures = found.failures()
    progress = progress_of(home, study, records, failures)
    output.show(progress_text(progress, document["seconds"]))
    if progress.tracking is not None:
        output.show(f"tracking: {progress.tracking}")
    scored = [record for record in records if record["best"]]
    if scored:
        output.show(best_table(scored, best))
    if len(scored) < len(records):
        without = len(records) - len(scored)
        have = "has" if without == 1 else "have"
        output.show(
            f"{counted(without, 'trial')} {have} no validation (train_val_mix): test predictions only"
        )
    folds = show_folds(output, document, records, failures)
    show_failures(output, failures)
    front = pareto(records) if document["space"].get("objective") == "both" else None
    if front:
        output.show(pareto_table(front))
    scores = [{"trial": r["trial"], "source": r["source"], "best": r["best"]} for r in records]
    output.done(
        {
            **document,
            "complete": scores,
            "failed": failures,
            "searching": progress.searching,
            "planned": progress.planned,
            "running": progress.running,
            "seconds_left": progress.seconds_left,
            "tracking": progress.tracking,
            "folds": folds,
            "pareto": front,
        }
    )


def progress_text(progress: Progress, spent: float) -> str:
    """Where a study stands in a line, with the seconds that were `spent` so far."""
    complete = f"{counted(progress.complete, 'trial')} complete"
    if progress.planned is not None and progress.complete > progress.planned:
        complete += f" ({progress.planned:,} planned in the space as it is now)"
    elif progress.planned is not None:
        complete = f"{progress.complete:,} of {counted(progress.planned, 'planned trial')} complete"
    state = "searching now" if progress.searching else "not searching"
    if progress.running is not None:
        state += f" ({progress.running:,} running)"
    left = (
        "" if progress.seconds_left is None else f"; about {duration(progress.seconds_left)} left"
    )
    counts = f"{complete}, {progress.failed:,} failed, {state}"
    return f"study {progress.study}: {counts}; {duration(spent)} spent{left}"


def ask_head(address: str, study: str | None, home: str | None, best: int, as_json: bool) -> None:
    """Show what the same command says on a cluster's head, where the home is the head's own unless
    one is named."""
    with command(as_json) as output:
        from va_search.errors import InputError, JobError
        from va_search.search.jobs import run_on_head

        words = [
            "va-search",
            "status",
            *([] if study is None else [study]),
            "--best",
            str(best),
            *([] if home is None else ["--home", home]),
        ]
        ran = run_on_head(
            address, [*words, *(["--json"] if as_json else [])], with_errors=not as_json
        )
        said = ran.output.strip()
        document: dict[str, Any] = {}
        if as_json:
            with suppress(ValueError):  # a defect on the head, whose words went to standard error
                document = json.loads(said)
        if ran.exit_code or (as_json and not document):
            why = (
                document.get("error")
                or said.removeprefix("error: ")
                or f"exit code {ran.exit_code}"
            )
            raise (InputError if ran.exit_code == 2 else JobError)(
                f"on the head of {address}: {why}"
            )
        if not as_json:
            output.show(said)
        output.done(document)


def best_table(records: list[dict[str, Any]], count: int) -> Table:
    """The best of trials that have a score; CCCs are each trial's best epoch on validation, so
    in-sample."""
    from rich.table import Table

    table = Table(
        title="best trials (validation CCC of each dimension's best epoch)", title_justify="left"
    )
    for name in ("trial", "encoder", "fusion", "features", "seed", "fold"):
        table.add_column(name, overflow="fold")
    for name in ("valence", "arousal", "score"):
        table.add_column(name, justify="right")
    for record in sorted(records, key=lambda r: -r["best"]["score"]["value"])[:count]:
        settings = record["settings"] or {}
        named = [str(settings.get(name, "–")) for name in ("encoder", "fusion")]
        places = [str(settings.get(name, "–")) for name in ("seed", "fold")]
        best = record["best"]
        values = [best["valence"]["ccc"], best["arousal"]["ccc"], best["score"]["value"]]
        features = "+".join(settings.get("features", ["–"]))
        table.add_row(
            record["trial"], *named, features, *places, *(number(value) for value in values)
        )
    return table


def pareto_table(front: list[dict[str, Any]]) -> Table:
    """The trials that no other beats on one dimension without losing on the other; for objective
    both."""
    from rich.table import Table

    table = Table(
        title="Pareto set (validation CCC of each dimension's best epoch)", title_justify="left"
    )
    table.add_column("trial", overflow="fold")
    for name in ("valence", "arousal"):
        table.add_column(name, justify="right")
    for one in front:
        table.add_row(one["trial"], number(one["valence"]), number(one["arousal"]))
    return table


def show_failures(output: Output, failures: list[dict[str, Any]]) -> None:
    """One line a failed trial; the whole traceback is in the study's folder and in --json."""
    for failure in failures:
        last = failure["failed"].strip().splitlines()[-1]
        output.show(f"failed {failure['trial']}: {last}")
