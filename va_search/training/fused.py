"""Fused training: trials that differ only in seed and learning rate, trained as one batched model.

Conventions: each `Fit` of a group stays what it is alone: its initialisation, order of batches,
optimiser, schedule, gradient norm, augmentation, history, kept epochs, checkpoint. Only forward,
backward and the predictions after an epoch (of a moving average: by each itself) are computed for
all of them at once (models/stacked.py), with every
model's batch padded to the longest among them and masked. On a CPU each model's dropout is drawn
from its own seed as well, so that a fused trial is the one trained alone but for float rounding; on
a GPU it is drawn for all at once. A trial that is finished or diverged leaves the stack. An epoch's
seconds are a trial's share of the group's, so that they add up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from va_search.data.store import Store
from va_search.errors import InputError
from va_search.models.estimator import States
from va_search.models.stacked import EVALUATION, AtOnce, Dropout, EachItsOwn, Stack
from va_search.training.augmentation import Augmentation
from va_search.training.batches import Batch, Steps
from va_search.training.epochs import Diverged, Sums, epoch_seed, seeded
from va_search.training.fit import Fit
from va_search.training.predict import VALUES, in_batches, mixed_precision, on_scale, segments_of
from va_search.trial_settings import TrialSettings, configuration_id, unstackable

Forward = Callable[[Tensor, Tensor | None, Dropout], Tensor]
"""A `Stack`, or one that is compiled."""

LOG = logging.getLogger(__name__)

AT_ONCE = AtOnce()  # one for all, so that what is compiled sees the same

VARIED = ("seed", "learning_rate")
"""Settings in which trials of a group may differ."""


def unfusable(settings: Sequence[TrialSettings]) -> list[str]:
    """Reasons why these trials can't be trained as one model; empty when they can."""
    problems = unstackable(settings)
    if len({configuration_id(trial, but=VARIED) for trial in settings}) > 1:
        problems.append(f"trials trained as one may differ in {' and '.join(VARIED)} only")
    if len({(trial.seed, trial.learning_rate) for trial in settings}) < len(settings):
        problems.append("two of the trials are the same")
    return problems


def fits_of(settings: Sequence[TrialSettings], store: Store, *, device: str = "cpu") -> list[Fit]:
    """One Fit a trial, over the same examples. InputError when they can't be fused or the store
    can't serve them."""
    problems = unfusable(settings)
    if problems:
        raise InputError(*problems)
    fits: list[Fit] = []
    for trial in settings:
        data = fits[0].data if fits else None
        fits.append(Fit(trial, store, device=device, data=data))
    return fits


@dataclass(frozen=True)
class Inputs:
    """One batch of each model: x [model, batch, step, feature], mask [model, batch, step] (None:
    nothing is padded), label [model, batch, step, target], weight [model, batch, step, target]
    (None: all labels weigh alike); padded to the longest of all."""

    x: Tensor
    mask: Tensor | None
    label: Tensor
    weight: Tensor | None


