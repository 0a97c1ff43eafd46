"""Table 1: the best configurations by score, by valence and by arousal, over their seeds (paper
4.3)."""

from __future__ import annotations

from va_search.data.store import OFFICIAL
from va_search.report.gather import Gathered
from va_search.report.model import DASH, Cell, Column, Missing, Row, Table, columns
from va_search.report.words import (
    BEST_EPOCH,
    Configuration,
    configurations,
    feature_cells,
    feature_columns,
    model_name,
    other_settings,
    said,
    varying,
)

TITLE = "Table 1: overall results on validation"
BY_SCORE, BY_DIMENSION = 8, 3
"""So many of the best by score, and by each dimension."""
MEASURES = ("valence", "arousal", "score")


def overall_table(gathered: Gathered) -> Table:
    """Best configurations of the main fold, the best score first."""
    found = configurations(gathered.on_main_fold)
    if not found:
        return Table(TITLE, missing=_why_empty(gathered))
    shown = best_configurations(found)
    names = varying([one.settings for one in shown if one.settings is not None])
    highest = {measure: max(one.mean(measure) for one in found) for measure in MEASURES}
    heads = ("Model", *feature_columns(gathered.store), "Fusion")
    fold = "" if gathered.main_fold == OFFICIAL else f" Fold {gathered.main_fold}."
    notes = [
        f"{len(shown)} of {len(found)} configurations: the {BY_SCORE} best by score and the {BY_DIMENSION} best by "
        "each dimension. Score: mean of the two CCCs. In bold the best of all.",
        "Over several seeds: mean ± standard deviation. Other settings: those that differ among these rows.",
    ]
    return Table(
        TITLE,
        (
            *columns(*heads, numbers=("Seeds", "Valence", "Arousal", "Score")),
            Column("Other settings", wide=True),
        ),
        tuple(_row(one, gathered, names, highest) for one in shown),
        lead=BEST_EPOCH + fold,
        notes=tuple(notes),
    )


def best_configurations(found: list[Configuration]) -> list[Configuration]:
    """The best by score and by each dimension, each once, the best score first."""
    ranked = sorted(found, key=lambda one: -one.mean("score"))
    taken = list(ranked[:BY_SCORE])
    for dimension in ("valence", "arousal"):
        taken += sorted(found, key=lambda one: -one.mean(dimension))[:BY_DIMENSION]
    return [one for one in ranked if one in taken]


def _row(
    one: Configuration, gathered: Gathered, names: list[str], highest: dict[str, float]
) -> Row:
    settings = one.settings
    cells = [Cell(model_name(settings, one.trials[0].id))]
    cells += [
        Cell(text)
        for text in feature_cells(None if settings is None else settings.features, gathered.store)
    ]
    cells += [Cell(DASH if settings is None else settings.fusion), Cell(str(len(one.trials)))]
    cells += [Cell(said(one.over(each)), best=one.mean(each) == highest[each]) for each in MEASURES]
    return Row((*cells, Cell(other_settings(settings, names))))


def _why_empty(gathered: Gathered) -> Missing:
    if gathered.unscored:
        count = len(gathered.unscored)
        have = "trial has" if count == 1 else "trials have"
        return Missing(
            f"The {count} complete {have} no validation (train_val_mix), so there is nothing to compare. Trials of a "
            "space with folds: [official] fill this table."
        )
    begun = [study.name for study in gathered.studies if study.unfinished]
    if begun and gathered.store is not None:
        return Missing("No trial is complete.", gathered.home.command("retry", begun[0]))
    return Missing("No trial is complete. The search of the study fills this table.")
