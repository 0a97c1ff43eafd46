"""The paper's folds (4.5): made once, kept in the store as folds.json, never changed under a study.

Conventions: folds are numbered from 1. With `keep_validation` the official validation recordings
are fold k, as in Table 4, and the training recordings are divided into k - 1; without, all labelled
recordings are divided into k. What must stay together does (data/grouping): a subject's recordings
and a video's. Balanced are the frames and the label histograms of valence and arousal: the division
has the lowest cost found, where the cost is the sum over folds of (2·(frames / mean − 1))² + Σ over
bins of (fold's labelled frames in the bin − whole's / folds)², in units of a fold's labelled frames
(data/balance). Labels of the test split are never looked at."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.data.balance import divide
from va_search.data.grouping import kept_together
from va_search.data.store import Recording, Store
from va_search.errors import InputError, counted
from va_search.files import read_json, write_json
from va_search.locks import only_one

FOLDS = 6
TRIES = 1000
BINS = 10
UNEVEN = 0.10
"""Share of the mean beyond which a fold's frames are told to be too many or too few."""
FRAMES_WEIGHT = 2.0
MEANING = 1
"""Version of the search: raised when the same labels and seed give other folds."""


@dataclass(frozen=True)
class Labels:
    """Of each recording: histograms (recording, 2, bin) of labelled frames, and (recording, 2, 3)
    of their count, sum and sum of squares."""

    histograms: NDArray[np.float64]
    moments: NDArray[np.float64]

    @classmethod
    def of(cls, store: Store, recordings: Sequence[Recording]) -> Labels:
        """Of these recordings alone; no other frame's label is looked at."""
        histograms, moments = (
            np.zeros((len(recordings), 2, BINS)),
            np.zeros((len(recordings), 2, 3)),
        )
        for index, recording in enumerate(recordings):
            pair = store.annotations[recording.start : recording.stop].astype(np.float64)
            for dimension in (0, 1):
                known = pair[~np.isnan(pair[:, dimension]), dimension]
                histograms[index, dimension] = np.histogram(
                    known, bins=BINS, range=store.label_range
                )[0]
                moments[index, dimension] = len(known), known.sum(), np.square(known).sum()
        return cls(histograms, moments)


@dataclass(frozen=True)
class FoldRow:
    """One fold: counts, its share of all frames, (mean, spread) of valence and arousal (NaN without
    labels), and how far its label histograms are from the whole's: the share of labels that would
    have to change bins (0 to 1), mean of both dimensions."""

    fold: int
    recordings: int
    subjects: int
    frames: int
    share: float
    labelled: int
    valence: tuple[float, float]
    arousal: tuple[float, float]
    distance: float


@dataclass(frozen=True)
class Folding:
    """Folds as they stand in the store: the fold of each labelled recording, a row for each, what
    is kept together."""

    folds: dict[str, int]
    rows: tuple[FoldRow, ...]
    kept_together: str
    warnings: tuple[str, ...]
    already_there: bool = False


def make_folds(
    path: Path, *, k: int = FOLDS, keep_validation: bool = False, seed: int = 0, tries: int = TRIES
) -> Folding:
    """Make folds for the store at `path` and write its folds.json, once; the same call again finds
    them.

    InputError when the store has folds of its own, or made otherwise, or too few people for k.
    """
    store = Store.open(path)
    lock = path / ".folds.lock"
    with only_one(lock, f"{path}: making its folds"):
        try:
            return _make(
                store, {"k": k, "keep_validation": keep_validation, "seed": seed, "tries": tries}
            )
        finally:
            lock.unlink(missing_ok=True)


def folds_command(store: Store) -> str | None:
    """The command that makes folds of a store without any; None where it has too few people, or is
    at a URL."""
    others = [index for index, one in enumerate(store.labelled) if one.split != "validation"]
    groups, _ = kept_together(store.labelled, others)
    if store.url is not None or not groups or len(others) == len(store.labelled):
        return None
    k = min(FOLDS, len(groups) + 1)
    return shlex.join(
        ["va-search", "data", "folds", str(store.path), "--k", str(k), "--keep-validation"]
    )


