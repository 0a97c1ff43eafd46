"""Baselines that nobody had to train: scores that a trained model must beat to be worth its hours.

    constant    the mean of the training labels: CCC 0 by definition
    same_clip   the mean annotation of other people, in training, of the same clip at the same time
                since its start; where none of them has a label then, that clip's mean, else the
                mean of all training labels
    ridge       ridge regression from recordings' mean features to their mean labels: one value for
                the whole recording

Conventions: a baseline learns from the training recordings of a fold and predicts its validation
recordings, as a trial does; scores are CCCs pooled over the labelled frames of all folds given. A
clip is a recording's `stimulus`; `same_clip` is there only where every recording has one, and
training has some clip that is validated. Its time is the frame's number over the frame rate: gaps
in a recording are not counted. Test recordings are not read. Scores that are kept on the disk are
named by a hash of everything they are made of, so that none is of other data."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from va_search.data.arrays import Floats, Indexes
from va_search.data.generalisation import SeenCounts
from va_search.data.store import Fold, Recording, Store, positions
from va_search.errors import InputError
from va_search.files import digest, read_json, write_json
from va_search.metrics import ccc

MEANING = 1
"""Raised when the same data give other scores."""
TITLES = {
    "constant": "a constant",
    "same_clip": "other people's mean for the same clip and time",
    "ridge": "ridge on recording means",
}
MOST_FRAMES = 300
"""Evenly spaced frames of a recording of which its mean features are made, at most."""
MOST_VALUES = 200_000
"""Values of one feature set that are read of a recording, at most."""
MOST_MEANS = 4_000_000
"""Mean features of all recordings that are kept; of more columns, evenly spaced ones."""
MOST_LEARNED = 500
"""Recordings that ridge regression learns from: of more, evenly spaced ones. Its time grows with
their third power."""
MOST_DEVIATIONS = 3.0
INNER_PARTS = 10
"""Parts of the training people, each left out once to choose the ridge penalty."""
PENALTIES = np.logspace(-4, 2, 13)
"""Relative to the mean square of a recording's standardised features."""


class _TimeIsUp(Exception):
    """A baseline takes longer than it may."""


@dataclass(frozen=True)
class Baseline:
    """A baseline's CCC by target; None where it is not defined."""

    name: str
    cccs: dict[str, float | None]

    @property
    def title(self) -> str:
        """The baseline in words."""
        return TITLES[self.name]

    @property
    def score(self) -> float | None:
        """The mean of the CCCs; None unless all are defined."""
        values = [value for value in self.cccs.values() if value is not None]
        return sum(values) / len(values) if len(values) == len(self.cccs) else None


@dataclass(frozen=True)
class QuickBaselines:
    """Baselines of the folds with these keys; `left_out` names those that would have taken longer
    than `seconds`."""

    keys: tuple[str | int, ...]
    scores: tuple[Baseline, ...]
    left_out: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, object]:
        """Return them as `--json` has them: CCCs by the baseline's name, then the target's."""
        scores = {entry.name: entry.cccs for entry in self.scores}
        return {"folds": self.keys, "scores": scores, "left_out": self.left_out}


def baselines(
    store: Store, keys: Sequence[str | int], kept: Path | None = None
) -> tuple[Baseline, ...]:
    """Return the baselines of the folds with these keys; none where a fold lacks labels on a side.

    `kept`: a folder in which scores are kept and found again."""
    folds = _folds_with_labels(store, keys)
    if not folds:
        return ()
    path = None if kept is None else kept / f"{_content(store, folds)}.json"
    scores = _kept_scores(path)
    if scores is not None:
        return scores
    scores, _ = _scored(store, folds, math.inf)
    if path is not None:
        write_json(path, {"baselines": {entry.name: entry.cccs for entry in scores}})
    return scores


