"""Statistics kept on the disk, and brought up to date where trials arrived, changed or went.

    studies/<study>/statistics/<dimension>-<key>.npz    the key stands for the studies and the validation frames

Conventions: what is kept is used for a member as long as its prediction file is the very one that
was read (size, inode and both times of the file) and the annotations, recordings and format are the
same (SHA-256); everything else is computed from the frames. A file that can't be read, whatever the
reason, is computed anew and replaced: the kept statistics only ever save time. Files appear whole
and hold no pickle."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble.candidates import LineUp
from va_search.ensemble.moments import Groups, Statistics
from va_search.ensemble.statistics import BUDGET, ROWS, groups_within, measure
from va_search.errors import InputError
from va_search.files import Home, digest, whole_file
from va_search.predictions.bank import Bank
from va_search.trial import ALL, Trial

FORMAT = 1
"""Raised when the same frames would give other numbers, or the file's fields change."""
KEPT = 4
"""Files a study keeps for one dimension: of its last folds and combinations with other studies."""
ABANDONED = 3600.0
"""Seconds after which a half-written file belongs to no living process."""
log = logging.getLogger(__name__)


def statistics_for(
    home: Home,
    lines: LineUp,
    dimension: str,
    annotation: NDArray[np.float32],
    *,
    parts: Sequence[Sequence[int]] = (),
    budget: int = BUDGET,
) -> Statistics:
    """Statistics of the candidates' validation predictions of one dimension, in the candidates'
    order.

    `annotation`: (frames,) of the recordings of `lines`, NaN unlabelled. `parts`, `budget`: as in
    `measure`. What is kept of earlier calls under `home` is used, only the rows and columns of new
    members are computed, and the result is kept. InputError when the dimension's annotation is
    constant, and as in `measure`."""
    known = annotation[~np.isnan(annotation)]
    if not known.size or known.min() == known.max():
        raise InputError(
            f"{lines.store.path}: {dimension} has the same value in all {known.size} labelled validation frames; "
            "its CCC is not defined"
        )
    prints = {
        c.label: fingerprint(lines.bank(home), c) for c in lines.candidates
    }  # before the files are opened
    path, about = _place(home, lines, dimension), _about(lines, annotation)
    kept, kept_prints = _read(path, about)
    if kept is not None:
        groups = groups_within(
            budget, [recording.frames for recording in lines.recordings], len(prints), parts
        )
        kept = _still_true(kept, kept_prints, prints, groups)
    if kept is not None and kept.labels == tuple(prints):
        return kept
    statistics = _measured(
        home, lines, dimension, annotation, kept=kept, parts=parts, budget=budget
    )
    if kept is None or len(kept.labels) < len(prints):
        _keep(path, statistics, {**about, "prints": prints})
    return statistics


def fingerprint(bank: Bank, candidate: Trial) -> list[int]:
    """What tells a candidate's validation file from any other and from itself after a change;
    InputError if missing."""
    path = bank.folder(candidate.study, candidate.id) / "validation.arrow"
    try:
        found = path.stat()
    except FileNotFoundError:
        raise InputError(
            f"{path}: missing; the trial's predictions are not there any more"
        ) from None
    return [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]


def _measured(
    home: Home,
    lines: LineUp,
    dimension: str,
    annotation: NDArray[np.float32],
    *,
    kept: Statistics | None,
    parts: Sequence[Sequence[int]],
    budget: int,
) -> Statistics:
    bank = lines.bank(home)
    columns = [
        bank.column(c.study, c.id, "validation", dimension, frames_hash=lines.frames_hash)
        for c in lines.candidates
    ]
    recordings = [(recording.name, recording.frames) for recording in lines.recordings]
    labels = [c.label for c in lines.candidates]
    return measure(columns, annotation, recordings, labels, parts=parts, budget=budget, known=kept)


