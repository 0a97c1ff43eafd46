"""All recipes compared on the same trials.

Conventions: scores are pooled CCCs on validation, out-of-fold unless a name says otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from va_search.api.ensembles import check_candidates, store_or_none
from va_search.api.progress import Note, to_standard_error
from va_search.api.study import names_and_home

if TYPE_CHECKING:
    import pandas as pd

    from va_search.api.ensembles import AnyHome, AnyStore, OverFolds, Studies
    from va_search.ensemble.compare import RecipeScores
    from va_search.ensemble.recipe import Recipe
    from va_search.ensemble.saved import Ensemble, MeasuredOn
    from va_search.home import Home
    from va_search.verdict.block import VerdictBlock
    from va_search.verdict.recipes import AdvisedRecipe


@dataclass
class Comparison:
    """Recipes compared on the same candidates, the best out-of-fold first.

    `advised` names the recipe to take and `verdict` says why, in a sentence. `left_out`: trials
    that could not be members, by reason. `candidates`: trials that could. `ensemble`: the one that
    the advised recipe makes, not saved."""

    rows: list[RecipeScores]
    measured_on: MeasuredOn
    advised: str
    verdict: str
    candidates: int
    left_out: Mapping[str, int]
    notes: list[str]
    ensemble: Ensemble
    _home: Home
    _recipe: Recipe
    _reason: AdvisedRecipe

    def judged(self, options: Sequence[str] = ()) -> VerdictBlock:
        """The whole verdict on the recipe to take: expected scores, the best single trial, what is
        unfinished, and the command that builds it; `options` as in `OpenEnsemble.judged`."""
        from va_search.verdict.recipes import comparison_block

        return comparison_block(self._home, self.ensemble, self._recipe, self._reason, options)

    def table(self) -> pd.DataFrame:
        """Scores by recipe, out-of-fold, and the score in-sample (too high)."""
        import pandas as pd

        rows = []
        for row in self.rows:
            scores = {name: (row.out_of_fold or {}).get(name) for name in row.in_sample}
            in_sample = row.in_sample["score"]
            rows.append({"recipe": row.recipe, **scores, "score_in_sample": in_sample})
        return pd.DataFrame(rows).set_index("recipe").astype(float)


def compare_recipes(
    studies: Studies,
    *,
    folds: OverFolds | None = None,
    store: AnyStore | None = None,
    home: AnyHome = None,
    note: Note = to_standard_error,
) -> Comparison:
    """Rank all recipes out-of-fold on the trials of one study or several; nothing is saved.

    Recipes that say their members' folds themselves, and blends, are left out."""
    from va_search.ensemble.build import choose
    from va_search.ensemble.compare import compare
    from va_search.ensemble.material import gather
    from va_search.ensemble.recipe import known_recipes, load_recipe
    from va_search.verdict.next_command import free_name
    from va_search.verdict.recipes import advised_recipe

    names, opened = names_and_home(studies, home)
    # Those that any members go into: the others would be compared on other recordings.
    recipes = {}
    for path in known_recipes().values():
        recipe = load_recipe(path)
        if recipe.members.folds is None and not recipe.of:
            recipes[recipe.name] = recipe
    outside = any(recipe.members.outside for recipe in recipes.values())
    with opened.using("predictions", studies=names):
        check_candidates(opened, names, note)
        materials = gather(opened.files, names, store_or_none(store), outside=outside, folds=folds)
        rows = compare(list(recipes.values()), materials)
        advised = advised_recipe(rows, materials)
        recipe = recipes[advised.recipe]
        if folds is not None:
            recipe = recipe.over(folds)
        name = free_name(opened.files, f"{names[0]}-best", recipe, names)
        ensemble = choose(opened.files, materials, recipe, name, names)
    return Comparison(
        rows=rows,
        measured_on=ensemble.measured_on,
        advised=advised.recipe,
        verdict=advised.text,
        candidates=len(materials.lines.candidates),
        left_out=materials.lines.left_out,
        notes=list(materials.notes),
        ensemble=ensemble,
        _home=opened.files,
        _recipe=recipe,
        _reason=advised,
    )
