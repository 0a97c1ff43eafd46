"""Predictions of a few recordings whose features are in memory, as they come from videos.

Conventions: recordings that are predicted together are one subject's, since a member may normalise
by subject. Predictions are (frames, targets), on the targets' scales, not clipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from va_search.data.draft import Part
from va_search.data.store import FeatureSet, MemoryStore, Recording
from va_search.ensemble.saved import Ensemble
from va_search.errors import InputError
from va_search.serving.members import MemberModels, Values, predict_together
from va_search.training.weights import unfit

NAME = "the videos"
"""Of their store, in messages."""


@dataclass(frozen=True)
class SeenRecording:
    """A recording's features, `rate` in frames per second."""

    name: str
    subject: str
    rate: float
    part: Part


@dataclass(frozen=True)
class VideoPredictor:
    """Predicts recordings by an ensemble's members, whose models are all in memory.

    `needed` are the feature sets that members read, `extracted` those that come out of videos."""

    ensemble: Ensemble
    members: list[MemberModels]
    needed: Sequence[FeatureSet]
    extracted: Mapping[str, FeatureSet]
    device: str

    def check(self) -> None:
        """InputError where the feature sets that come out of videos are not those of the
        members."""
        problems = unfit(self._store([]), self.needed)
        if problems:
            raise InputError(*problems)

    def lacking(self, recording: SeenRecording) -> list[str]:
        """A problem for each feature set with missing values that members know without any."""
        problems = []
        for expected in self.needed:
            values = recording.part.features[expected.name]
            missing = int(np.count_nonzero(np.isnan(values).any(axis=1)))
            if missing and not expected.missing:
                problems.append(
                    f"recording {recording.name!r}: feature set {expected.name!r} is missing in "
                    f"{missing} of {len(values)} frames, and the ensemble was trained where none "
                    "was missing"
                )
        return problems

    def predict(self, recordings: Sequence[SeenRecording]) -> list[Values]:
        """(frames, targets) of each of one subject's recordings."""
        store = self._store(recordings)
        values = predict_together(
            self.ensemble, self.members, store, store.recordings, device=self.device
        )
        return [values[recording.span] for recording in store.recordings]

    def _store(self, seen: Sequence[SeenRecording]) -> MemoryStore:
        feature_sets, arrays = [], {}
        for name, feature_set in self.extracted.items():
            empty = np.zeros((0, feature_set.dim), np.float32)
            array = np.concatenate([empty, *(entry.part.features[name] for entry in seen)])
            feature_sets.append(replace(feature_set, missing=bool(np.isnan(array).any())))
            arrays[name] = array
        recordings = []
        start = 0
        for entry in seen:
            frames = entry.part.frames
            recordings.append(
                Recording(
                    entry.name,
                    entry.subject,
                    entry.name,
                    "test",
                    None,
                    start,
                    frames,
                    entry.rate,
                    entry.part.gaps,
                )
            )
            start += frames
        targets = self.ensemble.targets
        return MemoryStore.of(NAME, feature_sets, arrays, recordings, targets)
