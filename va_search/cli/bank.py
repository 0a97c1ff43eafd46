"""`va-search bank`: the predictions of finished trials and of models from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.api.ensembles import DEFAULT_RECIPE
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, command
from va_search.cli.places import named_home, opened
from va_search.errors import counted
from va_search.table import number

if TYPE_CHECKING:
    from rich.table import Table

    from va_search.ensemble.outside import Added
    from va_search.trial import Trial

LIST_EXAMPLE = "Example: va-search bank list first"
ADD_EXAMPLE = "Example: va-search bank add first --from team_predictions --data stores/mine"

NO_VALIDATION = "none: no validation (train_val_mix), only test predictions"

app = typer.Typer(
    help="List trials with predictions, and add predictions of models that were not trained here.",
    no_args_is_help=True,
)


@app.command(name="list", epilog=LIST_EXAMPLE)
def list_(
    study: Annotated[str, typer.Argument(help="The study's name.")],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """List the complete trials of a study, with their scores."""
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
    targets = list(dict.fromkeys(name for trial in trials for name in trial.target_names))
    for name in targets:
        table.add_column(f"{name}\nin-sample", justify="right", no_wrap=True)
    for trial in trials:
        settings = trial.noted_settings or {}
        model = f"{settings['encoder']}, {settings['fusion']}" if settings else "outside"
        features = ", ".join(settings.get("features", ["–"]))
        places = [str(settings.get(name, "–")) for name in ("seed", "fold")]
        scores = []
        for name in targets:
            best = trial.best.get(name)
            scores.append("none" if best is None else number(best.ccc))
        table.add_row(trial.id, model, features, *places, *scores)
    return table


@app.command(epilog=ADD_EXAMPLE)
def add(
    study: Annotated[
        str, typer.Argument(help="The study to add to; a new name makes a new study.")
    ],
    source: Annotated[
        Path,
        typer.Option(
            "--from",
            help="Folder with one folder per model, each with a CSV or .npy per recording or one file of all.",
        ),
    ],
    data: Annotated[str, typer.Option("--data", help="The store the predictions are for.")],
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Add predictions of models that were not trained here to the bank; the same command again
    changes nothing."""
    with command(as_json) as output, named_home(home).using(writes=True) as at_home:
        import va_search as va
        from va_search.ensemble.recipe import load_recipe
        from va_search.verdict.next_command import ensemble_command

        added = va.import_predictions(
            source, va.open_store(data), study=study, home=at_home, note=output.note
        )
        output.show(_added(study, added))
        filled = max((model.filled_frames for model in added), default=0)
        if filled:
            output.note(
                f"up to {filled} frames of a model had no row and took the nearest row's value"
            )
        recipe = load_recipe(DEFAULT_RECIPE)
        following = ensemble_command(at_home.files, [study], recipe, f"{study}-best")
        output.show(f"next: {following}")
        output.done({"study": study, "added": [vars(model) for model in added]})


def _added(study: str, added: list[Added]) -> Table:
    from rich.table import Table

    title = f"{counted(len(added), 'outside model')} in study {study}"
    table = Table(title=title, title_justify="left")
    table.add_column("trial", overflow="fold")
    table.add_column("state")
    targets = list(dict.fromkeys(name for model in added for name in model.best))
    for name in targets:
        table.add_column(f"{name}\nvalidation", justify="right")
    table.add_column("filled\nframes", justify="right")
    for model in added:
        scores = [number(model.best[name]) if name in model.best else "none" for name in targets]
        table.add_row(model.trial, model.state, *scores, str(model.filled_frames))
    return table
