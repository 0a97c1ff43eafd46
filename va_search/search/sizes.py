"""Sizes of trials, and whether memory and disk have room for them.

Conventions: sizes are in bytes, estimated low from settings and data, so that nothing is refused
that would fit. A weight is 4 bytes. A trial keeps a set of weights per target (of its best epoch)
and predictions of validation and test. While it trains it also has gradients and two moments of
each weight."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from va_search.data.normalise import input_columns
from va_search.data.store import Store, positions
from va_search.errors import counted
from va_search.home import Home
from va_search.models.menu import (
    ENCODERS,
    FAMILIES,
    FUSIONS,
    MOST_STEPS,
    most_columns,
    windowed_features,
)
from va_search.search.budget import planned_trials
from va_search.search.configurations import Configuration, Space
from va_search.search.machine import (
    Options,
    confined_to,
    cores,
    gpus_seen,
    memory_available,
    memory_limit,
)
from va_search.trial_settings import TrialSettings

MIB = 2**20

PROCESS = 250 * MIB
"""A trial's interpreter and libraries."""

RAY_MEMORY = 500 * MIB
"""Taken by Ray's own processes and by the search, before a trial."""

BYTES_OF_NODE = 23
"""Of a node of a tree (models/trees.py)."""

SAMPLED = 32
"""So many configurations are looked at."""


@dataclass
class Findings:
    """Sentences about a search to come: `problems` keep it from running, `remarks` are worth
    knowing."""

    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


# -- sizes


def disk_of_trial(space: Space, store: Store) -> int:
    """Bytes that a finished trial of the space takes, on average over some of its
    configurations."""
    predicted = 0
    for key in space.folds:
        fold = store.fold(key)
        predicted = max(predicted, len(positions((*fold.validation, *fold.test))))
    weights = [number_of_weights(settings, store) for _, settings in _some(space)]
    return int(len(space.targets) * 4 * (predicted + mean(_that_fit(weights) or [0])))


def memory_of_trial(space: Space, store: Store) -> int:
    """Bytes of main memory that a trial takes while it trains on a CPU: the largest of some
    configurations."""
    largest = 0
    for _, settings in _some(space):
        weights = number_of_weights(settings, store)
        if not _that_fit([weights]):
            continue
        columns = sum(_columns(settings, store).values())
        batch = settings.batch_size * settings.segment_length * settings.frame_step
        frames = min(batch, store.frames)  # a batch is never more than all there is
        size = 4 * frames * columns + 6 * 4 * weights
        if settings.family == "boosting":
            size += _grown_from(settings, store)
        largest = max(largest, size)
    return PROCESS + largest


