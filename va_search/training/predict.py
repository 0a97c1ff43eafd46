"""A model built from a trial's settings, and its predictions for every frame of some recordings.

Conventions: predictions are (frames, targets) float32 on the targets' own scales in the order of the
recordings, clipped to each target's range. Overlapping segments are averaged per model step, then steps
are interpolated back to frames. With context the summary is that of the whole recording, of those
recordings that are predicted together: each must be whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from va_search.data.segments import Ranges, stitch
from va_search.data.store import FeatureSet
from va_search.models.estimator import Estimator, States, carry
from va_search.models.menu import ENCODERS, FAMILIES, FUSIONS, HEADS, LOSSES
from va_search.models.summary import SUMMARIES
from va_search.targets import AFFECT, Target
from va_search.training.batches import Batch, Chains, Steps, independent, side_by_side
from va_search.training.context import SegmentSums
from va_search.training.features import BatchInputs, Gather, modality_dims, share_columns
from va_search.training.losses import TrialLoss
from va_search.trial_settings import TrialSettings

VALUES = 8_000_000
"""Input values in a prediction batch, at most: 32 MB."""
MOST_ROWS = 256

KEPT = 16_000_000
"""Values of a fusion's output that are kept between the two passes of a prediction, at most: 64 MB."""


def build_model(
    settings: TrialSettings, feature_sets: list[FeatureSet], target_names: Sequence[str] = AFFECT
) -> Estimator:
    """A freshly initialised model of these targets; draws from torch's global generator."""
    family = FAMILIES[settings.family]
    if family.model is not None:
        columns = sum(modality_dims(feature_sets, len(settings.views)).values())
        arguments = settings.arguments(FAMILIES)
        model: Estimator = family.new_model(columns, tuple(target_names), **arguments)
        return model
    encoder = ENCODERS[settings.encoder].load()
    # a fusion decides how many encoders there are
    new_encoder = partial(encoder, settings.width, **settings.arguments(ENCODERS))
    views = len(settings.views)
    context = FUSIONS[settings.fusion].build(
        list(modality_dims(feature_sets, views).values()),
        settings.width,
        new_encoder,
        **settings.arguments(FUSIONS),
        share_columns=share_columns(feature_sets, views),
        carries_state=settings.carries_state,
    )
    summary = SUMMARIES.get(settings.context)
    size = context.size if summary is None else 2 * context.size
    heads = HEADS[settings.heads].build(
        size, **settings.arguments(HEADS), target_names=tuple(target_names)
    )
    return Estimator(context, heads, summary)


def build_loss(settings: TrialSettings, target_names: Sequence[str]) -> TrialLoss:
    """The trial's loss for these targets: a function of predictions and labels [..., target]."""
    weights = tuple(settings.loss_weight(name) for name in target_names)
    code = LOSSES[settings.loss].build(
        **settings.arguments(LOSSES), target_names=tuple(target_names), target_weights=weights
    )
    return TrialLoss(code)


def segments_of(settings: TrialSettings, steps: Steps) -> tuple[Ranges, Chains]:
    """The segments of these steps, and the chains they form."""
    length = settings.segment_length
    table, count = steps.segments(length, settings.stride or length)
    return table, Chains(np.cumsum(count) - count, count)


def mixed_precision(settings: TrialSettings, device: torch.device) -> AbstractContextManager[None]:
    """bf16 autocast where the trial asks for it and a GPU is; nothing otherwise."""
    enabled = settings.precision == "bf16" and device.type == "cuda"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def predict(
    model: Estimator,
    settings: TrialSettings,
    gather: Gather,
    steps: Steps,
    targets: Sequence[Target],
) -> NDArray[np.float32]:
    """(frames, targets) for every frame of the steps' recordings; NaN or infinite where the model
    gave that."""
    if not len(steps):
        return np.zeros((0, len(targets)), np.float32)
    segments, _ = segments_of(settings, steps)
    longest = int((segments[:, 1] - segments[:, 0]).max())
    values = np.zeros((len(segments), longest, len(targets)), np.float32)
    for batch, prediction in in_batches(model, settings, gather, steps):
        values[batch.segments, : prediction.shape[1]] = prediction
    return on_scale(values, segments, steps, targets)


