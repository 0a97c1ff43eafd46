"""Settings that mean the same on a store: trials that would compute the same under other settings,
hence other ids.

Settings that never have an effect are reset by `TrialSettings`, so that such trials have one id.
Those here depend on the store, or were noticed when trials had been trained already: their ids
stay, and a space counts and trains one trial of each meaning.

    normalise         recording and subject, where no two recordings of one side are of one subject; among views
                      likewise, but for views of both
    normalise_by      where nothing is normalised it is no setting (TrialSettings)
    fusion            early and those of modalities, where all feature sets are of one modality
    frame_step        all from the longest stretch (frames between two gaps) on: a stretch is one model step
    segment_length    all from the longest stretch on, in model steps: a stretch is one segment; `stride` likewise
    batch_size        all from the number of segments on (encoders that carry state: of stretches): one batch;
                      all, where the family is no network
    patience          null and all from `epochs` - 1 on: training is never cut short
    schedule          constant and those that first change the learning rate after the last epoch: step and plateau
                      with large `schedule_epochs`; with one epoch also cosine, exponential and linear
    optimiser         adam and adamw without weight decay
    missing           all, where no feature set of the trial lacks values
    modality_dropout  all, where all feature sets are of one modality
    seed              all, where nothing is drawn: a family that draws nothing but the projection of wide inputs, on
                      narrow ones
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from va_search.data.segments import stretches
from va_search.data.store import Store
from va_search.models.menu import FAMILIES, FUSIONS, most_columns
from va_search.trial import known_settings
from va_search.trial_settings import TrialSettings, checked_views

BY_EPOCH = ("step", "cosine", "exponential", "linear", "plateau")
"""Schedules that change the learning rate between epochs; in the first epoch all have the same."""

STORE_WIDE = ("normalise", "frame_step", "segment_length", "stride", "batch_size")
"""Settings of which a store decides whether values mean the same, beside `fusion`."""

NAMES = (
    *STORE_WIDE,
    "fusion",
    "patience",
    "schedule",
    "schedule_epochs",
    "schedule_factor",
    "optimiser",
    "missing",
    "modality_dropout",
)
"""All settings of which several values may mean the same."""


@dataclass(frozen=True)
class Sameness:
    """Facts of a store that decide which settings mean the same; made by `sameness_of`.

    `modalities` names each feature set's modality, `lacking` the sets with missing values, `dims`
    each one's columns.
    `own_subjects`: on every fold asked for, no two recordings of one side (training, validation,
    test) are of one subject. `stretch_frames` are the lengths in frames of all gap-free stretches,
    and `labelled_frames` of those of training and validation recordings alone."""

    modalities: dict[str, str]
    own_subjects: bool
    stretch_frames: tuple[int, ...]
    labelled_frames: tuple[int, ...]
    lacking: frozenset[str] = frozenset()
    dims: dict[str, int] = field(default_factory=dict)

    @cached_property
    def longest(self) -> int:
        """Frames of the longest gap-free stretch."""
        return max(self.stretch_frames, default=1)

    def one_modality(self, features: Sequence[str]) -> bool:
        """Return True when all these feature sets are of one modality."""
        return len({self.modalities.get(name, name) for name in features}) == 1

    def draws_nothing(self, settings: TrialSettings) -> bool:
        """Return True when every seed trains the same."""
        if not FAMILIES[settings.family].drawless or not self.dims.keys() >= set(settings.features):
            return False
        columns = 0
        for name in settings.features:
            columns += self.dims[name] * len(settings.views) + (name in self.lacking)
        return columns <= most_columns(settings.arguments(FAMILIES)["windows"])

    def without_branches(self, settings: TrialSettings) -> TrialSettings:
        """Settings with early fusion where a fusion of modalities gets only one."""
        if not FUSIONS[settings.fusion].of_modalities or not self.one_modality(settings.features):
            return settings
        document = settings.model_dump(mode="json")
        return TrialSettings(**{**document, "fusion": "early"})  # options of the fusion go, too

    def meaning(self, settings: TrialSettings) -> TrialSettings:
        """Settings that stand for all those which mean the same; for comparing, not for
        training."""
        update: dict[str, Any] = {}
        settings = self.without_branches(settings)
        if "subject" in settings.views and "recording" not in settings.views and self.own_subjects:
            views = ["recording" if view == "subject" else view for view in settings.views]
            update["normalise"] = checked_views(views)
        if self.lacking.isdisjoint(settings.features):
            update["missing"] = "zero"
        if self.one_modality(settings.features):
            update["modality_dropout"] = 0.0
        if self.draws_nothing(settings):
            update["seed"] = 0
        if settings.optimiser == "adamw" and settings.weight_decay == 0:
            update["optimiser"] = "adam"
        if settings.patience is not None and settings.patience >= settings.epochs - 1:
            update["patience"] = None
        if keeps_its_rate(settings):
            update["schedule"] = "constant"
            for name in ("schedule_epochs", "schedule_factor"):
                update[name] = TrialSettings.model_fields[name].default
        return settings.model_copy(update=update | self._lengths(settings))

    def _lengths(self, settings: TrialSettings) -> dict[str, Any]:
        """`frame_step`, `segment_length`, `stride` and `batch_size`, as small as they mean the
        same."""
        # Whatever is longer than the longest stretch is one step, one segment.
        frame_step = min(settings.frame_step, self.longest)
        longest_steps = -(-self.longest // frame_step)
        length = min(settings.segment_length, longest_steps)
        stride = min(settings.stride or settings.segment_length, longest_steps)
        number = len(self.labelled_frames)
        batch_size = settings.batch_size
        # There are at least as many segments as stretches: smaller batches need no counting.
        if batch_size > number:
            most = number
            if not settings.carries_state:
                most = 0
                for frames in self.labelled_frames:
                    steps = -(-frames // frame_step)
                    most += -(-steps // stride)
            batch_size = min(batch_size, max(1, most))
        if not settings.is_network:
            batch_size = 1  # sums over all segments, however many at a time
        return {
            "frame_step": frame_step,
            "segment_length": length,
            "stride": None if stride == length else stride,
            "batch_size": batch_size,
        }

    def alternatives(self, settings: TrialSettings, name: str, values: Iterable[Any]) -> list[Any]:
        """Those of `values` other than its own with which the settings would mean the same."""
        others = [value for value in values if value != getattr(settings, name)]
        if not others:
            return []
        meaning = self.meaning(settings)
        document = settings.model_dump(mode="json")
        alike = []
        for value in others:
            changed = known_settings({**document, name: value})
            if changed is not None and self.meaning(changed) == meaning:
                alike.append(value)
        return alike


def keeps_its_rate(settings: TrialSettings) -> bool:
    """Return True when a schedule other than constant never changes the learning rate of an epoch
    that is trained."""
    epochs = settings.trained_epochs
    if settings.schedule == "step":
        return settings.schedule_epochs >= epochs
    if settings.schedule == "plateau":
        # Epoch 1 is the best so far; one more bad epoch than schedule_epochs must follow.
        return settings.schedule_epochs >= epochs - 2
    return settings.schedule in BY_EPOCH and epochs == 1


def sameness_of(store: Store, folds: Sequence[int | str]) -> Sameness:
    """Read these facts of a store and of these of its folds; reads no features."""
    return Sameness(
        modalities={name: feature_set.modality for name, feature_set in store.feature_sets.items()},
        own_subjects=all(_own_subjects(store, fold) for fold in folds),
        stretch_frames=tuple(_frames(store, ("train", "validation", "test"))),
        labelled_frames=tuple(_frames(store, ("train", "validation"))),
        lacking=frozenset(name for name, each in store.feature_sets.items() if each.missing),
        dims={name: feature_set.dim for name, feature_set in store.feature_sets.items()},
    )


def _own_subjects(store: Store, key: int | str) -> bool:
    fold = store.fold(key)
    for side in (fold.train, fold.validation, fold.test):
        if len({recording.subject for recording in side}) < len(side):
            return False
    return True


def _frames(store: Store, splits: Sequence[str]) -> Iterator[int]:
    """Lengths in frames of the gap-free stretches of recordings of these splits."""
    for recording in store.recordings:
        if recording.split in splits:
            for start, stop in stretches(recording):
                yield stop - start
