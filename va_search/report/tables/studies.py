"""What was studied: the store, and where each study stands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from va_search.data.store import OFFICIAL, SPLITS, Store, positions
from va_search.report.gather import Gathered, StudyState, validated_fold
from va_search.report.words import ELSEWHERE
from va_search.table import DASH, Missing, Table, TableRow, columns, row
from va_search.targets import AFFECT, Target

MOST_LEFT_OUT = 50
"""Notes on trials that are left out."""


def store_table(gathered: Gathered) -> Table:
    """The store's recordings by split, its feature sets and targets."""
    store, title = gathered.store, "The store"
    if store is None:
        problem = f"The store can't be read: {gathered.store_problem}."
        moved = "If it was moved, say where it is with --data STORE."
        return Table(title, missing=Missing(f"{problem} {moved}"))
    folds = ""
    if store.fold_numbers:
        folds = f", {len(store.fold_numbers)} folds of labelled recordings"
    sets: dict[str, list[str]] = {}
    for name, feature_set in store.feature_sets.items():
        sets.setdefault(feature_set.modality, []).append(f"{name} ({feature_set.dim})")
    notes = []
    for modality, names in sets.items():
        notes.append(f"{modality.capitalize()} feature sets (columns): {', '.join(names)}.")
    # Where each frame has all of its labels or none, one number says it for all targets.
    unlabelled = np.isnan(store.annotations)
    is_whole = np.array_equal(unlabelled.any(axis=1), unlabelled.all(axis=1))
    labelled = ["Labelled frames"]
    if not is_whole:
        labelled = [f"Labelled frames,\n{target}" for target in store.target_names]
    numbers = ("Recordings", "People", "Frames", *labelled)
    rows = []
    for split in SPLITS:
        counts = _labelled_frames(store, split)
        rows.append(_split_row(store, split, counts[: len(labelled)]))
    return Table(
        title,
        (*columns("Split"), *columns(*numbers, kind="number")),
        tuple(rows),
        lead=f"Store {store.name}: {_ranges(store.targets)}{folds}.",
        notes=tuple(notes),
    )


def _ranges(targets: Sequence[Target]) -> str:
    """`labels from -1 to 1`, or the range of each target by its name."""
    ranges = {target.range for target in targets}
    if len(ranges) == 1 and tuple(target.name for target in targets) == AFFECT:
        low, high = targets[0].range
        return f"labels from {low:g} to {high:g}"
    return ", ".join(f"{target.name} from {target.low:g} to {target.high:g}" for target in targets)


def _labelled_frames(store: Store, split: str) -> list[int]:
    """Frames of a split that have a label, for each target."""
    annotations = store.annotations[positions(store.split(split))]
    counts: list[int] = (~np.isnan(annotations)).sum(axis=0).tolist()
    return counts


def _split_row(store: Store, name: str, labelled: Sequence[int]) -> TableRow:
    """One split; `labelled`: its labelled frames, of each target or of all alike."""
    recordings = store.split(name)
    people = len({recording.subject for recording in recordings})
    frames = sum(recording.frames for recording in recordings)
    texts = [f"{count:,}" for count in labelled]
    if name == "test" and recordings and not any(labelled):
        texts = ["withheld"] * len(labelled)
    return row(name, f"{len(recordings):,}", f"{people:,}", f"{frames:,}", *texts)


STATES = {
    "stopped early": "Stopped early: by the search, before all epochs were trained; such trials are "
    "complete and count as they are.",
    "without validation": "Without validation: trained on train and validation together "
    "(train_val_mix), so there is no score.",
    ELSEWHERE: "",
    "Failed": "",
    "Missing": "Missing: proposed but not finished: still training, or interrupted; the same search "
    "trains them.",
}
"""States of trials that a study may have some of, and what is said of each below the table."""


def studies_table(gathered: Gathered) -> Table:
    """One row per study: complete trials, those of each state that occurs, planned ones, time."""
    counts = list(map(_counts, gathered.studies))
    states = []
    for state in STATES:
        # A state that no trial is in would be a column of zeros.
        if any(count[state] for count in counts):
            states.append(state)
    rows = []
    for study, count in zip(gathered.studies, counts, strict=True):
        texts = [f"{count[state]:,}" for state in states]
        planned = time = DASH
        if study.planned is not None:
            planned = f"{study.planned:,}"
        if study.seconds is not None:
            time = _time(study.seconds)
        rows.append(row(study.name, f"{len(study.trials):,}", *texts, planned, time))
    notes = list(filter(None, map(STATES.__getitem__, states)))
    notes.append("Planned: trials of the whole search, where that is known.")
    return Table(
        "The studies",
        (*columns("Study"), *columns("Complete", *states, "Planned", "Time", kind="number")),
        tuple(rows),
        notes=(*notes, *_notes(gathered)),
    )


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"


def _counts(study: StudyState) -> dict[str, int]:
    return {
        "stopped early": sum(bool(trial.stopped) for trial in study.trials),
        "without validation": sum(not trial.best for trial in study.trials),
        ELSEWHERE: sum(trial.settings is None for trial in study.trials),
        "Failed": len(study.failed),
        "Missing": len(study.missing),
    }


def _notes(gathered: Gathered) -> list[str]:
    """Trials that are in no row: not begun, left out, of another fold; and the studies' problems."""
    notes = []
    for study in gathered.studies:
        if study.planned is not None:
            # Trials on data that changed since were begun, too, although no table lists them.
            begun = len(study.trials) + len(study.unfinished) + study.outdated
            left = study.planned - begun
            if left > 0:
                planned = f"{left:,} of {study.planned:,} planned trials were not begun"
                notes.append(f"Study {study.name}: {planned}.")
    left_out = gathered.left_out
    notes += [f"Left out of all tables: {text}." for text in left_out[:MOST_LEFT_OUT]]
    if len(left_out) > MOST_LEFT_OUT:
        notes.append(f"… and {len(left_out) - MOST_LEFT_OUT} more are left out.")
    for study in gathered.studies:
        notes += [f"Study {study.name}: {problem}" for problem in study.problems]
    folds = {validated_fold(trial) for trial in gathered.scored}
    if gathered.main_fold != OFFICIAL or len(folds) > 1:
        main = f"fold {gathered.main_fold}"
        if gathered.main_fold == OFFICIAL:
            main = "the official split"
        compared = f"Where trials are compared, they are those of {main}"
        notes.append(f"{compared}; the others are in Table 4.")
    return notes
