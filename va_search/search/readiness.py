"""Checks of store, space, machine and home: all that can be known of a search before a minute is
spent.

`plan`, `search --dry-run`, `search`, `retry`, `reproduce` and `demo` all ask `check_ready` before
Ray starts. Everything that is wrong is reported at once; what is only worth knowing comes back as
remarks.

Conventions: a stretch is a recording's frames between two gaps."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.audit import leaks
from va_search.data.store import Store, positions
from va_search.errors import InputError, counted
from va_search.home import Home
from va_search.locks import only_one
from va_search.models.menu import FUSIONS
from va_search.models.sources import references
from va_search.search.configurations import OWN_STATISTICS, Space
from va_search.search.gpus import choose_gpus
from va_search.search.machine import Options, check_fusing, check_options, gpu_problem
from va_search.search.sizes import Findings, fit_disk, fit_memory, nearest
from va_search.targets import AFFECT
from va_search.tracking.shown import shown
from va_search.training.frame_weights import spread_problem
from va_search.training.own_models import own_model_problems
from va_search.trial import FoldKind
from va_search.trial_settings import WEIGHTS

LEAST = 2
"""Labelled frames that a side needs for a CCC."""

TRIED = 500
"""Configurations among which each class of a user's own is looked for."""

FEW_STEPS = 10
"""Of shorter recordings it is said that there is little to follow over time."""

NAMED_STEPS = 5
"""So many lengths of a model step are named one by one."""

