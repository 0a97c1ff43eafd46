"""Which command comes next: one that works as it is printed, on this home, from this folder.

Conventions: a printed name is either new or may be built again without `--force`; a printed folder
is either new or holds the same ensemble's output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from va_search.ensemble.recipe import Recipe
    from va_search.ensemble.saved import Ensemble
    from va_search.ensemble.verdict import Verdict
    from va_search.files import Home

BEST = "best"
"""The recipe that takes the best single trial per target."""


def after_ensemble(home: Home, built: Ensemble, verdict: Verdict, given: Sequence[str] = ()) -> str:
    """Submit the ensemble; or, where the best single trial is not worse, build or submit that one.

    Of a store without test recordings nothing can be submitted: its report is what comes next.
    `given`: options of the command that built it (such as `--data STORE`), which the next one needs
    too."""
    if not verdict.use_best:
        return _use_command(home, built)
    recipe = _recipe_for(BEST, built)
    single = _built_already(home, built, recipe)
    if single is not None:
        return _use_command(home, single)
    return ensemble_command(home, built.studies, recipe, f"{built.studies[0]}-single", given)


def ensemble_command(
    home: Home, studies: Sequence[str], recipe: Recipe, name: str, given: Sequence[str] = ()
) -> str:
    """Build an ensemble of this recipe, under a name that is free for it."""
    folds = [] if recipe.members.folds is None else ["--folds", str(recipe.members.folds)]
    free = _free_name(home, name, recipe, studies)
    return home.command(
        "ensemble", *studies, "--recipe", recipe.name, *folds, "--name", free, *given
    )


def _use_command(home: Home, ensemble: Ensemble) -> str:
    """Write the ensemble's submission, to a folder that is new or holds an earlier one of it; or
    else its report."""
    from va_search.submission.folder import SUBMISSION, free_folder

    if ensemble.test_frames_hash is None:
        return home.command(
            "report",
            *ensemble.studies,
            "--ensemble",
            ensemble.name,
            "--out",
            f"{ensemble.name}-report",
        )
    out = free_folder(Path(f"{ensemble.name}-submission"), ensemble.name, SUBMISSION)
    return home.command("submit", ensemble.name, "--format", "recordings", "--out", str(out))


def _recipe_for(name: str, built: Ensemble) -> Recipe:
    """A recipe by name, with members over the same folds as the ensemble's."""
    from va_search.ensemble.recipe import load_recipe

    folds: Any = (built.recipe_document.get("members") or {}).get("folds")
    recipe = load_recipe(name)
    return recipe if folds is None else recipe.over(folds)


def _built_already(home: Home, built: Ensemble, recipe: Recipe) -> Ensemble | None:
    """An ensemble of this recipe of the same studies, on the same recordings, with all trials that
    there are."""
    from va_search.ensemble.fresh import newer_trials
    from va_search.ensemble.saved import known_ensembles, read_ensemble
    from va_search.errors import InputError

    for name in known_ensembles(home):
        try:
            found = read_ensemble(home, name)
        except InputError:
            continue
        same = _same_make(found, recipe, built.studies) and found.frames_hash == built.frames_hash
        if same and newer_trials(home, found) == 0:
            return found
    return None


def _same_make(ensemble: Ensemble, recipe: Recipe, studies: Sequence[str]) -> bool:
    return ensemble.recipe_document == recipe.document and sorted(ensemble.studies) == sorted(
        studies
    )


def _free_name(home: Home, name: str, recipe: Recipe, studies: Sequence[str]) -> str:
    """`name`, or `name-2`, …: the first that no other ensemble has."""
    from va_search.ensemble.saved import read_ensemble
    from va_search.errors import InputError

    number, free = 1, name
    while home.ensemble(free).is_file():
        try:
            if _same_make(read_ensemble(home, free), recipe, studies):
                return free
        except InputError:
            pass  # it can't be read, so it can't be built again under this name
        number += 1
        free = f"{name}-{number}"
    return free
