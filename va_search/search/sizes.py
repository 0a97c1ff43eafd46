"""Sizes of trials: bytes on the disk and in main memory, estimated low from settings and data.

Conventions: a weight is 4 bytes. A trial keeps two sets of weights (the best epoch of either
target) and predictions of validation and test. While it trains it also has gradients and two
moments of each weight."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from statistics import mean

from va_search.data.store import Store, positions
from va_search.errors import InputError
from va_search.models.menu import ENCODERS
from va_search.search.configurations import Space
from va_search.trial_settings import TrialSettings

PROCESS = 250 * 2**20
"""A trial's interpreter and libraries."""

SAMPLED = 32
"""So many configurations are looked at."""


def disk_of_trial(space: Space, store: Store) -> int:
    """Bytes that a finished trial of the space takes, on average over some of its
    configurations."""
    predicted = max(
        len(positions((*fold.validation, *fold.test))) for fold in map(store.fold, space.folds)
    )
    weights = [number_of_weights(settings, store) for settings in some(space)]
    return int(2 * 4 * predicted + 2 * 4 * mean(_that_fit(weights) or [0]))


def memory_of_trial(space: Space, store: Store) -> int:
    """Bytes of main memory that a trial takes while it trains on a CPU: the largest of some
    configurations."""
    sizes = []
    sizes_of = [(settings, number_of_weights(settings, store)) for settings in some(space)]
    fitting = _that_fit([weights for _, weights in sizes_of])
    for settings, weights in sizes_of:
        if weights not in fitting:
            continue
        columns = sum(store.feature_sets[name].dim for name in settings.features)
        batch = settings.batch_size * settings.segment_length * settings.frame_step
        frames = min(batch, store.frames)  # a batch is never more than all there is
        sizes.append(4 * frames * columns + 6 * 4 * weights)
    return PROCESS + max(sizes, default=0)


def _that_fit(weights: list[int]) -> list[int]:
    """Those of some models that this machine can train: the others fail as single trials, and leave
    nothing."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return [number for number in weights if 4 * 4 * number < machine]


def number_of_weights(settings: TrialSettings, store: Store) -> int:
    """Weights of a trial's model, biases included: what models/estimator.py builds."""
    dims: dict[str, int] = {}
    for name in settings.features:
        feature_set = store.feature_sets[name]
        dims[feature_set.modality] = dims.get(feature_set.modality, 0) + feature_set.dim
    branches = list(dims.values()) if settings.fusion == "late" else [sum(dims.values())]
    width, hidden, ff = settings.width, settings.hidden_size, settings.feed_forward
    encoder = 0
    if settings.uses_attention:
        attention = 4 * width * (width + 1)
        encoder += settings.layers * (attention + 2 * width * ff + width + ff + 4 * width)
    gates = ENCODERS[settings.encoder].gates
    if gates:
        encoder += gates * hidden * (width + hidden + 2)
        encoder += (settings.recurrent_layers - 1) * gates * hidden * (2 * hidden + 2)
    size = (hidden if gates else width) * len(branches)
    outputs = 1 if settings.heads == "separate" else 2
    head = 0
    for wide in settings.head_sizes:
        head += (size + 1) * wide
        size = wide
    head += (size + 1) * outputs
    heads = 2 if settings.heads == "separate" else 1
    return sum((dim + 1) * width + encoder for dim in branches) + heads * head


def some(space: Space, most: int = SAMPLED) -> Iterator[TrialSettings]:
    """Some valid configurations of the space, always the same, at least one."""
    generator = random.Random(0)  # noqa: S311 (no secret)
    number = 0
    for _ in range(100 * most):
        if number == most:
            return
        try:
            yield space.trials(space.drawn(generator))[0]
        except InputError:  # these values do not go together
            continue
        number += 1
    if number == 0:
        yield space.trials(next(iter(space.configurations())))[0]