def on_scale(
    values: NDArray[np.float32], segments: Ranges, steps: Steps, targets: Sequence[Target]
) -> NDArray[np.float32]:
    """(segments, step, target) predictions in [-1, 1] to (frames, targets) on their own scales."""
    unit = steps.to_frames(stitch(values, segments, len(steps)))
    scaled = np.empty(unit.shape, np.float32)
    # Column by column: numpy is many times slower where its innermost loop is over few targets.
    for column, target in enumerate(targets):
        low, high = target.range
        scaled[:, column] = np.clip(
            unit[:, column] * ((high - low) / 2) + (low + high) / 2, low, high
        )
    return scaled


def in_batches(
    model: Any, settings: TrialSettings, gather: Gather, steps: Steps, *, values: int = VALUES
) -> Iterator[tuple[Batch, NDArray[np.float32]]]:
    """Batches of all segments with their predictions (rows, step, target) in [-1, 1], padding included;
    of about `values` input values at most."""
    segments, _ = segments_of(settings, steps)
    sums = SegmentSums(model, settings, steps, segments, gather.device)
    if not sums.two_passes:
        for batch, (prediction, _) in through(
            model, settings, gather, steps, sums, run=forward, values=values
        ):
            yield batch, _to_numpy(prediction)
    elif len(steps) * sums.size <= KEPT:
        # the first pass leaves what the heads take: the second is theirs alone
        outputs = list(through(model, settings, gather, steps, sums, run=encode, values=values))
        for batch, (y, mask) in outputs:
            with torch.no_grad(), mixed_precision(settings, gather.device):
                prediction = model.predicted(y, mask, sums.other_segments(batch))
            yield batch, _to_numpy(prediction)
    else:
        collect_sums(model, settings, gather, steps, sums, values=values)
        for batch, (prediction, _) in through(
            model, settings, gather, steps, sums, run=forward, values=values
        ):
            yield batch, _to_numpy(prediction)


def collect_sums(
    model: nn.Module,
    settings: TrialSettings,
    gather: Gather,
    steps: Steps,
    sums: SegmentSums,
    *,
    values: int = VALUES,
) -> None:
    """Take the sums of all segments, in one pass without the heads."""
    for _ in through(model, settings, gather, steps, sums, run=encode, values=values):
        pass


def through(
    model: nn.Module,
    settings: TrialSettings,
    gather: Gather,
    steps: Steps,
    sums: SegmentSums,
    *,
    run: Callable[..., tuple[Tensor, States]],
    values: int = VALUES,
) -> Iterator[tuple[Batch, tuple[Tensor, Tensor]]]:
    """One pass of all segments through the model, in evaluation mode, which also renews their sums:
    of each batch the output of `run` (`forward` or `encode`), and its mask."""
    # batches of prediction may be larger than those of training: nothing is kept for a gradient
    segments, chains = segments_of(settings, steps)
    columns = int(gather.shift.shape[1])
    rows = values // (settings.segment_length * settings.frame_step * columns)
    rows = min(MOST_ROWS, max(settings.batch_size, rows))
    order = independent(np.arange(len(segments)), rows)
    if settings.carries_state:
        order = side_by_side(chains, rows)
    states: States | None = None
    model.eval()
    for batch in order:
        with torch.no_grad(), mixed_precision(settings, gather.device):
            inputs = gather.inputs(steps, segments[batch.segments])
            states = next_states(states, batch)
            output, states = run(model, inputs, states, sums, batch)
        mask = inputs.mask
        del inputs  # before the next is gathered
        yield batch, (output, mask)


def forward(
    model: nn.Module,
    inputs: BatchInputs,
    states: States | None,
    sums: SegmentSums,
    batch: Batch,
) -> tuple[Tensor, States]:
    """Put a batch through the model with the sums of its recordings' other segments, and renew
    those of its own."""
    prediction, states = model(inputs.x, inputs.mask, states, sums.other_segments(batch))
    sums.renew(batch, states)
    return prediction, states


def encode(
    model: Any,
    inputs: BatchInputs,
    states: States | None,
    sums: SegmentSums,
    batch: Batch,
) -> tuple[Tensor, States]:
    """As `forward`, without the heads: the fusion's output."""
    y, states = model.encoded(inputs.x, inputs.mask, states, sums.other_segments(batch))
    sums.renew(batch, states)
    return y, states


def _to_numpy(prediction: Tensor) -> NDArray[np.float32]:
    values: NDArray[np.float32] = prediction.float().cpu().numpy()
    return values


def next_states(states: States | None, batch: Batch) -> States | None:
    """States to go into a batch with, from those behind the batch before; None: from zero."""
    if batch.fresh or states is None:
        return None
    return carry(states, len(batch.segments))
