"""The paper's folds (4.5): made once, kept in the store as folds.json, never changed under a study.

Conventions: folds are numbered from 1. With `keep_validation` the official validation recordings
are fold k, as in Table 4, and the training recordings are divided into k - 1; without, all labelled
recordings are divided into k. A subject's recordings and a video's stay together (grouping.py).
Balanced are the frames and the label histograms of the targets: the division has the lowest
cost found, where the cost is the sum over folds of (2·(frames / mean − 1))² + Σ over bins of
(fold's labelled frames in the bin − whole's / folds)², in units of a fold's labelled frames. Labels
of the test split are never looked at.

Folds by subject and stimulus: where no groups of recordings have people and stimuli of their own,
people are divided into parts, and stimuli are; a fold is the recordings of one part of people and
one part of stimuli. Its training has no recording of these people or of these stimuli, so that the
recordings that share one of the two are left out (`Store.apart`)."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from va_search.data.arrays import Floats
from va_search.data.crossed_folds import left_out_of_training, people_times_stimuli
from va_search.data.fold_labels import Labels, amounts_of
from va_search.data.grouping import divide, kept_together
from va_search.data.problems import refuse, shortened
from va_search.data.store import Recording, Store
from va_search.errors import InputError, counted, unknown_name
from va_search.files import read_json, write_json
from va_search.locks import only_one
from va_search.seals import sealed

FOLDS = 6
TRIES = 1000
UNEVEN = 0.10
"""Share of the mean beyond which a fold's frames are told to be too many or too few."""
BY = {
    "subject": ("subject",),
    "stimulus": ("stimulus",),
    "subject,stimulus": ("subject", "stimulus"),
}
"""What recordings in two folds do not share, by its name on the command line."""
MEANING = 1
"""Version of the search: raised when the same labels and seed give other folds."""
NAMES_SHOWN = 3


class MadeWith(TypedDict):
    """Options that folds were made with, as folds.json has them; folds by subject are noted without
    `by`, as before there were others."""

    k: int
    keep_validation: bool
    seed: int
    tries: int
    meaning: int
    by: NotRequired[str]


class FoldsDocument(TypedDict):
    """folds.json: the fold of each labelled recording, and what is kept together; `apart` are the
    facts that a fold's training shares with nobody it validates."""

    made_with: MadeWith
    kept_together: str
    folds: dict[str, int]
    apart: NotRequired[list[str]]


@dataclass(frozen=True)
class FoldCounts:
    """One fold: counts, its share of all frames, (mean, spread) of each target's labels (NaN without
    any), and how far its label histograms are from the whole's: the share of labels that would have
    to change bins (0 to 1), mean of the targets."""

    fold: int
    recordings: int
    subjects: int
    frames: int
    share: float
    labelled: int
    statistics: dict[str, tuple[float, float]]
    distance: float

    def to_json(self) -> dict[str, Any]:
        """Return the counts as `--json` has them: (mean, spread) by the target's name."""
        document: dict[str, Any] = {}
        for name, value in vars(self).items():
            document |= value if name == "statistics" else {name: value}
        return document


@dataclass(frozen=True)
class Folding:
    """Folds as they stand in the store: the fold of each labelled recording, a row for each, what
    is kept together."""

    folds: dict[str, int]
    rows: tuple[FoldCounts, ...]
    kept_together: str
    warnings: tuple[str, ...]
    already_there: bool = False
    by: str = "subject"
    left_out: dict[int, int] = field(default_factory=dict)
    """Recordings that each fold leaves out of its training, where some fold leaves out any."""

    def to_json(self) -> dict[str, Any]:
        """Return the folds as `--json` has them."""
        return {**vars(self), "rows": [row.to_json() for row in self.rows]}


def make_folds(
    path: Path,
    *,
    k: int = FOLDS,
    keep_validation: bool = False,
    seed: int = 0,
    tries: int = TRIES,
    by: str = "subject",
) -> Folding:
    """Make folds for the store at `path` and write its folds.json, once; the same call again finds
    them.

    `by`: what two folds do not share, a key of `BY`. InputError when the store has folds of its
    own, or made otherwise, or too few people or stimuli for k.
    """
    store = Store.open(path)
    file = path / "folds.json"
    made_with: MadeWith = {
        "k": k,
        "keep_validation": keep_validation,
        "seed": seed,
        "tries": tries,
        "meaning": MEANING,
    }
    if by != "subject":
        made_with["by"] = by
    recordings, labels = store.labelled, Labels.of(store, store.labelled)
    lock = path / ".folds.lock"
    # Two processes that make folds at once would write two documents: the first one's stays.
    with only_one(lock, f"{path}: making its folds"):
        try:
            document = _read_folds(store, file, made_with)
            already_there = document is not None
            if document is None:
                folds, together = fold_recordings(
                    recordings,
                    labels,
                    k=k,
                    keep_validation=keep_validation,
                    seed=seed,
                    tries=tries,
                    by=by,
                )
                document = {"made_with": made_with, "kept_together": together, "folds": folds}
                if len(BY[by]) > 1:
                    document["apart"] = list(BY[by])
                write_json(file, sealed(document, {}))
        finally:
            lock.unlink(missing_ok=True)
    folds = document["folds"]
    rows = fold_rows(recordings, labels, folds)
    warnings = _subjects_in_two(recordings, folds) if by == "subject" else []
    warnings += uneven(recordings, folds, rows, keep_validation=keep_validation, by=by)
    left_out = left_out_of_training(recordings, folds, document.get("apart", ()))
    together = document["kept_together"]
    return Folding(folds, rows, together, tuple(warnings), already_there, by, left_out)