def quick_baselines(
    store: Store, keys: Sequence[str | int], kept: Path, seconds: float
) -> QuickBaselines:
    """Return the baselines of the folds with these keys that are in the folder `kept`, or take at
    most so many seconds together; nothing is written."""
    folds = _folds_with_labels(store, keys)
    if not folds:
        return QuickBaselines(tuple(keys), (), (), seconds)
    left_out: tuple[str, ...] = ()
    scores = _kept_scores(kept / f"{_content(store, folds)}.json")
    if scores is None:
        scores, left_out = _scored(store, folds, monotonic() + seconds)
    return QuickBaselines(tuple(keys), scores, left_out, seconds)


def _folds_with_labels(store: Store, keys: Sequence[str | int]) -> list[Fold]:
    """Return the folds with these keys; none where one lacks labels on a side."""
    folds = [store.fold(key) for key in keys]
    for fold in folds:
        for side in (fold.train, fold.validation):
            if np.isnan(store.annotations[positions(side)]).all():
                return []
    return folds


def _kept_scores(path: Path | None) -> tuple[Baseline, ...] | None:
    """Return the scores in a file; None where there is none, or it is damaged."""
    if path is not None and path.is_file():
        with suppress(InputError, KeyError, TypeError, AttributeError, ValueError):
            document = read_json(path)
            scores = document["baselines"].items()
            return tuple(Baseline(name, dict(cccs)) for name, cccs in scores)
    return None


def _content(store: Store, folds: Sequence[Fold]) -> str:
    """Return a hash of all that the baselines of these folds are made of."""
    sides = []
    for fold in folds:
        train = [recording.name for recording in fold.train]
        sides.append([train, [recording.name for recording in fold.validation]])
    stimuli = {recording.name: recording.stimulus for recording in store.labelled}
    data = store.data_hash(sorted(store.feature_sets))
    return digest([MEANING, data, stimuli, sides])[:32]


def _scored(
    store: Store, folds: Sequence[Fold], until: float
) -> tuple[tuple[Baseline, ...], tuple[str, ...]]:
    """Return the baselines of these folds, and the names of those that are not ready `until` this
    time of the clock."""
    labels = [store.annotations[positions(fold.validation)] for fold in folds]
    annotation = np.concatenate(labels).astype(np.float64)
    constant: dict[str, float | None] = {}
    for column, target in enumerate(store.target_names):
        constant[target] = None if np.isnan(annotation[:, column]).all() else 0.0
    scored = [Baseline("constant", constant)]
    predictors: dict[str, Callable[[], list[Floats]]] = {}
    if any(SeenCounts.of([(fold.validation, fold.train)]).of_seen_clips for fold in folds):
        predictors["same_clip"] = lambda: [same_clip(store, fold, until) for fold in folds]
    predictors["ridge"] = lambda: _ridge_of_folds(store, folds, until)
    left_out = []
    for name, predict in predictors.items():
        try:
            predicted = np.concatenate(predict())
        except _TimeIsUp:
            left_out.append(name)
            continue
        cccs: dict[str, float | None] = {}
        for column, target in enumerate(store.target_names):
            value = float(ccc(predicted[:, column], annotation[:, column]))
            cccs[target] = value if np.isfinite(value) else None
        scored.append(Baseline(name, cccs))
    return tuple(scored), tuple(left_out)


def _check_time(until: float) -> None:
    """Raise _TimeIsUp when the clock has passed `until`."""
    if monotonic() > until:
        raise _TimeIsUp


# The same clip -----------------------------------------------------------------------------------


