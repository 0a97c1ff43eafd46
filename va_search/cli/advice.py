"""The command that comes next: one that works as it is printed, on this home, from this folder.

Conventions: a printed name is either new or may be built again without `--force`; a printed folder
is either new or holds the same ensemble's output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from va_search.ensemble.recipe import Recipe
    from va_search.ensemble.saved import Ensemble
    from va_search.ensemble.verdict import Verdict
    from va_search.home import Home

BEST = "best"
"""The recipe that takes the best single trial per target."""


def after_ensemble(
    home: Home, built: Ensemble, verdict: Verdict, options: Sequence[str] = ()
) -> str:
    """Submit the ensemble; or, where the best single trial is not worse, build or submit that one.

    Of a store without test recordings nothing can be submitted: its report is what comes next.
    `options`: those of the command that built it (such as `--data STORE`), which the next one needs
    too."""
    from va_search.ensemble.recipe import load_recipe

    if not verdict.use_best:
        return _use_command(home, built)
    recipe = load_recipe(BEST)
    # The best single trial is to be chosen over the same folds as the ensemble's members.
    folds = (built.recipe_document.get("members") or {}).get("folds")
    if folds is not None:
        recipe = recipe.over(folds)
    single = _built_already(home, built, recipe)
    if single is not None:
        return _use_command(home, single)
    return ensemble_command(home, built.studies, recipe, f"{built.studies[0]}-single", options)


def after_refit(home: Home, built: Ensemble) -> str:
    """Submit the ensemble whose members were trained again."""
    return _use_command(home, built)


def ensemble_command(
    home: Home, studies: Sequence[str], recipe: Recipe, name: str, options: Sequence[str] = ()
) -> str:
    """Build an ensemble of this recipe, under a name that is free for it."""
    words = ["ensemble", *studies, "--recipe", recipe.name]
    if recipe.members.folds is not None:
        words += ["--folds", str(recipe.members.folds)]
    return home.command(*words, "--name", _free_name(home, name, recipe, studies), *options)


def _use_command(home: Home, ensemble: Ensemble) -> str:
    """Write the ensemble's submission, to a folder that is new or holds an earlier one of it; or
    else its report."""
    from va_search.submission.folder import SUBMISSION, free_folder

    name = ensemble.name
    if ensemble.test_frames_hash is None:
        words = ["report", *ensemble.studies, "--ensemble", name, "--out", f"{name}-report"]
        return home.command(*words)
    out = free_folder(Path(f"{name}-submission"), name, SUBMISSION)
    return home.command("submit", name, "--format", "recordings", "--out", str(out))


def _built_already(home: Home, built: Ensemble, recipe: Recipe) -> Ensemble | None:
    """An ensemble of this recipe of the same studies, on the same recordings, with all trials that
    there are."""
    from va_search.ensemble.fresh import newer_trials
    from va_search.ensemble.saved import known_ensembles, read_ensemble
    from va_search.errors import InputError

    for name in known_ensembles(home):
        try:
            ensemble = read_ensemble(home, name)
        except InputError:
            continue
        is_same = _is_made_so(ensemble, recipe, built.studies)
        is_same = is_same and ensemble.frames_hash == built.frames_hash
        if is_same and newer_trials(home, ensemble) == 0:
            return ensemble
    return None


def _is_made_so(ensemble: Ensemble, recipe: Recipe, studies: Sequence[str]) -> bool:
    same_studies = sorted(ensemble.studies) == sorted(studies)
    return same_studies and ensemble.recipe_document == recipe.document


def _free_name(home: Home, name: str, recipe: Recipe, studies: Sequence[str]) -> str:
    """`name`, or `name-2`, …: the first that no other ensemble has."""
    from va_search.ensemble.saved import read_ensemble
    from va_search.errors import InputError

    number, free = 1, name
    while home.ensemble(free).is_file():
        try:
            if _is_made_so(read_ensemble(home, free), recipe, studies):
                return free
        except InputError:
            pass  # it can't be read, so it can't be built again under this name
        number += 1
        free = f"{name}-{number}"
    return free