def _grown_from(settings: TrialSettings, store: Store) -> int:
    """Bytes of the training steps that trees are grown from: as they are, those of a target in
    float64, and in bins."""
    windows = settings.arguments(FAMILIES)["windows"]
    columns = min(sum(_columns(settings, store).values()), most_columns(windows))
    windowed = columns * windowed_features(windows)
    steps = min(store.frames // settings.frame_step, MOST_STEPS)
    return (4 + 4 + 8 + 1) * steps * windowed


def _some(space: Space) -> Iterator[tuple[Configuration, TrialSettings]]:
    return space.examples(SAMPLED, 100 * SAMPLED)


def _that_fit(weights: list[int]) -> list[int]:
    """Those of some models that this machine can train: the others fail as single trials, and leave
    nothing."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return [number for number in weights if 4 * 4 * number < machine]


def _columns(settings: TrialSettings, store: Store) -> dict[str, int]:
    """Columns of a model's input by modality."""
    columns: dict[str, int] = {}
    for name in settings.features:
        feature_set = store.feature_sets[name]
        own = input_columns(feature_set, len(settings.views))
        columns[feature_set.modality] = columns.get(feature_set.modality, 0) + own
    return columns


def number_of_weights(settings: TrialSettings, store: Store) -> int:
    """Weights of a trial's model, biases included: what models/estimator.py builds."""
    dims = _columns(settings, store)
    if settings.family == "ridge":
        return sum(dims.values()) * len(store.targets)  # for each window, of which there are few
    if settings.family == "boosting":
        options = settings.arguments(FAMILIES)
        nodes: int = options["iterations"] * (2 * options["leaves"] - 1)
        return len(store.targets) * nodes * BYTES_OF_NODE // 4
    fusion = FUSIONS[settings.fusion]
    branches = list(dims.values()) if fusion.of_modalities else [sum(dims.values())]
    width = settings.width
    encoder, output = encoder_size(settings)

    # A head per target, or one with an output for each.
    targets = len(store.targets)
    heads, outputs = (targets, 1) if settings.heads == "separate" else (1, targets)
    if settings.heads == "binned":
        outputs *= (settings.model_extra or {})["heads.bins"]
    fused = _fused(settings, store, output, len(branches))
    size = output if settings.fusion == "gated" else output * len(branches)
    if settings.context != "none":
        size *= 2  # a summary beside each step
    head = 0
    for wide in settings.head_sizes:
        head += (size + 1) * wide
        size = wide
    head += (size + 1) * outputs
    return sum((dim + 1) * width + encoder for dim in branches) + fused + heads * head


def _fused(settings: TrialSettings, store: Store, encoded: int, branches: int) -> int:
    """Weights of a fusion behind its encoders, whose outputs have `encoded` columns."""
    weights = 0
    if settings.fusion == "gated":
        weights = (branches * encoded + 1) * branches
    elif settings.fusion == "cross_attention":
        projections = 4 * encoded * (encoded + 1)
        norm = 2 * encoded
        weights = branches * (projections + norm)
    if FUSIONS[settings.fusion].of_modalities:
        # a vector for each modality that may be missing
        chosen = [store.feature_sets[name] for name in settings.features]
        modalities = {feature_set.modality for feature_set in chosen}
        whole = {feature_set.modality for feature_set in chosen if not feature_set.missing}
        weights += encoded * len(modalities - whole)
    return weights


def encoder_size(settings: TrialSettings) -> tuple[int, int]:
    """Weights of one encoder, and the width of its output; 0 and `width` for a user's own."""
    entry = ENCODERS[settings.encoder]
    width, hidden, ff = settings.width, settings.hidden_size, settings.feed_forward
    layer = 0
    if settings.uses_attention:
        attention = 4 * width * (width + 1)
        layer = attention + 2 * width * ff + width + ff + 4 * width
    elif entry.name == "tcn":
        kernel = (settings.model_extra or {})["encoder.kernel"]
        layer = width * (kernel * width + 1) + 2 * width
    elif entry.name == "ssm":
        space = 2 * hidden + 4 * hidden * width + width
        layer = 2 * width + space + 2 * width * (width + 1)
    elif entry.name == "mlp":
        layer = width * (width + 1)
    weights, output = settings.layers * layer, width

    # Cells, alone or behind a Transformer: in a layer one for each direction.
    if entry.gates:
        output = entry.directions * hidden
        cells = entry.directions * entry.gates * hidden
        weights += cells * (width + hidden + 2)
        weights += (settings.recurrent_layers - 1) * cells * (output + hidden + 2)
    return weights, output


def with_smaller_batch(space: Space, settings: TrialSettings) -> TrialSettings | None:
    """Return the trial of the space that differs in a batch of half the size, or the next smaller
    one that the space has and that computes something else; None where it has none."""
    half = settings.batch_size // 2
    sizes = {half >> halvings for halvings in range(half.bit_length())}
    sizes |= {value for value in space.declared("batch_size") if value <= half}
    for size in sorted(sizes, reverse=True):
        smaller = settings.model_copy(update={"batch_size": size})
        is_another = space.meaning(smaller) != space.meaning(settings)
        if is_another and space.contains(smaller):
            return smaller
    return None


# -- room


def fit_memory(space: Space, store: Store, options: Options, findings: Findings) -> int | None:
    """Return how many trials memory bears at a time; None for as many as there are cores."""
    left, limit = memory_available(), memory_limit()
    if left is None or options.gpus_per_trial or (options.gpus_per_trial is None and gpus_seen()):
        return None  # not known, or the GPUs decide how many there are
    per_trial = memory_of_trial(space, store)
    a_trial = f"each trial at a time takes about {per_trial // MIB:,} MiB"
    a_search = f"Ray takes about {RAY_MEMORY // MIB} MiB, {a_trial}"
    asked = options.concurrent or max(1, cores() // options.threads)

    # A container's limit never rises: what does not fit into it is refused.
    if limit is not None and limit < RAY_MEMORY + (options.concurrent or 1) * per_trial:
        fits = max(0, limit - RAY_MEMORY) // per_trial
        advice = f"give --concurrent {fits} or less" if fits else f"give {confined_to()} more"
        findings.problems.append(
            f"{_do_not_fit(asked, ' at a time')}: {confined_to()} may use {limit // MIB:,} MiB of "
            f"memory, {a_search}; {advice}"
        )
        return None

    # Free memory may grow again: the number of trials is lowered, unless the user gave it.
    bears = max(1, (left - RAY_MEMORY) // per_trial)
    if bears >= asked:
        return None
    free = f"{left // MIB:,} MiB of memory are free, {a_search}"
    if options.concurrent is not None:
        fit = "fits" if bears == 1 else "fit"
        findings.remarks.append(f"--concurrent {asked}: {free}; about {bears} {fit}")
        return None
    findings.remarks.append(
        f"{free}: {counted(bears, 'trial')} at a time, fewer than cores; --concurrent decides "
        "otherwise"
    )
    return bears


def fit_disk(
    home: Home, space: Space, store: Store, findings: Findings, *, complete: int, at_once: int
) -> None:
    """Compare what trials write with what is free for this user; `complete` ones are there already,
    `at_once` are trained side by side."""
    around = nearest(home.root)
    try:
        disk = os.statvfs(around)
    except OSError:
        return
    free = disk.f_bavail * disk.f_frsize
    per_trial = disk_of_trial(space, store)
    planned = planned_trials(space)
    to_train = None if planned is None else max(0, planned - complete)

    # `hours` and `no_improvement` may end a search long before its trials are all trained.
    budget = space.budget
    needed = at_once if to_train is None else min(at_once, to_train)
    if to_train is not None and budget.hours is None and budget.no_improvement is None:
        needed = to_train
    size = (
        f"{free / MIB:,.1f} MiB are free at {around}, and a trial writes about "
        f"{per_trial / MIB:,.1f} MiB"
    )
    if needed * per_trial > free:
        advice = "make room, lower budget.trials, or give another --home"
        findings.problems.append(f"{size}: {_do_not_fit(needed)}; {advice}")
    elif to_train is not None and to_train * per_trial > free:
        findings.remarks.append(
            f"{size}: there is room for about {free // per_trial:,} of the "
            f"{counted(to_train, 'trial')} to come"
        )


def _do_not_fit(trials: int, how: str = "") -> str:
    return f"{counted(trials, 'trial')}{how} {'does' if trials == 1 else 'do'} not fit"


def nearest(path: Path) -> Path:
    """The path, or the nearest one around it that exists."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
