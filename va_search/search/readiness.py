"""Checks of store, space, machine and home: all that can be known of a search before a minute is
spent.

`plan`, `search --dry-run`, `search`, `retry`, `reproduce` and `demo` all ask `check_ready` before
Ray starts. What is wrong is reported at once, whatever it is; what is only worth knowing comes back
as remarks.

Conventions: sizes are in bytes; a stretch is a recording's frames between two gaps. What is
estimated is estimated low, so that nothing is refused that would fit."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.audit import leaks
from va_search.data.store import MIX, Store, positions
from va_search.errors import InputError, counted
from va_search.files import Home
from va_search.locks import only_one
from va_search.metrics import DIMENSIONS
from va_search.models.sources import references
from va_search.search.budget import planned_trials
from va_search.search.configurations import Space
from va_search.search.machine import (
    Options,
    check_fusing,
    check_options,
    cores,
    gpu_problem,
    gpus_seen,
    memory_available,
    memory_limit,
)
from va_search.search.sizes import disk_of_trial, memory_of_trial, some
from va_search.tracking.shown import shown
from va_search.training.own_models import own_model_problems

LEAST = 2
"""Labelled frames that a side needs for a CCC."""

RAY_MEMORY = 500 * 2**20
"""Taken by Ray's own processes and by the search, before a trial."""

TRIED = 500
"""Configurations among which each class of a user's own is looked for."""

