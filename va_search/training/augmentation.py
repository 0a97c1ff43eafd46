"""Augmentation: changes to what a trial is trained on, so that it relies less on what is peculiar
to the people it has seen.

Conventions: inputs are normalised, so that 0 is the mean and 1 the spread of a column. What is
hidden is 0, and so is the column behind a feature set with missing values that tells the share of
them which is there; that column is never noised. Nothing is changed in validation or prediction.
All random numbers of an epoch come from the trial's seed and the epoch's number, in an order that
padding does not change.

Offset, gain and hidden modalities are drawn for each recording, not for each segment: a state that
is carried from segment to segment then goes through one and the same recording. Mixed rows keep
their partners and shares until the next fresh batch, for the same reason."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from va_search.data.store import FeatureSet
from va_search.training.features import BatchInputs, in_order, modality_dims, to_device
from va_search.trial_settings import TrialSettings

CHANGES = (
    "feature_noise", "offset_jitter", "gain_jitter", "time_masking", "modality_dropout", "mixup",
)  # fmt: skip
"""Settings that change a batch unless they are 0."""


class Augmentation:
    """The changes of one epoch to the batches of `recordings` many recordings; `seeds` are the
    trial's seed and the epoch's number."""

    def __init__(
        self,
        settings: TrialSettings,
        feature_sets: Sequence[FeatureSet],
        recordings: int,
        seeds: tuple[int, int],
        device: torch.device,
    ) -> None:
        self.settings, self.device = settings, device
        # not the numbers that the order of batches and dropout are drawn from
        self._random = np.random.default_rng([*seeds, 1])
        self._modality, self._measured = column_roles(feature_sets, len(settings.views))
        self._noise: torch.Generator | None = None
        if settings.feature_noise:
            seed = int(self._random.integers(2**63))
            self._noise = torch.Generator(device).manual_seed(seed)
        self._gain = self._jitter(recordings, settings.gain_jitter)
        self._offset = self._jitter(recordings, settings.offset_jitter)
        self._lacking: Tensor | None = None  # [recording, column] True where it is hidden
        if settings.modality_dropout and self._modality.max() > 0:
            lacking = self._modalities_dropped(recordings)[:, self._modality]
            self._lacking = to_device(torch.from_numpy(lacking), device)
        self._partner: NDArray[np.int64] = np.zeros(0, np.int64)
        self._share: NDArray[np.float32] = np.zeros(0, np.float32)

    def _jitter(self, recordings: int, spread: float) -> Tensor | None:
        """[recording, column] random numbers, 0 for columns that are not measured; None where the
        spread is 0."""
        if not spread:
            return None
        drawn = self._random.standard_normal((recordings, len(self._measured)))
        jitter = (drawn * spread * self._measured).astype(np.float32)
        return to_device(torch.from_numpy(jitter), self.device)

    def _modalities_dropped(self, recordings: int) -> NDArray[np.bool_]:
        """[recording, modality] True where a recording is without a modality; never all of a row."""
        shape = (recordings, int(self._modality.max()) + 1)
        dropped = self._random.random(shape) < self.settings.modality_dropout
        spared = self._random.integers(shape[1], size=recordings)
        empty = dropped.all(axis=1)
        dropped[empty, spared[empty]] = False
        return dropped

    def change(self, inputs: BatchInputs, *, fresh: bool) -> None:
        """Change x and label of a batch where they are. `fresh`: no state is carried into it."""
        if not any(getattr(self.settings, name) for name in CHANGES):
            return
        x = inputs.x  # [row, step, column]
        if self._gain is not None:
            x.mul_(1 + self._gain[inputs.recording][:, None])
        if self._offset is not None:
            x.add_(self._offset[inputs.recording][:, None])
        if self.settings.mixup:
            self._mix(inputs, fresh=fresh)
        if self._noise is not None:
            drawn = torch.randn(x.shape, generator=self._noise, device=self.device)
            measured = to_device(torch.from_numpy(self._measured), self.device)
            x.add_(drawn * measured, alpha=self.settings.feature_noise)
        if self._lacking is not None:
            x.masked_fill_(self._lacking[inputs.recording][:, None], 0.0)
        if self.settings.time_masking:
            x.masked_fill_(self._hidden_steps(inputs.mask)[..., None], 0.0)
        if not bool(inputs.mask.all()):
            x.masked_fill_(~inputs.mask[..., None], 0.0)

    def _mix(self, inputs: BatchInputs, *, fresh: bool) -> None:
        """Mix each row with another one of the batch, and their labels alike (NaN where one is)."""
        rows = len(inputs.x)
        if fresh:
            alpha = self.settings.mixup
            self._partner = self._random.permutation(rows)
            share = self._random.beta(alpha, alpha, size=rows)
            self._share = np.minimum(share, 1 - share).astype(np.float32)
        # a row whose partner has ended, as rows of shorter recordings do, goes on alone
        partner = self._partner[:rows]
        partner = np.where(partner < rows, partner, np.arange(rows))
        index = to_device(torch.from_numpy(partner), self.device)
        share_of_partner = to_device(torch.from_numpy(self._share[:rows]), self.device)
        mixed = [inputs.x, inputs.label]
        if inputs.weight is not None:
            mixed.append(inputs.weight)
        for values in mixed:
            values.copy_(values.lerp(values[index], share_of_partner[:, None, None]))

    def _hidden_steps(self, mask: Tensor) -> Tensor:
        """[row, step] True in one run of real steps of each row, anywhere in it."""
        steps = mask.sum(dim=1).cpu().numpy()  # real ones come first
        run = np.round(steps * self.settings.time_masking)
        start = np.floor(self._random.random(len(steps)) * (steps - run + 1))
        step = np.arange(mask.shape[1])
        hidden = (step >= start[:, None]) & (step < (start + run)[:, None])
        return to_device(torch.from_numpy(hidden), self.device)


def column_roles(
    feature_sets: Sequence[FeatureSet], views: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Of each column of a model's input the place of its modality, and True where it is measured,
    False where it tells the share of a feature set's values that are there."""
    ordered = in_order(list(feature_sets))
    places = {modality: place for place, modality in enumerate(modality_dims(ordered))}
    modality: list[int] = []
    measured: list[bool] = []
    for feature_set in ordered:
        columns = [True] * (feature_set.dim * views) + [False] * feature_set.missing
        measured += columns
        modality += [places[feature_set.modality]] * len(columns)
    return np.array(modality, np.int64), np.array(measured, np.bool_)
