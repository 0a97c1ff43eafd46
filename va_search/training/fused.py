"""Fused training: trials that differ only in seed and learning rate, trained as one batched model.

Conventions: each `Fit` of a group stays what it is alone: its initialisation, order of batches,
optimiser, schedule, gradient norm, history, best epochs, checkpoint. Only forward, backward and the
predictions after an epoch are computed for all of them at once (models/stacked.py), with every
model's batch padded to the longest among them and masked. On a CPU each model's dropout is drawn
from its own seed as well, so that a fused trial is the one trained alone but for float rounding; on
a GPU it is drawn for all at once. A trial that is finished or diverged leaves the stack. An epoch's
seconds are a trial's share of the group's, so that they add up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from va_search.data.store import Store
from va_search.errors import InputError
from va_search.models.estimator import States
from va_search.models.stacked import EVALUATION, AtOnce, Dropout, EachItsOwn, Stack
from va_search.training.batches import Steps
from va_search.training.epochs import Diverged, Sums
from va_search.training.fit import Fit
from va_search.training.order import Batch
from va_search.training.predict import VALUES, in_batches, mixed_precision, on_scale, segments_of
from va_search.training.seeding import epoch_seed, seeded
from va_search.training.settings import TrialSettings, configuration_id, unstackable

Forward = Callable[[Tensor, Tensor | None, Dropout], Tensor]
"""A `Stack`, or one that is compiled."""

LOG = logging.getLogger(__name__)

AT_ONCE = AtOnce()  # one for all, so that what is compiled sees the same

VARIED = ("seed", "learning_rate")
"""Settings in which trials of a group may differ."""


def unfusable(settings: Sequence[TrialSettings]) -> list[str]:
    """Why these trials can't be trained as one model; empty when they can."""
    problems = unstackable(settings)
    if len({configuration_id(one, but=VARIED) for one in settings}) > 1:
        problems.append(f"trials trained as one may differ in {' and '.join(VARIED)} only")
    if len({(one.seed, one.learning_rate) for one in settings}) < len(settings):
        problems.append("two of the trials are the same")
    return problems


def fits_of(settings: Sequence[TrialSettings], store: Store, *, device: str = "cpu") -> list[Fit]:
    """One Fit a trial, over the same examples. InputError when they can't be fused or the store
    can't serve them."""
    problems = unfusable(settings)
    if problems:
        raise InputError(*problems)
    first = Fit(settings[0], store, device=device)
    return [first, *(Fit(one, store, device=device, data=first.data) for one in settings[1:])]