def _make(store: Store, options: dict[str, Any]) -> Folding:
    place = store.path / "folds.json"
    recordings, labels = store.labelled, Labels.of(store, store.labelled)
    document: dict[str, Any] = {"made_with": {**options, "meaning": MEANING}}
    there = _found(store, place, document["made_with"])
    if there is None:
        folds, together = fold_recordings(recordings, labels, **options)
        document |= {"kept_together": together, "folds": folds}
        write_json(place, document)
    else:
        document = there
    rows = fold_rows(recordings, labels, document["folds"])
    warnings = _seen(recordings, document["folds"])
    warnings += uneven(
        recordings, document["folds"], rows, keep_validation=options["keep_validation"]
    )
    return Folding(
        document["folds"], rows, document["kept_together"], tuple(warnings), there is not None
    )


def _found(store: Store, place: Path, made_with: dict[str, Any]) -> dict[str, Any] | None:
    """The document of folds made with these very options; None where the store has no folds;
    InputError otherwise."""
    if place.is_file():
        there: dict[str, Any] = read_json(place)
        if there.get("made_with") == made_with:
            return there
        raise InputError(
            f"{place}: the store has folds already, made with {_said(there.get('made_with'))}, and not with "
            f"{_said(made_with)}; folds never change under a study: copy the store without folds.json and make others "
            "there"
        )
    if store.fold_numbers:
        raise InputError(
            f"{store.path}: its source has folds of its own ({', '.join(map(str, store.fold_numbers))}); use these, or "
            "import the data without them into another store"
        )
    return None


def _said(made_with: dict[str, Any] | None) -> str:
    """Options as the command line has them."""
    if not isinstance(made_with, dict):
        return "another program"
    keep = " --keep-validation" if made_with.get("keep_validation") else ""
    older = "" if made_with.get("meaning") == MEANING else " by another version"
    return f"--k {made_with.get('k')}{keep} --seed {made_with.get('seed')} --tries {made_with.get('tries')}{older}"


def fold_recordings(
    recordings: Sequence[Recording],
    labels: Labels,
    *,
    k: int = FOLDS,
    keep_validation: bool = False,
    seed: int = 0,
    tries: int = TRIES,
) -> tuple[dict[str, int], str]:
    """The fold of each of the labelled `recordings` (in their order, as `labels`), and what was
    kept together.

    InputError, with all reasons, where k folds are impossible.
    """
    fixed = [i for i, one in enumerate(recordings) if keep_validation and one.split == "validation"]
    free = sorted({*range(len(recordings))} - {*fixed})
    groups, together = kept_together(recordings, free)
    parts = k - 1 if keep_validation else k
    problems = _problems(
        k, parts, len(groups), together, keep_validation=keep_validation, fixed=len(fixed)
    )
    if problems:
        raise InputError(*problems)
    amounts = _amounts(recordings, labels, groups, parts)
    fold = dict.fromkeys(fixed, k)
    for group, part in zip(
        groups, divide(amounts, parts, seed=seed, tries=tries).tolist(), strict=True
    ):
        fold |= dict.fromkeys(group, part + 1)
    return {one.name: fold[i] for i, one in enumerate(recordings)}, together


def _problems(
    k: int, parts: int, groups: int, together: str, *, keep_validation: bool, fixed: int
) -> list[str]:
    problems = []
    if k < 2:
        problems.append(f"--k {k}: expected at least 2 folds")
    if keep_validation and not fixed:
        problems.append(
            "--keep-validation: the store has no validation recording to keep as a fold"
        )
    if parts > groups:
        most = groups + 1 if keep_validation else groups
        of = "training" if keep_validation else "labelled"
        problems.append(
            f"--k {k}: the {of} recordings are {groups} groups of which each must stay together ({together}), so there "
            f"can be at most {most} folds"
        )
    return problems


def _amounts(
    recordings: Sequence[Recording], labels: Labels, groups: Sequence[tuple[int, ...]], parts: int
) -> NDArray[np.float64]:
    """(group, 1 + 2 bins): frames in units of a fold's, weighted, and labelled frames by bin in
    units of a fold's."""
    frames = np.array([one.frames for one in recordings], dtype=np.float64)
    each = np.array([[frames[list(group)].sum()] for group in groups])
    bins = np.array(
        [labels.histograms[list(group)].sum(axis=0) for group in groups]
    )  # [group, 2, bin]
    labelled = np.maximum(bins.sum(axis=(0, 2)), 1.0)[:, None]
    each, bins = each * parts / each.sum() * FRAMES_WEIGHT, bins * parts / labelled
    return np.concatenate([each, bins.reshape(len(groups), -1)], axis=1)


