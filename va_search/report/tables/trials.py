"""Tables of trials: Table 1, the best trials, the Pareto set, unfinished trials, settings."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from va_search.data.generalisation import generalises_to
from va_search.data.store import OFFICIAL
from va_search.errors import counted
from va_search.report.gather import Gathered
from va_search.report.words import (
    ConfigurationTrials,
    absent_weights,
    configurations,
    feature_columns,
    feature_texts,
    in_order,
    kept_epochs,
    mean_ccc,
    model_name,
    other_settings,
    score_cells,
    score_columns,
    settings_of,
    shown_settings,
    value_text,
    varying,
)
from va_search.table import DASH, Missing, Table, TableCell, TableRow, columns, number, row
from va_search.trial import SCORE, Trial

OVERALL = "Table 1: overall results on validation"
BY_SCORE, BY_TARGET = 8, 3
"""Rows of Table 1: so many of the best by score, and by each target."""
MOST_UNFINISHED = 50
"""Unfinished trials that are listed one by one."""
MOST_VALUES = 8
"""Values of one setting that are listed."""


def overall_table(gathered: Gathered) -> Table:
    """Table 1 (paper 4.3): the best configurations of the main fold, the best score first."""
    ranked = configurations(gathered.on_main_fold)
    if not ranked:
        return Table(OVERALL, missing=_why_empty(gathered))
    ranked.sort(key=lambda configuration: -configuration.mean("score"))
    shown = _best_by_each(ranked, gathered.targets)
    names = varying(settings_of(shown))
    rows = []
    chosen = {id(group) for group in shown}
    for group, scores in zip(ranked, score_cells(ranked, gathered.targets), strict=True):
        if id(group) not in chosen:
            continue
        settings = group.settings
        features: tuple[str, ...] = ()
        fusion = DASH
        if settings is not None:
            features, fusion = settings.features, settings.fusion
        model = model_name(settings, group.trials[0].id)
        texts = [model, *feature_texts(features, gathered.store), fusion, str(len(group.trials))]
        best = max(group.trials, key=lambda trial: trial.score or 0.0)
        trial = TableCell(best.label if len(gathered.studies) > 1 else best.id, code=True)
        rows.append(row(*texts, *scores, other_settings(settings, names), trial))
    lead = kept_epochs(trial.keep for trial in gathered.on_main_fold)
    if gathered.main_fold != OFFICIAL:
        lead += f" Fold {gathered.main_fold}."
    if gathered.store is not None and gathered.main_fold in gathered.store.fold_keys:
        whom = generalises_to(gathered.store, [gathered.main_fold])
        lead += f" Scores of {whom}."
    return Table(
        OVERALL,
        (
            *columns("Model"),
            *feature_columns(gathered.store),
            *columns("Fusion"),
            *score_columns(gathered.targets, "Seeds"),
            *columns("Other settings", kind="long"),
            *columns("Trial"),
        ),
        tuple(rows),
        lead=lead,
        notes=(
            f"{len(shown)} of {len(ranked)} configurations: the {BY_SCORE} best by score and the "
            f"{BY_TARGET} best by each target. Score: {mean_ccc(gathered.targets)}. In "
            "bold the highest of all, which may be by chance: the first section judges that.",
            "Over several seeds: mean ± standard deviation, and the best seed's trial. Other "
            "settings: those that differ among these rows.",
        ),
    )


def _best_by_each(
    ranked: list[ConfigurationTrials], targets: Sequence[str]
) -> list[ConfigurationTrials]:
    """The best by score and by each target, each once, in the order of `ranked`."""
    best = ranked[:BY_SCORE]
    for name in targets:
        best += sorted(ranked, key=lambda group: -group.mean(name))[:BY_TARGET]
    chosen = {id(group) for group in best}
    return [group for group in ranked if id(group) in chosen]


def _why_empty(gathered: Gathered) -> Missing:
    if gathered.unscored:
        have = "trial has" if len(gathered.unscored) == 1 else "trials have"
        return Missing(
            f"The {len(gathered.unscored)} complete {have} no validation (train_val_mix), so there "
            "is nothing to compare. Trials of a space with folds: [official] fill this table."
        )
    # Asked for and not finished: the same trials can be tried again by one command.
    begun = [study.name for study in gathered.studies if study.unfinished]
    if begun and gathered.store is not None:
        return Missing("No trial is complete.", gathered.home.command("retry", begun[0]))
    return Missing("No trial is complete. The search of the study fills this table.")


def best_trials_table(best: Sequence[Trial], measure: str, most_settings: int = 0) -> Table:
    """The best trials, in the order they come, best by `measure`.

    Of the settings that differ among them, at most `most_settings` get a column each.
    """
    title = f"Best trials by {measure}"
    if not best:
        return Table(title, missing=Missing("No trial with a validation score is complete yet."))
    # Trials of one study are of one store. Those of a search predict all of its targets, a model
    # from elsewhere perhaps some.
    targets = max((trial.target_names for trial in best), key=len)
    names = varying(settings_of(best))[:most_settings]
    rows = []
    for trial in best:
        settings = trial.settings
        scores = [number(trial.ccc(name)) for name in (SCORE, *targets)]
        about = [model_name(settings, trial.id), *[DASH] * (4 + len(names))]
        if settings is not None:
            numbers = [str(settings.seed), str(settings.fold)]
            about[1:5] = [", ".join(settings.features), settings.fusion, *numbers]
            values = shown_settings(settings)
            for column, name in enumerate(names, start=5):
                if name in values:
                    about[column] = value_text(values[name])
        rows.append(row(TableCell(trial.id, code=True), *scores, *about))
    heads = (
        *columns("trial"),
        *columns(SCORE, *targets, kind="number"),
        *columns("encoder"),
        *columns("features", kind="list"),
        *columns("fusion", "seed", "fold", *names),
    )
    return Table(title, heads, tuple(rows), kept_epochs(trial.keep for trial in best))


def pareto_table(front: Sequence[dict[str, Any]]) -> Table:
    """The trials that no other beats on one target without losing on another; `front` as
    `search.outcomes.pareto` makes it, of one point or more."""
    targets = [name for name in front[0] if name != "trial"]
    rows = []
    for point in front:
        trial = TableCell(point["trial"], code=True)
        rows.append(row(trial, *[number(point[target]) for target in targets]))
    return Table(
        "Pareto set (validation CCC of each target's best epoch)",
        (*columns("trial"), *columns(*targets, kind="number")),
        tuple(rows),
    )


def unfinished_table(gathered: Gathered) -> Table | None:
    """Every trial that failed or is missing, with its reason; None where there is none."""
    unfinished: list[Trial] = []
    for study in gathered.studies:
        unfinished += study.unfinished
    if not unfinished:
        return None
    # Failures first: missing trials are often just not trained yet.
    unfinished.sort(key=lambda trial: trial.failure is None)
    notes = []
    if len(unfinished) > MOST_UNFINISHED:
        reasons = Counter(map(_reason, unfinished))
        note = f"{len(unfinished)} trials, {MOST_UNFINISHED} of them listed."
        for reason, count in reasons.most_common(5):
            note += f" {count} × {reason};"
        notes.append(note.removesuffix(";"))
    notes.append("The same search again (va-search search with this space and study) trains them.")
    return Table(
        "Trials that are not there",
        (
            *columns("Study"),
            *columns("What happened", kind="long"),
            *columns("Model"),
            *columns("Feature sets", kind="list"),
            *columns("Seed", "Fold", "Trial"),
        ),
        tuple(map(_unfinished_row, unfinished[:MOST_UNFINISHED])),
        notes=tuple(notes),
    )


def _reason(trial: Trial) -> str:
    return "missing" if trial.failure is None else trial.failure.reason


def _unfinished_row(trial: Trial) -> TableRow:
    settings = trial.settings
    about = [DASH] * 4
    if settings is not None:
        features = ", ".join(settings.features)
        about = [model_name(settings), features, str(settings.seed), str(settings.fold)]
    event = "missing: proposed, not finished"
    if trial.failure is not None:
        event = f"failed: {_reason(trial)}"
    return row(trial.study, event, *about, TableCell(trial.id, code=True))


def settings_table(gathered: Gathered) -> Table:
    """Every setting with the values it took over the complete trials, those that vary first."""
    title = "Settings of the complete trials"
    trained = settings_of(gathered.trials)
    if not trained:
        return Table(title, missing=Missing("No trained trial is complete."))
    counts: dict[str, Counter[str]] = {}
    hidden = absent_weights(gathered.targets)
    for settings in trained:
        for name, value in shown_settings(settings).items():
            if name in hidden:
                continue
            counts.setdefault(name, Counter())[json.dumps(value)] += 1
    # What varies is what a reader looks for, so it comes first.
    varied: list[TableRow] = []
    constant: list[TableRow] = []
    for name in in_order(counts):
        entry = row(name, _values(counts[name]), str(counts[name].total()))
        (varied if len(counts[name]) > 1 else constant).append(entry)
    note = (
        "A setting without effect in a trial (such as attention heads of an LSTM) is not counted "
        "there."
    )
    heads = (*columns("Setting", "Values (trials)"), *columns("Trials with it", kind="number"))
    return Table(title, heads, (*varied, *constant), notes=(note,))


def _values(counts: Counter[str]) -> str:
    """The values (as JSON) in words, the most frequent first; many numbers as their range."""
    values = [json.loads(text) for text in counts]
    if len(values) == 1:
        return value_text(values[0])
    if len(values) > MOST_VALUES and all(isinstance(value, int | float) for value in values):
        low, high = value_text(min(values)), value_text(max(values))
        return f"{counted(len(values), 'value')} from {low} to {high}"
    texts = []
    for text, count in counts.most_common(MOST_VALUES):
        texts.append(f"{value_text(json.loads(text))} ({count})")
    if len(values) > MOST_VALUES:
        texts.append(f"… {len(values) - MOST_VALUES} more")
    return ", ".join(texts)
