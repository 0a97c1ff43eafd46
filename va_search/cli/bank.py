"""`va-search bank`: the predictions of finished trials and of models from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from va_search.cli.advice import ensemble_command
from va_search.cli.ensemble import DEFAULT_RECIPE
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, command
from va_search.cli.places import opened
from va_search.errors import counted
from va_search.table import number

if TYPE_CHECKING:
    from rich.table import Table

    from va_search.trial import Trial

LIST_EXAMPLE = "Example: va-search bank list first"
ADD_EXAMPLE = "Example: va-search bank add first --from team_predictions --data stores/mine"

NO_VALIDATION = "none: no validation (train_val_mix), only test predictions"

app = typer.Typer(
    help="Predictions of finished trials, and of models from elsewhere.", no_args_is_help=True
)


@app.command(name="list", epilog=LIST_EXAMPLE)
def list_(
    study: Annotated[str, typer.Argument(help="The study's name.")],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """List the complete trials of a study whose predictions are in the bank."""
    with command(as_json) as output, opened(home) as at:
        from va_search.errors import InputError, unknown_name
        from va_search.predictions.bank import Bank

        bank = Bank(at.bank)
        known = bank.studies()
        if study not in known:
            raise InputError(unknown_name("study", study, known))
        trials = list(bank.each_trial(study))
        output.show(_listed(study, trials))
        if not all(trial.best for trial in trials):
            output.show(NO_VALIDATION)
        kept = (
            "trial",
            "source",
            "settings",
            "best",
            "predictions",
            "filled_frames",
            "finished_at",
        )
        documents = [trial.to_json() for trial in trials]
        output.done([{key: each[key] for key in kept if key in each} for each in documents])


def _listed(study: str, trials: list[Trial]) -> Table:
    from rich.table import Table

    table = Table(
        title=f"bank of study {study}: {counted(len(trials), 'trial')} (CCC on each one's validation)",
        title_justify="left",
    )
    table.add_column("trial", no_wrap=True)
    table.add_column("encoder, fusion")
    table.add_column("features")
    for name in ("seed", "fold"):
        table.add_column(name, justify="right")
    for name in ("valence", "arousal"):
        table.add_column(f"{name}\nin-sample", justify="right", no_wrap=True)
    for trial in trials:
        settings = trial.noted_settings or {}
        model = f"{settings['encoder']}, {settings['fusion']}" if settings else "outside"
        features = ", ".join(settings.get("features", ["–"]))
        places = [str(settings.get(name, "–")) for name in ("seed", "fold")]
        scores = ["none", "none"]
        if trial.best:
            scores = [number(trial.best[dimension].ccc) for dimension in ("valence", "arousal")]
        table.add_row(trial.id, model, features, *places, *scores)
    return table


@app.command(epilog=ADD_EXAMPLE)
def add(
    study: Annotated[str, typer.Argument(help="The study to add to; a new name makes one.")],
    source: Annotated[
        Path, typer.Option("--from", help="A folder per model, in it a CSV per recording.")
    ],
    data: Annotated[str, typer.Option("--data", help="The store the predictions are for.")],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Put the predictions of models from elsewhere into the bank; the same command again changes
    nothing."""
    with command(as_json) as output, opened(home, writes=True) as at:
        from va_search.data.store import Store
        from va_search.ensemble.outside import add_outside
        from va_search.ensemble.recipe import load_recipe
        from va_search.predictions.bank import Bank

        bank = Bank(at.bank)
        before = bank.studies()
        added = add_outside(
            bank, study, source, Store.open(data), lambda model: output.note(f"reading {model}")
        )
        if study not in before and before:
            output.note(f"{study!r} is new in the bank (others there: {', '.join(before)})")
        output.show(_added(study, added))
        filled = {one.filled_frames for one in added} - {0}
        if filled:
            output.note(
                f"up to {max(filled)} unlabelled frames a model had no row and took the nearest row's value"
            )
        for model in added:
            for remark in model.remarks:
                output.note(f"warning: {remark}")
        output.show(
            f"next: {ensemble_command(at, [study], load_recipe(DEFAULT_RECIPE), f'{study}-best')}"
        )
        output.done({"study": study, "added": [vars(one) for one in added]})


def _added(study: str, added: list[Any]) -> Table:
    from rich.table import Table

    table = Table(
        title=f"{counted(len(added), 'outside model')} in study {study}", title_justify="left"
    )
    table.add_column("trial", overflow="fold")
    table.add_column("state")
    for name in ("valence", "arousal"):
        table.add_column(f"{name}\nvalidation", justify="right")
    table.add_column("filled\nframes", justify="right")
    for one in added:
        scores = [number(one.best[dimension]) for dimension in ("valence", "arousal")]
        table.add_row(one.trial, one.state, *scores, str(one.filled_frames))
    return table