def folds_command(store: Store) -> str | None:
    """The command that makes folds of a store without any; None where it has too few people, or is
    at a URL."""
    training = []
    for index, recording in enumerate(store.labelled):
        if recording.split != "validation":
            training.append(index)
    # The kept validation set is a fold of its own, beside at most one per group.
    groups, _ = kept_together(store.labelled, training)
    if store.url is not None or not groups or len(training) == len(store.labelled):
        return None
    k = min(FOLDS, len(groups) + 1)
    command = ["va-search", "data", "folds", str(store.path), "--k", str(k), "--keep-validation"]
    return shlex.join(command)


def _read_folds(store: Store, file: Path, made_with: MadeWith) -> FoldsDocument | None:
    """The document of folds made with these very options; None where the store has no folds;
    InputError otherwise."""
    if file.is_file():
        document: FoldsDocument = read_json(file)
        if document.get("made_with") == made_with:
            return document
        raise InputError(
            f"{file}: the store has folds already, made with "
            f"{_options(document.get('made_with'))}, and not with {_options(made_with)}; folds "
            "never change under a study: copy the store without folds.json and make others there"
        )
    if store.fold_numbers:
        numbers = ", ".join(map(str, store.fold_numbers))
        raise InputError(
            f"{store.path}: its source has folds of its own ({numbers}); use these, or import the "
            "data without them into another store"
        )
    return None


def _options(made_with: MadeWith | None) -> str:
    """Options as the command line has them."""
    if not isinstance(made_with, dict):
        return "another program"
    words = [f"--k {made_with.get('k')}"]
    if made_with.get("keep_validation"):
        words.append("--keep-validation")
    if "by" in made_with:
        words.append(f"--by {made_with['by']}")
    words += [f"--seed {made_with.get('seed')}", f"--tries {made_with.get('tries')}"]
    if made_with.get("meaning") != MEANING:
        words.append("by another version")
    return " ".join(words)


def fold_recordings(
    recordings: Sequence[Recording],
    labels: Labels,
    *,
    k: int = FOLDS,
    keep_validation: bool = False,
    seed: int = 0,
    tries: int = TRIES,
    by: str = "subject",
) -> tuple[dict[str, int], str]:
    """The fold of each of the labelled `recordings` (in their order, as `labels`), and what was
    kept together.

    InputError, with all reasons, where k folds are impossible.
    """
    refuse(_problems_of_by(recordings, by, keep_validation=keep_validation))
    fold = {}
    free = []
    for index, recording in enumerate(recordings):
        if keep_validation and recording.split == "validation":
            fold[index] = k
        else:
            free.append(index)
    groups, together = kept_together(recordings, free, BY[by])
    if len(BY[by]) > 1 and len(groups) < k:
        divided = people_times_stimuli(recordings, labels, k=k, seed=seed, tries=tries)
        return divided, " and ".join(BY[by])
    parts = k - 1 if keep_validation else k
    problems = []
    if k < 2:
        problems.append(f"--k {k}: expected at least 2 folds")
    if keep_validation and not fold:
        problems.append(
            "--keep-validation: the store has no validation recording to keep as a fold"
        )
    # A group can't be cut, so there are no more folds than groups.
    if parts > len(groups):
        kind = "training" if keep_validation else "labelled"
        problems.append(
            f"--k {k}: the {kind} recordings are {len(groups)} groups of which each must stay "
            f"together ({together}), so there can be at most {len(groups) + k - parts} folds"
        )
    if problems:
        raise InputError(*problems)
    # Groups are divided, so whoever must stay together does.
    division = divide(amounts_of(recordings, labels, groups, parts), parts, seed=seed, tries=tries)
    for group, part in zip(groups, division.tolist(), strict=True):
        fold |= dict.fromkeys(group, part + 1)
    return {recording.name: fold[index] for index, recording in enumerate(recordings)}, together


