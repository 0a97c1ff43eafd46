"""`va-search status`: where a study stands, read from its files."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command, duration, number
from va_search.cli.places import opened

if TYPE_CHECKING:
    from rich.table import Table

EXAMPLE = "Example: va-search status first"

AddressOption = Annotated[
    str | None, typer.Option(help="Ask a cluster's head, through the tunnel: http://127.0.0.1:8265.")
]


def status(
    context: typer.Context,
    study: Annotated[str, typer.Argument(help="The study's name.")],
    *,
    home: HomeOption = DEFAULT_HOME,
    best: Annotated[int, typer.Option(min=1, help="How many of the best trials to show.")] = 10,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a study's finished and failed trials, its best ones, and what each fold gave; it may be searching now."""
    if address is not None:
        given = getattr(context.get_parameter_source("home"), "name", "") == "COMMANDLINE"
        ask_head(address, study, home if given else None, best, as_json)
        return
    with command(as_json) as output, opened(home) as at:
        from va_search.cli.fold_tables import show_folds
        from va_search.search.outcomes import pareto
        from va_search.search.study import Study
        from va_search.storage.lease import searched

        found = Study(at, study)
        document = found.document()
        records = found.bank.records(study)
        failures = found.failures()
        searching = found.is_searched or searched(at, study)
        state = "searching now" if searching else "not searching"
        spent = duration(document["seconds"])
        output.show(f"study {study}: {len(records)} trials complete, {len(failures)} failed, {state}; {spent} spent")
        scored = [record for record in records if record["best"]]
        if scored:
            output.show(best_table(scored, best))
        if len(scored) < len(records):
            output.show(
                f"{len(records) - len(scored)} trials have no validation (train_val_mix): test predictions only"
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
                "searching": searching,
                "folds": folds,
                "pareto": front,
            }
        )


def ask_head(address: str, study: str, home: str | None, best: int, as_json: bool) -> None:
    """Show what the same command says on a cluster's head, where the home is the head's own unless one is named."""
    with command(as_json) as output:
        from va_search.cluster.jobs import run_on_head
        from va_search.errors import InputError, JobError

        words = ["va-search", "status", study, "--best", str(best), *([] if home is None else ["--home", home])]
        ran = run_on_head(address, [*words, *(["--json"] if as_json else [])], with_errors=not as_json)
        said = ran.output.strip()
        document: dict[str, Any] = {}
        if as_json:
            with suppress(ValueError):  # a defect on the head, whose words went to standard error
                document = json.loads(said)
        if ran.exit_code or (as_json and not document):
            why = document.get("error") or said.removeprefix("error: ") or f"exit code {ran.exit_code}"
            raise (InputError if ran.exit_code == 2 else JobError)(f"on the head of {address}: {why}")
        if not as_json:
            output.show(said)
        output.done(document)


def best_table(records: list[dict[str, Any]], count: int) -> Table:
    """The best of trials that have a score; CCCs are each trial's best epoch on validation, so in-sample."""
    from rich.table import Table

    table = Table(title="best trials (validation CCC of each dimension's best epoch)", title_justify="left")
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
        table.add_row(record["trial"], *named, features, *places, *(number(value) for value in values))
    return table


def pareto_table(front: list[dict[str, Any]]) -> Table:
    """The trials that no other beats on one dimension without losing on the other; for objective both."""
    from rich.table import Table

    table = Table(title="Pareto set (validation CCC of each dimension's best epoch)", title_justify="left")
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