class Fused:
    """A group of fits (`fits_of`) trained together; after `resume` they may be at different epochs.

    `diverged` has the error of each one that did, by its place in `fits`.
    """

    def __init__(self, fits: Sequence[Fit]) -> None:
        problems = unfusable([fit.settings for fit in fits])
        if problems:
            raise InputError(*problems)
        self.fits = list(fits)
        self.diverged: dict[int, Diverged] = {}
        self._stacked: list[Fit] = []
        for fit in self.fits:
            fit.share = 1 / len(self.fits)

    @property
    def active(self) -> list[Fit]:
        """Those that train on."""
        return [
            fit
            for index, fit in enumerate(self.fits)
            if not fit.finished and index not in self.diverged
        ]

    @property
    def finished(self) -> bool:
        return not self.active

    def run_epoch(self) -> None:
        """Train one epoch of each active fit, which then has it in its history, or its error in
        `diverged`."""
        began = perf_counter()
        fits = self.active
        if not fits:
            raise RuntimeError("every trial of the group is finished")
        fits[0].store.check_files()
        # a trial that ended leaves the stack: the others are put side by side anew
        if [id(fit) for fit in fits] != [id(fit) for fit in self._stacked]:
            self._stack(fits)
        rates = [fit.schedule.learning_rate for fit in fits]
        sums = [Sums() for _ in fits]
        with seeded(fits[0].device, fits[0].settings.seed, len(fits[0].history) + 1):
            self._learn(sums)
        waiting = perf_counter()
        for total in sums:
            total.loss = float(total.loss)
        waited = (perf_counter() - waiting) / len(fits)  # a GPU may still have been at work
        # the group's time is shared out, so that trials' seconds add up
        predictions = self._predictions()
        for fit, total, rate, prediction in zip(fits, sums, rates, predictions, strict=True):
            total.seconds += waited
            share = (perf_counter() - began) / len(fits)
            try:
                fit.end_epoch(total, rate, perf_counter() - share, prediction)
            except Diverged as error:
                self.diverged[self.fits.index(fit)] = error
                seed, learning_rate = fit.settings.seed, fit.settings.learning_rate
                LOG.warning("seed %d, learning rate %g: %s", seed, learning_rate, error)

    def _stack(self, fits: list[Fit]) -> None:
        """Put the fits' parameters side by side: each fit's become views of its row, and its
        optimiser steps there."""
        # parameters of an earlier, larger stack: let its memory go
        for fit in self._stacked:
            for parameter in fit.model.parameters():
                parameter.data, parameter.grad = parameter.data.clone(), None
        self._stacked = fits
        models = [dict(fit.model.named_parameters()) for fit in fits]
        values = len(fits) * sum(parameter.numel() for parameter in models[0].values())
        # one tensor holds the gradients of all parameters, so that they are zeroed at once
        self._gradient = torch.zeros(values, device=fits[0].device)
        self._parameters: dict[str, Tensor] = {}
        start = 0
        for name in models[0]:
            stack = torch.stack([model[name].detach() for model in models]).requires_grad_()
            stack.grad = self._gradient[start : start + stack.numel()].view(stack.shape)
            start += stack.numel()
            for row, model in enumerate(models):
                model[name].data, model[name].grad = stack.data[row], stack.grad[row]
            self._parameters[name] = stack
        self._model: Forward = Stack(fits[0].model, self._parameters)
        if fits[0].settings.compile and fits[0].device.type == "cuda":
            self._model = torch.compile(self._model.__call__, dynamic=True)

    def _learn(self, sums: list[Sums]) -> None:
        """Train each model on its own batches, the first of all of them together, then the second,
        …"""
        fits = self._stacked
        data = fits[0].data
        # order and dropout of each model come from its own seed, as when it is trained alone
        seeds = [epoch_seed(fit.settings.seed, len(fit.history) + 1) for fit in fits]
        dropouts = [torch.Generator().manual_seed(seed) for seed in seeds]
        orders = [data.order(torch.Generator().manual_seed(seed)) for seed in seeds]
        augmentations = [fit.augmentation(len(fit.history) + 1) for fit in fits]
        clock = perf_counter()
        for batches in zip(*orders, strict=True):
            segments = np.stack([data.segments[batch.segments] for batch in batches])
            inputs = self._inputs(segments, augmentations)
            began = perf_counter()
            self._step(batches, inputs, self._dropout(dropouts, segments), sums)
            inside = (perf_counter() - began) / len(fits)
            for batch, total in zip(batches, sums, strict=True):
                total.inside += inside
                total.frames += data.frames_in(batch)
                total.seconds += (perf_counter() - clock) / len(fits)
            clock = perf_counter()

    def _inputs(self, segments: NDArray[np.int64], augmentations: Sequence[Augmentation]) -> Inputs:
        """The batches of `segments` [model, batch, 2], each changed as its model's epoch has it."""
        data = self._stacked[0].data
        inputs = data.gather.inputs(data.train, segments.reshape(-1, 2))
        models, batch = segments.shape[:2]
        x = inputs.x.view(models, batch, *inputs.x.shape[1:])
        label = inputs.label.view(models, batch, *inputs.label.shape[1:])
        mask = inputs.mask.view(models, batch, -1)
        recording = inputs.recording.view(models, batch)
        weight = inputs.weight
        if weight is not None:
            weight = weight.view(label.shape)
        lengths = segments[..., 1] - segments[..., 0]
        for row, augmentation in enumerate(augmentations):
            # without the others' padding, as when it is trained alone
            steps = slice(int(lengths[row].max()))
            own = replace(
                inputs,
                x=x[row, :, steps],
                mask=mask[row, :, steps],
                label=label[row, :, steps],
                recording=recording[row],
                weight=None if weight is None else weight[row, :, steps],
            )
            augmentation.change(own, fresh=True)
        if np.ptp(lengths) == 0:  # without a mask attention is faster
            return Inputs(x, None, label, weight)
        return Inputs(x, mask, label, weight)

    def _dropout(
        self, generators: Sequence[torch.Generator], segments: NDArray[np.int64]
    ) -> Dropout:
        if self._stacked[0].device.type != "cpu":
            return AT_ONCE
        return EachItsOwn(generators, (segments[..., 1] - segments[..., 0]).max(axis=1).tolist())

    def _step(
        self, batches: Sequence[Batch], inputs: Inputs, dropout: Dropout, sums: list[Sums]
    ) -> None:
        """One optimiser step of each model that can learn from its batch."""
        fits = self._stacked
        settings = fits[0].settings
        learn = [fit.data.can_learn_from(batch) for fit, batch in zip(fits, batches, strict=True)]
        with torch.set_grad_enabled(any(learn)), mixed_precision(settings, fits[0].device):
            prediction = self._model(inputs.x, inputs.mask, dropout)
        if any(learn):
            losses = self._losses(prediction, inputs)
            self._gradient.zero_()
            # a loss reaches its own model's parameters only, so one backward serves all
            losses.sum().backward()  # type: ignore[no-untyped-call]
            losses = losses.detach()
        # from here on each trial is on its own: norm, step and schedule
        for row, fit in enumerate(fits):
            if learn[row]:
                if settings.clip_gradient is not None:
                    nn.utils.clip_grad_norm_(fit.model.parameters(), settings.clip_gradient)
                fit.optimiser.step()
                sums[row].loss = sums[row].loss + losses[row]
                sums[row].batches += 1
            fit.schedule.after_batch(learned=learn[row])

    def _losses(self, prediction: Tensor, inputs: Inputs) -> Tensor:
        """[model] losses of [model, batch, step, target] predictions."""
        loss = self._stacked[0].loss
        losses: Tensor
        if inputs.weight is None:
            losses = torch.vmap(loss)(prediction, inputs.label)
            return losses

        def weighted(prediction: Tensor, label: Tensor, weight: Tensor) -> Tensor:
            losses: Tensor = loss(prediction, label, weight=weight)
            return losses

        losses = torch.vmap(weighted)(prediction, inputs.label, inputs.weight)
        return losses

    def _predictions(self) -> list[NDArray[np.float32] | None]:
        """Each model's (frames, targets) of what is measured after this epoch, from one pass where that
        is the same, and measured of the model that was trained."""
        measured = [fit.measured for fit in self._stacked]
        steps = measured[0]
        apart = any(measure is not steps for measure in measured)
        apart |= any(fit.measured_model is not fit.model for fit in self._stacked)
        if apart or steps is None or not len(steps):
            return [None for _ in measured]
        return list(predict_stack(self._model, self._stacked, steps))