LEAST_FILES = 64
"""Files that one process must be allowed to open."""

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (Ray's place, looked at alone)
MIB = 2**20


@dataclass(frozen=True)
class Readiness:
    """`remarks` are sentences for whoever searches; `concurrent` is how many trials are trained at
    a time where memory bears fewer than there are cores, else None."""

    remarks: list[str]
    concurrent: int | None


def check_ready(
    home: Home,
    space: Space,
    store: Store,
    options: Options,
    *,
    complete: int = 0,
    writes: bool = True,
) -> Readiness:
    """Look at all of it; InputError with every problem.

    `complete` trials of the study need no more room. Unless it `writes`, nothing is tried in the
    home. On a cluster (`options.address`) the search itself looks at the machines that train, once
    it is connected."""
    problems: list[str] = []
    remarks: list[str] = []
    concurrent = None
    for check in (
        partial(check_options, options),
        partial(check_fusing, space, options.fuse_seeds),
    ):
        try:
            check()
        except InputError as error:
            problems += error.problems
    if any(references(space.document)):
        problems += own_model_problems(some(space, TRIED))
    problems += store_problems(space, store)
    length_problems, length_remarks = lengths(space, store)
    problems += length_problems
    remarks += [*same_here(space), *length_remarks]
    if options.address is None:
        problems += machine_problems(options)
        concurrent, memory_problems, memory_remarks = fit_memory(space, store, options)
        problems += memory_problems
        remarks += memory_remarks
    problems += home_problems(home, writes=writes)
    disk_problems, disk_remarks = room_for_trials(
        home, space, store, complete, concurrent or options.concurrent
    )
    problems += disk_problems
    remarks += disk_remarks
    if problems:
        raise InputError(*dict.fromkeys(problems))
    return Readiness([*environment_remarks(home, options), *remarks], concurrent)


# -- store --


def store_problems(space: Space, store: Store) -> Iterator[str]:
    """People on two sides, sides without labels, targets that never change."""
    leaking = [finding for finding in leaks(store) if finding.level == "error"]
    for finding in leaking:
        yield f"{store.path}: {finding.where} {finding.text}"
    if leaking:
        yield (
            "if the challenge is meant to have the same people in several splits, give each recording a subject of its "
            "own and import again"
        )
    for key in space.folds:
        fold = store.fold(key)
        if key == MIX and not fold.test:
            yield f"{store.path}: fold {MIX} predicts test recordings alone, and this store has none"
        sides = {"training": fold.train, "validation": () if key == MIX else fold.validation}
        for side, recordings in sides.items():
            if not recordings:
                continue  # without training or validation recordings the space itself is refused
            annotation = store.annotations[positions(recordings)]
            for column, target in enumerate(DIMENSIONS):
                if side == "training" and not _learns(space, target):
                    continue
                problem = _label_problem(
                    annotation, column, len(recordings), side, counts=_counts(space, target)
                )
                if problem is not None:
                    yield f"{store.path}: fold {key}: {problem}"


def _label_problem(
    annotation: NDArray[np.float32], column: int, recordings: int, side: str, *, counts: bool
) -> str | None:
    """Describe what is wrong with one target's labels on a side, `annotation` (frames, targets);
    None: nothing."""
    target, labels = DIMENSIONS[column], annotation[:, column]
    values = labels[~np.isnan(labels)]
    where = f"the {recordings} {side} recordings" if recordings > 1 else f"the one {side} recording"
    if len(values) < LEAST:
        frames = "1 frame is" if len(values) == 1 else f"{len(values)} frames are"
        return f"{frames} labelled for {target} in {where}, expected at least {LEAST}"
    if counts and values.min() == values.max():
        varying = [
            name
            for index, name in enumerate(DIMENSIONS)
            if index != column and _varies(annotation[:, index])
        ]
        advice = (
            f"; to train and rank by {varying[0]} alone give objective: {varying[0]}"
            if varying
            else ""
        )
        return (
            f"{target} is {values[0]:g} in all {len(values):,} labelled frames of {where}, so it has no CCC and nothing "
            f"can be learnt{advice}"
        )
    return None


def _varies(labels: NDArray[np.float32]) -> bool:
    values = labels[~np.isnan(labels)]
    return len(values) > 0 and bool(values.min() < values.max())


def _counts(space: Space, target: str) -> bool:
    """True where the objective depends on a target."""
    return space.objective not in DIMENSIONS or space.objective == target


def _learns(space: Space, target: str) -> bool:
    """True where the loss of some configuration depends on a target."""
    weight = space.settings.get(f"loss_{target}")
    return weight is None or any(value > 0 for value in weight.domain.values())


def same_here(space: Space) -> Iterator[str]:
    """Declared values that mean the same on this store, and so are counted and trained once."""
    declared = space.declared("normalise")
    if {"recording", "subject"} <= set(declared) and space.sameness.own_subjects:
        yield (
            "normalise: recording and subject mean the same here, since each recording has a subject of its own; "
            "they count once"
        )
    if (
        set(space.declared("fusion")) == {"early", "late"}
        and len(set(space.sameness.modalities.values())) == 1
    ):
        yield "fusion: early and late mean the same here, since all feature sets are of one modality; they count once"


def lengths(space: Space, store: Store) -> tuple[list[str], list[str]]:
    """Problems and remarks on `frame_step` and `segment_length` beside the recordings' lengths."""
    longest = space.sameness.longest
    longest_text = f"{store.path}: the longest stretch without a gap has {longest:,} frames"
    problems: list[str] = []
    remarks: list[str] = []
    frame_steps = [step for step in space.declared("frame_step") if isinstance(step, int)] or [1]
    too_long = [step for step in frame_steps if step >= longest > 1]
    if too_long and len(too_long) == len(frame_steps):
        problems.append(
            f"{longest_text}, so that frame_step {_listed(too_long)} makes one model step of every recording; "
            f"give less than {longest:,}"
        )
    elif too_long:
        remarks.append(
            f"{longest_text}: frame_step {_listed(too_long)} makes one model step of every recording"
        )
    steps = -(-longest // min(frame_steps))
    segments = [length for length in space.declared("segment_length") if length >= steps]
    if len(segments) > 1:
        remarks.append(
            f"segment_length {_listed(segments)} mean the same here, since no stretch is longer than {steps:,} model "
            "steps; they count once"
        )
    return problems, remarks


def _listed(values: Sequence[int]) -> str:
    shortened = [f"{value:,}" for value in values[:5]] + ["…"] * (len(values) > 5)
    return ", ".join(shortened)


# -- machine --


def machine_problems(options: Options) -> Iterator[str]:
    """A GPU that is asked for and not there, or there and of no use; what Ray can't start
    without."""
    problem = gpu_problem(options.gpus_per_trial, gpus_seen())
    if problem is not None:
        yield problem
    # Where it may not be written Ray takes its own folder (machine.py).
    if SHARED_MEMORY.is_dir() and os.access(SHARED_MEMORY, os.W_OK):
        probe = SHARED_MEMORY / f"va-search-{uuid.uuid4().hex}"
        try:
            probe.touch()
        except OSError as error:
            if error.errno != errno.ENOSPC:  # then Ray takes another place
                yield f"{SHARED_MEMORY}: {error.strerror}; Ray needs it, mount it writable (in a container: --shm-size)"
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
    with suppress(ImportError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        if most != resource.RLIM_INFINITY and most < LEAST_FILES:
            yield f"a process may open {most} files here, expected at least {LEAST_FILES}; raise it (ulimit -n 1024)"


def fit_memory(
    space: Space, store: Store, options: Options
) -> tuple[int | None, list[str], list[str]]:
    """Return how many trials memory bears at a time (None: as many as cores), problems, remarks."""
    left, limit = memory_available(), memory_limit()
    if left is None or options.gpus_per_trial or (options.gpus_per_trial is None and gpus_seen()):
        return None, [], []  # not known, or the GPUs decide how many there are
    per_trial = memory_of_trial(space, store)
    a_trial = f"each trial at a time takes about {per_trial // MIB:,} MiB"
    asked = options.concurrent or max(1, cores() // options.threads)
    if limit is not None and limit < RAY_MEMORY + (options.concurrent or 1) * per_trial:
        fits = max(0, limit - RAY_MEMORY) // per_trial
        may = f"the container may use {limit // MIB:,} MiB of memory, Ray takes about {RAY_MEMORY // MIB} MiB, {a_trial}"
        advice = f"give --concurrent {fits} or less" if fits else "give the container more"
        do = "does" if asked == 1 else "do"
        return None, [f"{counted(asked, 'trial')} at a time {do} not fit: {may}; {advice}"], []
    bears = max(1, (left - RAY_MEMORY) // per_trial)
    if bears >= asked:
        return None, [], []
    free = f"{left // MIB:,} MiB of memory are free, Ray takes about {RAY_MEMORY // MIB} MiB, {a_trial}"
    if options.concurrent is not None:
        return (
            None,
            [],
            [f"--concurrent {asked}: {free}; about {bears} {'fits' if bears == 1 else 'fit'}"],
        )
    return (
        bears,
        [],
        [
            f"{free}: {counted(bears, 'trial')} at a time, fewer than cores; --concurrent decides otherwise"
        ],
    )


# -- home --


def home_problems(home: Home, *, writes: bool) -> Iterator[str]:
    """A home where files can't be written, locked or renamed. One that is not there yet is not
    made."""
    root = home.root
    if not root.exists():
        around = nearest(root)
        if not around.is_dir():
            yield f"{root}: the home can't be made, since {around} is a file; give another --home"
        elif not os.access(around, os.W_OK | os.X_OK):
            yield f"{root}: the home can't be made, since {around} is not writable; give another --home"
        return
    if not root.is_dir():
        yield f"{root}: the home is a file, expected a folder; give another --home"
        return
    if not os.access(root, os.W_OK | os.X_OK):
        yield f"{root}: the home is not writable; give another --home"
        return
    if writes:
        yield from _tried_problems(root)


def _tried_problems(root: Path) -> Iterator[str]:
    """Write, rename and lock a file in a home, and remove it; problems with either."""
    probe = root / f".ready-{uuid.uuid4().hex}"
    renamed = probe.with_suffix(".renamed")
    doing = "written"
    try:
        probe.write_text("1", encoding="utf-8")
        doing = "renamed"
        os.replace(probe, renamed)
        doing = "locked"
        with only_one(renamed, f"{renamed}"):
            pass
    except InputError as error:
        yield from error.problems
    except OSError as error:
        yield f"{root}: a file in this home can't be {doing} ({error.strerror}); give another --home"
    finally:
        for left in (probe, renamed):
            with suppress(OSError):
                left.unlink(missing_ok=True)


def nearest(path: Path) -> Path:
    """The path, or the nearest one around it that exists."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def room_for_trials(
    home: Home, space: Space, store: Store, complete: int, concurrent: int | None
) -> tuple[list[str], list[str]]:
    """Problems and remarks on the disk: what trials write beside what is free for this user."""
    around = nearest(home.root)
    try:
        disk = os.statvfs(around)
    except OSError:
        return [], []
    free = disk.f_bavail * disk.f_frsize
    per_trial = disk_of_trial(space, store)
    planned = planned_trials(space)
    # `hours` and `no_improvement` may end a search long before its trials are all trained
    surely = (
        planned is not None and space.budget.hours is None and space.budget.no_improvement is None
    )
    to_train = max(0, planned - complete) if planned is not None else None
    at_once = min(concurrent or 1, to_train) if to_train is not None else concurrent or 1
    need = (to_train if surely and to_train is not None else at_once) * per_trial
    size = f"{free / MIB:,.1f} MiB are free at {around}, and a trial writes about {per_trial / MIB:,.1f} MiB"
    if need > free:
        number = need // per_trial
        do_not_fit = f"{counted(number, 'trial')} {'does' if number == 1 else 'do'} not fit"
        return [f"{size}: {do_not_fit}; make room, lower budget.trials, or give another --home"], []
    if to_train is not None and to_train * per_trial > free:
        return [], [
            f"{size}: there is room for about {free // per_trial:,} of the {counted(to_train, 'trial')} to come"
        ]
    return [], []


# -- environment --


def environment_remarks(home: Home, options: Options) -> Iterator[str]:
    """Addresses in the environment that other programs use, and a search does not."""
    ray = os.environ.get("RAY_ADDRESS")
    if ray and options.address is None:
        yield (
            f"RAY_ADDRESS ({ray}) is not used: trials are trained by a Ray of this search's own, on this machine; "
            "--address auto takes that cluster"
        )
    tracking = os.environ.get("MLFLOW_TRACKING_URI")
    if tracking and options.tracking_uri is None:
        yield (
            f"MLFLOW_TRACKING_URI ({shown(tracking)}) is not used: results go to {home.root / 'mlflow.db'}; "
            "--tracking-uri takes that server"
        )