def fold_rows(
    recordings: Sequence[Recording], labels: Labels, folds: dict[str, int]
) -> tuple[FoldRow, ...]:
    """What each fold holds; `labels` in the order of `recordings`."""
    numbers = np.array([folds[one.name] for one in recordings])
    return tuple(
        _row(int(number), recordings, labels, numbers == number) for number in np.unique(numbers)
    )


def _row(
    number: int, recordings: Sequence[Recording], labels: Labels, inside: NDArray[np.bool_]
) -> FoldRow:
    held = [recordings[index] for index in np.flatnonzero(inside).tolist()]
    frames = sum(one.frames for one in held)
    moments = labels.moments[inside].sum(axis=0)
    valence, arousal = (_mean_and_spread(*moments[dimension].tolist()) for dimension in (0, 1))
    return FoldRow(
        fold=number,
        recordings=len(held),
        subjects=len({one.subject for one in held}),
        frames=frames,
        share=frames / sum(one.frames for one in recordings),
        labelled=int(moments[:, 0].max()),
        valence=valence,
        arousal=arousal,
        distance=_distance(labels.histograms[inside].sum(axis=0), labels.histograms.sum(axis=0)),
    )


def _mean_and_spread(count: float, total: float, squares: float) -> tuple[float, float]:
    if count == 0:
        return float("nan"), float("nan")
    mean = total / count
    return mean, float(np.sqrt(max(squares / count - mean**2, 0.0)))


def _distance(histograms: NDArray[np.float64], whole: NDArray[np.float64]) -> float:
    """Half the summed differences of shares by bin, mean of both dimensions; NaN without labels."""
    counts = histograms.sum(axis=1, keepdims=True)
    if not counts.all():
        return float("nan")
    return float(
        np.abs(histograms / counts - whole / whole.sum(axis=1, keepdims=True)).sum(axis=1).mean()
        / 2
    )


def _seen(recordings: Sequence[Recording], folds: dict[str, int]) -> list[str]:
    """A warning when subjects stand in two folds all the same: of training and the kept validation
    set."""
    of: dict[str, set[int]] = {}
    for one in recordings:
        of.setdefault(one.subject, set()).add(folds[one.name])
    seen = sorted(subject for subject, numbers in of.items() if len(numbers) > 1)
    if not seen:
        return []
    are, they = ("is", "it is") if len(seen) == 1 else ("are", "they are")
    names = ", ".join(seen[:3]) + (", …" if len(seen) > 3 else "")
    return [
        f"{counted(len(seen), 'subject')} {are} in two folds ({names}): {they} in training and in the validation set "
        "that was kept"
    ]


def uneven(
    recordings: Sequence[Recording],
    folds: dict[str, int],
    rows: Sequence[FoldRow],
    *,
    keep_validation: bool,
) -> list[str]:
    """Warnings on made folds whose frames differ from their mean by more than 10 %, and why; a kept
    one is as it is."""
    made = [row for row in rows if not (keep_validation and row is rows[-1])]
    numbers = {row.fold for row in made}
    mean = sum(row.frames for row in made) / len(made)
    far = [row for row in made if abs(row.frames / mean - 1) > UNEVEN]
    if not far:
        return []
    groups, together = kept_together(
        recordings, [i for i, one in enumerate(recordings) if folds[one.name] in numbers]
    )
    sizes = [sum(recordings[i].frames for i in group) for group in groups]
    largest = groups[int(np.argmax(sizes))]
    who = ", ".join(sorted({recordings[i].subject for i in largest})[:3])
    why = f"{who} with {len(largest)} recordings that stay together has {max(sizes):,}"
    if max(sizes) <= mean:
        why = f"{len(groups)} groups that stay together ({together}) can't be divided more evenly"
    said = ", ".join(f"fold {row.fold} has {row.frames / mean - 1:+.0%}" for row in far)
    return [f"frames differ by more than 10 % from the mean of {mean:,.0f}: {said}; {why}"]
