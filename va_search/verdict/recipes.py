"""The recipe to take of several that were compared, and the verdict on it.

Conventions: scores are out-of-fold. With few people the highest of several close scores is highest
by luck, so only a difference that chance does not explain counts against the default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from va_search.ensemble.compare import RecipeScores, differences
from va_search.ensemble.fresh import complete_trials
from va_search.ensemble.material import Materials
from va_search.ensemble.recipe import Recipe
from va_search.ensemble.saved import Ensemble, MeasuredOn
from va_search.ensemble.verdict import UNSEEN, judge, single_noun, verdict_of
from va_search.home import Home
from va_search.trial import SCORE
from va_search.verdict.block import UNFINISHED, VerdictBlock, reason_of, score_rows
from va_search.verdict.next_command import BEST, ensemble_command
from va_search.verdict.stale import unfinished

DEFAULT_RECIPE = "bagged_greedy"
TAKE = "take"


@dataclass(frozen=True)
class AdvisedRecipe:
    """The recipe to take: one `reason`, and the `text` that compares it with the best single
    trial."""

    recipe: str
    reason: str
    text: str


def advised_recipe(rows: Sequence[RecipeScores], materials: Materials) -> AdvisedRecipe:
    """The default recipe, or the best single trial where that has the higher score, unless another
    one is better than this by more than chance. `rows`: the highest score first."""
    by_recipe = {row.recipe: row for row in rows}
    highest = rows[0]
    default, single = by_recipe.get(DEFAULT_RECIPE), by_recipe.get(BEST)
    if (
        default is None
        or default.out_of_fold is None
        or single is None
        or single.out_of_fold is None
    ):
        # In-sample scores are highest for what fits most, so they decide nothing.
        recipe = (default or highest).recipe
        text = f"There are no folds to compare recipes on; recipe {recipe} is the default."
        return AdvisedRecipe(recipe, "the default; there are no folds to compare recipes on", text)
    # First the default against the best single trial, as a verdict on an ensemble does.
    measured_on = MeasuredOn.of(materials)
    verdict = judge(
        default.out_of_fold,
        single.out_of_fold,
        differences(default.predicted, single.predicted, materials),
        who=f"recipe {DEFAULT_RECIPE}",
        what=single_noun(measured_on),
        on=measured_on.generalises_to or UNSEEN,
    )
    reference = single if verdict.use_best else default
    name = reference.recipe
    beside = "in place of the default" if verdict.use_best else "the default"
    reason = f"{beside}, {reason_of(verdict, measured_on)}"
    if highest is reference or highest.out_of_fold is None or reference.out_of_fold is None:
        return AdvisedRecipe(name, reason, verdict.text)
    # Then the highest against that one: it must be better by more than chance.
    gained = differences(highest.predicted, reference.predicted, materials)
    outcome = judge(highest.out_of_fold, reference.out_of_fold, gained).outcome
    if outcome == "same":  # of few candidates several recipes make one ensemble
        return AdvisedRecipe(name, reason, verdict.text)
    if outcome == "better":
        gain = highest.out_of_fold[SCORE] - reference.out_of_fold[SCORE]
        better = f"better than {name}, by {gain:.2g}, more than chance"
        return AdvisedRecipe(highest.recipe, better, f"Recipe {highest.recipe} is {better}.")
    within = f"recipe {highest.recipe} is higher than {name} only within chance"
    text = f"{verdict.text} {within[:1].upper()}{within[1:]}."
    return AdvisedRecipe(name, f"{reason}; {within}", text)


def comparison_block(
    home: Home,
    ensemble: Ensemble,
    recipe: Recipe,
    advised: AdvisedRecipe,
    options: Sequence[str] = (),
) -> VerdictBlock:
    """The verdict on compared recipes: which to take, and the scores of the ensemble, not saved,
    that it makes of the same trials. `options` as in `verdict_block`."""
    rows = [(TAKE, f"recipe {advised.recipe}: {advised.reason}"), *score_rows(ensemble)]
    complete = complete_trials(home, ensemble.studies)
    rows += [(UNFINISHED, sentence) for sentence in unfinished(home, complete)]
    return VerdictBlock(
        subject=f"recipe {advised.recipe}",
        verdict=verdict_of(ensemble),
        rows=tuple(rows),
        submit=ensemble.name,
        next_command=ensemble_command(home, ensemble.studies, recipe, ensemble.name, options),
    )
