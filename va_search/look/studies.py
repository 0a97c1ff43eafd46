"""A study's best trials, on the recordings that they validated and on test ones.

Conventions: a series is a configuration with its seed: where it was trained on several folds, each
recording is predicted by the trial that validated it, and a test recording by the mean of all of
them, as over_folds.py does. One of a single trial has the bank's values, float32 as they are there.
Ranked by CCC on validation, in-sample; of several trials their mean. Nothing is clipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from math import isfinite

import numpy as np

from va_search.data.arrays import Floats, Values
from va_search.data.store import OFFICIAL, Recording, Store, frames_hash
from va_search.errors import InputError, counted, unknown_name
from va_search.look.ensembles import MEMBERS
from va_search.look.shown import ByTarget, Curves, Series, Shown
from va_search.look.stores import StoreSide, split_names
from va_search.look.trials import Columns, SplitRows, detail_of, series_of
from va_search.predictions.bank import Bank
from va_search.trial import SCORE, FoldKind, Trial
from va_search.trial_settings import configuration_id


@dataclass(frozen=True)
class _Configuration:
    """The trials of one configuration and seed, on different folds."""

    trials: tuple[Trial, ...]

    def ccc(self, measure: str) -> float | None:
        """The mean of the trials' CCCs of a target, or of "score"; None where one has none."""
        cccs = [trial.ccc(measure) for trial in self.trials]
        known = [ccc for ccc in cccs if ccc is not None and isfinite(ccc)]
        if len(known) < len(cccs):
            return None
        return sum(known) / len(known)

    def series(self, targets: Collection[str]) -> Series:
        """The configuration as the page has it."""
        trial = self.trials[0]
        others = len(self.trials) - 1
        series = series_of(trial, targets)
        if not others:
            return series
        return replace(
            series,
            title=f"{trial.label} and {others} on other folds",
            detail=detail_of(trial, counted(len(self.trials), "fold")),
        )


@dataclass(frozen=True)
class _Predicted:
    """A recording as a configuration predicts it: by `trials`, in these rows of their columns."""

    split: str
    rows: slice
    trials: list[Trial]


def shown_study(
    bank: Bank,
    study: str,
    store: Store,
    *,
    by: str = SCORE,
    members: int = MEMBERS,
    split: str | None = None,
    verdict: tuple[tuple[str, str], ...] = (),
) -> Shown:
    """Return what a page shows of the study's best trials `by` a target or the score.

    `split`: "validation" or "test" alone. InputError for a target that the store does not have, and
    where no trial's predictions are of the store's recordings."""
    measures = (*store.target_names, SCORE)
    if by not in measures:
        raise InputError(unknown_name("target", by, measures))
    trials, damaged = bank.whole_trials(study)
    remarks = []
    if damaged:
        remarks.append(f"{counted(damaged, 'trial')} left out: damaged")
    fitting = [trial for trial in trials if _fits(trial, store)]
    if len(fitting) < len(trials):
        others = counted(len(trials) - len(fitting), "trial")
        remarks.append(f"{others} left out: predictions are of other recordings than this store's")
    ranked = _ranked(fitting, by)
    shown_configurations = ranked[:members]
    curves = _StudyCurves(bank, StoreSide(store), shown_configurations, split)
    if not curves.located:
        raise InputError(f"study {study!r} has no predictions to look at in {store.path}", *remarks)
    return Shown(
        title=study,
        kind="study",
        scores_are=(
            f"The best {counted(len(shown_configurations), 'trial')} by {by}; scores of single "
            "recordings are the best one's, in-sample: it was chosen, and its epoch, on these "
            "recordings, so they are too high."
        ),
        targets=store.targets,
        series=tuple(each.series(store.target_names) for each in shown_configurations),
        recordings=curves.listed,
        curves=curves.of,
        feature_sets=curves.side.feature_sets,
        time_column=store.time_column,
        verdict=verdict,
        remarks=tuple(remarks),
    )


def _fits(trial: Trial, store: Store) -> bool:
    """True where the trial's predictions are of recordings that the store has."""
    if not set(trial.target_names) & set(store.target_names):
        return False
    lines_up = trial.frames_hash("validation")
    if lines_up is None:
        test = store.split("test")
        return bool(test) and trial.frames_hash("test") == frames_hash(test)
    return frames_hash(_validated(trial, store)) == lines_up