def predict_stack(
    model: Forward, fits: Sequence[Fit], steps: Steps
) -> Iterator[NDArray[np.float32]]:
    """(frames, targets) by each fit's model, as `predict` makes them, all read from the same batches."""
    fit, models = fits[0], len(fits)
    segments, _ = segments_of(fit.settings, steps)
    longest = int((segments[:, 1] - segments[:, 0]).max())
    values = np.zeros((models, len(segments), longest, len(fit.store.targets)), np.float32)
    batches = in_batches(
        _OnTheSame(model, models), fit.settings, fit.data.gather, steps, values=VALUES // models
    )
    for batch, prediction in batches:
        values[:, batch.segments, : prediction.shape[2]] = prediction
    for predicted in values:
        yield on_scale(predicted, segments, steps, fit.store.targets)


class _OnTheSame(nn.Module):
    """A stack as a model of [batch, step, feature] that all its models read; its output is [model,
    batch, step, target]."""

    def __init__(self, stack: Forward, models: int) -> None:
        super().__init__()
        self._stack, self._models = stack, models

    def forward(
        self, x: Tensor, mask: Tensor, states: States | None, other_segments: None
    ) -> tuple[Tensor, States]:
        shared = None if bool(mask.all()) else mask.expand(self._models, *mask.shape)
        return self._stack(x.expand(self._models, *x.shape), shared, EVALUATION), ()