LEAST_FILES = 64
"""Files that one process must be allowed to open."""

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (Ray's place, looked at alone)


@dataclass(frozen=True)
class Readiness:
    """`remarks` are sentences for whoever searches; `concurrent` is how many trials are trained at
    a time where memory bears fewer than there are cores, else None; `gpus` are those to train on,
    as Options has them, None: all."""

    remarks: list[str]
    concurrent: int | None
    gpus: tuple[str, ...] | None = None


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
    findings = Findings(remarks=[*environment_remarks(home, options)])
    problems = findings.problems
    try:
        check_options(options)
    except InputError as error:
        problems += error.problems
    try:
        check_fusing(space, options.fuse_seeds)
    except InputError as error:
        problems += error.problems
    if any(references(space.document)):
        examples = space.examples(TRIED, 100 * TRIED)
        problems += own_model_problems((settings for _, settings in examples), store.target_names)
    problems += store_problems(space, store)
    findings.remarks += same_here(space)
    check_lengths(space, store, findings)
    concurrent = gpus = None
    if options.address is not None:
        problems += choose_gpus(options).problems
    else:
        gpus = check_gpus(options, findings, writes=writes)
        problems += machine_problems()
        concurrent = fit_memory(space, store, options, findings)
    problems += home_problems(home, writes=writes)
    at_once = concurrent or options.concurrent or 1
    fit_disk(home, space, store, findings, complete=complete, at_once=at_once)
    if problems:
        raise InputError(*dict.fromkeys(problems))
    return Readiness(findings.remarks, concurrent, gpus)


# -- store


def store_problems(space: Space, store: Store) -> Iterator[str]:
    """People on two sides, sides without labels, targets that never change."""
    leaking = [finding for finding in leaks(store) if finding.level == "error"]
    for finding in leaking:
        yield f"{store.path}: {finding.where} {finding.text}"
    if leaking:
        yield (
            "if the challenge is meant to have the same people in several splits, give each "
            "recording a subject of its own and import again"
        )
    for key in space.folds:
        fold, scored = store.fold(key), FoldKind(key).has_validation
        if not scored and not fold.test:
            yield f"{store.path}: fold {key} predicts test recordings alone, and this store has none"
        sides = {"training": fold.train}
        if scored:
            sides["validation"] = fold.validation
        if True in space.declared("weight_by_agreement"):
            problem = spread_problem(store, fold.train)
            if problem is not None:
                yield problem
        for side, recordings in sides.items():
            if not recordings:
                continue  # without training or validation recordings the space itself is refused
            where = f"the one {side} recording"
            if len(recordings) > 1:
                where = f"the {len(recordings)} {side} recordings"
            learnt = side == "training"
            annotation = store.annotations[positions(recordings)]
            for problem in _label_problems(space, annotation, where, learnt=learnt):
                yield f"{store.path}: fold {key}: {problem}"


def _label_problems(
    space: Space, annotation: NDArray[np.float32], where: str, *, learnt: bool
) -> Iterator[str]:
    """Describe what is wrong with each target's labels on a side, `annotation` (frames, targets);
    where it is `learnt` from, targets without weight need none."""
    labels: dict[str, NDArray[np.float32]] = {}
    varying: list[str] = []
    for column, target in enumerate(space.targets):
        values = annotation[:, column]
        labels[target] = values[~np.isnan(values)]
        if len(labels[target]) and labels[target].min() < labels[target].max():
            varying.append(target)
    for target, values in labels.items():
        if learnt and not _learns(space, target):
            continue
        if len(values) < LEAST:
            frames = "1 frame is" if len(values) == 1 else f"{len(values)} frames are"
            yield f"{frames} labelled for {target} in {where}, expected at least {LEAST}"
        elif target not in varying and _counts(space, target):
            advice = ""
            if varying:
                advice = f"; to train and rank by {varying[0]} alone give objective: {varying[0]}"
            yield (
                f"{target} is {values[0]:g} in all {len(values):,} labelled frames of {where}, so "
                f"it has no CCC and nothing can be learnt{advice}"
            )


def _counts(space: Space, target: str) -> bool:
    """True where the objective depends on a target."""
    return space.objective not in space.targets or space.objective == target


def _learns(space: Space, target: str) -> bool:
    """True where the loss of some configuration depends on a target."""
    name = f"loss_{target}" if target in AFFECT else f"{WEIGHTS}.{target}"
    weight = space.settings.get(name)
    return weight is None or any(value > 0 for value in weight.domain.values())


def same_here(space: Space) -> Iterator[str]:
    """Declared values that mean the same on this store, and so are counted and trained once."""
    normalise, fusion = space.declared("normalise"), space.declared("fusion")
    if all(name in normalise for name in OWN_STATISTICS) and space.sameness.own_subjects:
        yield (
            "normalise: recording and subject mean the same here, since each recording has a "
            "subject of its own; they count once"
        )
    one_modality = space.sameness.one_modality([*space.sameness.modalities])
    alike = [name for name in fusion if name == "early" or FUSIONS[name].of_modalities]
    if len(alike) > 1 and one_modality:
        yield (
            f"fusion: {' and '.join(alike)} mean the same here, since all feature sets are of one "
            "modality; they count once"
        )


def check_lengths(space: Space, store: Store, findings: Findings) -> None:
    """Compare `frame_step` and `segment_length` with the recordings' lengths."""
    longest = space.sameness.longest
    frame_steps = [step for step in space.declared("frame_step") if isinstance(step, int)] or [1]
    too_long = [step for step in frame_steps if step >= longest > 1]
    if too_long:
        longest_text = f"{store.path}: the longest stretch without a gap has {longest:,} frames"
        whole = f"frame_step {_listed(too_long)} makes one model step of every recording"
        if len(too_long) == len(frame_steps):
            sentence = f"{longest_text}, so that {whole}; give less than {longest:,}"
            findings.problems.append(sentence)
        else:
            findings.remarks.append(f"{longest_text}: {whole}")
    steps = -(-longest // min(frame_steps))
    segments = [length for length in space.declared("segment_length") if length >= steps]
    if len(segments) > 1:
        findings.remarks.append(
            f"segment_length {_listed(segments)} mean the same here, since no stretch is longer "
            f"than {steps:,} model steps; they count once"
        )


def steps_text(space: Space, store: Store) -> str:
    """Return in words how long model steps, recordings and segments of the space are on this store:
    frames mean different times at different rates."""
    rates = [recording.frames_per_second for recording in store.recordings]
    rate = float(np.median(rates))
    frame_steps = sorted(step for step in space.declared("frame_step") if isinstance(step, int))
    frame_steps = frame_steps or [1]
    lengths = [recording.frames for recording in store.recordings]
    seconds = [f"{step / rate:.3g}" for step in frame_steps]
    frames = "frame" if rate == 1 else "frames"
    steps = f"frame_step {_listed(frame_steps)} at {rate:g} {frames} a second: "
    steps += f"a model step lasts {_few(seconds)} s"
    fewest = -(-min(lengths) // frame_steps[-1])
    most = -(-max(lengths) // frame_steps[0])
    counts = f"{fewest:,} to {most:,}" if fewest < most else f"{most:,}"
    text = f"{steps}, a recording has {counts} of them"
    segments = [length for length in space.declared("segment_length") if isinstance(length, int)]
    if segments and min(segments) >= most:
        text += f"; segment_length {_listed(sorted(segments))} holds whole recordings"
    if most < FEW_STEPS:
        text += f"; with {counted(most, 'step')} at most there is little to follow over time"
        if frame_steps[-1] > 1:
            text += ", so take a smaller frame_step"
    return text


def _few(texts: Sequence[str]) -> str:
    """`0.5, 1 or 2`; the first ones of many."""
    if len(texts) < 2:
        return "".join(texts)
    if len(texts) > NAMED_STEPS:
        return f"{texts[0]} to {texts[-1]}"
    return f"{', '.join(texts[:-1])} or {texts[-1]}"


def _listed(values: Sequence[int]) -> str:
    shortened = [f"{value:,}" for value in values[:5]] + ["…"] * (len(values) > 5)
    return ", ".join(shortened)


# -- machine


def check_gpus(options: Options, findings: Findings, *, writes: bool) -> tuple[str, ...] | None:
    """Return the GPUs to train on, None for all: a GPU that is asked for and not there, or there and
    of no use, or all in use by others, is a problem. That others use them is none for a plan."""
    choice = choose_gpus(options)
    findings.remarks += choice.remarks
    findings.problems += choice.problems
    if choice.all_in_use is not None:
        sentences = findings.problems if writes else findings.remarks
        sentences.append(choice.all_in_use)
    elif not choice.problems:
        problem = gpu_problem(options.gpus_per_trial, choice.number, choice.visible)
        if problem is not None:
            findings.problems.append(problem)
    return choice.visible


def machine_problems() -> Iterator[str]:
    """Whatever Ray can't start without."""
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


# -- home


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


# -- environment


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