def _validated(trial: Trial, store: Store) -> tuple[Recording, ...]:
    """The recordings that a trial was validated on; none where the store has no such fold."""
    fold = OFFICIAL if trial.fold is None else trial.fold
    try:
        return FoldKind(fold).recordings(store)
    except InputError:
        return ()


def _predicted_splits(trial: Trial, store: Store, split: str | None) -> list[SplitRows]:
    """The recordings that a trial predicts, of each split, or of `split` alone."""
    splits = []
    if trial.has_validation:
        splits.append(SplitRows.of("validation", _validated(trial, store)))
    splits.append(SplitRows.of("test", store.split("test")))
    # A trial may lack test predictions, as a model from elsewhere does.
    return [
        rows
        for rows in splits
        if split in (None, rows.split) and trial.frames_hash(rows.split) == rows.frames_hash
    ]


def _ranked(trials: Sequence[Trial], by: str) -> list[_Configuration]:
    """Configurations with their trials, the best first; those on fewer folds than is usual behind
    the others, those without a score last.

    A CCC on one fold may be high by luck, and such a configuration predicts few recordings."""
    grouped: dict[str, list[Trial]] = {}
    for trial in trials:
        key = trial.id
        if trial.settings is not None and not trial.is_outside:
            key = configuration_id(trial.settings, but=("fold",))
        grouped.setdefault(key, []).append(trial)
    configurations = []
    for group in grouped.values():
        # The same fold twice (data that changed since): the later id, as in over_folds.
        by_fold = {str(trial.fold): trial for trial in group}
        configurations.append(_Configuration(tuple(by_fold.values())))

    counts = Counter(len(configuration.trials) for configuration in configurations)
    usual = max(counts, key=lambda number: (counts[number], number), default=1)

    def rank(configuration: _Configuration) -> tuple[bool, bool, float]:
        ccc = configuration.ccc(by)
        return ccc is None, len(configuration.trials) < usual, -(ccc or 0.0)

    return sorted(configurations, key=rank)


class _StudyCurves:
    """Reads the curves of one recording at a time: of each configuration the trial that predicts
    it."""

    def __init__(
        self,
        bank: Bank,
        side: StoreSide,
        configurations: Sequence[_Configuration],
        split: str | None,
    ) -> None:
        self.bank = bank
        self.side = side
        self.configurations = configurations
        self.columns = Columns()
        # By configuration and recording.
        self.predicted: dict[tuple[int, str], _Predicted] = {}
        for number, configuration in enumerate(configurations):
            for trial in configuration.trials:
                for rows in _predicted_splits(trial, side.store, split):
                    self._add(number, trial, rows)
        names = {name for _, name in self.predicted}
        self.located = [recording for recording in side.store.recordings if recording.name in names]
        words = split_names(self.located, self._fold())
        self.listed = tuple(
            side.recording(recording, words[recording.name]) for recording in self.located
        )

    def _fold(self) -> str | int:
        """The fold that all trials are of, for the list's words; "all" where they are of several."""
        folds = set()
        for configuration in self.configurations:
            folds |= {trial.fold or OFFICIAL for trial in configuration.trials}
        return folds.pop() if len(folds) == 1 else "all"

    def _add(self, number: int, trial: Trial, split_rows: SplitRows) -> None:
        for name, rows in split_rows.rows.items():
            empty = _Predicted(split_rows.split, rows, [])
            self.predicted.setdefault((number, name), empty).trials.append(trial)

    def of(self, index: int) -> Curves:
        """The curves of a recording, of the configurations that predict it."""
        recording = self.located[index]
        series: dict[int, ByTarget] = {}
        for number in range(len(self.configurations)):
            predicted = self.predicted.get((number, recording.name))
            if predicted is not None:
                series[number] = self._values(predicted)
        return self.side.curves(recording, series)

    def _values(self, predicted: _Predicted) -> dict[str, Values]:
        """(frames,) predictions by target: of the one trial, or the mean of several."""
        by_target: dict[str, Values] = {}
        for target in predicted.trials[0].target_names:
            if target not in self.side.store.target_names:
                continue
            parts = []
            for trial in predicted.trials:
                lines_up = str(trial.frames_hash(predicted.split))
                column = self.columns.of(self.bank, trial.label, predicted.split, target, lines_up)
                parts.append(column[predicted.rows])
            if len(parts) == 1:
                by_target[target] = parts[0]
                continue
            mean: Floats = np.mean(np.stack(parts), axis=0, dtype=np.float64)
            by_target[target] = mean.astype(np.float32)
        return by_target