def _place(home: Home, lines: LineUp, dimension: str) -> Path:
    studies = sorted({candidate.study for candidate in lines.candidates})
    what = [studies, lines.frames_hash] + (
        [ALL] if lines.fold == ALL else []
    )  # never mixed up with trials'
    key = digest(what)[:16]
    return home.study(studies[0]) / "statistics" / f"{dimension}-{key}.npz"


def _about(lines: LineUp, annotation: NDArray[np.float32]) -> dict[str, Any]:
    values = np.ascontiguousarray(annotation)
    recordings = [[recording.name, recording.frames] for recording in lines.recordings]
    labelled = hashlib.sha256(values.dtype.str.encode() + values.tobytes()).hexdigest()
    return {"format": FORMAT, "rows": ROWS, "recordings": recordings, "annotation": labelled}


def _still_true(
    kept: Statistics,
    then: dict[str, list[int]],
    now: dict[str, list[int]],
    groups: Groups,
) -> Statistics | None:
    """The kept statistics of members whose files did not change, in today's order and blocks; None
    without any."""
    place = {label: index for index, label in enumerate(kept.labels)}
    same = [label for label in now if then.get(label) == now[label]]
    if not same:
        return None
    if list(kept.labels) != same:
        kept = kept.subset(np.array([place[label] for label in same], dtype=np.intp))
    try:
        return kept if kept.groups == groups else kept.grouped(groups)
    except ValueError:  # kept in larger groups, or groups of other folds
        return None


def _keep(path: Path, statistics: Statistics, about: dict[str, Any]) -> None:
    """Write the statistics whole; where the disk does not take them, say so and go on without."""
    arrays = {field.name: getattr(statistics, field.name) for field in fields(Statistics)}
    text = {name: arrays.pop(name) for name in ("names", "labels", "groups", "label_shift")}
    head = json.dumps({**about, **text}).encode()
    try:
        with whole_file(path) as beside, open(beside, "wb") as handle:
            np.savez(handle, head=np.frombuffer(head, dtype=np.uint8), **arrays)
        _tidy(path)
    except Exception as error:
        log.warning(
            "%s: statistics are not kept (%s); the next ensemble computes them again", path, error
        )


def _tidy(path: Path) -> None:
    """Remove all but the last files of the dimension, and what killed processes left half
    written."""
    age = {file: file.stat().st_mtime for file in path.parent.iterdir()}
    whole = sorted(
        (file for file in age if file.match(f"{path.name.split('-')[0]}-*.npz")),
        key=lambda f: age[f],
    )
    half = [
        file for file in age if file.match(".*.partial") and age[file] < time.time() - ABANDONED
    ]
    for file in [*whole[:-KEPT], *half]:
        file.unlink(missing_ok=True)


def _read(path: Path, about: dict[str, Any]) -> tuple[Statistics | None, dict[str, list[int]]]:
    """What is kept in `path` and the files it was read from; None when there is nothing usable."""
    try:
        with np.load(path, allow_pickle=False) as file:
            head = json.loads(file["head"].tobytes())
            if {key: head[key] for key in about} != about:
                return None, {}
            arrays = {name: file[name] for name in file.files if name != "head"}
        statistics = Statistics(
            **arrays,
            label_shift=head["label_shift"],
            names=tuple(head["names"]),
            labels=tuple(head["labels"]),
            groups=tuple(tuple(group) for group in head["groups"]),
        )
        return (statistics, head["prints"]) if _whole(statistics) else (None, {})
    except FileNotFoundError:
        return None, {}
    except Exception as error:  # a damaged file fails in any way
        log.warning("%s: can't be read (%s); computed again", path, error)
        return None, {}


def _whole(statistics: Statistics) -> bool:
    """Whether the arrays fit together."""
    blocks, members = len(statistics.groups), len(statistics.labels)
    return (
        statistics.products.shape == (blocks, members, members)
        and statistics.sums.shape == statistics.with_label.shape == (blocks, members)
        and statistics.counts.shape
        == statistics.label_sums.shape
        == statistics.label_squares.shape
        == (blocks,)
        and statistics.shifts.shape == (members,)
    )
