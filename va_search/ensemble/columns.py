"""The candidates' validation predictions, mapped: each file is opened and checked once for all
targets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble.candidates import LineUp
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.trial import Trial

MOST = 4096
"""Files that are held open."""


class OpenPredictions:
    """Validation predictions of the candidates of a line-up."""

    def __init__(self, home: Home, lines: LineUp) -> None:
        self.bank: Bank = lines.bank(home)
        self._frames_hash = lines.frames_hash
        self._opened: dict[tuple[str, str], dict[str, NDArray[np.float32]]] = {}

    def column(self, trial: Trial, target: str) -> NDArray[np.float32]:
        """(frames,) predictions of a target that the trial predicts; InputError where its file is
        missing, damaged, or of other frames."""
        key = (trial.study, trial.id)
        columns = self._opened.get(key)
        if columns is None:
            columns = self.bank.columns(*key, "validation", frames_hash=self._frames_hash)
            if len(self._opened) < MOST:
                self._opened[key] = columns
        return columns[target]
