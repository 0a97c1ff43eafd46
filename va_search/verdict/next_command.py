"""The command that comes next: one that works as it is printed, on this home, from this folder.

Conventions: a printed name is either new or may be built again without `--force`; a printed folder
is either new or holds the same ensemble's output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from va_search.ensemble.fresh import newer_trials
from va_search.ensemble.recipe import Recipe, load_recipe
from va_search.ensemble.saved import Ensemble, known_ensembles, read_ensemble
from va_search.ensemble.verdict import Verdict
from va_search.errors import InputError
from va_search.home import Home
from va_search.search.extent import is_searched
from va_search.submission.folder import SUBMISSION, free_folder

BEST = "best"
"""The recipe that takes the best single trial per target."""


@dataclass(frozen=True)
class NextStep:
    """The name of the ensemble to submit, built or to be built, and the command that comes next."""

    submit: str
    command: str


def next_step(
    home: Home,
    ensemble: Ensemble,
    verdict: Verdict,
    *,
    newer: int | None = None,
    options: Sequence[str] = (),
) -> NextStep:
    """Build the ensemble again where trials came since; else submit it, or, where the best single
    trial is not worse, build or submit that one.

    Of a store without test recordings nothing can be submitted: its report is what comes next.
    `newer`: number of trials that came since, where that is known. `options`: those of the command
    that built it (such as `--data STORE`), which the next one needs too."""
    submit, command = ensemble.name, ""
    if verdict.use_best:
        recipe = _best_recipe(ensemble)
        single = _built_already(home, ensemble, recipe)
        if single is None:
            studies = ensemble.studies
            submit = free_name(home, f"{studies[0]}-single", recipe, studies)
            command = ensemble_command(home, studies, recipe, submit, options)
        else:
            submit, command = single.name, use_command(home, single)
    again = _build_again(home, ensemble, options) if newer else None
    return NextStep(submit, again or command or use_command(home, ensemble))


def _best_recipe(ensemble: Ensemble) -> Recipe:
    """The recipe `best`, over the folds that the ensemble's members were chosen on."""
    recipe = load_recipe(BEST)
    folds = (ensemble.recipe_document.get("members") or {}).get("folds")
    return recipe if folds is None else recipe.over(folds)


def _build_again(home: Home, ensemble: Ensemble, options: Sequence[str]) -> str | None:
    """The command that takes newer trials in; None while more are being trained, or where the
    recipe is not found by its name."""
    if any(is_searched(home, study) for study in ensemble.studies):
        return None
    try:
        recipe = load_recipe(ensemble.recipe)
    except InputError:
        return None
    folds = (ensemble.recipe_document.get("members") or {}).get("folds")
    if folds is not None and recipe.members.folds is None:
        recipe = recipe.over(folds)
    if recipe.document != ensemble.recipe_document:
        return None
    return ensemble_command(home, ensemble.studies, recipe, ensemble.name, options)


def ensemble_command(
    home: Home, studies: Sequence[str], recipe: Recipe, name: str, options: Sequence[str] = ()
) -> str:
    """Build an ensemble of this recipe, under a name that is free for it."""
    words = ["ensemble", *studies, "--recipe", recipe.name]
    # A recipe of members that validate nothing says so itself.
    if recipe.members.folds is not None and recipe.members.have_validation:
        words += ["--folds", str(recipe.members.folds)]
    return home.command(*words, "--name", free_name(home, name, recipe, studies), *options)


def use_command(home: Home, ensemble: Ensemble) -> str:
    """Write the ensemble's submission, to a folder that is new or holds an earlier one of it; or
    else its report."""
    name = ensemble.name
    if ensemble.test_frames_hash is None:
        words = ["report", *ensemble.studies, "--ensemble", name, "--out", f"{name}-report"]
        return home.command(*words)
    out = free_folder(Path(f"{name}-submission"), name, SUBMISSION)
    return home.command("submit", name, "--format", "recordings", "--out", str(out))


def _built_already(home: Home, built: Ensemble, recipe: Recipe) -> Ensemble | None:
    """An ensemble of this recipe of the same studies, on the same recordings, with all trials that
    there are."""
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


def free_name(home: Home, name: str, recipe: Recipe, studies: Sequence[str]) -> str:
    """`name`, or `name-2`, …: the first that no other ensemble has."""
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
