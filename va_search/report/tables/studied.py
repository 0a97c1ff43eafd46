"""What was studied: the store, the studies' states, and what is not there, with reasons."""

from __future__ import annotations

from collections import Counter

import numpy as np

from va_search.data.store import OFFICIAL, SPLITS, Store, positions
from va_search.report.gather import Gathered, StudyState, validated_fold
from va_search.report.model import DASH, Cell, Column, Missing, Row, Table, columns, row
from va_search.report.words import ELSEWHERE, model_name
from va_search.trial import Trial

MOST = 50
"""Unfinished trials that are listed one by one."""


def store_table(gathered: Gathered) -> Table:
    """The store's recordings by split, its feature sets and label range."""
    store, title = gathered.store, "The store"
    if store is None:
        why = f"The store can't be read: {gathered.store_problem}. If it was moved, say where it is with --data STORE."
        return Table(title, missing=Missing(why))
    rows = [_split_row(store, name) for name in SPLITS]
    low, high = store.label_range
    sets: dict[str, list[str]] = {}
    for name, feature_set in store.feature_sets.items():
        sets.setdefault(feature_set.modality, []).append(f"{name} ({feature_set.dim})")
    notes = [
        f"{modality.capitalize()} feature sets (columns): {', '.join(names)}."
        for modality, names in sets.items()
    ]
    folds = (
        f", {len(store.fold_numbers)} folds of labelled recordings" if store.fold_numbers else ""
    )
    return Table(
        title,
        columns("Split", numbers=("Recordings", "People", "Frames", "Labelled frames")),
        tuple(rows),
        lead=f"Store {store.name}: labels from {low:g} to {high:g}{folds}.",
        notes=tuple(notes),
    )


def _split_row(store: Store, name: str) -> Row:
    recordings = store.split(name)
    people = len({recording.subject for recording in recordings})
    frames = sum(recording.frames for recording in recordings)
    known = ~np.isnan(store.annotations[positions(recordings)]).any(axis=1)
    labelled = (
        "withheld" if name == "test" and recordings and not known.any() else f"{int(known.sum()):,}"
    )
    return row(name, f"{len(recordings):,}", f"{people:,}", f"{frames:,}", labelled)


def studies_table(gathered: Gathered) -> Table:
    """One row per study: complete, stopped early, without validation, failed, missing."""
    numbers = (
        "Complete",
        "stopped early",
        "without validation",
        ELSEWHERE,
        "Failed",
        "Missing",
        "Planned",
        "Hours",
    )
    rows = tuple(_study_row(study) for study in gathered.studies)
    notes = [
        "Stopped early: by the search, before all epochs were trained; such trials are complete and count as they are.",
        "Without validation: trained on train and validation together (train_val_mix), so there is no score.",
        "Missing: proposed but not finished: still training, or interrupted; the same search trains them. Planned: "
        "trials of the whole search, where that is known.",
    ]
    notes += [text for study in gathered.studies if (text := _untrained(study)) is not None]
    notes += [f"Left out of all tables: {text}." for text in gathered.left_out[:MOST]]
    notes += (
        [f"… and {len(gathered.left_out) - MOST} more are left out."]
        if len(gathered.left_out) > MOST
        else []
    )
    notes += [
        f"Study {study.name}: {problem}" for study in gathered.studies for problem in study.problems
    ]
    if (
        gathered.main_fold != OFFICIAL
        or len({validated_fold(trial) for trial in gathered.scored}) > 1
    ):
        where = (
            "the official split" if gathered.main_fold == OFFICIAL else f"fold {gathered.main_fold}"
        )
        notes.append(
            f"Where trials are compared, they are those of {where}; the others are in Table 4."
        )
    return Table("The studies", columns("Study", numbers=numbers), rows, notes=tuple(notes))


def _untrained(study: StudyState) -> str | None:
    """How many of the planned trials nobody asked for yet."""
    left = (
        0
        if study.planned is None
        else study.planned - len(study.trials) - len(study.unfinished) - study.outdated
    )
    return (
        f"Study {study.name}: {left:,} of {study.planned:,} planned trials were not begun."
        if left > 0
        else None
    )


def _study_row(study: StudyState) -> Row:
    trials = study.trials
    counts = (
        len(trials),
        sum(bool(trial.stopped) for trial in trials),
        sum(trial.score is None for trial in trials),
        sum(trial.settings is None for trial in trials),
        len(study.failed),
        len(study.missing),
    )
    planned = DASH if study.planned is None else f"{study.planned:,}"
    hours = DASH if study.seconds is None else f"{study.seconds / 3600:.1f}"
    return row(study.name, *(f"{count:,}" for count in counts), planned, hours)


def unfinished_table(gathered: Gathered) -> Table | None:
    """Every trial that failed or is missing, with its reason; None where there is none."""
    everyone = [one for study in gathered.studies for one in study.unfinished]
    shown = sorted(everyone, key=lambda trial: trial.failure is None)[:MOST]
    if not everyone:
        return None
    notes = []
    if len(everyone) > MOST:
        reasons = Counter(
            "missing" if trial.failure is None else trial.failure.reason for trial in everyone
        )
        counted = "; ".join(f"{count} × {why}" for why, count in reasons.most_common(5))
        notes = [f"{len(everyone)} trials, {MOST} of them listed. {counted}"]
    notes.append("The same search again (va-search search with this space and study) trains them.")
    names = columns("Model", "Feature sets", "Seed", "Fold", "Trial")
    heads = (Column("Study"), Column("What happened", wide=True), *names)
    return Table(
        "Trials that are not there", heads, tuple(map(_unfinished_row, shown)), notes=tuple(notes)
    )


def _unfinished_row(trial: Trial) -> Row:
    settings = trial.settings
    about = [DASH] * 4
    if settings is not None:
        about = [
            model_name(settings),
            ", ".join(settings.features),
            str(settings.seed),
            str(settings.fold),
        ]
    what = "missing: proposed, not finished"
    if trial.failure is not None:
        what = f"failed: {trial.failure.reason}"
    return row(trial.study, what, *about, Cell(trial.id, code=True))