def same_clip(store: Store, fold: Fold, until: float = math.inf) -> Floats:
    """Return (frames, targets) of the validation recordings: the mean annotation of the training
    recordings of the same clip at the same time, on the targets' scales.

    People who are validated count as nobody's others."""
    judged = {recording.subject for recording in fold.validation}
    others = [recording for recording in fold.train if recording.subject not in judged]
    of_clip: dict[str | None, list[Recording]] = defaultdict(list)
    for recording in others:
        of_clip[recording.stimulus].append(recording)
    everything = store.annotations[positions(tuple(others or fold.train))]
    overall = np.nan_to_num(_mean(everything))
    # A clip's others are the same for all who are validated: their curve is made once, for the
    # longest recording.
    longest: dict[tuple[str | None, float], int] = defaultdict(int)
    for recording in fold.validation:
        clip = recording.stimulus, recording.frames_per_second
        longest[clip] = max(longest[clip], recording.frames)
    curves = {}
    for clip, frames in longest.items():
        _check_time(until)
        stimulus, rate = clip
        same = of_clip[stimulus]
        curve = _mean_curve(store, same, frames, rate)
        level = np.full(len(store.targets), np.nan)
        if same:
            level = _mean(store.annotations[positions(tuple(same))])
        level = np.where(np.isnan(level), overall, level)
        curves[clip] = np.where(np.isnan(curve), level, curve)
    predicted = []
    for recording in fold.validation:
        curve = curves[recording.stimulus, recording.frames_per_second]
        predicted.append(curve[: recording.frames])
    return np.concatenate(predicted)


def _mean_curve(store: Store, others: Sequence[Recording], frames: int, rate: float) -> Floats:
    """Return (frames, targets) mean labels of the others at the times of that many frames at a rate
    per second, NaN where none of them has one."""
    sums = np.zeros((frames, len(store.targets)))
    counts = np.zeros_like(sums)
    seconds = np.arange(frames) / rate
    for other in others:
        rows = np.rint(seconds * other.frames_per_second).astype(np.int64)
        rows = rows[rows < other.frames]
        labels = store.annotations[other.span][rows]
        sums[: len(rows)] += np.nan_to_num(labels)
        counts[: len(rows)] += ~np.isnan(labels)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _mean(annotation: NDArray[np.floating]) -> Floats:
    """Return (targets,) means of (frames, targets) labels, NaN for a target without any."""
    counts = (~np.isnan(annotation)).sum(axis=0)
    with np.errstate(invalid="ignore"):  # infinite features are the audit's business
        sums = np.nansum(annotation.astype(np.float64), axis=0)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


# Ridge on recording means -------------------------------------------------------------------------


