"""`va-search ensemble`: the best weights per dimension out of one or several studies, and their
honest scores."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.cli.advice import ensemble_command
from va_search.cli.ensemble_tables import comparison_table, show, tell_left_out, tell_measured
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command
from va_search.cli.places import check_complete, check_studies, opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from va_search.data.store import Store
    from va_search.ensemble.compare import RecipeScores
    from va_search.ensemble.material import Materials
    from va_search.ensemble.saved import Ensemble
    from va_search.files import Home


class Folds(StrEnum):
    """What members are judged on."""

    official = "official"
    all = "all"


EXAMPLE = "Example: va-search ensemble first --name first-best"
DEFAULT_RECIPE = "bagged_greedy"


def ensemble(
    studies: Annotated[
        list[str], typer.Argument(help="One study or several; their trials are the candidates.")
    ],
    *,
    recipe: Annotated[
        str, typer.Option("--recipe", help="A recipe file, or the name of one in ensembles/.")
    ] = DEFAULT_RECIPE,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="Name of the ensemble. If it exists, it is rebuilt with the same recipe."
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Rank all recipes out-of-fold; saves nothing.")
    ] = False,
    folds: Annotated[
        Folds | None,
        typer.Option(
            "--folds",
            help="official: judge on its validation; all: on all folds; default: the recipe's.",
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Also explain it: what members share, what each part adds; tables, pictures.",
        ),
    ] = False,
    data: Annotated[
        str | None, typer.Option("--data", help="The store to judge on; default: the trials' own.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an ensemble of another recipe or studies.")
    ] = False,
    tracking: Annotated[bool, typer.Option(help="Log the ensemble to MLflow.")] = True,
    tracking_uri: Annotated[
        str | None, typer.Option(help="An MLflow server; default: SQLite in the home.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Choose members and weights per dimension from finished trials; scores are out-of-fold and
    in-sample."""
    with (
        command(as_json) as output,
        opened(home, "predictions", studies=studies, writes=True) as at,
    ):
        from va_search.data.store import Store
        from va_search.errors import InputError
        from va_search.report.standing import searched_now

        check_studies(at, studies, lambda name, of: at.command("ensemble", *of, "--name", name))
        check_complete(at, studies)
        store = None if data is None else Store.open(data)
        given = [] if data is None else ["--data", data]
        for sentence in searched_now(at, studies):
            output.note(sentence)
        if compare:
            if name is not None:
                raise InputError(
                    f"--compare saves nothing; leave out --name {name}, or leave out --compare"
                )
            if explain:
                raise InputError(
                    "--explain explains one ensemble; leave it out, or leave out --compare"
                )
            _compare(output, at, studies, store, folds=folds, given=given)
            return
        if name is None:
            raise InputError(
                "--name is missing: what the ensemble is to be called, or --compare to rank all recipes"
            )
        if explain:
            _refuse_unexplained(recipe)
        built = _build(
            output, at, studies, recipe=recipe, folds=folds, name=name, store=store, force=force
        )
        folder = _explain(output, at, built, store) if explain else None
        _conclude(output, at, built, given)
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
    return built


def _conclude(output: Output, home: Home, built: Ensemble, given: list[str]) -> None:
    """Say what the numbers mean, what is out of date now, and what to do next."""
    from va_search.cli.advice import after_ensemble
    from va_search.ensemble.verdict import verdict_of
    from va_search.report.standing import stale_of

    verdict = verdict_of(built)
    output.show(f"verdict: {verdict.text}")
    for sentence in stale_of(home, built):
        output.show(sentence)
    output.show(f"next: {after_ensemble(home, built, verdict, given)}")
    output.done({**built.model_dump(mode="json"), "verdict": verdict.document()})


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
        raise InputError(
            f"--explain explains one choice of members; recipe {recipe} blends several: explain {parts}"
        )
    if chosen.members.folds == MIX:
        raise InputError(
            f"--explain measures on validation, which members of recipe {recipe} have none of"
        )


