"""Fit: one trial being trained, epoch by epoch.

Conventions: an epoch counts from 1. CCCs are pooled over the validation frames that are labelled for
a target, at the full frame rate on the target's scale, after clipping to its range. Each target
keeps the weights of its own best epoch (as the paper's code does): predictions are valence from the
one and arousal from the other; other values of `keep` take the same last epochs for all targets
(epochs.py). Everything random comes from the trial's seed and the epoch's number, so a CPU run
repeats bit for bit whatever ran before it in the process.

On fold train_val_mix (paper 4.7) nothing is left to validate, and no epoch has a CCC. With `keep:
best` no weights are kept there, and the test predictions are the mean of those after each epoch of
`averaged_epochs`; the trial ends after the last of these."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from va_search.data.store import MIX, Store, frames_hash
from va_search.errors import InputError
from va_search.metrics import ccc
from va_search.models.estimator import Estimator, States
from va_search.models.menu import FAMILIES
from va_search.predictions.bank import Predictions
from va_search.training.augmentation import Augmentation
from va_search.training.batches import Batch, Steps
from va_search.training.checkpoint import Checkpoint, flat_state, load_state
from va_search.training.context import SegmentSums
from va_search.training.epochs import (
    EPOCHS_KEPT,
    Diverged,
    KeptEpochs,
    MeanOfEpochs,
    MovingAverage,
    Sums,
    epoch_seed,
    last_gain,
    mean_of,
    seeded,
)
from va_search.training.examples import Examples, seen_people
from va_search.training.features import BatchInputs
from va_search.training.predict import (
    build_loss,
    build_model,
    collect_sums,
    forward,
    mixed_precision,
    next_states,
    predict,
    segments_of,
    through,
)
from va_search.training.schedules import Schedule
from va_search.training.weights import save_model, weights_file
from va_search.trial import Best, Epoch
from va_search.trial_settings import TrialSettings, meaning_on, settings_as_before

LOG = logging.getLogger(__name__)

OPTIMISERS: dict[str, Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class Fit:
    """A trial in training. InputError when the store can't serve the settings (all reasons at
    once).

    `remarks` are sentences for the trial's record: settings that have no effect on this device,
    subjects on both sides. `data` are the examples of another trial that reads the same. After
    `resume`, `seconds_before` is the time the processes before this one gave to the trial, and
    `resumed_at` are the epochs after which it was gone on with."""

    def __init__(
        self,
        settings: TrialSettings,
        store: Store,
        *,
        device: str = "cpu",
        data: Examples | None = None,
    ) -> None:
        self.settings, self.store, self.device = settings, store, torch.device(device)
        self.history: list[Epoch] = []
        self._kept = KeptEpochs(settings.keep)
        # predictions of the last epochs, where their mean is what is measured
        self._recent: deque[NDArray[np.float32]] = deque(maxlen=EPOCHS_KEPT.get(settings.keep, 1))
        self.data = data or Examples(settings, store, self.device)
        self._mean: MeanOfEpochs | None = None
        if settings.averaged_epochs is not None:
            self._mean = MeanOfEpochs(settings.averaged_epochs)
        self.remarks = [
            *_remarks(settings, self.device),
            *seen_people(self.data.fold),
            *self.data.gather.features.remarks,
        ]
        self.model = self._new_model()
        if settings.compile and self.device.type == "cuda":
            self.model.compile(dynamic=True)
        # fused: one kernel steps all parameters
        self.optimiser: torch.optim.Optimizer = OPTIMISERS[settings.optimiser](
            self.model.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self._average: MovingAverage | None = None
        if settings.keep == "ema":
            self._average = MovingAverage(self.model, self._new_model(), settings.ema_decay)
            self.optimiser.register_step_post_hook(self._average.after_step)
        self.schedule = Schedule(self.optimiser, settings, self.data.batches_in_epoch())
        self.loss = build_loss(settings, store.target_names).to(self.device)
        self._began = perf_counter()
        self.seconds_before = 0.0
        # of the process's time that is this trial's: less where several are trained as one
        self.share = 1.0
        self.resumed_at: list[int] = []

    def _new_model(self) -> Estimator:
        """The model as it is before the first epoch."""
        with seeded(self.device, self.settings.seed, 0):
            model = build_model(self.settings, self.data.feature_sets, self.store.target_names)
            return model.to(self.device)

    @property
    def finished(self) -> bool:
        """All epochs done, or patience spent."""
        return len(self.history) >= self.settings.trained_epochs or self.stopped

    @property
    def stopped(self) -> bool:
        """True when `patience` epochs have passed in which no target became better."""
        if self.settings.patience is None:
            return False
        # any target's gain starts the wait anew
        return len(self.history) - last_gain(self.history) >= self.settings.patience

    @property
    def best(self) -> dict[str, Best]:
        """The CCC of each target, and the epoch (the last one unless `keep` is best), of what
        predictions are made of now; empty where nothing was validated."""
        return self._kept.best

    @property
    def averaged_epochs(self) -> tuple[int, int] | None:
        """The first and last of the epochs whose predictions are averaged; None: it is no mean."""
        if self.settings.keep != "mean_last_5":
            return self.settings.averaged_epochs
        epochs = list(self._kept.states)
        return epochs[0], epochs[-1]

    def run_epoch(self) -> Epoch:
        """Train one epoch and validate. Diverged when loss or prediction is NaN or infinite."""
        began = perf_counter()
        self.store.check_files()
        number = len(self.history) + 1
        learning_rate = self.schedule.learning_rate
        sums = Sums()
        with seeded(self.device, self.settings.seed, number):
            for _ in self._learn(number, sums):
                pass
        return self.end_epoch(sums, learning_rate, began)

    @property
    def measured(self) -> Steps | None:
        """The steps that are predicted after the epoch to come: validation, or on train_val_mix
        test or nothing."""
        if self._mean is None:
            return self.data.validation if self.settings.fold != MIX else None
        return self.data.test if len(self.history) + 1 in self._mean else None

    @property
    def measured_model(self) -> Estimator:
        """The model that predicts `measured`."""
        return self.model if self._average is None else self._average.average

    def end_epoch(
        self,
        sums: Sums,
        learning_rate: float,
        began: float,
        prediction: NDArray[np.float32] | None = None,
    ) -> Epoch:
        """Validate after an epoch's training and keep its results. Errors as in `run_epoch`.

        The training began at `began` with `learning_rate`; `prediction` is the `measured_model`'s
        of `measured`, if that was made already.
        """
        number = len(self.history) + 1
        waiting = perf_counter()
        loss = float(sums.loss) / max(1, sums.batches)
        sums.seconds += perf_counter() - waiting  # a GPU may still be at work
        if not math.isfinite(loss):
            raise Diverged(
                f"the loss became {loss} in epoch {number}; try a lower learning rate, or `clip`"
            )
        cccs: dict[str, float | None] = dict.fromkeys(self.store.target_names)
        score: float | None = None
        steps = self.measured
        if steps is not None:
            if prediction is None:
                prediction = self._predict(self.measured_model, steps)
            self._check_finite(prediction, number)
            if self._mean is None:
                self._recent.append(prediction)
                measured = self._validated(mean_of(self._recent))
                cccs = dict(zip(self.store.target_names, measured, strict=True))
                score = sum(measured) / len(measured)
            else:
                self._mean.add(prediction)
        self.schedule.after_epoch(score)
        epoch = Epoch(
            epoch=number,
            loss=loss,
            cccs=cccs,
            score=score,
            learning_rate=learning_rate,
            seconds=perf_counter() - began,
            frames_per_second=sums.frames / sums.seconds,
            outside_share=1.0 - sums.inside / sums.seconds,
        )
        self.history.append(epoch)
        self._kept.add(epoch, self.measured_model)
        shown = "not validated" if score is None else tuple(cccs.values())
        speed = epoch.frames_per_second
        LOG.info("epoch %d: loss %.4f, CCCs %s, %.0f frames/s", number, loss, shown, speed)
        return epoch

    def _learn(self, number: int, sums: Sums, *, collect: bool = True) -> Iterator[Batch]:
        """Train on one epoch's batches, yielding each when it is done. Without `collect` sums of
        segments are zero before their first batch."""
        generator = torch.Generator().manual_seed(epoch_seed(self.settings.seed, number))
        augmentation = self.augmentation(number)
        states: States | None = None
        clock = perf_counter()
        segment_sums = self._segment_sums(collect=collect)
        self.model.train()
        for batch in self.data.order(generator):
            segments = self.data.segments[batch.segments]
            inputs = self.data.gather.inputs(self.data.train, segments)
            augmentation.change(inputs, fresh=batch.fresh)
            states = next_states(states, batch)
            began = perf_counter()
            loss, states = self._step(inputs, states, batch, segment_sums)
            sums.inside += perf_counter() - began
            del inputs  # before the next is gathered
            if loss is not None:
                sums.loss = sums.loss + loss
                sums.batches += 1
            self.schedule.after_batch(learned=loss is not None)
            sums.frames += self.data.frames_in(batch)
            sums.seconds += perf_counter() - clock
            yield batch
            clock = perf_counter()

    def augmentation(self, number: int) -> Augmentation:
        """The changes of an epoch to its inputs."""
        data, seed = self.data, self.settings.seed
        return Augmentation(
            self.settings,
            data.feature_sets,
            len(data.train.recordings),
            (seed, number),
            self.device,
        )

    def _segment_sums(self, *, collect: bool) -> SegmentSums:
        """The sums of the training segments, collected before an epoch where that takes a pass."""
        data = self.data
        sums = SegmentSums(self.model, self.settings, data.train, data.segments, self.device)
        if collect and sums.two_passes:
            collect_sums(self.model, self.settings, data.gather, data.train, sums)
        return sums

    def _step(
        self, inputs: BatchInputs, states: States | None, batch: Batch, segment_sums: SegmentSums
    ) -> tuple[Tensor | None, States]:
        """One optimiser step; without labels only the states are moved on."""
        learn = self.data.can_learn_from(batch)
        with torch.set_grad_enabled(learn), mixed_precision(self.settings, self.device):
            prediction, states = forward(self.model, inputs, states, segment_sums, batch)
        if not learn:
            return None, states
        loss: Tensor = self.loss(
            prediction,
            inputs.label,
            mask=inputs.mask,
            recording=inputs.recording,
            weight=inputs.weight,
            log_bins=getattr(self.model.heads, "log_bins", None),
        )
        # backward, with the gradient's norm bounded where the trial asks for it
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.settings.clip_gradient is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_gradient)
        self.optimiser.step()
        return loss.detach(), states

    def _validated(self, prediction: NDArray[np.float32]) -> tuple[float, ...]:
        """Pooled CCC of each target; a constant prediction of a constant label counts 0."""
        cccs = []
        for predicted, truth in zip(prediction.T, self.data.truth.T, strict=True):
            value = ccc(predicted, truth)
            cccs.append(0.0 if math.isnan(value) else value)
        return tuple(cccs)

    def _check_finite(self, prediction: NDArray[np.float32], number: int) -> None:
        """Diverged when a prediction after an epoch is NaN or infinite."""
        if not np.isfinite(prediction).all():
            raise Diverged(
                f"predictions became NaN in epoch {number}; try a lower learning rate, or `clip`"
            )

    def _predict(self, model: Estimator, steps: Steps) -> NDArray[np.float32]:
        return predict(model, self.settings, self.data.gather, steps, self.store.targets)

    def predictions(self) -> dict[str, Predictions]:
        """Every frame of "validation" and "test": each target by the models of its own epochs.

        On train_val_mix "test" alone; Diverged where it is NaN or infinite, since no epoch was
        measured there.
        """
        self._check_trained()
        if self._mean is not None:
            hashed = frames_hash(self.data.test.recordings)
            return {"test": Predictions(self._mean.value(), hashed)}
        splits = {"validation": self.data.validation, "test": self.data.test}
        if self.settings.fold == MIX:
            del splits["validation"]
        predictions: dict[str, Predictions] = {}
        for split, steps in splits.items():
            # a split's columns may come from several models: each target's best epoch
            by_epochs: dict[tuple[int, ...], NDArray[np.float32]] = {}
            columns: list[NDArray[np.float32]] = []
            for column, target in enumerate(self.store.target_names):
                epochs = self._kept.epochs_of(target)
                if epochs not in by_epochs:
                    by_epochs[epochs] = mean_of(self._predicted_after(epochs, steps))
                columns.append(by_epochs[epochs][:, column])
            values = np.stack(columns, axis=1)
            if self.settings.fold == MIX:
                self._check_finite(values, len(self.history))
            predictions[split] = Predictions(values, frames_hash(steps.recordings))
        return predictions

    def _predicted_after(
        self, epochs: Iterable[int], steps: Steps
    ) -> Iterator[NDArray[np.float32]]:
        """The predictions of the steps by the model as it was after each of these epochs."""
        model = self._new_model()
        for epoch in epochs:
            model.load_state_dict(self._kept.states[epoch])
            yield self._predict(model, steps)

    def save_weights(self, folder: Path) -> None:
        """One file a target, such as valence.safetensors; `weights.load_model` reads them. None on
        train_val_mix with `keep: best`."""
        self._check_trained()
        if self._mean is not None:
            return
        for target in self.store.target_names:
            epochs = self._kept.epochs_of(target)
            best = self.best.get(target)
            description = {
                "dimension": target,
                "epoch": epochs[-1],
                "ccc": None if best is None else best.ccc,
                "store": self.store.name,
            }
            save_model(
                weights_file(folder, target),
                {epoch: self._kept.states[epoch] for epoch in epochs},
                settings=self.settings,
                store=self.store,
                statistics=self.data.statistics,
                about=description,
            )

    def save(self, folder: Path) -> None:
        """Write a checkpoint into `folder`, whole, in the place of the one before; `resume` goes on
        from it."""
        groups, moments = flat_state(self.optimiser)
        Checkpoint(
            history=self.history,
            best=self.best,
            states=self._kept.states,
            model=self.model.state_dict(),
            groups=groups,
            moments=moments,
            schedule=self.schedule.state(),
            averaged=self._mean.epochs if self._mean else 0,
            mean=self._mean.tensors() if self._mean else {},
            average_steps=self._average.steps if self._average else 0,
            seconds=self.seconds_before + (perf_counter() - self._began) * self.share,
            resumed_at=self.resumed_at,
        ).write(folder, self._identity())

    def resume(self, folder: Path) -> bool:
        """Go on from the checkpoint in `folder`, if it is of this training: then True, and on a CPU
        every number to come is what it would have been. One that is damaged or of another training
        is passed over with a remark."""
        like = self.model.state_dict()
        try:
            saved = Checkpoint.read(folder, self._identity(), model=like, optimiser=self.optimiser)
        except InputError as error:
            self.remarks.append(f"trained from the start again: {error}")
            LOG.warning(self.remarks[-1])
            return False
        if saved is None:
            return False
        self.model.load_state_dict(saved.model)
        load_state(self.optimiser, saved.groups, saved.moments)
        self.schedule.resume(saved.schedule)
        if self._mean is not None:
            self._mean.resume(saved.averaged, saved.mean)
        self.history = saved.history
        self._kept.best, self._kept.states = saved.best, saved.states
        if self._average is not None:
            self._average.steps = saved.average_steps
            self._average.average.load_state_dict(saved.states[len(saved.history)])
        if self.measured is not None and self.settings.keep == "mean_last_5":
            self._recent.extend(self._predicted_after(saved.states, self.data.validation))
        self.seconds_before = saved.seconds
        self.resumed_at = [*saved.resumed_at, len(saved.history)]
        return True

    def _identity(self) -> dict[str, Any]:
        """Settings, data and meaning that a checkpoint of this training has in its document."""
        data = self.settings.data_hash(self.store)
        settings = settings_as_before(self.settings)
        return {
            "settings": settings,
            "data": data,
            "meaning": meaning_on(self.settings, self.store),
        }

    def _check_trained(self) -> None:
        if not self._kept.states and not (self._mean and self._mean.epochs):
            raise RuntimeError("nothing is trained yet: `run_epoch` first")

    def seconds_per_epoch(self, budget: float, times: float = 1.0) -> float:
        """Estimated seconds of one epoch with its predictions, from at most about `budget` seconds
        of real batches; on `times` as many frames as this fit's store has.

        It trains the model a little: use a Fit made for it.
        """
        data = self.data
        total = sum(data.frames_in(batch) for batch in data.order(torch.Generator()))
        with seeded(self.device, self.settings.seed, 1):
            learnt = (data.frames_in(batch) for batch in self._learn(1, Sums(), collect=False))
            learning = scaled_up(learnt, total, budget * 0.7)
        steps, share = data.validation, 1.0
        if self.settings.fold == MIX:
            # predicts test, and not after every epoch
            predictions = len(self._mean.range) if self._mean else EPOCHS_KEPT[self.settings.keep]
            steps, share = data.test, predictions / self.settings.trained_epochs
        segments, _ = segments_of(self.settings, steps)
        frames = steps.frames_in(segments)
        sums = SegmentSums(self.model, self.settings, steps, segments, self.device)
        batches = through(self.model, self.settings, data.gather, steps, sums, run=forward)
        predicted = (int(frames[batch.segments].sum()) for batch, _ in batches)
        one_pass = scaled_up(predicted, int(frames.sum()), budget * 0.3)
        # with context some passes come twice, and training has one without learning
        passes = share * (1 + sums.two_passes)
        if self._segment_sums(collect=False).two_passes:
            passes += int(data.train.frames_in(data.segments).sum()) / max(1, int(frames.sum()))
        return times * (learning + passes * one_pass)


def fit_of(settings: TrialSettings, store: Store, *, device: str = "cpu") -> Fit:
    """A trial in training, of the class that its family is trained by; errors as of `Fit`."""
    fit: Fit = FAMILIES[settings.family].load()(settings, store, device=device)
    return fit


def scaled_up(frames: Iterator[int], total: int, budget: float) -> float:
    """Seconds that `total` frames take, from the batches done in `budget` seconds, of `frames`
    each, or from a single one; warm-up left out."""
    began = perf_counter()
    warm_up = next(frames)
    warm = perf_counter()
    timed = 0
    for number in frames:
        timed += number
        if perf_counter() - began > budget:
            break
    if timed == 0:
        return (warm - began) * total / max(1, warm_up)
    return (perf_counter() - warm) * total / timed


def _remarks(settings: TrialSettings, device: torch.device) -> list[str]:
    """Settings that only take effect on a GPU, where there is none."""
    if device.type == "cuda":
        return []
    remarks: list[str] = []
    if settings.precision != "float32":
        remarks.append(
            f"precision {settings.precision} takes effect on a GPU only: trained in float32 on "
            f"{device}"
        )
    if settings.compile:
        remarks.append(f"compile takes effect on a GPU only: not compiled on {device}")
    for remark in remarks:
        LOG.warning(remark)
    return remarks
