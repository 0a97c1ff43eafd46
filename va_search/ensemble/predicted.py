"""An ensemble's predictions, out of what its members predicted when they were trained.

Conventions: (frames, 2) float64, valence first, on the source's scale, not clipped. Trials lie in
the home's bank, configurations over folds in its second one; `bank` is always the first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from va_search.data.store import Recording
from va_search.ensemble.apply import combine
from va_search.ensemble.saved import Ensemble
from va_search.files import Home
from va_search.metrics import DIMENSIONS
from va_search.predictions.bank import Bank
from va_search.trial import ALL


def predict(
    ensemble: Ensemble, bank: Bank, split: str, recordings: Sequence[Recording]
) -> NDArray[np.float64]:
    """(frames, 2) predictions of a split, "validation" (what the ensemble was measured on) or
    "test".

    `recordings`: those of the split, in the store's order. A blend is the weighted mean of its
    parts. InputError when a member's predictions are missing, or are of other frames."""
    total = np.zeros((sum(recording.frames for recording in recordings), len(DIMENSIONS)))
    for share, piece in ensemble.pieces:
        total += share * _one(piece, bank_of(piece, bank), split, recordings)
    return total


def bank_of(ensemble: Ensemble, bank: Bank) -> Bank:
    """Where the members' predictions lie, of an ensemble that is no blend."""
    return Bank(Home.around(bank.root).configurations) if ensemble.measured_on.fold == ALL else bank


def _one(
    ensemble: Ensemble, bank: Bank, split: str, recordings: Sequence[Recording]
) -> NDArray[np.float64]:
    lines_up = ensemble.frames_hash if split == "validation" else str(ensemble.test_frames_hash)
    found = []
    for dimension in DIMENSIONS:
        part = ensemble.dimensions[dimension]
        weights = np.array([member.weight for member in part.members])
        columns = [
            bank.column(m.study, m.trial, split, dimension, frames_hash=lines_up)
            for m in part.members
        ]
        found.append(combine(weights, columns, recordings, part.post))
    return np.stack(found, axis=1)
