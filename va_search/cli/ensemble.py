"""`va-search ensemble`: the best weights per dimension out of one or several studies, and their
honest scores."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from va_search.api.ensembles import DEFAULT_RECIPE, build_ensemble
from va_search.api.explaining import refuse_unexplained
from va_search.api.home import check_complete, check_studies
from va_search.api.recipes import compare_recipes
from va_search.cli.ensemble_tables import (
    comparison_table,
    show,
    show_verdict,
    tell_left_out,
    tell_measured,
)
from va_search.cli.explain import show_explanation
from va_search.cli.output import DEFAULT_HOME, HomeOption, JsonOption, Output, command
from va_search.cli.places import named_home
from va_search.errors import InputError

if TYPE_CHECKING:
    from va_search.api.ensembles import OpenEnsemble, OverFolds
    from va_search.api.home import OpenHome


class FoldsChoice(StrEnum):
    """The folds that members are judged on."""

    official = "official"
    all = "all"


EXAMPLE = "Example: va-search ensemble first --name first-best"


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
            "--name",
            help="Name of the ensemble. An ensemble of this name and recipe is built again.",
        ),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Rank all recipes by out-of-fold score; nothing is saved."),
    ] = False,
    folds: Annotated[
        FoldsChoice | None,
        typer.Option(
            "--folds",
            help="Choose and score on the official validation recordings, or on all folds; default: as the recipe says.",
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Also show what members have in common and what each feature set and encoder adds.",
        ),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="The store with the annotations; default: the one the trials were trained on.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Replace an ensemble of this name that has another recipe or other studies.",
        ),
    ] = False,
    tracking: Annotated[bool, typer.Option(help="Log the ensemble to MLflow.")] = True,
    tracking_uri: Annotated[
        str | None, typer.Option(help="An MLflow server; default: SQLite in the home.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    as_json: JsonOption = False,
) -> None:
    """Choose members and weights from finished trials, for each target by itself; print
    out-of-fold and in-sample scores."""
    with command(as_json) as output:
        opened = named_home(home)
        with opened.using("predictions", studies=studies, writes=True):
            _check(opened, studies, compare=compare, name=name, explain=explain)
            given = [] if data is None else ["--data", data]
            if compare:
                _compare(output, opened, studies, data=data, folds=folds, given=given)
                return
            if explain:
                refuse_unexplained(recipe)
            assert name is not None
            ensemble = build_ensemble(
                studies,
                name=name,
                recipe=recipe,
                folds=None if folds is None else folds.value,
                store=data,
                home=opened,
                force=force,
                tracking=False,
                note=output.note,
            )
            show(output, ensemble.document)
            output.show(f"saved {opened.files.ensemble(name)}")
            if explain:
                show_explanation(output, ensemble, data)
            _conclude(output, ensemble, given)
            if tracking:
                output.note("logging to MLflow …")
                ensemble.track(tracking_uri, explained=explain, note=output.note)


def _check(
    home: OpenHome, studies: list[str], *, compare: bool, name: str | None, explain: bool
) -> None:
    """Refuse names that are no studies, studies without trials, and options that exclude each
    other."""
    files = home.files
    check_studies(files, studies, lambda name, of: files.command("ensemble", *of, "--name", name))
    check_complete(files, studies)
    if compare and name is not None:
        raise InputError(
            f"--compare saves nothing; leave out --name {name}, or leave out --compare"
        )
    if compare and explain:
        raise InputError("--explain explains one ensemble; leave it out, or leave out --compare")
    if not compare and name is None:
        raise InputError(
            "--name is missing: what the ensemble is to be called, or --compare to rank all recipes"
        )


def _conclude(output: Output, ensemble: OpenEnsemble, given: list[str]) -> None:
    """Show the verdict and the command that comes next."""
    block = ensemble.judged(given)
    show_verdict(output, block)
    output.done({**ensemble.document.model_dump(mode="json"), "verdict": block.document()})


def _compare(
    output: Output,
    home: OpenHome,
    studies: list[str],
    *,
    data: str | None,
    folds: FoldsChoice | None,
    given: list[str],
) -> None:
    """Show all recipes, ranked, and the verdict on the one to take."""
    over: OverFolds | None = None if folds is None else folds.value
    compared = compare_recipes(studies, folds=over, store=data, home=home, note=output.note)
    output.show(comparison_table(compared.rows, compared.candidates))
    tell_measured(output, compared.measured_on)
    for note in compared.notes:
        output.note(note)
    tell_left_out(output, compared.left_out)
    block = compared.judged(given)
    show_verdict(output, block)
    output.done(
        {
            "measured_on": compared.measured_on.model_dump(mode="json"),
            "recipes": [row.document() for row in compared.rows],
            "advised": compared.advised,
            "verdict": compared.verdict,
            "verdict_block": block.document(),
        }
    )