def _problems_of_by(
    recordings: Sequence[Recording], by: str, *, keep_validation: bool
) -> list[str]:
    """Return what keeps folds from being divided `by` these facts."""
    if by not in BY:
        return [f"--by: {unknown_name('division', by, BY)}"]
    problems = []
    without = [recording.name for recording in recordings if recording.stimulus is None]
    if "stimulus" in BY[by] and without:
        problems.append(
            f"--by {by}: {len(without)} of {counted(len(recordings), 'labelled recording')} have no "
            f"stimulus ({shortened(without, NAMES_SHOWN)}); name the column of recordings.csv that "
            "has them, and import again"
        )
    if by != "subject" and keep_validation:
        problems.append(
            f"--keep-validation goes with --by subject alone: with --by {by} the official "
            "validation set is divided, too"
        )
    return problems


def fold_rows(
    recordings: Sequence[Recording], labels: Labels, folds: dict[str, int]
) -> tuple[FoldCounts, ...]:
    """Counts and statistics of each fold; `labels` in the order of `recordings`."""
    numbers = np.array([folds[recording.name] for recording in recordings])
    frames = np.array([recording.frames for recording in recordings])
    # Distances are to all labelled recordings together.
    whole = labels.histograms.sum(axis=0)
    rows = []
    for number in np.unique(numbers).tolist():
        inside = numbers == number
        held = [recordings[index] for index in np.flatnonzero(inside).tolist()]
        moments = labels.moments[inside].sum(axis=0)
        statistics = {}
        for name, sums in zip(labels.target_names, moments.tolist(), strict=True):
            statistics[name] = _mean_and_spread(*sums)
        row = FoldCounts(
            fold=number,
            recordings=len(held),
            subjects=len({recording.subject for recording in held}),
            frames=int(frames[inside].sum()),
            share=float(frames[inside].sum() / frames.sum()),
            labelled=int(labels.labelled[inside].sum()),
            statistics=statistics,
            distance=_distance(labels.histograms[inside].sum(axis=0), whole),
        )
        rows.append(row)
    return tuple(rows)


def _mean_and_spread(count: float, total: float, squares: float) -> tuple[float, float]:
    if count == 0:
        return float("nan"), float("nan")
    mean = total / count
    return mean, float(np.sqrt(max(squares / count - mean**2, 0.0)))


def _distance(histograms: Floats, whole: Floats) -> float:
    """Half the summed differences of shares by bin, mean of the targets that have labels; NaN without
    any."""
    counts = histograms.sum(axis=1, keepdims=True)
    labelled = counts[:, 0] > 0
    if not labelled.any():
        return float("nan")
    counts, histograms, whole = counts[labelled], histograms[labelled], whole[labelled]
    difference = np.abs(histograms / counts - whole / whole.sum(axis=1, keepdims=True))
    return float(difference.sum(axis=1).mean() / 2)


def _subjects_in_two(recordings: Sequence[Recording], folds: dict[str, int]) -> list[str]:
    """A warning when subjects stand in two folds all the same: of training and the kept validation
    set."""
    folds_of: dict[str, set[int]] = defaultdict(set)
    for recording in recordings:
        folds_of[recording.subject].add(folds[recording.name])
    subjects = sorted(subject for subject, numbers in folds_of.items() if len(numbers) > 1)
    if not subjects:
        return []
    are, they = ("is", "it is") if len(subjects) == 1 else ("are", "they are")
    return [
        f"{counted(len(subjects), 'subject')} {are} in two folds "
        f"({shortened(subjects, NAMES_SHOWN)}): {they} in training and in the validation set that "
        "was kept"
    ]


def uneven(
    recordings: Sequence[Recording],
    folds: dict[str, int],
    rows: Sequence[FoldCounts],
    *,
    keep_validation: bool,
    by: str = "subject",
) -> list[str]:
    """Warnings on made folds whose frames differ from their mean by more than 10 %, and why; a kept
    one is as it is."""
    divided_rows = rows[:-1] if keep_validation else rows
    mean = sum(row.frames for row in divided_rows) / len(divided_rows)
    far = [row for row in divided_rows if abs(row.frames / mean - 1) > UNEVEN]
    if not far:
        return []
    numbers = {row.fold for row in divided_rows}
    divided = []
    for index, recording in enumerate(recordings):
        if folds[recording.name] in numbers:
            divided.append(index)
    groups, together = kept_together(recordings, divided, BY[by])
    sizes = []
    for group in groups:
        sizes.append(sum(recordings[index].frames for index in group))
    listed = ", ".join(f"fold {row.fold} has {row.frames / mean - 1:+.0%}" for row in far)
    text = f"frames differ by more than 10 % from the mean of {mean:,.0f}: {listed}"
    if len(groups) < len(divided_rows):
        return [f"{text}; people and stimuli are each divided evenly, not both at once"]
    reason = f"{len(groups)} groups that stay together ({together}) can't be divided more evenly"
    if max(sizes) > mean:
        largest = groups[sizes.index(max(sizes))]
        subjects = sorted({recordings[index].subject for index in largest})[:NAMES_SHOWN]
        reason = (
            f"{', '.join(subjects)} with {len(largest)} recordings that stay together has "
            f"{max(sizes):,}"
        )
    return [f"{text}; {reason}"]
