"""`va-search ensemble`: the best weights per dimension out of one or several studies, and their honest scores."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.cli.ensemble_tables import comparison_table, show, tell_left_out, tell_measured
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command
from va_search.cli.places import opened

if TYPE_CHECKING:
    from va_search.data.store import Store
    from va_search.ensemble.saved import Ensemble
    from va_search.files import Home


class Folds(StrEnum):
    """What members are judged on."""

    official = "official"
    all = "all"


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
    folds: Annotated[
        Folds | None,
        typer.Option("--folds", help="official: judge on its validation; all: on all folds; default: the recipe's."),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Also tell why: what members share, what each part adds; tables, pictures."),
    ] = False,
    data: Annotated[str | None, typer.Option("--data", help="The store to judge on; default: the trials' own.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an ensemble of another recipe or studies.")] = False,
    tracking: Annotated[bool, typer.Option(help="Log the ensemble to MLflow.")] = True,
    tracking_uri: Annotated[str | None, typer.Option(help="An MLflow server; default: SQLite in the home.")] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Choose members and weights per dimension from finished trials; scores are out-of-fold and in-sample."""
    with command(as_json) as output, opened(home, "predictions", studies=studies, writes=True) as at:
        from va_search.data.store import Store
        from va_search.errors import InputError

        store = None if data is None else Store.open(data)
        if compare:
            if name is not None:
                raise InputError(f"--compare saves nothing; leave out --name {name}, or leave out --compare")
            if explain:
                raise InputError("--explain tells of one ensemble; leave it out, or leave out --compare")
            _compare(output, at, studies, store, folds)
            return
        if name is None:
            raise InputError("--name is missing: what the ensemble is to be called, or --compare to rank all recipes")
        if explain:
            _refuse_unexplained(recipe)
        built = _build(output, at, studies, recipe=recipe, folds=folds, name=name, store=store, force=force)
        folder = _explain(output, at, built, store) if explain else None
        if tracking:
            log(output, at, built, tracking_uri, folder)


def _build(
    output: Output,
    home: Home,
    studies: list[str],
    *,
    recipe: str,
    folds: Folds | None,
    name: str,
    store: Store | None,
    force: bool,
) -> Ensemble:
    from va_search.ensemble.build import build
    from va_search.ensemble.recipe import load_recipe

    chosen = load_recipe(recipe)
    if folds is not None:
        chosen = chosen.over(folds.value)
    built = build(home, studies, chosen, name, store, force=force)
    show(output, built)
    output.show(f"saved {home.ensemble(name)}")
    output.show(f"next: va-search submit {name} --format recordings --out {name}-submission")
    output.done(built.model_dump(mode="json"))
    return built


def _explain(output: Output, home: Home, built: Ensemble, store: Store | None) -> Path:
    """The folder the explanation is in."""
    from va_search.cli.explain import explain
    from va_search.ensemble.material import gather
    from va_search.ensemble.recipe import Members

    members = Members.model_validate(built.recipe_document.get("members") or {})
    materials = gather(home, built.studies, store, outside=members.outside, folds=members.folds)
    return explain(output, home, built, materials)


def _refuse_unexplained(recipe: str) -> None:
    """What has no validation score of its own can't be explained by one."""
    from va_search.data.store import MIX
    from va_search.ensemble.recipe import load_recipe
    from va_search.errors import InputError

    chosen = load_recipe(recipe)
    if chosen.of:
        parts = ", ".join(one.name for _, one in chosen.of)
        raise InputError(f"--explain tells of one choice of members; recipe {recipe} blends several: explain {parts}")
    if chosen.members.folds == MIX:
        raise InputError(f"--explain measures on validation, which members of recipe {recipe} have none of")


def _compare(output: Output, home: Home, studies: list[str], store: Store | None, folds: Folds | None) -> None:
    from dataclasses import asdict

    from va_search.ensemble.compare import compare
    from va_search.ensemble.material import gather
    from va_search.ensemble.recipe import known_recipes, load_recipe
    from va_search.ensemble.saved import MeasuredOn

    known = [load_recipe(path) for path in known_recipes().values()]
    recipes = [one for one in known if one.members.folds is None and not one.of]  # those that any members go into
    outside = any(one.members.outside for one in recipes)
    materials = gather(home, studies, store, outside=outside, folds=folds and folds.value)
    rows = compare(recipes, materials)
    output.show(comparison_table(rows, len(materials.lines.candidates)))
    measured = MeasuredOn.model_validate(materials.measured_on())
    tell_measured(output, measured)
    for note in materials.notes:
        output.note(note)
    tell_left_out(output, materials.lines.left_out)
    over = "" if folds is None else f" --folds {folds.value}"
    output.show(
        f"next: va-search ensemble {' '.join(studies)} --recipe {rows[0].recipe}{over} --name {studies[0]}-best"
    )
    output.done({"measured_on": measured.model_dump(mode="json"), "recipes": [asdict(row) for row in rows]})


def log(output: Output, home: Home, built: Ensemble, tracking_uri: str | None, explanation: Path | None = None) -> bool:
    """Log to MLflow, after everything is on the screen and saved; a failure is a warning, the ensemble stands.

    Returns whether it is logged.
    """
    from va_search.tracking.door import tracking_place
    from va_search.tracking.ensembles import log_ensemble
    from va_search.tracking.shown import reason

    output.note("logging to MLflow …")
    place = tracking_place(home, tracking_uri)
    try:
        log_ensemble(place, built.model_dump(mode="json"), explanation)
    except Exception as error:
        why = reason(error, place.uri)
        output.note(f"warning: not logged to MLflow ({why}); the ensemble is saved; the same command tries again")
        return False
    return True