@dataclass(frozen=True)
class Inputs:
    """One batch of each model: x [model, batch, step, feature], mask [model, batch, step] (None:
    nothing is padded), label [model, batch, step, 2]; padded to the longest of all."""

    x: Tensor
    mask: Tensor | None
    label: Tensor


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
            fit for at, fit in enumerate(self.fits) if not fit.finished and at not in self.diverged
        ]

    @property
    def finished(self) -> bool:
        return not self.active

    def run_epoch(self) -> None:
        """Train one epoch of each active fit, which then has it in its history, or its error in
        `diverged`."""
        began, fits = perf_counter(), self.active
        if not fits:
            raise RuntimeError("every trial of the group is finished")
        if [id(fit) for fit in fits] != [id(fit) for fit in self._stacked]:
            self._stack(fits)
        rates = [fit.schedule.learning_rate for fit in fits]
        sums = [Sums() for _ in fits]
        with seeded(fits[0].device, fits[0].settings.seed, len(fits[0].history) + 1):
            self._learn(sums)
        waiting = perf_counter()
        losses = [float(one.loss) for one in sums]
        for one, loss in zip(sums, losses, strict=True):
            one.loss, one.seconds = (
                loss,
                one.seconds + (perf_counter() - waiting) / len(fits),
            )  # a GPU may be at work
        predictions = self._predictions()
        for fit, one, rate, prediction in zip(fits, sums, rates, predictions, strict=True):
            now = perf_counter()
            try:
                fit.end_epoch(one, rate, now - (now - began) / len(fits), prediction)
            except Diverged as error:
                self.diverged[self.fits.index(fit)] = error
                LOG.warning(
                    "seed %d, learning rate %g: %s",
                    fit.settings.seed,
                    fit.settings.learning_rate,
                    error,
                )

    def _stack(self, fits: list[Fit]) -> None:
        """Put the fits' parameters side by side: each fit's become views of its row, and its
        optimiser steps there."""
        for fit in self._stacked:  # of an earlier, larger stack: let its memory go
            for parameter in fit.model.parameters():
                parameter.data, parameter.grad = parameter.data.clone(), None
        self._stacked = fits
        named = [dict(fit.model.named_parameters()) for fit in fits]
        values = len(fits) * sum(one.numel() for one in named[0].values())
        self._gradient = torch.zeros(
            values, device=fits[0].device
        )  # of all parameters, so that it is zeroed at once
        self._parameters: dict[str, Tensor] = {}
        at = 0
        for name in named[0]:
            stack = torch.stack([one[name].detach() for one in named]).requires_grad_()
            stack.grad = self._gradient[at : at + stack.numel()].view(stack.shape)
            for row, one in enumerate(named):
                one[name].data, one[name].grad = stack.data[row], stack.grad[row]
            self._parameters[name] = stack
            at += stack.numel()
        self._model: Forward = Stack(fits[0].model, self._parameters)
        if fits[0].settings.compile and fits[0].device.type == "cuda":
            self._model = torch.compile(
                Stack(fits[0].model, self._parameters).__call__, dynamic=True
            )

    def _learn(self, sums: list[Sums]) -> None:
        """Train each model on its own batches, the first of all of them together, then the second,
        …"""
        fits = self._stacked
        data = fits[0].data
        seeds = [epoch_seed(fit.settings.seed, len(fit.history) + 1) for fit in fits]
        dropouts = [torch.Generator().manual_seed(seed) for seed in seeds]
        orders = [data.order(torch.Generator().manual_seed(seed)) for seed in seeds]
        clock = perf_counter()
        for batches in zip(*orders, strict=True):
            segments = np.stack(
                [data.segments[batch.segments] for batch in batches]
            )  # [model, batch, 2]
            x, mask, label = data.gather.inputs(data.train, segments.reshape(-1, 2))
            x, mask, label = (
                one.view(*segments.shape[:2], *one.shape[1:]) for one in (x, mask, label)
            )
            full = (
                np.ptp(segments[..., 1] - segments[..., 0]) == 0
            )  # without a mask attention is faster
            inputs = Inputs(x, None if full else mask, label)
            began = perf_counter()
            self._step(batches, inputs, self._dropout(dropouts, segments), sums)
            now = perf_counter()
            for batch, one in zip(batches, sums, strict=True):
                one.inside += (now - began) / len(fits)
                one.frames += data.frames_in(batch)
                one.seconds += (now - clock) / len(fits)
            clock = perf_counter()

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
            losses = torch.vmap(fits[0].loss)(prediction, inputs.label)  # [model]
            self._gradient.zero_()
            losses.sum().backward()  # type: ignore[no-untyped-call]  # a loss reaches its own model's parameters only
            losses = losses.detach()
        for row, fit in enumerate(fits):
            if learn[row]:
                if settings.clip_gradient is not None:
                    nn.utils.clip_grad_norm_(fit.model.parameters(), settings.clip_gradient)
                fit.optimiser.step()
                sums[row].loss = sums[row].loss + losses[row]
                sums[row].batches += 1
            fit.schedule.after_batch(learned=learn[row])

    def _predictions(self) -> list[NDArray[np.float32] | None]:
        """Each model's (frames, 2) of what is measured after this epoch, from one pass where that
        is the same."""
        measured = [fit.measured for fit in self._stacked]
        steps = measured[0]
        if steps is None or not len(steps) or any(other is not steps for other in measured):
            return [None for _ in measured]
        return list(predict_stack(self._model, self._stacked, steps))


def predict_stack(
    model: Forward, fits: Sequence[Fit], steps: Steps
) -> Iterator[NDArray[np.float32]]:
    """(frames, 2) by each fit's model, as `predict` makes them, all read from the same batches."""
    fit, stacked = fits[0], len(fits)
    segments, _ = segments_of(fit.settings, steps)
    values = np.zeros(
        (stacked, len(segments), int((segments[:, 1] - segments[:, 0]).max()), 2), np.float32
    )
    together = _OnTheSame(model, stacked)
    for batch, found in in_batches(
        together, fit.settings, fit.data.gather, steps, values=VALUES // stacked
    ):
        values[:, batch.segments, : found.shape[2]] = found
    for one in values:
        yield on_scale(one, segments, steps, fit.store.label_range)


class _OnTheSame(nn.Module):
    """A stack as a model of [batch, step, feature] that all its models read; its output is [model,
    batch, step, 2]."""

    def __init__(self, stack: Forward, models: int) -> None:
        super().__init__()
        self._stack, self._models = stack, models

    def forward(self, x: Tensor, mask: Tensor, states: States | None) -> tuple[Tensor, States]:
        shared = None if bool(mask.all()) else mask.expand(self._models, *mask.shape)
        return self._stack(x.expand(self._models, *x.shape), shared, EVALUATION), ()
