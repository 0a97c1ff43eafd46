"""The data of one trial: its fold's recordings as model steps, normalised on the way, and the order
in which they are learnt.

Conventions: segments without any label are left out of training (but predicted). For encoders that
carry state a segment without labels inside a recording still goes through, to move the state on;
those behind the last label don't."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from va_search.data.store import MIX, Fold, Recording, Store, positions
from va_search.errors import InputError, counted, unknown_name
from va_search.training.batches import Batch, Steps, independent, side_by_side
from va_search.training.features import Gather, in_order, normalised_views
from va_search.training.frame_weights import agreement_weights, spread_problem
from va_search.training.losses import LEAST
from va_search.training.predict import segments_of
from va_search.trial_settings import TrialSettings


class Examples:
    """The training, validation and test steps of one trial. InputError (all reasons at once) when
    the store can't serve the settings."""

    def __init__(self, settings: TrialSettings, store: Store, device: torch.device) -> None:
        self.settings, self.store = settings, store
        self.fold = checked_fold(settings, store)
        self.feature_sets = in_order([store.feature_sets[name] for name in settings.features])
        self.statistics = normalised_views(settings, store, self.feature_sets, self.fold)
        self.gather = Gather(
            store,
            self.feature_sets,
            self.statistics,
            frame_step=settings.frame_step,
            clip=settings.clip,
            missing=settings.stand_in,
            device=device,
        )
        self.train = self._steps(self.fold.train)
        if settings.weight_by_agreement:
            self.train = self.train.weighted(agreement_weights(store, self.fold.train))
        self.validation = self._steps(self.fold.validation)
        self.truth: NDArray[np.float32] = store.annotations[positions(self.fold.validation)]
        # what is learnt: segments with a label, or chains of them up to their last label
        self.segments, chains = segments_of(settings, self.train)
        self._labelled = self.train.labelled(self.segments)  # [segment, 2]
        self._frames = self.train.frames_in(self.segments)  # [segment]
        self._chains = chains.up_to_last_label(self._labelled)
        self.learnable = np.flatnonzero(self._labelled.any(axis=1))
        if not len(self.learnable):
            raise InputError(
                f"{store.path}: fold {settings.fold}: label_delay {settings.label_delay:g} leaves "
                "nothing to learn: no stretch without a gap is that long and labelled at its end"
            )

    def _steps(self, recordings: tuple[Recording, ...]) -> Steps:
        settings = self.settings
        return Steps.of(
            self.store,
            recordings,
            settings.frame_step,
            self.statistics.group,
            settings.label_delay,
        )

    @cached_property
    def test(self) -> Steps:
        """The test split's steps; laid out when asked for."""
        return self._steps(self.fold.test)

    def order(self, generator: torch.Generator) -> Iterator[Batch]:
        """The batches of one epoch, shuffled by the generator."""
        size = self.settings.batch_size
        if self.settings.carries_state:
            return side_by_side(self._chains, size, generator)
        return independent(self.learnable, size, generator)

    def batches_in_epoch(self) -> int:
        """Batches of one epoch; equal for every shuffle."""
        if self.settings.carries_state:
            return self._chains.batches_in(self.settings.batch_size)
        return -(-len(self.learnable) // self.settings.batch_size)

    def can_learn_from(self, batch: Batch) -> bool:
        """True when the batch has labelled steps enough for the loss, for a target that counts."""
        weights = np.array([self.settings.loss_weight(name) for name in self.store.target_names])
        labelled = self._labelled[batch.segments].sum(axis=0)
        return bool(((labelled >= LEAST) & (weights > 0)).any())

    def frames_in(self, batch: Batch) -> int:
        """Frames of the store that go through in a batch, padding left out."""
        return int(self._frames[batch.segments].sum())


def seen_people(fold: Fold) -> list[str]:
    """A remark when subjects of the validation recordings stand in training too: their CCC is no
    honest one."""
    training = {recording.subject for recording in fold.train}
    validation = {recording.subject for recording in fold.validation}
    seen = sorted(training & validation)
    if not seen:
        return []
    names = ", ".join(seen[:3])
    if len(seen) > 3:
        names += ", …"
    are = "is" if len(seen) == 1 else "are"
    return [
        f"fold {fold.key}: {counted(len(seen), 'subject')} {are} in training and in validation "
        f"({names}); validation CCCs are too high for people the model has not seen"
    ]


def checked_fold(settings: TrialSettings, store: Store) -> Fold:
    """The trial's fold, if the store has its feature sets, labels to train and validate on (none to
    validate on train_val_mix), and for train_val_mix test recordings, since these are all it
    predicts."""
    problems = [
        f"{store.path}: {unknown_name('feature set', name, store.feature_sets)}"
        for name in settings.features
        if name not in store.feature_sets
    ]
    try:
        fold = store.fold(settings.fold)
    except InputError as error:
        raise InputError(*problems, *error.problems) from None
    if fold.key == MIX and not fold.test:
        problems.append(
            f"{store.path}: fold {MIX} predicts test recordings alone, and this store has none"
        )
    if settings.weight_by_agreement:
        problem = spread_problem(store, fold.train)
        if problem is not None:
            problems.append(problem)
    # a side needs labels of each target that the loss or the score looks at
    sides = {"training": fold.train}
    if fold.key != MIX:
        sides["validation"] = fold.validation
    for side, recordings in sides.items():
        labelled = (~np.isnan(store.annotations[positions(recordings)])).sum(axis=0)
        for frames, target in zip(labelled.tolist(), store.target_names, strict=True):
            counts = side == "validation" or settings.loss_weight(target) > 0
            if frames < LEAST and counts:
                problems.append(
                    f"{store.path}: fold {settings.fold}: {frames} frames labelled for {target} "
                    f"in the {len(recordings)} {side} recordings, expected at least {LEAST}"
                )
    if problems:
        raise InputError(*problems)
    return fold
