"""`va-search ensemble`: the best weights per dimension out of one or several studies, and their honest scores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.cli.ensemble_tables import comparison_table, members_table, scores_table
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command, number

if TYPE_CHECKING:
    from va_search.data.store import Store
    from va_search.ensemble.saved import Ensemble, MeasuredOn
    from va_search.files import Home

EXAMPLE = "Example: va-search ensemble first --name first-best"
DEFAULT_RECIPE = "bagged_greedy"


def ensemble(
    studies: Annotated[list[str], typer.Argument(help="One study or several; their trials are the candidates.")],
    *,
    recipe: Annotated[
        str, typer.Option("--recipe", help="A recipe file, or the name of one in ensembles/.")
    ] = DEFAULT_RECIPE,
    name: Annotated[
        str | None, typer.Option("--name", help="The ensemble's name; again: built anew from the same recipe.")
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Rank all recipes out-of-fold; saves nothing.")] = False,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Also tell why: what members share, what each part adds; tables, pictures."),
    ] = False,
    data: Annotated[
        Path | None, typer.Option("--data", help="The store to judge on; default: the trials' own.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an ensemble of another recipe or studies.")] = False,
    tracking: Annotated[bool, typer.Option(help="Log the ensemble to MLflow.")] = True,
    tracking_uri: Annotated[str | None, typer.Option(help="An MLflow server; default: SQLite in the home.")] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Choose members and weights per dimension from finished trials; scores are out-of-fold and in-sample."""
    with command(as_json) as output:
        from va_search.data.store import Store
        from va_search.errors import InputError
        from va_search.files import Home

        at = Home(home)
        store = None if data is None else Store.open(data)
        if compare:
            if name is not None:
                raise InputError(f"--compare saves nothing; leave out --name {name}, or leave out --compare")
            if explain:
                raise InputError("--explain tells of one ensemble; leave it out, or leave out --compare")
            _compare(output, at, studies, store)
            return
        if name is None:
            raise InputError("--name is missing: what the ensemble is to be called, or --compare to rank all recipes")
        built = _build(output, at, studies, recipe=recipe, name=name, store=store, force=force)
        folder = _explain(output, at, built, store) if explain else None
        if tracking:
            log(output, at, built, tracking_uri, folder)


def _build(
    output: Output, home: Home, studies: list[str], *, recipe: str, name: str, store: Store | None, force: bool
) -> Ensemble:
    from va_search.ensemble.build import build
    from va_search.ensemble.recipe import load_recipe

    built = build(home, studies, load_recipe(recipe), name, store, force=force)
    show(output, built)
    output.show(f"saved {home.ensemble(name)}")
    output.show(f"next: va-search submit {name} --format recordings --out {name}-submission")
    output.done(built.model_dump(mode="json"))
    return built


def _explain(output: Output, home: Home, built: Ensemble, store: Store | None) -> Path:
    """The folder the explanation is in."""
    from va_search.cli.explain import explain
    from va_search.ensemble.material import gather

    outside = (built.recipe_document.get("members") or {}).get("outside", True)
    return explain(output, home, built, gather(home, built.studies, store, outside=outside))


def _compare(output: Output, home: Home, studies: list[str], store: Store | None) -> None:
    from dataclasses import asdict

    from va_search.ensemble.compare import compare
    from va_search.ensemble.material import gather
    from va_search.ensemble.recipe import known_recipes, load_recipe
    from va_search.ensemble.saved import MeasuredOn

    recipes = [load_recipe(path) for path in known_recipes().values()]
    materials = gather(home, studies, store, outside=any(one.members.outside for one in recipes))
    rows = compare(recipes, materials)
    output.show(comparison_table(rows, len(materials.lines.candidates)))
    measured = MeasuredOn.model_validate(materials.measured_on())
    _tell_measured(output, measured)
    for note in materials.notes:
        output.note(note)
    output.show(f"next: va-search ensemble {' '.join(studies)} --recipe {rows[0].recipe} --name {studies[0]}-best")
    output.done({"measured_on": measured.model_dump(mode="json"), "recipes": [asdict(row) for row in rows]})


def show(output: Output, built: Ensemble) -> None:
    """Members and weights per dimension, then the scores, then what a reader should know."""
    for dimension in built.dimensions:
        output.show(members_table(built, dimension))
        output.show(_finishing(built, dimension))
    output.show(scores_table(built))
    _tell_measured(output, built.measured_on)
    for dimension, part in built.dimensions.items():
        spread = part.per_recording
        if spread is not None:
            undefined = f"; not defined in {spread.undefined}" if spread.undefined else ""
            output.show(
                f"{dimension}, single recordings, out-of-fold: median CCC {number(spread.median)}, quartiles "
                f"{number(spread.low)} and {number(spread.high)}{undefined}"
            )
    if any(member.source == "trained" for one in built.dimensions.values() for member in one.members):
        output.show("either way, trials picked their best epochs on these frames, so scores are a little too high")
    for reason, count in built.left_out.items():
        output.note(f"{count} trials left out: {reason}")
    for note in built.notes:
        output.note(note)


def _tell_measured(output: Output, measured: MeasuredOn) -> None:
    where = f"fold {measured.fold}" if measured.fold != "official" else "the official validation split"
    output.show(f"measured on {where}: {measured.recordings} recordings, {measured.labelled_frames} labelled frames")
    if measured.reason:
        output.show(
            f"in-sample only, no out-of-fold score: {measured.reason}; in-sample is too high, by an unknown amount"
        )
        return
    output.show(
        f"out-of-fold: the whole recipe again in each of {measured.folds} folds, without the recordings scored (those "
        f"of one {measured.kept_together} kept together); in brackets the 95 % interval over {measured.groups} such "
        "groups"
    )
    output.show("in-sample: on the frames everything was chosen on, so too high")


def _finishing(built: Ensemble, dimension: str) -> str:
    """In words, what follows the members' weights."""
    part, post = built.dimensions[dimension], built.dimensions[dimension].post
    said = [f"recipe {part.takes}"] if part.takes else []
    if part.shrink:
        said.append(f"weights shrunk {part.shrink:g} of the way to equal ones")
    if post.smoothing != "none" and post.window_seconds:
        said.append(f"smoothed ({post.smoothing.replace('_', ' ')}, {post.window_seconds:g} s)")
    if post.delay_seconds:
        said.append(f"delayed by {post.delay_seconds:g} s")
    if post.scale != 1.0 or post.offset != 0.0:
        said.append(f"matched (× {post.scale:.3f} {'−' if post.offset < 0 else '+'} {abs(post.offset):.3f})")
    return f"{dimension}: {', '.join(said) or 'the weighted sum as it is'}"


def log(output: Output, home: Home, built: Ensemble, tracking_uri: str | None, explanation: Path | None = None) -> None:
    """Log to MLflow, after everything is on the screen and saved; a failure is a warning, the ensemble stands."""
    from va_search.tracking.door import tracking_place
    from va_search.tracking.ensembles import log_ensemble

    output.note("logging to MLflow …")
    place = tracking_place(home, tracking_uri)
    try:
        log_ensemble(place.uri, place.artifacts, built.model_dump(mode="json"), explanation)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        output.note(f"warning: not logged to MLflow ({reason}); the ensemble is saved; the same command tries again")
