"""`va-search ensemble`: the best weights per dimension out of one or several studies, and their honest scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command, number

if TYPE_CHECKING:
    from rich.table import Table

    from va_search.ensemble.saved import Ensemble
    from va_search.files import Home

EXAMPLE = "Example: va-search ensemble first --recipe ensembles/greedy.yaml --name first-greedy"


def ensemble(
    studies: Annotated[list[str], typer.Argument(help="One study or several; their trials are the candidates.")],
    *,
    recipe: Annotated[str, typer.Option("--recipe", help="A recipe file, or the name of one in ensembles/.")],
    name: Annotated[str, typer.Option("--name", help="The ensemble's name; again: built anew from the same recipe.")],
    data: Annotated[
        Path | None, typer.Option("--data", help="The store to judge on; default: the trials' own.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an ensemble of another recipe or studies.")] = False,
    tracking: Annotated[bool, typer.Option(help="Log the ensemble to MLflow.")] = True,
    tracking_uri: Annotated[str | None, typer.Option(help="An MLflow server; default: SQLite in the home.")] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Choose members and weights per dimension from finished trials; scores are in-sample and out-of-fold."""
    with command(as_json) as output:
        from va_search.data.store import Store
        from va_search.ensemble.build import build
        from va_search.ensemble.recipe import load_recipe
        from va_search.files import Home

        at = Home(home)
        store = None if data is None else Store.open(data)
        built = build(at, studies, load_recipe(recipe), name, store, force=force)
        show(output, built)
        output.show(f"saved {at.ensemble(name)}")
        output.show(f"next: va-search submit {name} --format recordings --out {name}-submission")
        output.done(built.model_dump(mode="json"))
        if tracking:
            log(output, at, built, tracking_uri)


def show(output: Output, built: Ensemble) -> None:
    """Members and weights per dimension, then the scores, then what a reader should know."""
    for dimension in built.dimensions:
        output.show(members_table(built, dimension))
    output.show(scores_table(built))
    measured = built.measured_on
    where = f"fold {measured.fold}" if measured.fold != "official" else "the official validation split"
    output.show(f"measured on {where}: {measured.recordings} recordings, {measured.labelled_frames} labelled frames")
    if measured.reason:
        output.show(f"no out-of-fold score: {measured.reason}; the in-sample one is too high, by an unknown amount")
    else:
        output.show("in-sample: on the frames the weights were chosen on, so too high")
        output.show(
            f"out-of-fold: chosen again in each of {measured.folds} folds, without the recordings scored (those of one "
            f"{measured.kept_together} kept together)"
        )
    if any(member.source == "trained" for one in built.dimensions.values() for member in one.members):
        output.show("either way, trials picked their best epochs on these frames, so scores are a little too high")
    for reason, count in built.left_out.items():
        output.note(f"{count} trials left out: {reason}")
    for note in built.notes:
        output.note(note)


def members_table(built: Ensemble, dimension: str) -> Table:
    """One row per member with weight; its CCC is in-sample, on the validation recordings."""
    from rich.table import Table

    members = built.dimensions[dimension].members
    count = f"{len(members)} of {built.candidates} candidates"
    table = Table(title=f"{dimension}: {count}, recipe {built.recipe}", title_justify="left")
    table.add_column("trial", no_wrap=True)
    table.add_column("encoder, fusion")
    table.add_column("features")
    table.add_column("seed", justify="right")
    table.add_column("weight", justify="right")
    table.add_column("CCC\nin-sample", justify="right")
    many = len(built.studies) > 1
    for member in members:
        trial = f"{member.study}/{member.trial}" if many else member.trial
        model = "–" if member.encoder is None else f"{member.encoder}, {member.fusion}"
        features = ", ".join(member.features or ["–"])
        seed = "–" if member.seed is None else str(member.seed)
        table.add_row(trial, model, features, seed, number(member.weight), number(member.ccc))
    return table


def scores_table(built: Ensemble) -> Table:
    """The best single trial against the ensemble, in-sample and out-of-fold."""
    from rich.table import Table

    table = Table(title="CCC on validation", title_justify="left")
    for name in ("", "measured", "valence", "arousal", "score"):
        table.add_column(name, justify="right" if name in ("valence", "arousal", "score") else "left")
    rows = (("best single trial", built.best_single), (f"ensemble {built.name}", built.scores))
    for measured in ("in_sample", "out_of_fold"):
        for what, scores in rows:
            values = scores[measured] or {}
            cells = [number(values.get(key)) for key in ("valence", "arousal", "score")]
            table.add_row(what, measured.replace("_", "-"), *cells, end_section=what.startswith("ensemble"))
    return table


def log(output: Output, home: Home, built: Ensemble, tracking_uri: str | None) -> None:
    """Log to MLflow, after everything is on the screen and saved; a failure is a warning, the ensemble stands."""
    from va_search.tracking.door import tracking_place
    from va_search.tracking.ensembles import log_ensemble

    output.note("logging to MLflow …")
    place = tracking_place(home, tracking_uri)
    try:
        log_ensemble(place.uri, place.artifacts, built.model_dump(mode="json"))
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        output.note(f"warning: not logged to MLflow ({reason}); the ensemble is saved; the same command tries again")
