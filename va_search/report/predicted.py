"""The predictions that figures show: the ensemble's, or the best trial's, on recordings that have
annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from va_search.data.store import Recording, Store, frames_hash, positions
from va_search.ensemble.saved import Ensemble, predict
from va_search.errors import InputError
from va_search.metrics import ccc
from va_search.predictions.bank import Bank
from va_search.report.chosen import Chosen
from va_search.report.gather import Gathered, validated_fold
from va_search.trial import ALL

CONSTANT = 1e-12
"""Variance of an annotation under which a recording's CCC says nothing."""


@dataclass(frozen=True)
class Part:
    """One recording: predictions and annotations (frames, 2), NaN unlabelled."""

    recording: Recording
    prediction: NDArray[np.float64]
    annotation: NDArray[np.float64]

    def ccc(self, dimension: int) -> float:
        """Of this recording alone; NaN where nothing is labelled or the annotation does not
        vary."""
        labels = self.annotation[:, dimension]
        known = labels[~np.isnan(labels)]
        if not known.size or known.var() <= CONSTANT:
            return float("nan")
        return ccc(self.prediction[:, dimension], labels)


@dataclass(frozen=True)
class Predicted:
    """`who` predicted, and what its CCCs are: `measured` in words."""

    who: str
    measured: str
    parts: tuple[Part, ...]
    label_range: tuple[float, float]

    @property
    def title(self) -> str:
        """Who and how measured, as a sentence begins."""
        return f"{self.who[:1].upper()}{self.who[1:]}, {self.measured}"

    def pooled(self, dimension: int) -> float:
        """CCC over all labelled frames."""
        prediction = np.concatenate([part.prediction[:, dimension] for part in self.parts])
        annotation = np.concatenate([part.annotation[:, dimension] for part in self.parts])
        return ccc(prediction, annotation)


def find_predicted(gathered: Gathered, chosen: Chosen) -> Predicted | str:
    """The ensemble's predictions where it has any on annotated recordings, else the best trial's;
    else why not."""
    store = gathered.store
    if store is None:
        return f"The store can't be read: {gathered.store_problem}."
    reason = ""
    if chosen.ensemble is not None:
        try:
            return _of_ensemble(chosen.ensemble, gathered, store)
        except InputError as error:
            reason = f"Ensemble {chosen.ensemble.name}: {error.problems[0]}. "
    ranked = sorted(gathered.on_main_fold, key=lambda trial: -(trial.score or 0.0))
    if not ranked:
        return reason + "No complete trial has predictions on validation."
    best = ranked[0]
    recordings = store.fold(validated_fold(best)).validation
    try:
        values = Bank(gathered.home.bank).read(
            best.study, best.id, "validation", frames_hash=frames_hash(recordings)
        )
    except InputError as error:
        return reason + f"{error.problems[0]}."
    where = "in-sample: its own best epochs on these recordings"
    return Predicted(
        f"trial {best.id}", where, _parts(store, recordings, values), store.label_range
    )


def _of_ensemble(ensemble: Ensemble, gathered: Gathered, store: Store) -> Predicted:
    """InputError where it has no predictions on annotated recordings, or they are not those of this
    store."""
    pieces = [piece for _, piece in ensemble.pieces]
    folds = {piece.measured_on.fold for piece in pieces}
    if len(folds) > 1 or any(not piece.scores.get("in_sample") for piece in pieces):
        raise InputError("not all of its members have predictions on the same annotated recordings")
    fold = folds.pop()
    recordings = store.labelled if fold == ALL else store.fold(fold).validation
    values = predict(ensemble, Bank(gathered.home.bank), "validation", recordings)
    parts = _parts(store, recordings, np.clip(values, *store.label_range))
    where = "in-sample: its weights were chosen on these recordings"
    return Predicted(f"ensemble {ensemble.name}", where, parts, store.label_range)


def _parts(
    store: Store, recordings: Sequence[Recording], values: NDArray[np.floating]
) -> tuple[Part, ...]:
    annotations = store.annotations[positions(tuple(recordings))].astype(np.float64)
    ends = np.cumsum([0, *(recording.frames for recording in recordings)]).tolist()
    return tuple(
        Part(recording, values[low:high].astype(np.float64), annotations[low:high])
        for recording, (low, high) in zip(recordings, pairwise(ends), strict=True)
    )