@dataclass(frozen=True)
class Means:
    """Of each labelled recording, by its row: (recording, column) mean features, and what these
    differ from the mean of the person's labelled recordings; (recording, target) mean labels. NaN
    where nothing is there."""

    row_of: dict[str, int]
    features: Floats
    labels: Floats

    @classmethod
    def of(cls, store: Store, until: float = math.inf) -> Means:
        """Read some frames of every labelled recording."""
        recordings = store.labelled
        columns = sum(entry.dim for entry in store.feature_sets.values())
        apart = max(1, -(-columns * len(recordings) // MOST_MEANS))
        sets = []
        for name, feature_set in store.feature_sets.items():
            values = store.features(name)
            most = max(1, min(MOST_FRAMES, MOST_VALUES // max(feature_set.dim, 1)))
            rows = []
            for recording in recordings:
                _check_time(until)
                step = -(-recording.frames // most)
                rows.append(_mean(values[recording.span][::step, ::apart]))
            sets.append(np.stack(rows))
        features = np.concatenate(sets, axis=1)
        # People differ in level far more than their moods do: each is compared with themselves, too.
        subjects = [recording.subject for recording in recordings]
        own = np.empty_like(features)
        for rows_of_subject in _rows_by(subjects).values():
            own[rows_of_subject] = _mean(features[rows_of_subject])
        labels = np.stack([_mean(store.annotations[recording.span]) for recording in recordings])
        row_of = {recording.name: row for row, recording in enumerate(recordings)}
        with np.errstate(invalid="ignore"):
            relative = features - own
        return cls(row_of, np.concatenate([features, relative], axis=1), labels)

    def rows(self, recordings: Sequence[Recording]) -> Indexes:
        """Return the rows of these recordings."""
        return np.array([self.row_of[recording.name] for recording in recordings], dtype=np.int64)


def _rows_by(subjects: Sequence[str]) -> dict[str, list[int]]:
    """Return the rows of each subject."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, subject in enumerate(subjects):
        rows[subject].append(row)
    return rows


def _ridge_of_folds(store: Store, folds: Sequence[Fold], until: float) -> list[Floats]:
    """Return what `ridge` predicts of each fold's validation recordings."""
    means = Means.of(store, until)
    return [ridge(store, fold, means, until) for fold in folds]


def ridge(store: Store, fold: Fold, means: Means, until: float = math.inf) -> Floats:
    """Return (frames, targets) of the validation recordings: the mean label of each, predicted from
    its mean features.

    Features are standardised by the training recordings, and 0 where they are missing. The penalty
    is the one with the highest CCC when the training people are left out in parts."""
    learned = fold.train[:: -(-len(fold.train) // MOST_LEARNED)]
    train, held = means.rows(learned), means.rows(fold.validation)
    standard = _standardised(means.features[np.concatenate([train, held])], len(train))
    kernel = standard @ standard[: len(train)].T / standard.shape[1]
    inside, across = kernel[: len(train)], kernel[len(train) :]
    people = list(dict.fromkeys(recording.subject for recording in learned))
    part = np.array([people.index(recording.subject) for recording in learned]) % INNER_PARTS
    levels = np.zeros((len(held), len(store.targets)))
    for column in range(len(store.targets)):
        labels = means.labels[train, column]
        known = ~np.isnan(labels)
        if not known.any():
            continue
        penalty = _best_penalty(inside[np.ix_(known, known)], labels[known], part[known], until)
        fitted = _ridge(inside[np.ix_(known, known)], labels[known], across[:, known])
        levels[:, column] = fitted[:, penalty]
    return np.repeat(levels, [recording.frames for recording in fold.validation], axis=0)


def _standardised(features: Floats, training: int) -> Floats:
    """Return the features in units of the standard deviation of the first `training` rows around
    their mean; 0 for missing ones, and for columns that do not vary there. Cut off, since
    one wild value may not decide a recording's prediction."""
    with np.errstate(invalid="ignore", over="ignore"):
        mean = _mean(features[:training])
        spread = np.sqrt(_mean(np.square(features[:training] - mean)))
        # A column that does not vary but for rounding tells nothing.
        varies = spread > 1e-9 * (np.abs(mean) + spread)
        standard = np.where(varies, (features - mean) / np.where(varies, spread, 1.0), 0.0)
    standard[np.isnan(standard)] = 0.0
    return np.clip(standard, -MOST_DEVIATIONS, MOST_DEVIATIONS)


def _best_penalty(kernel: Floats, labels: Floats, part: Indexes, until: float) -> int:
    """Return the index of the penalty that predicts left-out people best; the smallest of equals,
    and the largest of all where there is nobody to leave out."""
    parts = np.unique(part)
    if len(parts) < 2:
        return len(PENALTIES) - 1
    predicted = np.zeros((len(labels), len(PENALTIES)))
    for number in parts:
        _check_time(until)
        out = part == number
        inside = kernel[np.ix_(~out, ~out)]
        predicted[out] = _ridge(inside, labels[~out], kernel[np.ix_(out, ~out)])
    scores = [ccc(predicted[:, index], labels) for index in range(len(PENALTIES))]
    return int(np.argmax(np.nan_to_num(scores)))


def _ridge(kernel: Floats, labels: Floats, across: Floats) -> Floats:
    """Return (predicted, penalty) of kernel ridge regression with the labels' mean as intercept.

    `kernel` (training, training), `across` (predicted, training)."""
    values, vectors = np.linalg.eigh(kernel)
    shares = vectors.T @ (labels - labels.mean())
    shrunk = shares[:, None] / (np.maximum(values, 0.0)[:, None] + PENALTIES)
    predicted: Floats = labels.mean() + (across @ vectors) @ shrunk
    return predicted