def _compare(
    output: Output,
    home: Home,
    studies: list[str],
    store: Store | None,
    *,
    folds: Folds | None,
    given: list[str],
) -> None:
    from va_search.ensemble.compare import compare
    from va_search.ensemble.material import gather
    from va_search.ensemble.recipe import known_recipes, load_recipe
    from va_search.ensemble.saved import MeasuredOn

    known = [load_recipe(path) for path in known_recipes().values()]
    recipes = [
        one for one in known if one.members.folds is None and not one.of
    ]  # those that any members go into
    outside = any(one.members.outside for one in recipes)
    materials = gather(home, studies, store, outside=outside, folds=folds and folds.value)
    rows = compare(recipes, materials)
    measured = MeasuredOn.model_validate(materials.measured_on())
    advised, verdict = advised_row(rows, materials)
    output.show(comparison_table(rows, len(materials.lines.candidates)))
    tell_measured(output, measured)
    for note in materials.notes:
        output.note(note)
    tell_left_out(output, materials.lines.left_out)
    output.show(f"verdict: {verdict}")
    recipe = next(one for one in recipes if one.name == advised)
    recipe = recipe if folds is None else recipe.over(folds.value)
    output.show(f"next: {ensemble_command(home, studies, recipe, f'{studies[0]}-best', given)}")
    output.done(
        {
            "measured_on": measured.model_dump(mode="json"),
            "recipes": [row.document() for row in rows],
            "advised": advised,
            "verdict": verdict,
        }
    )


def advised_row(rows: Sequence[RecipeScores], materials: Materials) -> tuple[str, str]:
    """The recipe to take, and why, in a sentence.

    The default one, or the best single trial where that has the higher score, unless another recipe
    is better than this one by more than chance: with few people the highest of several close scores
    is highest by luck."""
    from va_search.cli.advice import BEST
    from va_search.ensemble.compare import differences
    from va_search.ensemble.verdict import judge

    known = {row.recipe: row for row in rows}
    default, single = known.get(DEFAULT_RECIPE), known.get(BEST)
    first = rows[0]
    if (
        default is None
        or single is None
        or default.out_of_fold is None
        or single.out_of_fold is None
    ):
        chosen = (default or first).recipe  # in-sample scores are highest for what fits most
        return chosen, f"There are no folds to compare recipes on; recipe {chosen} is the default."
    against_single = differences(default.predicted, single.predicted, materials)
    verdict = judge(
        default.out_of_fold, single.out_of_fold, against_single, who=f"recipe {DEFAULT_RECIPE}"
    )
    reference = single if verdict.use_best else default
    if first is reference or first.out_of_fold is None or reference.out_of_fold is None:
        return reference.recipe, verdict.text
    gained = differences(first.predicted, reference.predicted, materials)
    outcome = judge(first.out_of_fold, reference.out_of_fold, gained).outcome
    if outcome == "same":  # of few candidates several recipes make one ensemble
        return reference.recipe, verdict.text
    if outcome == "better":
        more = first.out_of_fold["score"] - reference.out_of_fold["score"]
        return (
            first.recipe,
            f"Recipe {first.recipe} is better than {reference.recipe}, by {more:.2g}, more than chance.",
        )
    return reference.recipe, (
        f"{verdict.text} Recipe {first.recipe} is higher than {reference.recipe} only within chance."
    )


def log(
    output: Output,
    home: Home,
    built: Ensemble,
    tracking_uri: str | None,
    explanation: Path | None = None,
) -> bool:
    """Log to MLflow, after everything is on the screen and saved; a failure is a warning, the
    ensemble stands.

    Says which registered models are of an earlier build. Returns whether it is logged.
    """
    from va_search.ensemble.fresh import content_id, stale_models
    from va_search.report.standing import register_advice
    from va_search.tracking.door import tracking_place
    from va_search.tracking.ensembles import log_ensemble
    from va_search.tracking.models import older_versions
    from va_search.tracking.shown import reason

    output.note("logging to MLflow …")
    place = tracking_place(home, tracking_uri)
    try:
        run = log_ensemble(place, built.model_dump(mode="json"), explanation)
        older = older_versions(place.uri, run, content_id(built), built.created_at)
    except Exception as error:
        why = reason(error, place.uri)
        output.note(
            f"warning: not logged to MLflow ({why}); the ensemble is saved; the same command tries again"
        )
        return False
    for model in older:
        if model not in stale_models(home, built):  # those are named already
            output.note(register_advice(home, built, model))
    return True
